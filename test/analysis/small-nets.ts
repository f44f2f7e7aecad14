// Small convolutional networks around one construction each, for the laws of cutting. Widths are drawn, so that every run sees
// other numbers.

import { graphBuilder, type GraphBuilder } from '../../src/ir/builder.js';
import type { Model } from '../../src/ir/graph.js';
import { DataType } from '../../src/ir/tensor.js';
import type { Rng } from '../../src/rng.js';

const F = DataType.FLOAT;

export interface Draw {
  readonly g: GraphBuilder;
  readonly rng: Rng;
  /** A random FLOAT initializer. */
  w(...dims: number[]): string;
  /** A random positive one (variances). */
  p(...dims: number[]): string;
  /** An even width between 4 and 10. */
  width(): number;
  conv(x: string, from: number, to: number, kernel?: number, attributes?: Record<string, number | number[]>): string;
  bn(x: string, n: number): string;
  image(channels: number, size?: number): string;
}

export interface Net {
  readonly name: string;
  readonly opset?: number;
  readonly ir?: number;
  readonly build: (d: Draw) => string | readonly string[];
  /** Number of exact groups with more than one unit that must be found at least. */
  readonly groups: number;
}

export function buildNet(net: Net, rng: Rng): Model {
  const domains = { 'com.microsoft': 1 };
  const g = graphBuilder({ opset: net.opset ?? 17, irVersion: net.ir ?? 8, domains });
  const values = (dims: readonly number[], make: () => number): Float32Array =>
    Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, make);
  const d: Draw = {
    g,
    rng,
    w: (...dims) =>
      g.floats(
        values(dims, () => rng.normal() * 0.4),
        dims,
        'w',
      ),
    p: (...dims) =>
      g.floats(
        values(dims, () => 0.5 + rng.next()),
        dims,
        'p',
      ),
    width: () => 4 + 2 * rng.int(4),
    conv: (x, from, to, kernel = 3, attributes = {}) => {
      const group = typeof attributes['group'] === 'number' ? attributes['group'] : 1;
      const pads = [kernel >> 1, kernel >> 1, kernel >> 1, kernel >> 1];
      return g.op('Conv', [x, d.w(to, from / group, kernel, kernel), d.w(to)], { pads, ...attributes });
    },
    bn: (x, n) => g.op('BatchNormalization', [x, d.w(n), d.w(n), d.w(n), d.p(n)]),
    image: (channels, size = 6) => g.input('x', F, ['N', channels, size, size]),
  };
  const made = net.build(d);
  for (const y of typeof made === 'string' ? [made] : made) g.output(y, F);
  return g.model();
}

/** A classifier's end: pooled, flattened, Gemm. */
export function head(d: Draw, x: string, channels: number): string {
  const flat = d.g.op('Flatten', [d.g.op('GlobalAveragePool', [x])]);
  return d.g.op('Gemm', [flat, d.w(3, channels), d.w(3)], { transB: 1 });
}

