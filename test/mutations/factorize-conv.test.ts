import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createFactorizer, factorKinds } from '../../search/mutations/factorize-conv.js';
import type { Json } from '../../search/genome.js';
import { analyse } from '../../src/analysis/analyse.js';
import { graphBuilder, type AttributeValue } from '../../src/ir/builder.js';
import type { Model } from '../../src/ir/graph.js';
import { DataType } from '../../src/ir/tensor.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { createRng, type Rng } from '../../src/rng.js';
import { describeShared, sharedPath } from '../shared.js';
import { contextOf, expectLaws, models } from './laws.js';

describeShared('factorize-conv on public networks', ['models'], () => {
  describe.each(models)('%s', (name) => {
    test('one layer, and all layers at once', async () => {
      const analysis = analyse(readModel(sharedPath('models', `${name}.onnx`)), standardOps);
      const { mutation, sites } = createFactorizer();
      const context = contextOf(analysis);
      const rng = createRng(name);
      await expectLaws(mutation, mutation.propose(context, rng)!, context);
      const all = new Map<string, Json>();
      let saving = 0;
      for (const weight of new Set(sites(context).map((s) => s.weight))) {
        const place = rng.pick(mutation.places!(context).filter((p) => p.site === weight));
        all.set(weight, place.params);
        saving += place.saving;
      }
      const { model } = await expectLaws(mutation, mutation.join!([...all.values()]), context);
      expect(analyse(model, standardOps).cost.macs, 'the savings foretold').toBe(analysis.cost.macs - saving);
    });
  });
});

interface Options {
  readonly rank: number;
  readonly channels: number;
  readonly outputs: number;
  readonly attributes: Readonly<Record<string, AttributeValue>>;
  readonly bias: boolean;
  readonly norm: boolean;
}

/** A Conv whose 3 x 3 kernels are a sum of `rank` separable ones. */
function separable(rng: Rng, { rank, channels, outputs, attributes, bias, norm }: Options): Model {
  const normals = (n: number): number[] => Array.from({ length: n }, () => rng.normal());
  const [v, h] = [normals(rank * channels * 3), normals(outputs * rank * 3)];
  const weights = new Float32Array(outputs * channels * 9);
  for (let o = 0; o < outputs; o++)
    for (let c = 0; c < channels; c++)
      for (let q = 0; q < rank; q++)
        for (let t = 0; t < 9; t++)
          weights[(o * channels + c) * 9 + t]! +=
            v[(q * channels + c) * 3 + Math.floor(t / 3)]! * h[(o * rank + q) * 3 + (t % 3)]!;
  const b = graphBuilder();
  const x = b.input('x', DataType.FLOAT, ['n', channels, 9, 11]);
  const w = b.floats(weights, [outputs, channels, 3, 3], 'w');
  let y = b.op('Conv', bias ? [x, w, b.floats(normals(outputs))] : [x, w], attributes, { name: 'conv' });
  if (norm) {
    const four = [normals(outputs), normals(outputs), normals(outputs), normals(outputs).map(Math.abs)];
    y = b.op('BatchNormalization', [y, ...four.map((f) => b.floats(f))]);
  }
  b.output(b.op('Relu', [y]), DataType.FLOAT, ['n', outputs, undefined, undefined]);
  return b.model();
}

const attributes = fc.constantFrom<Readonly<Record<string, AttributeValue>>>(
  {},
  { pads: [1, 1, 1, 1], kernel_shape: [3, 3] },
  { pads: [0, 1, 2, 1], strides: [2, 1] },
  { pads: [2, 2, 2, 2], dilations: [2, 1], strides: [1, 2] },
  { auto_pad: 'SAME_UPPER', strides: [2, 2] },
  { auto_pad: 'SAME_LOWER', strides: [1, 2] },
  { auto_pad: 'VALID' },
);

test('kernels that are separable to a rank come back exactly, whatever the window', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), attributes, fc.boolean(), fc.boolean(), async (seed, a, bias, norm) => {
      const rng = createRng(seed);
      const model = separable(rng, { rank: 2, channels: 6, outputs: 7, attributes: a, bias, norm });
      const context = contextOf(analyse(model, standardOps));
      const { mutation } = createFactorizer();
      await expectLaws(mutation, { weight: 'w', kind: 'spatial', rank: 2 }, context, { tolerance: 1e-3 });
    }),
    { numRuns: 20 },
  );
});

