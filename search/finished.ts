// A finished run as it lies in its folder: with what settings it was made, what it measured, where it found its network and data.
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { PareError } from '../src/errors.js';
import { parseRecord, placesOf, type MeasuredRecord, type Places } from './archive.js';
import { parseRefit, REFITS, type RefittedLine } from './calibrate.js';
import type { EffortPlan } from './workshop.js';

const effort = z.object({
  mode: z.enum(['none', 'quick', 'bn', 'reconstruct']),
  images: z.number(),
  positions: z.number(),
});

const configFile = z.object({
  pare: z.string(),
  model: z.object({ file: z.string(), sha256: z.string() }),
  data: z.string(),
  ignore: z.array(z.string()),
  roundTo: z.number(),
  maxRatio: z.number(),
  seed: z.string(),
  effort: z.object({
    search: effort,
    final: effort,
    calibration: effort.default({ mode: 'reconstruct', images: 256, positions: 32 }),
    calibrators: z.number().default(0),
    learnImages: z.number(),
    scoreImages: z.number(),
    heldImages: z.number(),
    members: z.number(),
  }) satisfies z.ZodType<EffortPlan>,
  mutations: z.array(z.string()),
  /** Runs before there was a choice had this one. */
  fitness: z.string().default('signals'),
  /** SHA-256 of what the predictor started from. */
  predictor: z.string().optional(),
  /** As `--evaluations` says it, and lines of the archive that belong to the run; null: not finished. */
  evaluations: z.number().nullable(),
  archived: z.number().nullable(),
});

export interface FinishedRun {
  readonly config: z.infer<typeof configFile>;
  /** What the run measured, in order; candidates that failed are left out. */
  readonly archive: readonly MeasuredRecord[];
  /** Networks that were refitted to learn what the refit makes of a score. */
  readonly refits: readonly RefittedLine[];
  readonly places: Places | undefined;
}

/** Throws PareError when the folder holds no finished run. */
export function readFinished(folder: string): FinishedRun {
  const path = join(folder, 'config.json');
  if (!existsSync(path) || !existsSync(join(folder, 'front.json'))) {
    throw new PareError(
      `${folder}: holds no finished run; give the --out folder of \`pare optimize\`, or finish it with --resume`,
    );
  }
  const config = parsed(path, () => configFile.parse(JSON.parse(readFileSync(path, 'utf8'))));
  const lines = readFileSync(join(folder, 'archive.jsonl'), 'utf8').split('\n');
  const archive = lines
    .filter((line) => line !== '')
    .slice(0, config.archived ?? undefined)
    .map((line, i) => parsed(`${folder}/archive.jsonl, line ${i + 1}`, () => parseRecord(JSON.parse(line))))
    .filter((record): record is MeasuredRecord => !('failed' in record));
  const refitted = join(folder, REFITS);
  const refits = (existsSync(refitted) ? readFileSync(refitted, 'utf8').split('\n') : [])
    .filter((line) => line !== '')
    .map((line, i) => parsed(`${refitted}, line ${i + 1}`, () => parseRefit(JSON.parse(line))))
    .filter((line): line is RefittedLine => !('failed' in line));
  return { config, archive, refits, places: placesOf(join(folder, 'run.json')) };
}

/** A file of the run: as given, or where the run found it, or beside or in the run's folder. */
export function locate(
  folder: string,
  what: { readonly name: string; readonly option: string; readonly given: string | undefined; readonly file?: string },
  place: string | undefined,
): string {
  if (what.given !== undefined) return what.given;
  const file = what.file ?? (place === undefined ? undefined : basename(place));
  const places = [
    ...(place === undefined ? [] : [place]),
    ...(file === undefined ? [] : [join(folder, file), join(dirname(folder), file)]),
  ];
  const found = places.find((p) => existsSync(p));
  if (found === undefined) {
    throw new PareError(
      `${folder}: ${what.name} is not where the run found it${place === undefined ? '' : ` ("${place}")`}; give it with ${what.option}`,
    );
  }
  return found;
}

function parsed<T>(name: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new PareError(`${name}: not what \`pare optimize\` of this version writes; run it again into a new folder`, {
      cause,
    });
  }
}
