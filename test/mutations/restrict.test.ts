import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { groupConv } from '../../search/mutations/group-conv.js';
import { shrinkKernel } from '../../search/mutations/shrink-kernel.js';
import { analyse } from '../../src/analysis/analyse.js';
import { graphBuilder, type AttributeValue } from '../../src/ir/builder.js';
import { DataType } from '../../src/ir/tensor.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { multiplyTransposed } from '../../src/recovery/linear-algebra.js';
import { restrict } from '../../src/recovery/restrict.js';
import { createRng, type Rng } from '../../src/rng.js';
import { describeShared, sharedPath } from '../shared.js';
import { contextOf, expectLaws, models } from './laws.js';

const mutations = [shrinkKernel(), groupConv()];

/** One of each kind: these tests are about weights, not about graphs. */
const some = models.filter((name) => !/folded|densenet|marabou/.test(name));

describeShared('smaller kernels and groups on public networks', ['models'], () => {
  describe.each(mutations)('$name', (mutation) => {
    test.each(some)('%s', async (name) => {
      const analysis = analyse(readModel(sharedPath('models', `${name}.onnx`)), standardOps);
      const context = contextOf(analysis);
      const rng = createRng(name);
      const places = mutation.places!(context);
      expect(mutation.propose(context, rng) === undefined).toBe(places.length === 0);
      if (places.length === 0) return;
      await expectLaws(mutation, mutation.propose(context, rng)!, context);
      const sites = new Map(rng.shuffle(places).map((p) => [p.site, p]));
      const all = mutation.join!([...sites.values()].map((p) => p.params));
      const { model } = await expectLaws(mutation, all, context);
      const saved = [...sites.values()].reduce((sum, p) => sum + p.saving, 0);
      expect(analyse(model, standardOps).cost.macs, 'the savings foretold').toBe(analysis.cost.macs - saved);
    });
  });
});

function normals(rng: Rng, n: number): Float64Array {
  return Float64Array.from({ length: n }, () => rng.normal());
}

test('restricted weights: true errors, no other weights are better, foretold columns cost nothing, means stay', () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.integer({ min: 2, max: 5 }),
      fc.integer({ min: 1, max: 3 }),
      (seed, channels, taps) => {
        const rng = createRng(seed);
        const n = channels * taps;
        // the last column is a sum of the others: nothing is lost with it
        const samples = normals(rng, n * 4 * n);
        for (let s = 0; s < 4 * n; s++) {
          let sum = 0;
          for (let k = 0; k + 1 < n; k++) sum += samples[k * 4 * n + s]!;
          samples[(n - 1) * 4 * n + s] = sum;
        }
        const h = multiplyTransposed(samples, n, 4 * n, samples, n);
        const mean = normals(rng, n);
        const layer = {
          weights: normals(rng, 2 * n),
          outputs: 2,
          channels,
          kernel: [taps],
          moments: {
            kind: 'exact' as const,
            group: 1,
            size: n,
            covariance: Float32Array.from(h),
            mean: Float32Array.from(mean),
          },
        };
        const lost = (kept: Float64Array, keep: readonly number[]): number => {
          const energy = (w: Float64Array): number =>
            multiplyTransposed(w, 2, n, h, n).reduce((sum, v, i) => sum + v * w[i]!, 0);
          const d = layer.weights.slice();
          for (let o = 0; o < 2; o++) keep.forEach((k, j) => (d[o * n + k]! -= kept[o * keep.length + j]!));
          return energy(d) / energy(layer.weights);
        };
        const most = Array.from({ length: n - 1 }, (_, i) => i);
        const rows = [0, 1];
        expect(restrict(layer, [{ rows, keep: most }]).error).toBeLessThan(1e-3);
        const keep = most.filter((_, i) => i % 2 === 0);
        const made = restrict(layer, [{ rows, keep }]);
        const error = lost(made.weights[0]!, keep);
        expect(made.error).toBeCloseTo(error, 4);
        const other = made.weights[0]!.map((v) => v + 0.05 * rng.normal());
        expect(lost(other, keep)).toBeGreaterThanOrEqual(error - 1e-4);
        for (const o of rows) {
          let [before, after] = [0, made.shift[o]!];
          for (let k = 0; k < n; k++) before += layer.weights[o * n + k]! * Math.fround(mean[k]!);
          keep.forEach((k, j) => (after += made.weights[0]![o * keep.length + j]! * Math.fround(mean[k]!)));
          expect(after).toBeCloseTo(before, 6);
        }
      },
    ),
    { numRuns: 40 },
  );
});

