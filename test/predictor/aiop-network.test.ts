import { describe, expect, it } from 'vitest';
import { spearman } from '../../src/predictor/correlation.js';
import type { ComputationGraph } from '../../src/predictor/computation-graph.js';
import { drain } from '../../src/drain.js';
import { fitNetwork, pairwiseHinge, regression } from '../../src/predictor/fit-network.js';
import { packGraphs } from '../../src/predictor/graph-batch.js';
import { fitLabels, restoreLabel, transformLabel, workFactor } from '../../src/predictor/labels.js';
import {
  freshWeights,
  networkModel,
  REFERENCE,
  selectAdapters,
  weightDims,
  withAdapters,
  type Weights,
} from '../../src/predictor/network.js';
import { runNetwork } from '../../src/predictor/run-network.js';
import { scoringModel } from '../../src/predictor/scoring-network.js';
import { elementCount, floatTensor, readFloats } from '../../src/ir/tensor.js';
import { createRng, type Rng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatsOf, withSession } from '../../src/runtime/runtime.js';

const runtime = ortRuntime();

/** A random graph: a chain with some skips, the first third weighted. */
function randomGraph(rng: Rng, size: number): ComputationGraph {
  const weighted = Math.floor(size / 3);
  const order = rng.shuffle(Array.from({ length: size }, (_, i) => i));
  const pairs = new Map<string, readonly [number, number]>();
  for (let i = 1; i < size; i++) {
    for (const j of [i - 1, rng.int(i)]) pairs.set(`${j}>${i}`, [order[j]!, order[i]!]);
  }
  const edges = [...pairs.values()].sort(([a, b], [c, d]) => b - d || a - c);
  return {
    size,
    weighted,
    ops: Uint8Array.from({ length: size }, (_, i) => (i < weighted ? 3 : 5 + rng.int(15))),
    resolutions: Float32Array.from({ length: size * 6 }, () => rng.int(200)),
    kernels: Uint8Array.from({ length: weighted * 2 }, () => rng.int(8)),
    bias: Uint8Array.from({ length: weighted }, () => rng.int(2)),
    sources: Int32Array.from(edges, ([a]) => a),
    targets: Int32Array.from(edges, ([, b]) => b),
    order: Int32Array.from(order),
    macs: 1e8,
    clamped: 0,
  };
}

/** The same graph with other numbers for its nodes. */
function renumbered(g: ComputationGraph, rng: Rng): ComputationGraph {
  const part = (from: number, to: number): number[] =>
    rng.shuffle(Array.from({ length: to - from }, (_, i) => from + i));
  const old = [...part(0, g.weighted), ...part(g.weighted, g.size)];
  const next = new Int32Array(g.size);
  old.forEach((o, n) => (next[o] = n));
  return {
    ...g,
    ops: Uint8Array.from(old, (o) => g.ops[o]!),
    resolutions: Float32Array.from(old.flatMap((o) => [...g.resolutions.subarray(6 * o, 6 * o + 6)])),
    kernels: Uint8Array.from(old.slice(0, g.weighted).flatMap((o) => [...g.kernels.subarray(2 * o, 2 * o + 2)])),
    bias: Uint8Array.from(old.slice(0, g.weighted), (o) => g.bias[o]!),
    sources: g.sources.map((s) => next[s]!),
    targets: g.targets.map((t) => next[t]!),
  };
}

async function run(weights: Weights, graphs: readonly ComputationGraph[], output: string): Promise<Float32Array> {
  return withSession(runtime, networkModel(REFERENCE, weights), {}, async (session) =>
    floatsOf((await session.run(packGraphs(graphs), [output])).get(output)!),
  );
}

