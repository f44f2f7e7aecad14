// Whether widths are rounded where nobody asked. The choice changes every front, so it must not hang on a timing in a run that promises
// equal bytes for equal seeds: without --latency widths are not rounded (rounding to 8 takes MACs from where they are worth most, and
// costs accuracy at equal MACs). With --latency timings decide anyway: a network with widths just under multiples of 8 is timed beside
// one with the multiples themselves; unless the smaller one is really faster, multiples it is. The answer stands in config.json, and a
// resumed run takes it from there.
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { prepare } from '../src/analysis/prepare.js';
import type { Analysis } from '../src/analysis/analyse.js';
import { quietLatency } from '../src/measure/latency.js';
import { readModel } from '../src/onnx/read.js';
import type { OpTable } from '../src/ops/op.js';
import { createFitness } from './fitness.js';
import type { Genome } from './genome.js';
import { createReplayer, surgeryWith, type Surgery, type Replayer } from './replay.js';
import { pruneChannels } from './mutations/prune-channels.js';

export interface Rounding {
  readonly roundTo: number;
  readonly why: 'asked' | 'timed' | 'default';
}

const MULTIPLE = 8;

export interface RoundingOptions {
  readonly asked: number | undefined;
  /** The run's config.json, where there is one. */
  readonly config: string;
  /** Does the run time networks? */
  readonly timed: boolean;
  readonly model: string;
  readonly table: OpTable;
  readonly ignore: (name: string) => boolean;
}

/** As asked, as the run was begun, as timed, or not at all. */
export async function chooseRounding(options: RoundingOptions): Promise<Rounding> {
  if (options.asked !== undefined) return { roundTo: options.asked, why: 'asked' };
  const stored = storedRounding(options.config);
  if (stored !== undefined) return stored;
  if (!options.timed) return { roundTo: 1, why: 'default' };
  const surgery = surgeryWith(options.table);
  return timedRounding(surgery.analyse(prepare(readModel(options.model), options.table)), surgery, options.ignore);
}

/** What the run was started with; undefined when config.json says nothing of it. */
function storedRounding(config: string): Rounding | undefined {
  if (!existsSync(config)) return undefined;
  const stored = z.object({ roundTo: z.number(), rounding: z.enum(['asked', 'timed', 'default']) });
  const found = stored.safeParse(JSON.parse(readFileSync(config, 'utf8'))).data;
  return found === undefined ? undefined : { roundTo: found.roundTo, why: found.rounding };
}

/** Times both; several rounds, one thread. */
async function timedRounding(base: Analysis, surgery: Surgery, ignore: (name: string) => boolean): Promise<Rounding> {
  const [rounded, under] = roundingProbes(base, surgery, ignore);
  if (rounded === undefined || under === undefined) return { roundTo: MULTIPLE, why: 'default' };
  const replayer = unrounded(base, surgery, ignore);
  const time = (genome: Genome): Promise<number> => quietLatency(replayer.replay(genome), { rounds: 40, maxMs: 1500 });
  const [a, b] = [await time(rounded), await time(under)];
  // Units that take no time are worth keeping; those that do are not.
  return { roundTo: b > 0.97 * a ? MULTIPLE : 1, why: 'timed' };
}

/** All groups that are wide enough at a multiple of 8 about half their width, and at one unit less. */
export function roundingProbes(
  base: Analysis,
  surgery: Surgery,
  ignore: (name: string) => boolean,
): readonly [Genome, Genome] | readonly [undefined, undefined] {
  const replayer = unrounded(base, surgery, ignore);
  const fitness = createFitness(replayer);
  const { groups } = fitness.base;
  const wide = (size: number, steps: number): boolean => steps > 1 && size >= 2 * MULTIPLE;
  if (!groups.some((g) => wide(g.size, g.steps.length))) return [undefined, undefined];
  const at = (less: number): Genome =>
    fitness.genome(
      fitness.base,
      Int32Array.from(groups, (g) => {
        if (!wide(g.size, g.steps.length)) return 0;
        const left = Math.max(MULTIPLE, Math.floor(g.size / 2 / MULTIPLE) * MULTIPLE) - less;
        return g.steps.findLast((k) => k <= g.size - left) ?? 0;
      }),
    );
  return [at(0), at(1)];
}

/** Channels alone, of any width. */
function unrounded(base: Analysis, surgery: Surgery, ignore: (name: string) => boolean): Replayer {
  const mutations = [pruneChannels(surgery)];
  return createReplayer(base, { surgery, mutations, ignore, roundTo: 1, maxRatio: 1 });
}
