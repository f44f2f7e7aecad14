// The files of a run's folder, as the reports and other commands read them.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { PareError } from '../errors.js';
import { whySchema } from './why.js';

const figure = z.object({
  metric: z.string(),
  value: z.number(),
  n: z.number(),
  ci95: z.tuple([z.number(), z.number()]),
  difference: z.object({ value: z.number(), ci95: z.tuple([z.number(), z.number()]) }).optional(),
  agreement: z.number().optional(),
  kl: z.number().optional(),
  relativeError: z.number().optional(),
});

const edit = z.object({ mutation: z.string(), params: z.json() });

const member = z.object({
  file: z.string(),
  macs: z.number(),
  params: z.number(),
  memoryBytes: z.number(),
  predicted: z.object({ mean: z.number(), deviation: z.number() }),
  searched: z.number(),
  measured: figure,
  test: figure.optional(),
  violation: z.number(),
  genome: z.array(edit),
  why: whySchema.optional(),
  trained: z.object({ steps: z.number(), before: figure }).optional(),
  givenUp: z.object({ steps: z.number(), why: z.string() }).optional(),
});

const frontFile = z.object({
  model: z.string(),
  metric: z.string(),
  interrupted: z.boolean().optional(),
  reached: z.boolean(),
  note: z.string().optional(),
  rounding: z.object({ roundTo: z.number(), why: z.enum(['asked', 'timed', 'default']) }).optional(),
  original: z.object({
    macs: z.number(),
    params: z.number(),
    memoryBytes: z.number(),
    measured: figure,
    test: figure.optional(),
  }),
  leaveOneOut: z.array(z.number()).optional(),
  foretelling: z
    .object({
      quantity: z.string(),
      belief: z.object({ samples: z.number(), spearman: z.number(), meanAbsoluteError: z.number() }).optional(),
    })
    .optional(),
  candidates: z.array(member),
  leftOut: z.array(z.object({ genome: z.array(edit), reason: z.string() })).optional(),
});

const archived = z.object({
  genome: z.array(edit),
  macs: z.number(),
  score: z.number(),
  value: z.number(),
  predicted: z.object({ mean: z.number(), deviation: z.number() }).optional(),
});

const archivedFailure = z.object({ genome: z.array(edit), failed: z.string() });

const refused = z.object({ genome: z.array(edit), reason: z.string() });

export type FrontReport = z.infer<typeof frontFile>;
export type FigureReport = z.infer<typeof figure>;

export interface RunFiles {
  readonly front: FrontReport;
  /** Everything that was measured during the search. */
  readonly searched: readonly z.infer<typeof archived>[];
  /** What could not be measured, or not be handed over, and why. */
  readonly failed: readonly z.infer<typeof refused>[];
}

/** Reads front.json and archive.jsonl; throws PareError when the folder holds no finished run. */
export function readRun(folder: string): RunFiles {
  const path = join(folder, 'front.json');
  if (!existsSync(path)) {
    throw new PareError(
      `${folder}: holds no finished run (no front.json); give the --out folder of \`pare optimize\`, or finish it with --resume`,
    );
  }
  const lines = existsSync(join(folder, 'archive.jsonl'))
    ? readFileSync(join(folder, 'archive.jsonl'), 'utf8').split('\n')
    : [];
  const front = parsed(frontFile, path, readFileSync(path, 'utf8'));
  const searched: z.infer<typeof archived>[] = [];
  const failed: z.infer<typeof refused>[] = [];
  lines.forEach((line, i) => {
    if (!line.endsWith('}')) return;
    const record = parsed(z.union([archived, archivedFailure]), `${folder}/archive.jsonl, line ${i + 1}`, line);
    if ('failed' in record) failed.push({ genome: record.genome, reason: record.failed });
    else searched.push(record);
  });
  return { front, searched, failed: [...failed, ...(front.leftOut ?? [])] };
}

function parsed<T>(schema: z.ZodType<T>, name: string, text: string): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new PareError(`${name}: not what \`pare optimize\` writes; run it again into a new folder`, { cause });
  }
}

/** What the run itself holds to be the most accurate, on held-out calibration data; budgets first. */
export function mostAccurate(front: FrontReport): FrontReport['candidates'][number] | undefined {
  return front.candidates.toSorted((a, b) => a.violation - b.violation || b.measured.value - a.measured.value)[0];
}
