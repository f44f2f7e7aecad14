import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { foldBatchNorm } from '../../search/mutations/fold-batch-norm.js';
import { foldConstants } from '../../search/mutations/fold-constants.js';
import { removeNoOps } from '../../search/mutations/remove-no-ops.js';
import { analyse } from '../../src/analysis/analyse.js';
import { float, graphBuilder, type GraphBuilder } from '../../src/ir/builder.js';
import type { Model } from '../../src/ir/graph.js';
import { DataType } from '../../src/ir/tensor.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { createRng, type Rng } from '../../src/rng.js';
import { describeShared, sharedPath } from '../shared.js';
import { contextOf, expectLaws, models } from './laws.js';

const lossless = [foldConstants(), foldBatchNorm(), removeNoOps()];

function count(model: Model, ...opTypes: readonly string[]): number {
  return model.graph.nodes.filter((n) => opTypes.includes(n.opType)).length;
}

/** BatchNormalizations that stay: pre-activation ones in DenseNet, and those on tokens in the ViT. */
const normsLeft: Readonly<Record<string, number>> = { 'cifar10-densenet-6-12-24': 45, 'vit-cifar10-ibp': 6 };

describeShared('lossless mutations on public networks', ['models'], () => {
  test.each(models)('%s: one after the other, until nothing is left to do', async (name) => {
    let model = readModel(sharedPath('models', `${name}.onnx`));
    const nodes = model.graph.nodes.length;
    for (const mutation of lossless) {
      for (let round = 0; round < 4; round++) {
        const context = contextOf(analyse(model, standardOps));
        const params = mutation.propose(context, createRng(1));
        expect(mutation.places!(context).length).toBe(params === undefined ? 0 : 1);
        if (params === undefined) break;
        expect(round, `${mutation.name} comes to an end`).toBeLessThan(3);
        ({ model } = await expectLaws(mutation, params, context));
      }
    }
    expect(count(model, 'BatchNormalization')).toBe(normsLeft[name] ?? 0);
    expect(model.graph.nodes.length).toBeLessThanOrEqual(nodes);
  });
});

function normals(rng: Rng, n: number): number[] {
  return Array.from({ length: n }, () => rng.normal());
}

function norm(b: GraphBuilder, rng: Rng, x: string, channels: number): string {
  const rest = [1, 2, 3].map(() => normals(rng, channels));
  const variance = normals(rng, channels).map((v) => 0.1 + v * v);
  return b.op('BatchNormalization', [x, ...[...rest, variance].map((v) => b.floats(v))], { epsilon: float(1e-3) });
}

const layers: Readonly<Record<string, (b: GraphBuilder, rng: Rng) => string>> = {
  'Conv without bias': (b, rng) =>
    norm(b, rng, b.op('Conv', [image(b), b.floats(normals(rng, 6 * 4 * 9), [6, 4, 3, 3])], { strides: [2, 1] }), 6),
  'grouped Conv with bias': (b, rng) => {
    const w = b.floats(normals(rng, 6 * 2 * 9), [6, 2, 3, 3]);
    return norm(b, rng, b.op('Conv', [image(b), w, b.floats(normals(rng, 6))], { group: 2 }), 6);
  },
  'Conv, Add of a vector, norm': (b, rng) => {
    const y = b.op('Conv', [image(b), b.floats(normals(rng, 24), [6, 4, 1, 1])]);
    return norm(b, rng, b.op('Add', [b.floats(normals(rng, 6), [1, 6, 1, 1]), y]), 6);
  },
  'grouped ConvTranspose': (b, rng) => {
    const w = b.floats(normals(rng, 4 * 3 * 4), [4, 3, 2, 2]);
    return norm(b, rng, b.op('ConvTranspose', [image(b), w], { group: 2, strides: [2, 2] }), 6);
  },
  'Gemm with alpha, beta and transB': (b, rng) => {
    const w = b.floats(normals(rng, 15), [3, 5]);
    const scalars = { alpha: float(0.5), beta: float(3), transB: 1 };
    return norm(b, rng, b.op('Gemm', [rows(b), w, b.floats(normals(rng, 3))], scalars), 3);
  },
  'MatMul, and with Add': (b, rng) => {
    const y = norm(b, rng, b.op('MatMul', [rows(b), b.floats(normals(rng, 15), [5, 3])]), 3);
    const z = b.op('MatMul', [y, b.floats(normals(rng, 12), [3, 4])]);
    return norm(b, rng, b.op('Add', [z, b.floats(normals(rng, 4))]), 4);
  },
  'norm before an unpadded grouped Conv': (b, rng) => {
    const w = b.floats(normals(rng, 6 * 2 * 9), [6, 2, 3, 3]);
    return b.op('Conv', [norm(b, rng, b.op('Relu', [image(b)]), 4), w, b.floats(normals(rng, 6))], { group: 2 });
  },
  'norm before Gemm': (b, rng) => {
    const w = b.floats(normals(rng, 15), [5, 3]);
    return b.op('Gemm', [norm(b, rng, rows(b), 5), w, b.floats(normals(rng, 3))], {
      alpha: float(2),
      beta: float(0.5),
    });
  },
};

function image(b: GraphBuilder): string {
  return b.has('x') ? 'x' : b.input('x', DataType.FLOAT, ['n', 4, 6, 5]);
}

function rows(b: GraphBuilder): string {
  return b.input('x', DataType.FLOAT, ['n', 5]);
}

