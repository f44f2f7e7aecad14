// Fine-tuning by gradients, as AIO-P does it (methods.md §1.3, 1.6): the prediction is the mean of the adapters' heads, and a mode says
// which parts move; `rescale` moves one scale and one vector an adapter. The closed-form head of few-shot.ts is our default.
import type { Rng } from '../rng.js';
import { floatTensor, readFloats, type Tensor } from '../ir/tensor.js';
import type { Runtime } from '../runtime/runtime.js';
import type { ComputationGraph } from './computation-graph.js';
import { fitNetwork, squaredErrors, wantedFeeds, type FitReport } from './fit-network.js';
import { fitLabels, restoreLabel, transformLabel, type LabelMode, type LabelTransform } from './labels.js';
import { adapterCount, type NetworkSize, type Weights } from './network.js';
import { runNetwork } from './run-network.js';
import { scoringModel } from './scoring-network.js';

/** 0 heads; 1 heads and base; 2 heads, base and adapters; 3 heads and adapters. */
export type FinetuneMode = 0 | 1 | 2 | 3 | 'rescale';

export interface FinetuneOptions {
  readonly size: NetworkSize;
  /** Base and at least one adapter. */
  readonly weights: Weights;
  readonly mode: FinetuneMode;
  readonly samples: readonly { readonly graph: ComputationGraph; readonly label: number }[];
  readonly labels?: LabelMode;
  /** 100 in the paper. */
  readonly epochs?: number;
  /** 1e-4 in the paper. */
  readonly rate?: number;
  /** 1 in the paper. */
  readonly batch?: number;
  /** Of the sum of |b| in `rescale`. */
  readonly penalty?: number;
  readonly rng: Rng;
  readonly runtime: Runtime;
}

export interface Finetuned {
  readonly weights: Weights;
  readonly transform: LabelTransform;
  /** In the label's unit. */
  predict(graphs: readonly ComputationGraph[]): Promise<number[]>;
}

/** Tensors that a mode moves. */
export function movesIn(mode: FinetuneMode): (name: string) => boolean {
  const parts: Readonly<Record<FinetuneMode, RegExp>> = {
    0: /^adapter\d+\/head/,
    1: /^adapter\d+\/head|^base\/layer/,
    2: /^adapter\d+\/|^base\/layer/,
    3: /^adapter\d+\//,
    rescale: /^adapter\d+\/rescale/,
  };
  const moving = parts[mode];
  return (name) => moving.test(name) && (mode === 'rescale' || !name.includes('/rescale'));
}

export async function* finetune(options: FinetuneOptions): AsyncGenerator<FitReport, Finetuned, void> {
  const { size, samples, mode, runtime, penalty = 1e-3 } = options;
  const count = adapterCount(options.weights);
  const macs = samples.map((s) => s.graph.macs);
  const transform = fitLabels(
    samples.map((s) => s.label),
    macs,
    options.labels ?? 'stand',
  );
  const wanted = samples.map((s, i) => transformLabel(transform, s.label, macs[i]!));
  const start = mode === 'rescale' ? withScales(options.weights, count, size.width) : options.weights;
  const fitted = yield* fitNetwork({
    size,
    weights: start,
    trained: movesIn(mode),
    objective: {
      emit(g, values, graphs) {
        const sum = values.adapters.reduce((a, b) => g.op('Add', [a, b]));
        const errors = squaredErrors(g, g.op('Mul', [sum, g.floats(1 / count)]), [graphs, 1]);
        if (mode !== 'rescale') return errors;
        const vectors = Array.from({ length: count }, (_, k) => [
          `adapter${k}/rescale.w`,
          `adapter${k}/rescale.b`,
        ]).flat();
        const sizes = vectors.map((name) => g.op('ReduceSum', [g.op('Abs', [name])], { keepdims: 0 }));
        const total = sizes.reduce((a, b) => g.op('Add', [a, b]));
        return { ...errors, loss: g.op('Add', [errors.loss, g.op('Mul', [total, g.floats(penalty)])]) };
      },
      feeds: (indices, graphs) =>
        wantedFeeds(
          indices,
          [graphs, 1],
          (s) => wanted[s]!,
          () => 1,
        ),
    },
    samples: samples.length,
    graph: (s) => samples[s]!.graph,
    epochs: options.epochs ?? 100,
    batch: options.batch ?? 1,
    rate: options.rate ?? 1e-4,
    schedule: () => 1,
    clip: 5,
    rng: options.rng,
    runtime,
  });
  const weights = mode === 'rescale' ? foldedScales(fitted, count) : fitted;
  return {
    weights,
    transform,
    async predict(graphs) {
      const session = await runtime.load(scoringModel(size, weights));
      try {
        const rows = await runNetwork(session, graphs, ['adapters']);
        return rows.map(([heads], i) =>
          restoreLabel(transform, heads!.reduce((a, b) => a + b, 0) / count, graphs[i]!.macs),
        );
      } finally {
        await session.release();
      }
    },
  };
}

/** alpha 1, b 0: nothing is changed yet. */
function withScales(weights: Weights, count: number, width: number): Weights {
  const scales: [string, Tensor][] = [];
  const add = (name: string, dims: readonly number[], value: number): void => {
    const length = dims.reduce((a, b) => a * b, 1);
    scales.push([name, floatTensor(name, dims, new Float32Array(length).fill(value))]);
  };
  for (let k = 0; k < count; k++) {
    add(`adapter${k}/rescale.alpha`, [1], 1);
    add(`adapter${k}/rescale.w`, [width, 1], 0);
    add(`adapter${k}/rescale.b`, [1], 0);
  }
  return new Map([...weights, ...scales]);
}

/** The last layer as (alpha + b) times what it was; the scales are gone. */
function foldedScales(weights: Weights, count: number): Weights {
  const folded = new Map([...weights].filter(([name]) => !name.includes('/rescale')));
  for (let k = 0; k < count; k++) {
    const value = (name: string): Float32Array => readFloats(weights.get(`adapter${k}/rescale.${name}`)!);
    const alpha = value('alpha')[0]!;
    for (const part of ['w', 'b']) {
      const name = `adapter${k}/head4.${part}`;
      const t = weights.get(name)!;
      const scale = value(part);
      folded.set(
        name,
        floatTensor(
          name,
          t.dims,
          readFloats(t).map((v, i) => v * (alpha + scale[i]!)),
        ),
      );
    }
  }
  return folded;
}
