// What the search starts from, for tests and benches: a network opened for replaying genomes and assessing candidates; and a whole run
// of `optimize`, collected.
import { join } from 'node:path';
import { createFitness, type Fitness } from '../../search/fitness.js';
import { standardMutations } from '../../search/mutations/index.js';
import type { Mutation } from '../../search/mutations/mutation.js';
import { optimize, type OptimizeOptions, type OptimizeReport, type OptimizeResult } from '../../search/optimize.js';
import { createReplayer, surgeryWith, type ReplayOptions, type Replayer, type Surgery } from '../../search/replay.js';
import type { EffortPlan } from '../../search/workshop.js';
import type { Analysis } from '../../src/analysis/analyse.js';
import { drain } from '../../src/drain.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { projectRoot } from '../shared-path.js';

/** The shipped example network. */
export const shapesModel: string = join(projectRoot, 'examples', 'shapes', 'shapes-resnet.onnx');

export interface OpenSearch {
  readonly base: Analysis;
  readonly replayer: Replayer;
  readonly fitness: Fitness;
}

interface OpenOptions extends Partial<Omit<ReplayOptions, 'surgery' | 'mutations'>> {
  readonly mutations?: (surgery: Surgery) => readonly Mutation[];
}

/** With every mutation and no restriction unless something else is asked for. */
export function openSearch(model: string, { mutations = standardMutations, ...changes }: OpenOptions = {}): OpenSearch {
  const surgery = surgeryWith(standardOps);
  const base = surgery.analyse(readModel(model));
  const replayer = createReplayer(base, {
    surgery,
    mutations: mutations(surgery),
    ignore: () => false,
    roundTo: 1,
    maxRatio: 1,
    ...changes,
  });
  return { base, replayer, fitness: createFitness(replayer) };
}

/** Enough for a run of a few seconds that still refits and holds out. */
export const smallEffort: EffortPlan = {
  search: { mode: 'quick', images: 0, positions: 0 },
  final: { mode: 'reconstruct', images: 24, positions: 16 },
  calibration: { mode: 'reconstruct', images: 24, positions: 16 },
  calibrators: 0,
  learnImages: 40,
  scoreImages: 60,
  heldImages: 80,
  members: 2,
};

/** The run to its end; each report is handed on. */
export function runToEnd(
  options: OptimizeOptions,
  each: (report: OptimizeReport) => void = () => {},
): Promise<OptimizeResult> {
  return drain(optimize(options), each);
}