describe('fold-batch-norm', () => {
  test.each(Object.keys(layers))('%s', async (name) => {
    for (const irVersion of [8, 3]) {
      const rng = createRng(name);
      const b = graphBuilder({ irVersion });
      b.output(layers[name]!(b, rng), DataType.FLOAT);
      const { model } = await expectLaws(foldBatchNorm(), {}, contextOf(analyse(b.model(), standardOps)));
      expect(count(model, 'BatchNormalization')).toBe(0);
    }
  });

  test('stays where it must: padding behind, a second use, tied weights, a value of three axes', () => {
    const rng = createRng(2);
    const b = graphBuilder();
    const w = b.floats(normals(rng, 4 * 4 * 9), [4, 4, 3, 3], 'w');
    const padded = b.op('Conv', [norm(b, rng, b.op('Relu', [image(b)]), 4), w], { pads: [1, 1, 1, 1] });
    const tied = norm(b, rng, b.op('Conv', [padded, w], { pads: [1, 1, 1, 1] }), 4);
    const used = b.op('Conv', [tied, b.floats(normals(rng, 16), [4, 4, 1, 1])]);
    b.output(b.op('Add', [norm(b, rng, used, 4), used]), DataType.FLOAT);
    const tokens = b.op('Reshape', [image(b), b.ints([0, 4, 30])]);
    b.output(norm(b, rng, b.op('MatMul', [tokens, b.floats(normals(rng, 90), [30, 3])]), 4), DataType.FLOAT);
    const context = contextOf(analyse(b.model(), standardOps));
    // only the one before the unpadded 1 x 1 Conv can go
    expect(count(foldBatchNorm().apply({}, context), 'BatchNormalization')).toBe(3);
  });
});

/** Pieces that change nothing; each is given a value of [n, 4, 6, 5] and returns one. */
const pieces: readonly ((b: GraphBuilder, x: string) => string)[] = [
  (b, x) => b.op('Identity', [x]),
  (b, x) => b.op('Dropout', [x]),
  (b, x) => b.op('Cast', [x], { to: DataType.FLOAT }),
  (b, x) => b.op('Concat', [x], { axis: 1 }),
  (b, x) => b.op('Pad', [x, b.ints([0, 0, 0, 0, 0, 0, 0, 0])]),
  (b, x) => b.op('Slice', [x, b.ints([0, 0]), b.ints([4, 2 ** 40]), b.ints([1, 3])]),
  (b, x) => b.op('Reshape', [x, b.ints([-1, 4, 6, 5])]),
  (b, x) => b.op('Reshape', [b.op('Reshape', [x, b.ints([0, -1])]), b.ints([-1, 4, 6, 5])]),
  (b, x) => b.op('Transpose', [b.op('Transpose', [x], { perm: [0, 2, 3, 1] })], { perm: [0, 3, 1, 2] }),
  (b, x) => b.op('Transpose', [x], { perm: [0, 1, 2, 3] }),
  (b, x) => b.op('Mul', [x, b.floats(1)]),
  (b, x) => b.op('Add', [b.floats([0, 0, 0, 0, 0]), x]),
  (b, x) => b.op('MaxPool', [x], { kernel_shape: [1, 1] }),
  (b, x) => b.op('Sum', [x]),
];

/** Pieces that look like it and are not. */
const work: readonly ((b: GraphBuilder, x: string) => string)[] = [
  (b, x) => b.op('Neg', [x]),
  (b, x) => b.op('Slice', [x, b.ints([-1]), b.ints([-10]), b.ints([2]), b.ints([-1])]),
  // padded with ones: onnxruntime moves padding by zeros into a pool behind it, even where that is wider than the window, and then refuses it
  (b, x) =>
    b.op('Pad', [
      b.op('Slice', [x, b.ints([1]), b.ints([6]), b.ints([2])]),
      b.ints([0, 0, 0, 0, 0, 0, 1, 0]),
      b.floats(1),
    ]),
  (b, x) => b.op('Reshape', [b.op('Transpose', [x], { perm: [0, 3, 1, 2] }), b.ints([0, 4, 6, 5])]),
  (b, x) => b.op('Add', [x, b.floats([0, 0, 0, 1, 0])]),
];

test('remove-no-ops: any chain of pieces loses all that change nothing, and nothing else', async () => {
  const some = fc.array(fc.integer({ min: 0, max: pieces.length + work.length - 1 }), { minLength: 1, maxLength: 7 });
  await fc.assert(
    fc.asyncProperty(some, async (chosen) => {
      const b = graphBuilder({ opset: 14 });
      const build = (list: readonly number[]): number => list.filter((i) => i >= pieces.length).length;
      let value = b.op('Neg', [image(b)]);
      for (const i of chosen) value = [...pieces, ...work][i]!(b, value);
      b.output(value, DataType.FLOAT, ['n', 4, 6, 5]);
      let model = b.model();
      const mutation = removeNoOps();
      for (let round = 0; round < 6; round++) {
        const context = contextOf(analyse(model, standardOps));
        if (mutation.propose(context, createRng(1)) === undefined) break;
        ({ model } = await expectLaws(mutation, {}, context));
      }
      expect(mutation.propose(contextOf(analyse(model, standardOps)), createRng(1))).toBeUndefined();
      expect(count(model, 'Neg', 'Slice', 'Add')).toBeGreaterThanOrEqual(1);
      expect(model.graph.nodes.length).toBeLessThanOrEqual(1 + 2 * build(chosen));
      expect(model.graph.outputs).toEqual(b.model().graph.outputs);
    }),
    { numRuns: 40 },
  );
});

test('remove-no-ops: an input handed straight to an output stays handed', () => {
  const b = graphBuilder();
  b.output(b.op('Identity', [image(b)]), DataType.FLOAT, ['n', 4, 6, 5]);
  expect(removeNoOps().propose(contextOf(analyse(b.model(), standardOps)), createRng(1))).toBeUndefined();
});
