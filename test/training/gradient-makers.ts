// Makers of the cases of gradient-cases.ts: random shapes and attributes under which an operator is valid and its gradient unique.

import { float, type AttributeValue } from '../../src/ir/builder.js';
import type { CaseInput, OpCase } from './gradient-law.js';

/** Where the random choices come from: fast-check in tests, a stream of numbers in the bench. */
export interface Draw {
  /** A whole number, both bounds included. */
  int(low: number, high: number): number;
  pick<T>(from: readonly T[]): T;
}

export type CaseMaker = (d: Draw) => OpCase;

export const flag = (d: Draw): boolean => d.int(0, 1) === 1;
export const dims = (d: Draw, rank: number, low = 1, high = 4): number[] =>
  Array.from({ length: rank }, () => d.int(low, high));
export const anyDims = (d: Draw): number[] => dims(d, d.int(1, 4));
export const total = (list: readonly number[]): number => list.reduce((a, b) => a * b, 1);
export const upTo = (n: number): number[] => Array.from({ length: n }, (_, k) => k);

/** Some axes, or all; now and then counted from the end. */
export function someAxes(d: Draw, rank: number): number[] {
  const axes = upTo(rank).filter(() => flag(d));
  return (axes.length === 0 ? [d.int(0, rank - 1)] : axes).map((a) => (flag(d) ? a - rank : a));
}

/** Dims that broadcast to `to`. */
export function narrower(d: Draw, to: readonly number[]): number[] {
  const kept = to.slice(d.int(0, to.length));
  return kept.map((n) => (d.int(0, 2) === 0 ? 1 : n));
}

export const unary =
  (
    opType: string,
    range?: readonly [number, number],
    attributes: (d: Draw) => Record<string, AttributeValue> = () => ({}),
    opset = 17,
  ): CaseMaker =>
  (d) => ({
    opType,
    opset,
    inputs: [{ dims: anyDims(d), ...(range === undefined ? {} : { range }) }],
    attributes: attributes(d),
  });

export const binary =
  (
    opType: string,
    ranges: readonly (readonly [number, number])[] = [],
    attributes: Record<string, AttributeValue> = {},
  ): CaseMaker =>
  (d) => {
    const wide = anyDims(d);
    const pair = [wide, narrower(d, wide)];
    if (flag(d)) pair.reverse();
    return { opType, attributes, inputs: pair.map((shape, i) => ({ dims: shape, range: ranges[i] ?? [-2, 2] })) };
  };

export const variadic =
  (opType: string): CaseMaker =>
  (d) => {
    const wide = anyDims(d);
    return { opType, inputs: upTo(d.int(1, 3)).map((i) => ({ dims: i === 0 ? wide : narrower(d, wide) })) };
  };

export const reduction =
  (opType: string, range: readonly [number, number] = [-2, 2]): CaseMaker =>
  (d) => {
    const shape = anyDims(d);
    const opset = d.pick([13, 17, 18]);
    const axes = d.int(0, 3) === 0 ? undefined : someAxes(d, shape.length);
    const asInput = opset >= 18 || (opType === 'ReduceSum' && opset >= 13);
    return {
      opType,
      opset,
      inputs: [{ dims: shape, range }, ...(asInput && axes !== undefined ? [{ ints: axes }] : [])],
      attributes: { keepdims: d.int(0, 1), axes: asInput ? undefined : axes },
    };
  };

interface WindowOptions {
  readonly spatial: readonly number[];
  readonly kernel: readonly number[];
  readonly attributes: Record<string, AttributeValue>;
}

/** A window that fits, with stride, dilation, and pads or auto_pad. */
function windowOf(d: Draw, rank: number, dilate = true): WindowOptions {
  const kernel = dims(d, rank, 1, 3);
  const strides = dims(d, rank, 1, 3);
  const dilations = kernel.map(() => (dilate ? d.int(1, 2) : 1));
  const extent = kernel.map((k, i) => (k - 1) * dilations[i]! + 1);
  const spatial = extent.map((e) => e + d.int(0, rank === 1 ? 6 : 3));
  const auto = d.pick(['', '', '', 'SAME_UPPER', 'SAME_LOWER', 'VALID']);
  const plain = dilations.every((v) => v === 1);
  const pads = [...kernel, ...kernel].map((_, i) => d.int(0, Math.min(2, extent[i % rank]! - 1)));
  // onnxruntime wants no dilation with SAME
  const padding = auto !== '' && plain ? { auto_pad: auto } : { pads };
  return { spatial, kernel, attributes: { strides, ...(dilate ? { dilations } : {}), ...padding } };
}

