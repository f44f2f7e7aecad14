// Neural capacitance: golden values, the factorised sums against the explicit line graph, and its extrapolation (methods.md §8.3).

import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { graphBuilder } from '../../src/ir/builder.js';
import { DataType } from '../../src/ir/tensor.js';
import {
  effectiveDegree,
  extrapolated,
  featuresOf,
  headOf,
  neuralCapacitance,
  withProbe,
  type DenseHead,
} from '../../src/predictor/capacitance.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatData, floatsOf, withSession } from '../../src/runtime/runtime.js';

const runtime = ortRuntime();
afterAll(() => runtime.close());

const matrix = fc.tuple(fc.string(), fc.integer({ min: 2, max: 6 })).map(([seed, n]) => {
  const rng = createRng(seed);
  return Array.from({ length: n }, () => Array.from({ length: n }, () => 0.1 + rng.next()));
});

describe('effective degree', () => {
  it('golden values: 139/21, and d of a d-regular graph', () => {
    expect(
      effectiveDegree([
        [0, 1, 2],
        [3, 0, 4],
        [5, 6, 0],
      ]),
    ).toBeCloseTo(6.619048, 6);
    const k4 = Array.from({ length: 4 }, (_, i) => Array.from({ length: 4 }, (_u, j) => (i === j ? 0 : 1)));
    expect(effectiveDegree(k4)).toBe(3);
    expect(
      effectiveDegree([
        [0, 0],
        [0, 0],
      ]),
    ).toBe(0);
  });
  it('scales with the strengths and does not know the order of the nodes', () => {
    fc.assert(
      fc.property(matrix, fc.double({ min: 0.1, max: 9, noNaN: true }), (p, c) => {
        const beta = effectiveDegree(p);
        expect(effectiveDegree(p.map((row) => row.map((x) => c * x)))).toBeCloseTo(c * beta, 9);
        expect(effectiveDegree(p.map((row) => row.toReversed()).toReversed())).toBeCloseTo(beta, 9);
      }),
    );
  });
});

/** Every edge of the head as a node; the strengths one by one, and the gradients that they reproduce. */
function lineGraph(head: DenseHead, x: readonly number[], labels: readonly number[], signed: boolean) {
  const { sizes, weights, biases } = head;
  const depth = weights.length;
  const edges = weights.flatMap((_, l) =>
    Array.from({ length: sizes[l]! * sizes[l + 1]! }, (_u, e) => ({
      l,
      i: e % sizes[l]!,
      j: Math.floor(e / sizes[l]!),
    })),
  );
  const p = edges.map(() => new Float64Array(edges.length));
  let gap = 0;
  for (const [b, label] of labels.entries()) {
    const a: number[][] = [x.slice(b * sizes[0]!, (b + 1) * sizes[0]!)];
    const z: number[][] = [[]];
    for (let l = 0; l < depth; l++) {
      z.push(
        Array.from({ length: sizes[l + 1]! }, (_, j) =>
          a[l]!.reduce((s, v, i) => s + v * weights[l]![j * sizes[l]! + i]!, biases[l]![j]!),
        ),
      );
      a.push(l + 1 === depth ? z[l + 1]! : z[l + 1]!.map((v) => Math.max(0, v)));
    }
    const total = a[depth]!.reduce((s, v) => s + Math.exp(v), 0);
    const delta: number[][] = [];
    delta[depth] = a[depth]!.map((v, k) => Math.exp(v) / total - (k === label ? 1 : 0));
    const slope = (l: number, j: number): number => (l === depth || z[l]![j]! > 0 ? 1 : 0);
    for (let l = depth - 1; l > 0; l--) {
      delta[l] = Array.from(
        { length: sizes[l]! },
        (_, j) => slope(l, j) * delta[l + 1]!.reduce((s, d, k) => s + d * weights[l]![k * sizes[l]! + j]!, 0),
      );
    }
    edges.forEach((e, from) => {
      let through = 0;
      edges.forEach((f, to) => {
        if (f.l !== e.l + 1 || f.i !== e.j) return;
        const strength = a[e.l]![e.i]! * slope(e.l + 1, e.j) * delta[e.l + 2]![f.j]!;
        p[from]![to]! += (signed ? strength : Math.abs(strength)) / labels.length;
        through += strength * weights[f.l]![f.j * sizes[f.l]! + f.i]!;
      });
      if (e.l + 1 < depth) gap = Math.max(gap, Math.abs(through - a[e.l]![e.i]! * delta[e.l + 1]![e.j]!));
    });
  }
  return { beta: effectiveDegree(p), gap };
}

