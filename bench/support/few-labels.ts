// A graph network, however it was begun, fine-tuned on few labels by the pairwise hinge (FGP's protocol, methods.md §2.5) and judged on the rest.
import { drain } from '../../src/drain.js';
import type { ComputationGraph } from '../../src/predictor/computation-graph.js';
import { kendall } from '../../src/predictor/correlation.js';
import { score } from '../../src/predictor/evaluate.js';
import { fitNetwork, pairwiseHinge } from '../../src/predictor/fit-network.js';
import type { NetworkSize, Weights } from '../../src/predictor/network.js';
import { runNetwork } from '../../src/predictor/run-network.js';
import { scoringModel } from '../../src/predictor/scoring-network.js';
import type { Rng } from '../../src/rng.js';
import type { Runtime } from '../../src/runtime/runtime.js';

export interface FewLabels {
  readonly size: NetworkSize;
  readonly graphs: readonly ComputationGraph[];
  readonly labels: readonly number[];
  /** So many of them, drawn at random, are learnt from. */
  readonly labelled: number;
  readonly epochs: number;
  readonly runtime: Runtime;
}

export interface Judged {
  readonly tau: number;
  readonly precision1: number;
}

export async function judgedOnFew(weights: Weights, few: FewLabels, rng: Rng): Promise<Judged> {
  const { size, graphs, labels, runtime } = few;
  const train = rng.fork('split').sample(graphs.length, few.labelled);
  const fitted = await drain(
    fitNetwork({
      size,
      weights,
      trained: () => true,
      objective: pairwiseHinge(
        (v) => v.base,
        (s) => labels[train[s]!]!,
        0.5,
      ),
      samples: train.length,
      graph: (s) => graphs[train[s]!]!,
      epochs: few.epochs,
      batch: 16,
      rate: 1e-3,
      optimizer: { kind: 'adamw', decay: 1e-6 },
      clip: 1,
      rng: rng.fork('fit'),
      runtime,
    }),
  );
  const session = await runtime.load(scoringModel(size, fitted));
  const said = (await runNetwork(session, graphs, ['base'])).map(([v]) => v![0]!);
  await session.release();
  const known = new Set(train);
  const rest = graphs.flatMap((_, i) => (known.has(i) ? [] : [i]));
  const [told, truth] = [rest.map((i) => said[i]!), rest.map((i) => labels[i]!)];
  return { tau: kendall(told, truth), precision1: score(told, truth).precision1 };
}