export const conv = (d: Draw): OpCase => {
  const rank = d.int(1, 3);
  const { spatial, kernel, attributes } = windowOf(d, rank);
  const group = d.int(1, 3);
  // from 8 channels on the gradient of the input has a form of its own when the stride is 1
  const perGroup = d.pick([1, 1, 2, 8]);
  if (perGroup === 8) attributes['strides'] = kernel.map(() => 1);
  const filters = group * d.int(1, 2);
  const bias: CaseInput[] = flag(d) ? [{ dims: [filters] }] : [];
  return {
    opType: 'Conv',
    inputs: [{ dims: [d.int(1, 2), group * perGroup, ...spatial] }, { dims: [filters, perGroup, ...kernel] }, ...bias],
    attributes: { ...attributes, group },
  };
};

export const convTranspose = (d: Draw): OpCase => {
  const rank = d.int(1, 3);
  const kernel = dims(d, rank, 1, 3);
  const strides = dims(d, rank, 1, 3);
  const dilations = dims(d, rank, 1, 2);
  const extent = kernel.map((k, i) => (k - 1) * dilations[i]! + 1);
  const pads = [...kernel, ...kernel].map((_, i) => d.int(0, Math.floor((extent[i % rank]! - 1) / 2)));
  const group = d.int(1, 3);
  const perGroup = d.int(1, 2);
  const filters = group * d.int(1, 2);
  return {
    opType: 'ConvTranspose',
    inputs: [
      { dims: [d.int(1, 2), filters, ...dims(d, rank, 2, 4)] },
      { dims: [filters, perGroup, ...kernel] },
      ...(flag(d) ? [{ dims: [group * perGroup] }] : []),
    ],
    attributes: { group, strides, dilations, pads, output_padding: strides.map((s) => d.int(0, s - 1)) },
  };
};

export const pool =
  (opType: string, more: (d: Draw) => Record<string, AttributeValue>, dilate = false): CaseMaker =>
  (d) => {
    const { spatial, kernel, attributes } = windowOf(d, d.int(1, 3), dilate);
    return {
      opType,
      // ONNX's shape inference before opset 22 counts windows in ceil_mode that onnxruntime leaves out
      opset: 22,
      inputs: [{ dims: [d.int(1, 2), d.int(1, 2), ...spatial] }],
      attributes: { ...attributes, kernel_shape: kernel, ...more(d) },
    };
  };

export const gemm: CaseMaker = (d) => {
  const [m = 1, k = 1, n = 1] = dims(d, 3);
  const [transA, transB] = [d.int(0, 1), d.int(0, 1)];
  return {
    opType: 'Gemm',
    inputs: [
      { dims: transA === 1 ? [k, m] : [m, k] },
      { dims: transB === 1 ? [n, k] : [k, n] },
      ...(flag(d) ? [{ dims: d.pick([[n], [1], [m, 1], [m, n], []]) }] : []),
    ],
    attributes: { transA, transB, alpha: float(d.pick([1, 0.5])), beta: float(d.pick([1, 2])) },
  };
};

export const matMul: CaseMaker = (d) => {
  const [m = 1, k = 1, n = 1] = dims(d, 3);
  const batch = dims(d, d.int(0, 2));
  const left = [...batch, m, k];
  const right = [...narrower(d, batch), k, n];
  return {
    opType: 'MatMul',
    inputs: [{ dims: d.int(0, 3) === 0 ? [k] : left }, { dims: d.int(0, 3) === 0 ? [k] : right }],
  };
};

const equations: readonly (readonly [string, readonly (readonly number[])[]])[] = [
  [
    'byhwc,hkc->byhwk',
    [
      [2, 2, 3, 2, 4],
      [3, 5, 4],
    ],
  ],
  [
    'bij,bjk->bik',
    [
      [2, 3, 4],
      [2, 4, 2],
    ],
  ],
  [
    'ij,jk,kl->il',
    [
      [2, 3],
      [3, 4],
      [4, 2],
    ],
  ],
  ['ij->ji', [[2, 3]]],
  ['ijk->j', [[2, 3, 2]]],
  [
    '...ij,...jk->...ik',
    [
      [2, 3, 2, 4],
      [2, 3, 4, 2],
    ],
  ],
  ['i,j->ij', [[3], [4]]],
  [
    'bhid,bhjd->bhij',
    [
      [1, 2, 3, 4],
      [1, 2, 5, 4],
    ],
  ],
];

export const einsum: CaseMaker = (d) => {
  const [equation, shapes] = d.pick(equations);
  return { opType: 'Einsum', inputs: shapes.map((shape) => ({ dims: shape })), attributes: { equation } };
};