function randomHead(seed: string, sizes: readonly number[]): DenseHead {
  const rng = createRng(seed);
  const some = (n: number): Float64Array => Float64Array.from({ length: n }, () => rng.normal());
  return {
    sizes,
    weights: sizes.slice(1).map((n, l) => some(n * sizes[l]!)),
    biases: sizes.slice(1).map((n) => some(n)),
  };
}

describe('of a head', () => {
  it('the factorised sums are those of the line graph, whose strengths give the gradients back', () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.constantFrom([4, 3, 3, 2], [4, 3, 2, 2], [3, 4, 2, 3, 2]),
        fc.boolean(),
        (seed, sizes, signed) => {
          const head = randomHead(seed, sizes);
          const rng = createRng(`${seed}/data`);
          const labels = Array.from({ length: 3 }, () => rng.int(2));
          const x = Array.from({ length: 3 * sizes[0] }, () => rng.normal());
          const { beta, gap } = lineGraph(head, x, labels, signed);
          expect(gap).toBeLessThan(1e-12);
          // with signs the outputs' errors cancel and little is left to divide by: compared where something is
          if (signed && Math.abs(beta) > 100) return;
          expect(Math.abs(neuralCapacitance(head, x, labels, { signed }) - beta)).toBeLessThan(
            1e-9 * (1 + Math.abs(beta)),
          );
        },
      ),
      { numRuns: 40 },
    );
  });

  it('is 0 where no errors are left, and needs three layers', () => {
    const sure = {
      ...randomHead('sure', [2, 2, 2, 2]),
      weights: [
        [1, 0, 0, 1],
        [1, 0, 0, 1],
        [1000, 0, 0, -1000],
      ].map((w) => Float64Array.from(w)),
      biases: [
        [0, 0],
        [0, 0],
        [0, 0],
      ],
    };
    expect(neuralCapacitance(sure, [1, 1], [0])).toBe(0);
    expect(() => neuralCapacitance(randomHead('short', [2, 2, 2]), [1, 1], [0])).toThrow('three dense layers');
  });

  it('the probe in a network computes what its head says', async () => {
    const b = graphBuilder();
    const rng = createRng('probe');
    const x = b.op('Relu', [b.input('x', DataType.FLOAT, ['N', 5])]);
    b.output(
      b.op('Gemm', [
        x,
        b.floats(
          Array.from({ length: 15 }, () => rng.normal()),
          [5, 3],
        ),
      ]),
      DataType.FLOAT,
      ['N', 3],
    );
    const probed = withProbe(b.model(), rng, [4, 6]);
    const head = headOf(probed.model, probed.layers);
    expect(head.sizes).toEqual([5, 4, 6, 3]);
    const input = new Map([
      [
        'x',
        floatData(
          [2, 5],
          Float32Array.from({ length: 10 }, () => rng.normal()),
        ),
      ],
    ]);
    const run = (model: typeof probed.model) =>
      withSession(runtime, model, {}, async (s) => floatsOf([...(await s.run(input)).values()][0]!));
    const features = await run(featuresOf(probed));
    let values = Array.from(features.subarray(0, 5));
    head.weights.forEach((w, l) => {
      values = Array.from({ length: head.sizes[l + 1]! }, (_, j) =>
        values.reduce((s, v, i) => s + v * w[j * values.length + i]!, 0),
      );
      if (l < 2) values = values.map((v) => Math.max(0, v));
    });
    const scores = await run(probed.model);
    values.forEach((v, k) => expect(scores[k]).toBeCloseTo(v, 4));
    expect(neuralCapacitance(head, features, [0, 2])).toBeGreaterThan(0);
  });
});

describe('extrapolation to beta = 0', () => {
  it('finds the intercept of a line, through noise too', () => {
    const line = [3, 2.2, 1.5, 1, 0.6].map((beta) => ({ beta, accuracy: 0.9 - 0.2 * beta }));
    expect(extrapolated(line).mean).toBeCloseTo(0.9, 2);
    const rng = createRng('noise');
    const noisy = Array.from({ length: 40 }, (_, i) => ({
      beta: 3 - i / 14,
      accuracy: 0.8 - 0.2 * (3 - i / 14) + 0.01 * rng.normal(),
    }));
    expect(Math.abs(extrapolated(noisy).mean - 0.8)).toBeLessThan(0.02);
    expect(extrapolated([{ beta: 1, accuracy: 0.4 }]).mean).toBeCloseTo(0.4, 12);
  });
});
