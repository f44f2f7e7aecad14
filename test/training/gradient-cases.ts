// For every operator with a gradient rule: random shapes and attributes. Used by the law's test and by bench/gradient-rules.ts.

import { float } from '../../src/ir/builder.js';
import type { OpCase } from './gradient-law.js';
import {
  flag,
  dims,
  anyDims,
  total,
  upTo,
  someAxes,
  narrower,
  unary,
  binary,
  variadic,
  reduction,
  conv,
  convTranspose,
  pool,
  gemm,
  matMul,
  einsum,
  batchNorm,
  layerNorm,
  channelNorm,
  recurrent,
  attention,
  loss,
  softmax,
  type Draw,
  type CaseMaker,
} from './gradient-makers.js';
import {
  slice,
  pad,
  concat,
  split,
  gather,
  gatherElements,
  gatherNd,
  scatterElements,
  scatterNd,
  resize,
} from './gradient-makers-movement.js';

/** Several makers share one operator's name where its versions or options differ. */
export const gradientCases: readonly (readonly [string, CaseMaker])[] = [
  ...[
    'Abs',
    'Neg',
    'Exp',
    'Sin',
    'Cos',
    'Sinh',
    'Cosh',
    'Asinh',
    'Atan',
    'Erf',
    'Tanh',
    'Sigmoid',
    'Softplus',
    'Softsign',
    'Relu',
    'HardSwish',
    'Identity',
    'Floor',
    'Ceil',
    'Round',
    'Sign',
  ].map((opType) => [opType, unary(opType, [-4, 4])] as const),
  ['Log', unary('Log', [0.3, 3])],
  ['Sqrt', unary('Sqrt', [0.3, 3])],
  ['Reciprocal', unary('Reciprocal', [0.3, 3])],
  ['Tan', unary('Tan', [-1, 1])],
  ['Asin', unary('Asin', [-0.9, 0.9])],
  ['Acos', unary('Acos', [-0.9, 0.9])],
  ['Acosh', unary('Acosh', [1.2, 3])],
  ['Atanh', unary('Atanh', [-0.9, 0.9])],
  ['LeakyRelu', unary('LeakyRelu', undefined, () => ({ alpha: float(0.2) }))],
  ['ThresholdedRelu', unary('ThresholdedRelu', undefined, (d) => ({ alpha: float(d.pick([1, 0.3])) }))],
  ['Elu', unary('Elu', undefined, (d) => ({ alpha: float(d.pick([1, 0.7])) }))],
  ['Celu', unary('Celu', undefined, (d) => ({ alpha: float(d.pick([1, 0.7])) }))],
  ['Selu', unary('Selu')],
  ['HardSigmoid', unary('HardSigmoid', [-4, 4], (d) => ({ alpha: float(d.pick([0.2, 1 / 6])) }))],
  ['Swish', unary('Swish', undefined, (d) => ({ alpha: float(d.pick([1, 1.5])) }), 24)],
  ['Mish', unary('Mish', undefined, undefined, 18)],
  ['Gelu', unary('Gelu', undefined, (d) => ({ approximate: d.pick(['none', 'tanh']) }), 20)],
  ['Shrink', unary('Shrink', undefined, (d) => ({ lambd: float(0.7), bias: float(d.pick([0, 0.3])) }))],
  ['Cast', unary('Cast', undefined, () => ({ to: 1 }))],
  ['Dropout', unary('Dropout')],
  [
    'PRelu',
    (d) => {
      const shape = anyDims(d);
      return { opType: 'PRelu', inputs: [{ dims: shape }, { dims: narrower(d, shape) }] };
    },
  ],
  ['Softmax', softmax('Softmax')],
  ['LogSoftmax', softmax('LogSoftmax')],
  ['Add', binary('Add')],
  ['Sub', binary('Sub')],
  ['Mul', binary('Mul')],
  [
    'Div',
    binary('Div', [
      [-2, 2],
      [0.5, 2],
    ]),
  ],
  [
    'Pow',
    binary('Pow', [
      [0.3, 2],
      [-2, 3],
    ]),
  ],
  ['Pow', (d) => ({ opType: 'Pow', inputs: [{ dims: anyDims(d) }, { ints: [d.int(1, 3)], dims: [] }] })],
  [
    'Mod',
    binary(
      'Mod',
      [
        [-2, 2],
        [0.7, 1.9],
      ],
      { fmod: 1 },
    ),
  ],
  ['Max', variadic('Max')],
  ['Min', variadic('Min')],
  ['Sum', variadic('Sum')],
  ['Mean', variadic('Mean')],
  [
    'Clip',
    (d) => ({
      opType: 'Clip',
      inputs: [{ dims: anyDims(d) }, { dims: [], range: [-1.2, -0.8], fixed: flag(d) }, { dims: [], range: [0.5, 1] }],
    }),
  ],
  [
    'Clip',
    (d) => ({
      opType: 'Clip',
      opset: 8,
      inputs: [{ dims: anyDims(d) }],
      attributes: { min: float(-1), max: float(0.7) },
    }),
  ],
  [
    'CumSum',
    (d) => {
      const shape = anyDims(d);
      return {
        opType: 'CumSum',
        inputs: [{ dims: shape }, { ints: [d.int(0, shape.length - 1)], dims: [] }],
        attributes: { exclusive: d.int(0, 1), reverse: d.int(0, 1) },
      };
    },
  ],
  ...[
    'ReduceSum',
    'ReduceMean',
    'ReduceMax',
    'ReduceMin',
    'ReduceProd',
    'ReduceL1',
    'ReduceL2',
    'ReduceSumSquare',
    'ReduceLogSumExp',
  ].map((opType) => [opType, reduction(opType)] as const),
  ['ReduceLogSum', reduction('ReduceLogSum', [0.3, 3])],
  [
    'ReduceSum',
    (d) => {
      const shape = anyDims(d);
      return {
        opType: 'ReduceSum',
        opset: 9,
        inputs: [{ dims: shape }],
        attributes: {
          axes: someAxes(d, shape.length).map((a) => (a < 0 ? a + shape.length : a)),
          keepdims: d.int(0, 1),
        },
      };
    },
  ],
  [
    'TopK',
    (d) => {
      const shape = dims(d, 2, 2, 4);
      return {
        opType: 'TopK',
        inputs: [{ dims: shape }, { ints: [d.int(1, shape[1]!)] }],
        attributes: { largest: d.int(0, 1) },
        outputs: 2,
      };
    },
  ],
  ...['GlobalAveragePool', 'GlobalMaxPool', 'GlobalLpPool'].map(
    (opType) =>
      [
        opType,
        (d: Draw): OpCase => ({ opType, inputs: [{ dims: dims(d, d.int(3, 5), 1, 3), range: [0.2, 3] }] }),
      ] as const,
  ),
  [
    'LRN',
    (d) => ({
      opType: 'LRN',
      inputs: [{ dims: dims(d, 4, 1, 4).with(1, d.int(3, 6)) }],
      attributes: { size: d.pick([1, 3, 5]), alpha: float(0.3), beta: float(0.75), bias: float(d.pick([1, 2])) },
    }),
  ],
  ['Conv', conv],
  ['ConvTranspose', convTranspose],
  ['Gemm', gemm],
  ['MatMul', matMul],
  ['Einsum', einsum],
  ['BatchNormalization', batchNorm],
  ['LayerNormalization', layerNorm('LayerNormalization', 17, 2)],
  ['RMSNormalization', layerNorm('RMSNormalization', 23, 1)],
  ['InstanceNormalization', channelNorm('InstanceNormalization', 17)],
  ['GroupNormalization', channelNorm('GroupNormalization', 18)],
  ['GroupNormalization', channelNorm('GroupNormalization', 21)],
  [
    'MeanVarianceNormalization',
    (d) => ({ opType: 'MeanVarianceNormalization', inputs: [{ dims: [2, d.int(1, 3), ...dims(d, 2, 2, 3)] }] }),
  ],
  [
    'LpNormalization',
    (d) => ({
      opType: 'LpNormalization',
      inputs: [{ dims: dims(d, 2, 2, 4), range: [0.2, 2] }],
      attributes: { p: d.int(1, 2), axis: d.int(-1, 1) },
    }),
  ],
  ['MaxPool', pool('MaxPool', (d) => ({ ceil_mode: d.int(0, 1), storage_order: d.int(0, 1) }))],
  ['AveragePool', pool('AveragePool', (d) => ({ ceil_mode: d.int(0, 1), count_include_pad: d.int(0, 1) }))],
  [
    'LpPool',
    (d) => ({
      opType: 'LpPool',
      opset: 18,
      inputs: [{ dims: [1, 2, ...dims(d, 2, 3, 5)], range: [0.2, 2] }],
      attributes: { kernel_shape: [2, 3], strides: dims(d, 2, 1, 2), p: d.int(1, 3) },
    }),
  ],
  ['Resize', resize],
  [
    'Upsample',
    (d) => ({
      opType: 'Upsample',
      opset: 9,
      inputs: [{ dims: [1, 2, ...dims(d, 2, 1, 3)] }, { floats: [1, 1, d.pick([1, 2]), d.pick([2, 3])] }],
      attributes: { mode: d.pick(['nearest', 'linear']) },
    }),
  ],
  [
    'Reshape',
    (d) => {
      const shape = anyDims(d);
      return { opType: 'Reshape', inputs: [{ dims: shape }, { ints: d.pick([[-1], [1, -1], [total(shape)]]) }] };
    },
  ],
  ['Flatten', (d) => ({ opType: 'Flatten', inputs: [{ dims: anyDims(d) }], attributes: { axis: d.int(0, 1) } })],
  [
    'Squeeze',
    (d) => ({
      opType: 'Squeeze',
      opset: 9,
      inputs: [{ dims: [1, d.int(1, 3), 1] }],
      attributes: { axes: d.pick([[0], [2], [0, 2]]) },
    }),
  ],
  [
    'Squeeze',
    (d) => ({ opType: 'Squeeze', inputs: [{ dims: [1, d.int(1, 3), 1] }, { ints: d.pick([[0], [-1], [0, 2]]) }] }),
  ],
  [
    'Unsqueeze',
    (d) => ({
      opType: 'Unsqueeze',
      opset: 9,
      inputs: [{ dims: anyDims(d) }],
      attributes: { axes: d.pick([[0], [1], [0, 1]]) },
    }),
  ],
  [
    'Unsqueeze',
    (d) => ({ opType: 'Unsqueeze', inputs: [{ dims: anyDims(d) }, { ints: d.pick([[0], [-1], [0, 1]]) }] }),
  ],
  [
    'Transpose',
    (d) => {
      const perm = d.pick([[0, 2, 1], [2, 0, 1], [1, 2, 0], undefined]);
      return { opType: 'Transpose', inputs: [{ dims: dims(d, 3) }], attributes: { perm } };
    },
  ],
  [
    'Expand',
    (d) => {
      const wide = anyDims(d);
      return { opType: 'Expand', inputs: [{ dims: narrower(d, wide) }, { ints: wide }] };
    },
  ],
  [
    'Tile',
    (d) => {
      const shape = anyDims(d);
      return { opType: 'Tile', inputs: [{ dims: shape }, { ints: dims(d, shape.length, 1, 3) }] };
    },
  ],
  ['Concat', concat],
  ['Split', split],
  ['Slice', slice],
  [
    'Slice',
    (d) => ({
      opType: 'Slice',
      opset: 9,
      inputs: [{ dims: [d.int(3, 5), 4] }],
      attributes: { starts: [1, -3], ends: [3, 2 ** 31 - 1], axes: [0, 1] },
    }),
  ],
  ['Pad', pad],
  [
    'Pad',
    (d) => ({
      opType: 'Pad',
      opset: 9,
      inputs: [{ dims: dims(d, 2, 3, 4) }],
      attributes: { pads: dims(d, 4, 0, 2), mode: d.pick(['constant', 'edge', 'reflect']) },
    }),
  ],
  ['Gather', gather],
  ['GatherElements', gatherElements],
  ['GatherND', gatherNd],
  ['ScatterElements', scatterElements],
  ['ScatterND', scatterNd],
  [
    'DepthToSpace',
    (d) => {
      const b = d.int(2, 3);
      return {
        opType: 'DepthToSpace',
        inputs: [{ dims: [1, b * b * d.int(1, 2), d.int(1, 2), d.int(1, 3)] }],
        attributes: { blocksize: b, mode: d.pick(['DCR', 'CRD']) },
      };
    },
  ],
  [
    'SpaceToDepth',
    (d) => {
      const b = d.int(2, 3);
      return {
        opType: 'SpaceToDepth',
        inputs: [{ dims: [1, d.int(1, 3), b * d.int(1, 2), b * 2] }],
        attributes: { blocksize: b },
      };
    },
  ],
  [
    'Trilu',
    (d) => ({
      opType: 'Trilu',
      inputs: [{ dims: dims(d, d.int(2, 3), 2, 4) }, ...(flag(d) ? [{ ints: [d.int(-1, 1)], dims: [] }] : [])],
      attributes: { upper: d.int(0, 1) },
    }),
  ],
  [
    'Col2Im',
    (d) => {
      const block = dims(d, 2, 1, 3);
      const strides = dims(d, 2, 1, 2);
      const pads = [d.int(0, 1), 0, 0, d.int(0, 1)];
      const image = [d.int(4, 6), d.int(4, 6)];
      const count = image.reduce(
        (n, size, k) => n * (Math.floor((size + pads[k]! + pads[k + 2]! - block[k]!) / strides[k]!) + 1),
        1,
      );
      return {
        opType: 'Col2Im',
        opset: 18,
        inputs: [{ dims: [1, 2 * total(block), count] }, { ints: image }, { ints: block }],
        attributes: { strides, pads },
      };
    },
  ],
  ['LSTM', recurrent('LSTM', 4, (d) => ({ input_forget: d.pick([0, 0, 1]) }))],
  ['GRU', recurrent('GRU', 3, (d) => ({ linear_before_reset: d.int(0, 1) }))],
  ['RNN', recurrent('RNN', 1, () => ({}))],
  ['Attention', attention],
  ['NegativeLogLikelihoodLoss', loss('NegativeLogLikelihoodLoss')],
  ['SoftmaxCrossEntropyLoss', loss('SoftmaxCrossEntropyLoss')],
  [
    'Where',
    (d) => {
      const wide = anyDims(d);
      return {
        opType: 'Where',
        inputs: [
          { ints: upTo(total(wide)).map(() => d.int(0, 1)), dims: wide, bool: true },
          { dims: narrower(d, wide) },
          { dims: narrower(d, wide) },
        ],
      };
    },
  ],
];