describe('the network of AIO-P', () => {
  it('says the same where it is written for scoring, with and without adapters, whatever the batch', async () => {
    const rng = createRng('scoring');
    const graphs = [3, 9, 30, 61, 1].map((n, i) => randomGraph(rng.fork(String(i)), n));
    for (const adapters of [0, 1, 3]) {
      const weights = freshWeights(weightDims(REFERENCE, adapters), rng.fork(`weights/${adapters}`));
      const names = ['latent', 'base', ...(adapters > 0 ? ['adapters'] : [])];
      const said = await withSession(runtime, scoringModel(REFERENCE, weights), {}, (s) =>
        runNetwork(s, graphs, names),
      );
      for (const [k, name] of names.entries()) {
        const right = await run(weights, graphs, name);
        const quick = said.flatMap((row) => [...row[k]!]);
        expect(quick).toHaveLength(right.length);
        quick.forEach((v, i) => expect(Math.abs(v - right[i]!)).toBeLessThan(2e-5 * (1 + Math.abs(right[i]!))));
      }
    }
  });

  it('has 18,047 parameters, and 30,049 more for each adapter', () => {
    const count = (adapters: number, prefix: string): number =>
      [...weightDims(REFERENCE, adapters)].reduce((n, [k, d]) => n + (k.startsWith(prefix) ? elementCount(d) : 0), 0);
    expect(count(0, '')).toBe(18_047);
    expect(count(3, 'base/')).toBe(18_047);
    expect(count(1, 'adapter0/')).toBe(30_049);
    expect(count(3, 'adapter')).toBe(3 * 30_049);
  });

  it('does not see how nodes are numbered or what else is in the batch, but sees the direction of edges', async () => {
    const rng = createRng('network');
    const weights = freshWeights(weightDims(REFERENCE, 1), rng.fork('weights'));
    const g = randomGraph(rng.fork('g'), 40);
    const reversed = { ...g, sources: g.targets, targets: g.sources };
    const [alone] = await run(weights, [g], 'adapters');
    const together = await run(weights, [randomGraph(rng.fork('h'), 17), g, renumbered(g, rng), reversed], 'adapters');
    expect(together[1]).toBeCloseTo(alone!, 5);
    expect(together[2]).toBeCloseTo(alone!, 5);
    expect(Math.abs(together[3]! - alone!)).toBeGreaterThan(1e-4);
  });

  it('trains an adapter alone: the base keeps its bytes, and a neighbour changes nothing', async () => {
    const rng = createRng('adapters');
    const graphs = Array.from({ length: 12 }, (_, i) => randomGraph(rng.fork(`${i}`), 10 + i));
    const start = freshWeights(weightDims(REFERENCE, 2), rng.fork('weights'));
    const train = async (weights: Weights, outputs: readonly number[]): Promise<Weights> => {
      return drain(
        fitNetwork({
          size: REFERENCE,
          weights,
          trained: (name) => name.startsWith('adapter'),
          objective: regression(
            (v) => v.adapters,
            (s, k) => Math.sin(s + outputs[k]!),
            () => 1,
            outputs.length,
          ),
          samples: graphs.length,
          graph: (i) => graphs[i]!,
          epochs: 4,
          batch: 6,
          rate: 1e-3,
          rng: rng.fork('fit'),
          runtime,
        }),
      );
    };
    const both = await train(start, [0, 1]);
    const first = await train(selectAdapters(start, [0]), [0]);
    const second = await train(selectAdapters(start, [1]), [1]);
    const bytes = (w: Weights): unknown[] => [...weightDims(REFERENCE).keys()].map((name) => w.get(name)?.bytes?.());
    expect(bytes(both)).toEqual(bytes(start));
    const alone = withAdapters(first, second);
    const difference = (a: Weights, b: Weights): number =>
      Math.max(...[...a].map(([name, t]) => maxDifference(readFloats(t), readFloats(b.get(name)!))));
    expect(difference(both, alone)).toBeLessThan(2e-5);
    expect(difference(both, start)).toBeGreaterThan(1e-3);
    const joint = await run(both, graphs, 'adapters');
    const one = await run(first, graphs, 'adapters');
    graphs.forEach((_, i) => expect(joint[2 * i]).toBeCloseTo(one[i]!, 3));
  });

  it('has the gradients of central differences, in every group of weights', async () => {
    const rng = createRng('gradients');
    const size = { width: 32, layers: 2 };
    const graphs = Array.from({ length: 4 }, (_, i) => randomGraph(rng.fork(`${i}`), 9 + i));
    const weights = freshWeights(weightDims(size, 1), rng.fork('weights'));
    const wanted = [1, -1, 0.5, 2];
    const loss = async (w: Weights): Promise<number> =>
      withSession(runtime, networkModel(size, w), {}, async (session) => {
        const said = floatsOf((await session.run(packGraphs(graphs), ['adapters'])).get('adapters')!);
        return said.reduce((sum, v, i) => sum + (v - wanted[i]!) ** 2 / 4, 0);
      });
    const rate = 1e-3;
    const stepped = await drain(
      fitNetwork({
        size,
        weights,
        trained: () => true,
        objective: regression(
          (v) => v.adapters,
          (s) => wanted[s]!,
          () => 1,
          1,
        ),
        samples: 4,
        graph: (i) => graphs[i]!,
        epochs: 1,
        batch: 4,
        rate,
        schedule: () => 1,
        optimizer: { kind: 'sgd', momentum: 0, decay: 0 },
        rng,
        runtime,
      }),
    );
    // the base's own head is not in the loss: its gradient is exactly 0
    const still = [...weights.keys()].filter((name) => name.startsWith('base/head'));
    expect(still.every((n) => Buffer.compare(weights.get(n)!.bytes!(), stepped.get(n)!.bytes!()) === 0)).toBe(true);
    const groups = [...weights.keys()].filter((name) => !name.startsWith('base/head'));
    for (const name of groups) {
      const before = readFloats(weights.get(name)!);
      const after = readFloats(stepped.get(name)!);
      const direction = before.map((v, i) => (v - after[i]!) / rate);
      const length = Math.hypot(...direction);
      // along the gradient itself, so that float32 has something to see
      const moved = async (h: number): Promise<number> => {
        const t = weights.get(name)!;
        const values = before.map((v, i) => v + (h * direction[i]!) / Math.max(length, 1e-12));
        return loss(new Map([...weights, [name, floatTensor(name, t.dims, values)]]));
      };
      const h = 2e-3;
      const slope = ((await moved(h)) - (await moved(-h))) / (2 * h);
      expect(Math.abs(slope - length)).toBeLessThan(0.03 * length + 5e-4);
    }
  });

  it('learns an order from pairs', async () => {
    const rng = createRng('pairs');
    const graphs = Array.from({ length: 12 }, (_, i) => randomGraph(rng.fork(`${i}`), 6 + 2 * i));
    const tuned = await drain(
      fitNetwork({
        size: REFERENCE,
        weights: freshWeights(weightDims(REFERENCE), rng.fork('weights')),
        trained: () => true,
        objective: pairwiseHinge(
          (v) => v.base,
          (s) => s,
          0.5,
        ),
        samples: graphs.length,
        graph: (i) => graphs[i]!,
        epochs: 60,
        batch: 12,
        rate: 3e-3,
        rng: rng.fork('fit'),
        runtime,
      }),
    );
    const said = await run(tuned, graphs, 'base');
    expect(
      spearman(
        said,
        graphs.map((_, i) => i),
      ),
    ).toBeGreaterThan(0.9);
  });

  it('learns what it is shown', async () => {
    const rng = createRng('learns');
    const graphs = Array.from({ length: 24 }, (_, i) => randomGraph(rng.fork(`${i}`), 8 + (i % 5)));
    const losses: number[] = [];
    for await (const report of fitNetwork({
      size: REFERENCE,
      weights: freshWeights(weightDims(REFERENCE), rng.fork('weights')),
      trained: () => true,
      objective: regression(
        (v) => [v.base],
        (s) => ((s % 5) - 2) / 1.5,
        () => 1,
        1,
      ),
      samples: graphs.length,
      graph: (i) => graphs[i]!,
      epochs: 40,
      batch: 8,
      rate: 3e-3,
      clip: 5,
      rng: rng.fork('fit'),
      runtime,
    })) {
      losses.push(report.loss);
    }
    expect(losses.at(-1)).toBeLessThan(0.3 * losses[0]!);
  });
});