const windows: readonly Readonly<Record<string, AttributeValue>>[] = [
  { pads: [2, 2, 2, 2] },
  { pads: [3, 2, 1, 2], strides: [2, 3] },
  { pads: [4, 4, 4, 4], dilations: [2, 2], strides: [2, 1] },
  { auto_pad: 'SAME_UPPER', strides: [2, 1] },
  { auto_pad: 'SAME_LOWER', strides: [1, 2] },
];

describe('shrink-kernel', () => {
  test.each(windows)('taps that are zero can go from any window: %j', async (attributes) => {
    const rng = createRng(4);
    const b = graphBuilder();
    const w = Float32Array.from({ length: 3 * 2 * 25 }, (_, i) => {
      const [y, x] = [Math.floor((i % 25) / 5), i % 5];
      return y >= 1 && y <= 3 && x >= 1 && x <= 3 ? rng.normal() : 0;
    });
    const x = b.input('x', DataType.FLOAT, ['n', 2, 9, 8]);
    b.output(b.op('Conv', [x, b.floats(w, [3, 2, 5, 5], 'w')], attributes), DataType.FLOAT);
    const context = contextOf(analyse(b.model(), standardOps));
    expect(mutations[0]!.places!(context).map((p) => p.params)).toContainEqual({ weight: 'w', kernel: [3, 3] });
    await expectLaws(mutations[0]!, { weight: 'w', kernel: [3, 3] }, context, { tolerance: 1e-5 });
  });

  test('without padding windows cannot keep their places', () => {
    const b = graphBuilder();
    const x = b.input('x', DataType.FLOAT, ['n', 2, 9, 8]);
    b.output(b.op('Conv', [x, b.floats(new Float32Array(50).fill(1), [1, 2, 5, 5], 'w')]), DataType.FLOAT);
    const context = contextOf(analyse(b.model(), standardOps));
    expect(mutations[0]!.places!(context)).toEqual([]);
    expect(() => mutations[0]!.apply({ weight: 'w', kernel: [3, 3] }, context)).toThrow(/cannot have a kernel of 3x3/);
  });
});

test('group-conv: a kernel that is block-diagonal already loses nothing', async () => {
  const rng = createRng(5);
  const b = graphBuilder();
  const [o, c] = [6, 4];
  const w = Float32Array.from({ length: o * c * 9 }, (_, i) => {
    const [row, column] = [Math.floor(i / (c * 9)), Math.floor(i / 9) % c];
    return Math.floor(row / 3) === Math.floor(column / 2) ? rng.normal() : 0;
  });
  const x = b.input('x', DataType.FLOAT, ['n', c, 6, 6]);
  b.output(
    b.op('Conv', [x, b.floats(w, [o, c, 3, 3], 'w'), b.floats(Float32Array.from(normals(rng, o)))]),
    DataType.FLOAT,
  );
  const context = contextOf(analyse(b.model(), standardOps));
  const place = mutations[1]!.places!(context).find((p) => JSON.stringify(p.params).includes(':2'))!;
  expect(place.error!()).toBe(0);
  await expectLaws(mutations[1]!, place.params, context, { tolerance: 1e-6 });
  expect(() => mutations[1]!.apply({ weight: 'w', group: 3 }, context)).toThrow(/does not split into 3 groups/);
});