export const convolutional: readonly Net[] = [
  {
    name: 'chain of Conv, BatchNormalization, Relu, MaxPool',
    groups: 2,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      let x = d.g.op('Relu', [d.bn(d.conv(d.image(3), 3, a), a)]);
      x = d.g.op('MaxPool', [x], { kernel_shape: [2, 2], strides: [2, 2] });
      return head(d, d.g.op('LeakyRelu', [d.conv(x, a, b)]), b);
    },
  },
  {
    name: 'residual blocks',
    groups: 3,
    build: (d) => {
      const [a, b, c] = [d.width(), d.width(), d.width()];
      let x = d.conv(d.image(3), 3, a);
      x = d.g.op('Add', [x, d.conv(d.g.op('Relu', [d.conv(x, a, b)]), b, a)]);
      x = d.g.op('Add', [d.conv(d.g.op('Relu', [d.conv(x, a, c)]), c, a), x]);
      return head(d, x, a);
    },
  },
  {
    name: 'Slice and Pad shortcut',
    groups: 3,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      const x = d.conv(d.image(3), 3, a);
      const y = d.conv(d.conv(x, a, b), b, a + 4, 3, { strides: [2, 2] });
      const small = d.g.op('Slice', [x, d.g.ints([0, 0]), d.g.ints([1e9, 1e9]), d.g.ints([2, 3]), d.g.ints([2, 2])]);
      const pad = d.g.op('Pad', [small, d.g.ints([0, 2, 0, 0, 0, 2, 0, 0])]);
      return head(d, d.g.op('Add', [pad, y]), a + 4);
    },
  },
  {
    name: 'Concat and dense growth',
    groups: 3,
    build: (d) => {
      const [a, b, c] = [d.width(), d.width(), d.width()];
      let x = d.conv(d.image(3), 3, a);
      x = d.g.op('Concat', [x, d.conv(d.bn(x, a), a, b)], { axis: 1 });
      x = d.g.op('Concat', [x, d.conv(d.bn(x, a + b), a + b, c)], { axis: -3 });
      return head(d, d.bn(x, a + b + c), a + b + c);
    },
  },
  {
    name: 'Split into unequal parts',
    groups: 2,
    build: (d) => {
      const a = d.width();
      const x = d.conv(d.image(3), 3, a + 3);
      const [left, right] = d.g.ops('Split', [x, d.g.ints([a, 3])], 2, { axis: 1 });
      return d.g.op('Add', [head(d, left!, a), head(d, d.g.op('Relu', [right!]), 3)]);
    },
  },
  {
    name: 'Split into equal parts by attribute and by default',
    opset: 11,
    groups: 1,
    build: (d) => {
      const a = d.width();
      const x = d.conv(d.image(3), 3, 2 * a);
      const [left, right] = d.g.ops('Split', [x], 2, { axis: 1 });
      return head(d, d.g.op('Mul', [left!, d.g.op('Sigmoid', [right!])]), a);
    },
  },
  {
    name: 'Split by num_outputs (GLU)',
    opset: 18,
    groups: 1,
    build: (d) => {
      const a = d.width();
      const x = d.conv(d.image(3), 3, 2 * a);
      const [left, right] = d.g.ops('Split', [x], 2, { axis: 1, num_outputs: 2 });
      return head(d, d.g.op('Mul', [left!, d.g.op('Sigmoid', [right!])]), a);
    },
  },
  {
    name: 'Slice along channels',
    groups: 2,
    build: (d) => {
      const a = d.width();
      const x = d.conv(d.image(3), 3, a + 3);
      const left = d.g.op('Slice', [x, d.g.ints([0]), d.g.ints([a]), d.g.ints([1])]);
      const right = d.g.op('Slice', [x, d.g.ints([-3]), d.g.ints([2 ** 62]), d.g.ints([1])]);
      return d.g.op('Add', [head(d, left, a), head(d, right, 3)]);
    },
  },
  {
    name: 'grouped Conv',
    groups: 2,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      const x = d.conv(d.image(3), 3, 2 * a);
      return head(d, d.conv(x, 2 * a, 2 * b, 3, { group: 2 }), 2 * b);
    },
  },
  {
    name: 'channel shuffle',
    groups: 2,
    build: (d) => {
      const a = 4;
      let x = d.conv(d.image(3), 3, 2 * a);
      x = d.conv(x, 2 * a, 2 * a, 1, { group: 2 });
      x = d.g.op('Reshape', [x, d.g.ints([0, 2, a, 6, 6])]);
      x = d.g.op('Reshape', [d.g.op('Transpose', [x], { perm: [0, 2, 1, 3, 4] }), d.g.ints([0, 2 * a, 6, 6])]);
      return head(d, d.conv(x, 2 * a, 3, 1), 3);
    },
  },
  {
    name: 'depthwise Conv with multiplier',
    groups: 1,
    build: (d) => {
      const a = d.width();
      let x = d.conv(d.image(3), 3, a);
      x = d.g.op('Clip', [d.bn(d.conv(x, a, a, 3, { group: a }), a), d.g.floats(0), d.g.floats(6)]);
      x = d.conv(x, a, 2 * a, 3, { group: a });
      return head(d, x, 2 * a);
    },
  },
  {
    name: 'squeeze-and-excite by pooling',
    groups: 2,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      const x = d.conv(d.image(3), 3, a);
      const s = d.conv(d.g.op('Relu', [d.conv(d.g.op('GlobalAveragePool', [x]), a, b, 1)]), b, a, 1);
      return head(d, d.g.op('Mul', [x, d.g.op('HardSigmoid', [s])]), a);
    },
  },
  {
    name: 'squeeze-and-excite by ReduceMean, Gemm and Unsqueeze',
    groups: 2,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      const x = d.conv(d.image(3), 3, a);
      const m = d.g.op('ReduceMean', [x], { axes: [2, 3], keepdims: 0 });
      const s = d.g.op('Gemm', [d.g.op('Relu', [d.g.op('Gemm', [m, d.w(a, b)])]), d.w(a, b), d.w(a)], { transB: 1 });
      return head(d, d.g.op('Mul', [d.g.op('Unsqueeze', [s, d.g.ints([2, 3])]), x]), a);
    },
  },
  {
    name: 'heads folded into the batch before a depthwise Conv',
    groups: 1,
    build: (d) => {
      const [h, s] = [3, 4];
      const x = d.g.op('Reshape', [d.conv(d.image(3), 3, h * s), d.g.ints([-1, s, 6, 6])]);
      const y = d.g.op('Reshape', [d.conv(x, s, s, 3, { group: s }), d.g.ints([-1, h * s, 6, 6])]);
      return head(d, y, h * s);
    },
  },
  {
    name: 'FusedConv with a sum, GridSample, CumSum',
    groups: 2,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      const x = d.conv(d.image(3), 3, a);
      const y = d.g.op(
        'FusedConv',
        [x, d.w(a, a, 1, 1), d.w(a), x],
        { activation: 'Relu' },
        { domain: 'com.microsoft' },
      );
      const grid = d.w(2, 4, 4, 2);
      const z = d.conv(d.g.op('GridSample', [y, grid]), a, b);
      return head(d, d.g.op('CumSum', [z, d.g.ints(3)]), b);
    },
  },
  {
    name: 'GroupNormalization',
    opset: 21,
    groups: 1,
    build: (d) => {
      const x = d.conv(d.image(3), 3, 12);
      return head(d, d.g.op('GroupNormalization', [x, d.w(12), d.w(12)], { num_groups: 4 }), 12);
    },
  },
  {
    name: 'GroupNormalization by Reshape and InstanceNormalization',
    groups: 1,
    build: (d) => {
      const x = d.conv(d.image(3), 3, 12);
      let y = d.g.op('Reshape', [x, d.g.ints([0, 4, -1])]);
      y = d.g.op('InstanceNormalization', [y, d.p(4), d.w(4)]);
      y = d.g.op('Reshape', [y, d.g.op('Shape', [x])]);
      return head(d, d.g.op('Add', [d.g.op('Mul', [y, d.w(12, 1, 1)]), d.w(12, 1, 1)]), 12);
    },
  },
  {
    name: 'Flatten into Gemm',
    groups: 2,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      const x = d.g.op('Flatten', [d.conv(d.image(3), 3, a)]);
      const y = d.g.op('Relu', [d.g.op('Gemm', [x, d.w(36 * a, b), d.w(b)], { alpha: { float: 0.5 } })]);
      return d.g.op('Gemm', [y, d.w(b, 2), d.w(1)]);
    },
  },
  {
    name: 'DepthToSpace and SpaceToDepth',
    groups: 2,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      let x = d.conv(d.image(3), 3, 4 * a);
      x = d.conv(d.g.op('DepthToSpace', [x], { blocksize: 2 }), a, b);
      return head(d, d.g.op('SpaceToDepth', [x], { blocksize: 2 }), 4 * b);
    },
  },
  {
    name: 'DepthToSpace CRD',
    groups: 1,
    build: (d) => {
      const a = d.width();
      const x = d.g.op('DepthToSpace', [d.conv(d.image(3), 3, 4 * a)], { blocksize: 2, mode: 'CRD' });
      return head(d, x, a);
    },
  },
  {
    name: 'pixel shuffle by Reshape and Transpose',
    groups: 1,
    build: (d) => {
      const a = d.width();
      let x = d.g.op('Reshape', [d.conv(d.image(3), 3, 4 * a), d.g.ints([0, a, 2, 2, 6, 6])]);
      x = d.g.op('Transpose', [x], { perm: [0, 1, 4, 2, 5, 3] });
      return head(d, d.conv(d.g.op('Reshape', [x, d.g.ints([0, a, 12, 12])]), a, 3), 3);
    },
  },
  {
    name: 'PRelu, per-channel affine, Dropout, Pow',
    groups: 2,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      let x = d.g.op('PRelu', [d.conv(d.image(3), 3, a), d.w(a, 1, 1)]);
      x = d.g.op('Dropout', [d.g.op('Add', [d.g.op('Mul', [d.w(1, a, 1, 1), x]), d.g.floats(0.1)])]);
      x = d.g.op('PRelu', [d.conv(x, a, b), d.w(1)]);
      return head(d, d.g.op('Pow', [x, d.g.floats(2)]), b);
    },
  },
  {
    name: 'one weight used twice',
    groups: 1,
    build: (d) => {
      const a = d.width();
      const weight = d.w(a, a, 25, 25);
      const pads = { pads: [12, 12, 12, 12] };
      let x = d.conv(d.image(3), 3, a);
      x = d.g.op('Relu', [d.g.op('Conv', [x, weight], pads)]);
      return head(d, d.g.op('Tanh', [d.g.op('Conv', [x, weight], pads)]), a);
    },
  },
  {
    name: 'small constants shared by layers of their own',
    groups: 2,
    build: (d) => {
      const ones = d.p(6);
      const norm = (x: string): string => d.g.op('BatchNormalization', [x, ones, ones, ones, ones]);
      const x = norm(d.conv(d.image(3), 3, 6));
      return head(d, norm(d.conv(x, 6, 6)), 6);
    },
  },
  {
    name: 'ConvTranspose, plain, grouped and depthwise',
    groups: 3,
    build: (d) => {
      const [a, b] = [2 * d.width(), d.width()];
      let x = d.conv(d.image(3), 3, a);
      x = d.g.op('ConvTranspose', [x, d.w(a, b, 2, 2), d.w(b)], { strides: [2, 2] });
      x = d.g.op('ConvTranspose', [x, d.w(b, 1, 3, 3), d.w(b)], { group: b });
      const y = d.g.op('ConvTranspose', [x, d.w(b, 3, 2, 2)], { group: 2 });
      return head(d, y, 6);
    },
  },
  {
    name: 'Resize by sizes and by scales',
    groups: 1,
    build: (d) => {
      const a = d.width();
      let x = d.conv(d.image(3), 3, a);
      const batch = d.g.op('Gather', [d.g.op('Shape', [x]), d.g.ints([0])]);
      const sizes = d.g.op('Concat', [batch, d.g.ints([a]), d.g.ints([9, 9])], { axis: 0 });
      x = d.g.op('Resize', [x, '', '', sizes], { mode: 'nearest' });
      x = d.g.op('Resize', [x, '', d.g.floats([1, 1, 2, 2])], { mode: 'nearest' });
      return head(d, x, a);
    },
  },
  {
    name: 'sums over channels',
    groups: 1,
    build: (d) => {
      const a = d.width();
      const x = d.conv(d.image(3), 3, a);
      const s = d.g.op('ReduceSum', [x, d.g.ints([1])], { keepdims: 1 });
      return d.g.op('Add', [s, d.g.op('ReduceL2', [x], { axes: [1], keepdims: 1 })]);
    },
  },
  {
    name: 'Where, Max, Tile and Expand',
    groups: 1,
    build: (d) => {
      const a = d.width();
      const x = d.conv(d.image(3), 3, a);
      const y = d.g.op('Where', [d.g.op('Greater', [x, d.g.floats(0.1)]), x, d.w(1, a, 1, 1)]);
      const wide = d.g.op('Tile', [d.g.op('Max', [y, x, d.w(a, 1, 1)]), d.g.ints([1, 2, 1, 1])]);
      return head(d, wide, 2 * a);
    },
  },
  {
    name: 'Gather of channels in another order',
    groups: 1,
    build: (d) => {
      const a = 6;
      const x = d.conv(d.image(3), 3, a);
      return head(d, d.g.op('Gather', [x, d.g.ints([5, 3, 1, 0, 2, -2])], { axis: 1 }), a);
    },
  },
  {
    name: 'a product with values that have no labels',
    groups: 1,
    build: (d) => {
      const a = d.width();
      const gate = d.g.input('gate', F, ['N', 4, 6, 6]);
      const x = d.conv(d.image(3), 3, 4);
      const y = d.g.op('Mul', [d.g.op('Sigmoid', [gate]), x]);
      return head(d, d.conv(y, 4, a), a);
    },
  },
  {
    name: 'one-dimensional and three-dimensional Conv',
    groups: 2,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      const x = d.g.op('Conv', [d.g.input('x', F, ['N', 3, 12]), d.w(a, 3, 3), d.w(a)]);
      const y = d.g.op('Unsqueeze', [d.g.op('Relu', [x]), d.g.ints([2, 3])]);
      const z = d.g.op('Conv', [y, d.w(b, a, 1, 1, 3)]);
      return d.g.op('MatMul', [d.g.op('Flatten', [z]), d.w(8 * b, 2)]);
    },
  },
  {
    name: 'IR 3: initializers that are inputs',
    opset: 8,
    ir: 3,
    groups: 1,
    build: (d) => {
      const a = d.width();
      const x = d.conv(d.image(3), 3, a);
      return head(d, d.g.op('Relu', [x]), a);
    },
  },
];