describe('labels', () => {
  it('follow the goldens of methods.md §1.7', () => {
    const factors = [0, 0.3, 1, 4.1, 9].map((f) => workFactor(f * 1e9));
    [1, 1.113943, 1.30103, 1.70757, 2].forEach((c, i) => expect(factors[i]).toBeCloseTo(c, 6));
    const labels = [0.9, 0.92, 0.94];
    const macs = [0.1e9, 0.3e9, 0.9e9];
    const t = fitLabels(labels, macs, 'stand-flops');
    expect(t.mean).toBeCloseTo(0.808404, 6);
    expect(t.deviation).toBeCloseTo(0.054151, 6);
    const z = labels.map((y, i) => transformLabel(t, y, macs[i]!));
    [1.030877, 0.322995, -1.353871].forEach((v, i) => expect(z[i]).toBeCloseTo(v, 5));
    z.forEach((v, i) => expect(Math.abs(restoreLabel(t, v, macs[i]!) - labels[i]!)).toBeLessThan(1e-12));
  });

  it('come back in every mode, equal labels too', () => {
    for (const mode of ['stand-flops', 'stand', 'none'] as const) {
      for (const labels of [
        [3, 3, 3],
        [1, 5, 2],
      ]) {
        const macs = [1e6, 2e9, 5e8];
        const t = fitLabels(labels, macs, mode);
        labels.forEach((y, i) => {
          expect(restoreLabel(t, transformLabel(t, y, macs[i]!), macs[i]!)).toBeCloseTo(y, 10);
        });
      }
    }
    // normal scores: monotone, exact at the middle, bounded outside
    const labels = Array.from({ length: 201 }, (_, i) => i / 10);
    const t = fitLabels(labels, labels, 'scores');
    expect(transformLabel(t, 10, 1e9)).toBeCloseTo(0, 6);
    for (const y of [1, 5, 12.34, 19]) expect(restoreLabel(t, transformLabel(t, y, 1e9), 1e9)).toBeCloseTo(y, 6);
    expect([transformLabel(t, -50, 1), transformLabel(t, 50, 1)]).toEqual([-2.5, 2.5]);
    const z = labels.map((y) => transformLabel(t, y, 1));
    expect(z.every((v, i) => i === 0 || v >= z[i - 1]!)).toBe(true);
    expect(() => fitLabels([], [], 'stand')).toThrow('there is not one training row');
  });
});

function maxDifference(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i]!)), 0);
}
