// Gradients beside an independent implementation: TensorFlow.js differentiates the same functions (its CPU kernels, channels last).
// Left out is what it gets wrong itself: padded averages, broadcast maxima, resizing of images that are not square.

import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-core/dist/register_all_gradients.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { float, graphBuilder, type AttributeValue } from '../../src/ir/builder.js';
import { DataType } from '../../src/ir/tensor.js';
import { standardOps } from '../../src/ops/index.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatData, floatsOf, withSession } from '../../src/runtime/runtime.js';
import { appendGradients } from '../../src/training/gradient.js';
import { modelOf, spacedValues } from './gradient-law.js';

const runtime = ortRuntime();
beforeAll(() => tf.setBackend('cpu'));
afterAll(() => runtime.close());

interface Pair {
  readonly shapes: readonly (readonly number[])[];
  readonly opType: string;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  readonly range?: readonly [number, number];
  readonly opset?: number;
  /** Whole numbers after the inputs. */
  readonly ints?: readonly (readonly number[])[];
  readonly theirs: (...x: tf.Tensor[]) => tf.Tensor;
}

/** The cast: transposing leaves the rank as it is, which TensorFlow.js' types do not say. */
const four = (x: tf.Tensor): tf.Tensor4D => x as tf.Tensor4D;

/** [N, C, H, W] to channels last and back. */
const last = (x: tf.Tensor): tf.Tensor4D => four(tf.transpose(x, [0, 2, 3, 1]));
const first = (x: tf.Tensor): tf.Tensor => tf.transpose(x, [0, 3, 1, 2]);
/** [M, C, H, W] filters to [H, W, C, M]. */
const filters = (w: tf.Tensor): tf.Tensor4D => four(tf.transpose(w, [2, 3, 1, 0]));

const image = [2, 3, 7, 6];
const pairs: readonly (readonly [string, Pair])[] = [
  [
    'Conv, stride 2',
    {
      opType: 'Conv',
      shapes: [image, [4, 3, 3, 3]],
      attributes: { pads: [1, 1, 1, 1], strides: [2, 2] },
      theirs: (x, w) =>
        first(
          tf.conv2d(
            tf.pad(last(x), [
              [0, 0],
              [1, 1],
              [1, 1],
              [0, 0],
            ]),
            filters(w),
            2,
            'valid',
          ),
        ),
    },
  ],
  [
    'Conv, stride 1, 8 channels',
    {
      opType: 'Conv',
      shapes: [
        [2, 8, 6, 5],
        [4, 8, 3, 2],
      ],
      theirs: (x, w) => first(tf.conv2d(last(x), filters(w), 1, 'valid')),
    },
  ],
  [
    'Conv, depthwise',
    {
      opType: 'Conv',
      shapes: [image, [3, 1, 3, 3]],
      attributes: { group: 3 },
      theirs: (x, w) => first(tf.depthwiseConv2d(last(x), four(tf.transpose(w, [2, 3, 0, 1])), 1, 'valid')),
    },
  ],
  [
    'Conv, auto_pad',
    {
      opType: 'Conv',
      shapes: [image, [2, 3, 3, 3]],
      attributes: { auto_pad: 'SAME_UPPER', strides: [2, 2] },
      theirs: (x, w) => first(tf.conv2d(last(x), filters(w), 2, 'same')),
    },
  ],
  [
    'ConvTranspose',
    {
      opType: 'ConvTranspose',
      shapes: [
        [2, 3, 4, 3],
        [3, 2, 3, 3],
      ],
      attributes: { strides: [2, 2] },
      theirs: (x, w) => first(tf.conv2dTranspose(last(x), filters(w), [2, 9, 7, 2], 2, 'valid')),
    },
  ],
  [
    'MaxPool, overlapping',
    {
      opType: 'MaxPool',
      shapes: [image],
      attributes: { kernel_shape: [3, 3], strides: [2, 1] },
      theirs: (x) => first(tf.maxPool(last(x), 3, [2, 1], 'valid')),
    },
  ],
  [
    'AveragePool, overlapping',
    {
      opType: 'AveragePool',
      shapes: [image],
      attributes: { kernel_shape: [3, 2] },
      theirs: (x) => first(tf.avgPool(last(x), [3, 2], 1, 'valid')),
    },
  ],
  [
    'Gemm',
    {
      opType: 'Gemm',
      shapes: [
        [4, 3],
        [4, 5],
      ],
      attributes: { transA: 1 },
      theirs: (a, b) => tf.matMul(a, b, true),
    },
  ],
  [
    'MatMul, batched',
    {
      opType: 'MatMul',
      shapes: [
        [2, 3, 4],
        [2, 4, 5],
      ],
      theirs: (a, b) => tf.matMul(a, b),
    },
  ],
  ['Softmax', { opType: 'Softmax', shapes: [[3, 5]], theirs: (x) => tf.softmax(x) }],
  ['LogSoftmax', { opType: 'LogSoftmax', shapes: [[3, 5]], theirs: (x) => tf.logSoftmax(x) }],
  ['Elu', { opType: 'Elu', shapes: [[4, 5]], theirs: (x) => tf.elu(x) }],
  ['Selu', { opType: 'Selu', shapes: [[4, 5]], theirs: (x) => tf.selu(x) }],
  [
    'LeakyRelu',
    { opType: 'LeakyRelu', shapes: [[4, 5]], attributes: { alpha: float(0.2) }, theirs: (x) => tf.leakyRelu(x, 0.2) },
  ],
  ['PRelu', { opType: 'PRelu', shapes: [[4, 5], [5]], theirs: (x, a) => tf.prelu(x, a) }],
  ['Softplus', { opType: 'Softplus', shapes: [[4, 5]], theirs: (x) => tf.softplus(x) }],
  ['Erf', { opType: 'Erf', shapes: [[4, 5]], theirs: (x) => tf.erf(x) }],
  ['Sigmoid', { opType: 'Sigmoid', shapes: [[4, 5]], theirs: (x) => tf.sigmoid(x) }],
  ['Div, broadcast', { opType: 'Div', shapes: [[3, 4], [4]], range: [0.5, 2], theirs: (a, b) => tf.div(a, b) }],
  [
    'Pow, broadcast',
    {
      opType: 'Pow',
      shapes: [
        [3, 4],
        [3, 1],
      ],
      range: [0.5, 2],
      theirs: (a, b) => tf.pow(a, b),
    },
  ],
  [
    'Max',
    {
      opType: 'Max',
      shapes: [
        [3, 4],
        [3, 4],
      ],
      theirs: (a, b) => tf.maximum(a, b),
    },
  ],
  [
    'ReduceMax',
    { opType: 'ReduceMax', shapes: [[3, 4]], attributes: { axes: [1], keepdims: 0 }, theirs: (x) => tf.max(x, 1) },
  ],
  [
    'CumSum',
    {
      opType: 'CumSum',
      shapes: [[3, 4]],
      ints: [[1]],
      attributes: { exclusive: 1 },
      theirs: (x) => tf.cumsum(x, 1, true),
    },
  ],
  [
    'Gather, twice the same',
    {
      opType: 'Gather',
      shapes: [[4, 3]],
      ints: [[2, 0, 2]],
      theirs: (x) => tf.gather(x, tf.tensor1d([2, 0, 2], 'int32')),
    },
  ],
  ['Tile', { opType: 'Tile', shapes: [[2, 3]], ints: [[2, 3]], theirs: (x) => tf.tile(x, [2, 3]) }],
  [
    'Transpose',
    {
      opType: 'Transpose',
      shapes: [[2, 3, 4]],
      attributes: { perm: [2, 0, 1] },
      theirs: (x) => tf.transpose(x, [2, 0, 1]),
    },
  ],
  [
    'Resize, linear',
    {
      opType: 'Resize',
      shapes: [[2, 3, 6, 6]],
      attributes: { mode: 'linear', coordinate_transformation_mode: 'align_corners' },
      theirs: (x) => first(tf.image.resizeBilinear(last(x), [11, 11], true)),
    },
  ],
];