test('every kind at every offered rank, on windows of all sorts', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), attributes, async (seed, a) => {
      const rng = createRng(seed);
      const model = separable(rng, { rank: 3, channels: 8, outputs: 8, attributes: a, bias: true, norm: false });
      const context = contextOf(analyse(model, standardOps), { roundTo: 1 });
      const { mutation, sites } = createFactorizer();
      for (const { kind, ranks, errors } of sites(context)) {
        expect(factorKinds).toContain(kind);
        const at = rng.int(ranks.length);
        expect(errors().every((e, i, all) => e >= 0 && e <= (all[i - 1] ?? 1) + 1e-6)).toBe(true);
        await expectLaws(mutation, { weight: 'w', kind, rank: ranks[at]! }, context);
      }
    }),
    { numRuns: 6 },
  );
});

test('matrices: Gemm of either layout with alpha and beta, MatMul with Add, of low rank come back', async () => {
  const rng = createRng(5);
  const [inputs, outputs, rank] = [12, 10, 3];
  const normals = (n: number): Float32Array => Float32Array.from({ length: n }, () => rng.normal());
  const [u, v] = [normals(outputs * rank), normals(rank * inputs)];
  const at = (o: number, i: number): number => {
    let sum = 0;
    for (let q = 0; q < rank; q++) sum += u[o * rank + q]! * v[q * inputs + i]!;
    return sum;
  };
  for (const form of ['Gemm', 'GemmT', 'MatMul']) {
    const b = graphBuilder();
    const x = b.input('x', DataType.FLOAT, ['n', inputs]);
    const rowMajor = form === 'GemmT';
    const dims = rowMajor ? [outputs, inputs] : [inputs, outputs];
    const values = Float32Array.from({ length: inputs * outputs }, (_, k) =>
      rowMajor ? at(Math.floor(k / inputs), k % inputs) : at(k % outputs, Math.floor(k / outputs)),
    );
    const w = b.floats(values, dims, 'w');
    const bias = b.floats(normals(outputs));
    const y =
      form === 'MatMul'
        ? b.op('Add', [b.op('MatMul', [x, w]), bias])
        : b.op('Gemm', [x, w, bias], {
            transB: rowMajor,
            alpha: { name: 'alpha', kind: 'float', value: 0.5 },
            beta: { name: 'beta', kind: 'float', value: 2 },
          });
    b.output(y, DataType.FLOAT, ['n', outputs]);
    const { mutation } = createFactorizer();
    const context = contextOf(analyse(b.model(), standardOps));
    await expectLaws(mutation, { weight: 'w', kind: 'svd', rank }, context, { tolerance: 1e-3 });
  }
});

test('what does not fit is refused: ranks that save nothing, tied weights, grouped convolutions, ignored names', () => {
  const rng = createRng(1);
  const made = separable(rng, { rank: 2, channels: 6, outputs: 6, attributes: {}, bias: false, norm: false });
  const { mutation, sites } = createFactorizer();
  const context = contextOf(analyse(made, standardOps));
  const refused = (params: Json, words: RegExp): void => expect(() => mutation.apply(params, context)).toThrow(words);
  refused({ weight: 'w', kind: 'spatial', rank: 18 }, /would save nothing: at most/);
  refused({ weight: 'v', kind: 'spatial', rank: 1 }, /"v" is not the weight of one dense Conv/);
  refused({ weight: 'w', kind: 'round', rank: 1 }, /parameters must be/);
  refused({ weight: 'w', kind: 'svd', rank: 0.5 }, /parameters must be/);
  const twice = {
    layers: [
      { weight: 'w', kind: 'svd', rank: 1 },
      { weight: 'w', kind: 'svd', rank: 2 },
    ],
  };
  refused(twice, /named twice/);
  expect(sites({ ...context, ignore: (n) => n === 'w' })).toEqual([]);
  const b = graphBuilder();
  const x = b.input('x', DataType.FLOAT, ['n', 4, 8, 8]);
  const w = b.floats(new Float32Array(144).fill(1), [4, 4, 3, 3], 'tied');
  const g = b.floats(new Float32Array(72).fill(1), [4, 2, 3, 3], 'grouped');
  b.output(b.op('Conv', [b.op('Conv', [b.op('Conv', [x, w]), w]), g], { group: 2 }), DataType.FLOAT);
  expect(sites(contextOf(analyse(b.model(), standardOps)))).toEqual([]);
});
