// Label-free pretraining of the base: by flow surrogates (FGP, arXiv 2510.18360; methods.md §2) or by statistics that cost nothing
// (FBNetV3, arXiv 2006.02049; methods.md §10). Heads of two layers read the latent and are thrown away afterwards.
import type { GraphBuilder } from '../ir/builder.js';
import type { Rng } from '../rng.js';
import type { Runtime } from '../runtime/runtime.js';
import type { ComputationGraph } from './computation-graph.js';
import { RESOLUTIONS } from './graph-batch.js';
import { drawFlow, flowSurrogate, operatorVectors, standardizedSurrogates } from './fgp.js';
import { fitNetwork, squaredErrors, wantedFeeds, type FitReport } from './fit-network.js';
import { graphFeatures, type DetailedGraph } from './graph-features.js';
import { freshWeights, type NetworkSize, type Weights } from './network.js';
import { VOCABULARY } from './vocabulary.js';

export type Unlabelled = 'fgp' | 'statistics' | 'none';

export interface UnlabelledOptions {
  readonly kind: Unlabelled;
  readonly size: NetworkSize;
  readonly weights: Weights;
  readonly graphs: readonly DetailedGraph[];
  readonly epochs: number;
  readonly batch: number;
  readonly rng: Rng;
  readonly runtime: Runtime;
}

/** Hidden units of the flow head, after the paper. */
const HIDDEN = 128;

/** The base's weights after pretraining; untouched for `none`. */
export async function* pretrainUnlabelled(options: UnlabelledOptions): AsyncGenerator<FitReport, Weights, void> {
  const { kind, weights, graphs, rng } = options;
  if (kind === 'none' || options.epochs === 0) return weights;
  const targets = kind === 'fgp' ? flowTargets(graphs, rng.fork('flow')) : statisticTargets(graphs);
  return yield* fitHead({ ...options, rate: 3e-3 }, targets);
}

export interface HeadOptions extends Omit<UnlabelledOptions, 'kind' | 'graphs'> {
  readonly graphs: readonly ComputationGraph[];
  readonly rate: number;
}

/** Trains the base below a throw-away head of two layers to foretell `targets`, one row a graph. */
export async function* fitHead(
  options: HeadOptions,
  targets: readonly ArrayLike<number>[],
): AsyncGenerator<FitReport, Weights, void> {
  const { weights, graphs, rng } = options;
  const outputs = targets[0]?.length ?? 0;
  const d = options.size.width;
  const head = freshWeights(
    new Map<string, readonly number[]>([
      ['head/0.w', [d, HIDDEN]],
      ['head/0.b', [HIDDEN]],
      ['head/1.w', [HIDDEN, outputs]],
      ['head/1.b', [outputs]],
    ]),
    rng.fork('head'),
  );
  const fitted = yield* fitNetwork({
    size: options.size,
    weights: new Map([...weights, ...head]),
    trained: (name) => !name.startsWith('base/head'),
    objective: {
      emit: (g, values, rows) => squaredErrors(g, emitHead(g, values.latent, head), [rows, outputs]),
      feeds: (indices, rows) =>
        wantedFeeds(
          indices,
          [rows, outputs],
          (s, k) => targets[s]![k]!,
          // the mean over coordinates
          () => 1 / outputs,
        ),
    },
    samples: graphs.length,
    graph: (s) => graphs[s]!,
    epochs: options.epochs,
    batch: options.batch,
    rate: options.rate,
    clip: 5,
    optimizer: { kind: 'adamw', decay: 1e-6 },
    rng: rng.fork('fit'),
    runtime: options.runtime,
  });
  return new Map([...weights.keys()].map((name) => [name, fitted.get(name)!]));
}

function emitHead(g: GraphBuilder, latent: string, head: Weights): string {
  const w = (name: string): string => g.constant(head.get(name)!);
  const hidden = g.op('Relu', [g.op('Gemm', [latent, w('head/0.w'), w('head/0.b')])]);
  return g.op('Gemm', [hidden, w('head/1.w'), w('head/1.b')]);
}

/** Standardised surrogates. Operator networks are deep: sums over neighbours are means. */
export function flowTargets(graphs: readonly DetailedGraph[], rng: Rng): Float64Array[] {
  const width = VOCABULARY.length + RESOLUTIONS;
  const constants = drawFlow({ k: 16, features: width, sigma: 0.5 }, rng);
  return standardizedSurrogates(
    graphs.map((g) => {
      const features = new Float64Array(g.size * width);
      for (let v = 0; v < g.size; v++) {
        features[v * width + g.ops[v]!] = 1;
        for (let r = 0; r < RESOLUTIONS; r++) {
          features[v * width + VOCABULARY.length + r] = Math.log2(1 + g.resolutions[v * RESOLUTIONS + r]!) / 8;
        }
      }
      return flowSurrogate(g, operatorVectors(constants, features, g.size), constants, 'mean');
    }),
  );
}

/** MACs, parameters, nodes, depth and activations: the first of the graph features, standardised. */
function statisticTargets(graphs: readonly DetailedGraph[]): Float64Array[] {
  return standardizedSurrogates(graphs.map((g) => Float64Array.from(graphFeatures(g).subarray(0, 9))));
}