describe('gradients agree with those of TensorFlow.js to 1e-3', () => {
  it.each(pairs)('%s', async (name, p) => {
    const rng = createRng(`tfjs/${name}`);
    const b = graphBuilder({ opset: p.opset ?? 17 });
    const names = p.shapes.map((shape, i) => b.input(`x${i}`, DataType.FLOAT, shape));
    const resized = p.opType === 'Resize' ? ['', '', b.ints([2, 3, 11, 11])] : [];
    const constants = (p.ints ?? []).map((list) => b.ints(list));
    const y = b.op(p.opType, [...names, ...resized, ...constants], p.attributes);
    const values = p.shapes.map((shape, i) => spacedValues(shape, p.range ?? [-2, 2], rng.fork(`x${i}`)));
    const tensors = values.map((v) => tf.tensor([...v.data], [...v.dims]));
    const out = p.theirs(...tensors);
    const probe = spacedValues(out.shape, [-1, 1.5], rng.fork('probe'));
    const weights = b.floats(Float32Array.from(probe.data), probe.dims);
    const loss = b.op('ReduceSum', [b.op('Mul', [y, weights])], { keepdims: 0 });
    const made = appendGradients(b.model(), standardOps, loss, names, {});
    const outputs = names.map((n) => made.of.get(n)!);
    const feeds = new Map(values.map((v, i) => [names[i]!, floatData(v.dims, Float32Array.from(v.data))]));
    const results = await withSession(runtime, modelOf(made, [...new Set(outputs)]), {}, (s) => s.run(feeds));
    const scalar = (...x: tf.Tensor[]): tf.Scalar =>
      tf.sum(tf.mul(p.theirs(...x), tf.tensor([...probe.data], [...probe.dims])));
    const theirs = tf.grads(scalar)(tensors);
    theirs.forEach((t, i) => {
      const ours = floatsOf(results.get(outputs[i]!)!);
      const expected = Float32Array.from(t.dataSync());
      expect(ours.length).toBe(expected.length);
      const largest = expected.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-3);
      const worst = ours.reduce((m, v, k) => Math.max(m, Math.abs(v - expected[k]!)), 0);
      expect(worst / largest).toBeLessThan(1e-3);
    });
  });
});