export const batchNorm: CaseMaker = (d) => {
  const channels = d.int(1, 3);
  const training = flag(d);
  const shape = [d.int(2, 3), channels, ...dims(d, d.int(0, 3), 2, 3)];
  const statistic = (low: number): CaseInput => ({ dims: [channels], range: [low, low + 1], fixed: training });
  return {
    opType: 'BatchNormalization',
    inputs: [{ dims: shape }, { dims: [channels] }, { dims: [channels] }, statistic(-0.5), statistic(0.5)],
    attributes: { training_mode: training ? 1 : undefined, epsilon: float(1e-3) },
    // the running averages are outputs of training mode, and not differentiated through
    outputs: training ? 3 : 1,
    through: 1,
  };
};

export const layerNorm =
  (opType: string, opset: number, parameters: number): CaseMaker =>
  (d) => {
    const shape = dims(d, d.int(2, 4), 2, 4);
    const axis = d.int(1, shape.length - 1);
    const part = shape.slice(axis);
    return {
      opType,
      opset,
      inputs: [{ dims: shape }, ...upTo(parameters).map(() => ({ dims: part }))].slice(0, flag(d) ? 3 : 2),
      attributes: { axis: flag(d) ? axis : axis - shape.length, epsilon: float(1e-3) },
    };
  };

export const channelNorm =
  (opType: string, opset: number): CaseMaker =>
  (d) => {
    const groups = d.int(1, 3);
    const each = d.int(1, 2);
    const n = opType === 'GroupNormalization' && opset < 21 ? groups : groups * each;
    return {
      opType,
      opset,
      inputs: [{ dims: [2, groups * each, ...dims(d, d.int(1, 2), 2, 4)] }, { dims: [n] }, { dims: [n] }],
      attributes: { epsilon: float(1e-3), num_groups: opType === 'GroupNormalization' ? groups : undefined },
    };
  };

export const recurrent =
  (opType: string, gates: number, attributes: (d: Draw) => Record<string, AttributeValue>): CaseMaker =>
  (d) => {
    const [time = 1, batch = 1, width = 1, hidden = 1] = dims(d, 4, 1, 3);
    const direction = d.pick(['forward', 'reverse', 'bidirectional']);
    const directions = direction === 'bidirectional' ? 2 : 1;
    const state: CaseInput = { dims: [directions, batch, hidden] };
    const states =
      opType === 'LSTM' ? [state, state, ...(flag(d) ? [{ dims: [directions, 3 * hidden] }] : [])] : [state];
    return {
      opType,
      inputs: [
        { dims: [time, batch, width] },
        { dims: [directions, gates * hidden, width] },
        { dims: [directions, gates * hidden, hidden] },
        flag(d) ? { dims: [directions, 2 * gates * hidden] } : undefined,
        undefined,
        ...(flag(d) ? states : []),
      ],
      attributes: { hidden_size: hidden, direction, ...attributes(d) },
      outputs: opType === 'LSTM' ? 3 : 2,
    };
  };

export const attention: CaseMaker = (d) => {
  const [batch = 1, queries = 1, keys = 1, size = 1] = dims(d, 4, 1, 3);
  const keyHeads = d.int(1, 2);
  const heads = keyHeads * d.int(1, 2);
  const flat = flag(d);
  const shape = (n: number, length: number): number[] => (flat ? [batch, length, n * size] : [batch, n, length, size]);
  return {
    opType: 'Attention',
    opset: 23,
    inputs: [
      { dims: shape(heads, queries) },
      { dims: shape(keyHeads, keys) },
      { dims: shape(keyHeads, keys) },
      ...(flag(d) ? [{ dims: [queries, keys] }] : []),
    ],
    attributes: {
      is_causal: d.int(0, 1),
      softcap: float(d.pick([0, 2])),
      ...(flat ? { q_num_heads: heads, kv_num_heads: keyHeads } : {}),
    },
  };
};

export const loss =
  (opType: string): CaseMaker =>
  (d) => {
    const [batch = 1, classes = 1] = dims(d, 2, 2, 4);
    const more = dims(d, d.int(0, 1));
    const labels = upTo(batch * total(more)).map(() => d.int(0, classes - 1));
    const weight: CaseInput[] = flag(d) ? [{ dims: [classes], range: [0.5, 2], fixed: true }] : [];
    return {
      opType,
      inputs: [{ dims: [batch, classes, ...more] }, { ints: labels, dims: [batch, ...more] }, ...weight],
      attributes: { reduction: d.pick(['mean', 'sum', 'none']), ignore_index: flag(d) ? 0 : undefined },
    };
  };

export function softmax(opType: string): CaseMaker {
  return (d) => {
    const shape = anyDims(d);
    const opset = d.pick([9, 12, 13, 17]);
    return {
      opType,
      opset,
      inputs: [{ dims: shape }],
      attributes: { axis: d.int(opset < 13 ? 0 : -1, shape.length - 1) },
    };
  };
}
