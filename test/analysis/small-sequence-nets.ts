// Small networks of matrix products: attention in its forms, recurrent layers, quantised and prepared weights.

import { DataType, type Tensor } from '../../src/ir/tensor.js';
import { head, type Draw, type Net } from './small-nets.js';

const F = DataType.FLOAT;

function linear(d: Draw, x: string, from: number, to: number): string {
  return d.g.op('Add', [d.g.op('MatMul', [x, d.w(from, to)]), d.w(to)]);
}

/** [B, N, C] -> [B, h, N, d] */
function heads(d: Draw, x: string, h: number, size: number, perm = [0, 2, 1, 3]): string {
  return d.g.op('Transpose', [d.g.op('Reshape', [x, d.g.ints([0, 0, h, size])])], { perm });
}

/** Scores, softmax, weighted sum, heads joined, output projection. */
function attend(d: Draw, q: string, k: string, v: string, width: number): string {
  const scores = d.g.op('Mul', [d.g.op('MatMul', [q, k]), d.g.floats(0.5)]);
  const mixed = d.g.op('MatMul', [d.g.op('Softmax', [scores], { axis: -1 }), v]);
  const joined = d.g.op('Reshape', [d.g.op('Transpose', [mixed], { perm: [0, 2, 1, 3] }), d.g.ints([0, 0, width])]);
  return linear(d, joined, width, 5);
}

const tokens = (d: Draw, c = 6): string => d.g.input('x', F, ['N', 5, c]);

function quantized(d: Draw, dims: number[], axis: number): string {
  const n = dims.reduce((a, b) => a * b, 1);
  const bytes = Uint8Array.from({ length: n }, () => d.rng.int(256));
  const tensor: Tensor = { name: 'q', dataType: DataType.INT8, dims, bytes: () => bytes };
  const zero: Tensor = {
    name: 'z',
    dataType: DataType.INT8,
    dims: [dims[axis]!],
    bytes: () => new Uint8Array(dims[axis]!),
  };
  const scale = d.g.floats(Float32Array.from({ length: dims[axis]! }, () => 0.01 + d.rng.next() * 0.01));
  return d.g.op('DequantizeLinear', [d.g.constant(tensor), scale, d.g.constant(zero)], { axis });
}

export const sequential: readonly Net[] = [
  {
    name: 'attention with separate projections',
    groups: 1,
    build: (d) => {
      const x = tokens(d);
      const [h, s] = [3, 4];
      const q = heads(d, linear(d, x, 6, h * s), h, s);
      const k = heads(d, linear(d, x, 6, h * s), h, s, [0, 2, 3, 1]);
      const v = heads(d, linear(d, x, 6, h * s), h, s);
      return attend(d, q, k, v, h * s);
    },
  },
  {
    name: 'attention with fused qkv: Reshape to 3, Transpose, Gather',
    groups: 1,
    build: (d) => {
      const [h, s] = [3, 4];
      const x = d.g.op('Reshape', [linear(d, tokens(d), 6, 3 * h * s), d.g.ints([0, 0, 3, h, s])]);
      const t = d.g.op('Transpose', [x], { perm: [2, 0, 3, 1, 4] });
      const [q, k, v] = [0, 1, 2].map((i) => d.g.op('Gather', [t, d.g.ints(i)], { axis: 0 }));
      return attend(d, q!, d.g.op('Transpose', [k!], { perm: [0, 1, 3, 2] }), v!, h * s);
    },
  },
  {
    name: 'attention with fused qkv: Split, Squeeze',
    groups: 1,
    build: (d) => {
      const [h, s] = [4, 2];
      const x = d.g.op('Reshape', [linear(d, tokens(d), 6, 3 * h * s), d.g.ints([0, 0, 3, h, s])]);
      const t = d.g.op('Transpose', [x], { perm: [2, 0, 3, 1, 4] });
      const parts = d.g.ops('Split', [t, d.g.ints([1, 1, 1])], 3, { axis: 0 });
      const [q, k, v] = parts.map((part) => d.g.op('Squeeze', [part, d.g.ints([0])]));
      return attend(d, q!, d.g.op('Transpose', [k!], { perm: [0, 1, 3, 2] }), v!, h * s);
    },
  },
  {
    name: 'attention with fused qkv split along channels, dynamic shapes',
    groups: 1,
    build: (d) => {
      const [h, s] = [3, 2];
      const x = tokens(d);
      const [a, b, c] = d.g.ops('Split', [linear(d, x, 6, 3 * h * s), d.g.ints([h * s, h * s, h * s])], 3, {
        axis: -1,
      });
      const dim = (i: number): string =>
        d.g.op('Unsqueeze', [d.g.op('Gather', [d.g.op('Shape', [x]), d.g.ints(i)]), d.g.ints([0])]);
      const target = d.g.op('Concat', [dim(0), dim(1), d.g.ints([h]), d.g.ints([s])], { axis: 0 });
      const split = (y: string, perm: number[]): string =>
        d.g.op('Transpose', [d.g.op('Reshape', [y, target])], { perm });
      const q = split(a!, [0, 2, 1, 3]);
      const mixed = d.g.op('MatMul', [
        d.g.op('Softmax', [d.g.op('MatMul', [q, split(b!, [0, 2, 3, 1])])]),
        split(c!, [0, 2, 1, 3]),
      ]);
      const back = d.g.op('Transpose', [mixed], { perm: [0, 2, 1, 3] });
      const joined = d.g.op('Reshape', [back, d.g.op('Concat', [dim(0), dim(1), d.g.ints([h * s])], { axis: 0 })]);
      return linear(d, joined, h * s, 5);
    },
  },
  {
    name: 'heads folded into a dynamic batch',
    groups: 1,
    build: (d) => {
      const [h, s] = [4, 2];
      const x = tokens(d);
      const batch = d.g.op('Gather', [d.g.op('Shape', [x]), d.g.ints(0)]);
      const folded = d.g.op('Unsqueeze', [d.g.op('Mul', [batch, d.g.ints(h)]), d.g.ints([0])]);
      const target = d.g.op('Concat', [folded, d.g.ints([5]), d.g.ints([s])], { axis: 0 });
      const fold = (y: string): string => d.g.op('Reshape', [heads(d, y, h, s), target]);
      const q = fold(linear(d, x, 6, h * s));
      const k = d.g.op('Transpose', [fold(linear(d, x, 6, h * s))], { perm: [0, 2, 1] });
      const mixed = d.g.op('MatMul', [d.g.op('Softmax', [d.g.op('MatMul', [q, k])]), fold(linear(d, x, 6, h * s))]);
      const back = d.g.op('Concat', [d.g.op('Unsqueeze', [batch, d.g.ints([0])]), d.g.ints([h, 5, s])], { axis: 0 });
      const apart = d.g.op('Transpose', [d.g.op('Reshape', [mixed, back])], { perm: [0, 2, 1, 3] });
      return linear(d, d.g.op('Reshape', [apart, d.g.ints([0, 0, -1])]), h * s, 3);
    },
  },
  {
    name: 'rotary position by tables shared between q and k',
    groups: 1,
    build: (d) => {
      const [h, s] = [3, 4];
      const x = tokens(d);
      const [cos, sin] = [d.w(h, 5, s), d.w(h, 5, s)];
      const big = (y: string): string => d.g.op('Mul', [y, d.w(1, 1, 5, 1)]);
      const rotate = (y: string): string => {
        const [a, b] = d.g.ops('Split', [y, d.g.ints([s / 2, s / 2])], 2, { axis: -1 });
        const turned = d.g.op('Concat', [d.g.op('Neg', [b!]), a!], { axis: -1 });
        return d.g.op('Add', [d.g.op('Mul', [y, cos]), d.g.op('Mul', [turned, sin])]);
      };
      const q = rotate(big(heads(d, linear(d, x, 6, h * s), h, s)));
      const k = rotate(heads(d, linear(d, x, 6, h * s), h, s));
      return attend(
        d,
        q,
        d.g.op('Transpose', [k], { perm: [0, 1, 3, 2] }),
        heads(d, linear(d, x, 6, h * s), h, s),
        h * s,
      );
    },
  },
  {
    name: 'the operator Attention, with grouped queries',
    opset: 23,
    ir: 10,
    groups: 2,
    build: (d) => {
      const [h, kv, s] = [6, 3, 4];
      const x = tokens(d);
      const y = d.g.op('Attention', [linear(d, x, 6, h * s), linear(d, x, 6, kv * s), linear(d, x, 6, kv * s)], {
        q_num_heads: h,
        kv_num_heads: kv,
      });
      const apart = (z: string): string => heads(d, linear(d, z, 5, h * s), h, s);
      const z = linear(d, y, h * s, 5);
      const four = d.g.op('Attention', [apart(z), apart(z), apart(z), d.w(1, h, 5, 5)]);
      return d.g.op('Reshape', [linear(d, d.g.op('ReduceSum', [four, d.g.ints([1])]), s, 2), d.g.ints([0, -1])]);
    },
  },
  {
    name: 'onnxruntime: MultiHeadAttention, Attention, Gelu, FusedMatMul',
    groups: 3,
    build: (d) => {
      const ms = { domain: 'com.microsoft' };
      const [h, s, m] = [3, 4, d.width()];
      const x = tokens(d);
      const project = (): string => d.g.op('MatMul', [x, d.w(6, h * s)]);
      let y = d.g.op('MultiHeadAttention', [project(), project(), project(), d.w(3 * h * s)], { num_heads: h }, ms);
      y = linear(d, y, h * s, 8);
      y = d.g.op('Attention', [y, d.w(8, 3 * h * s), d.w(3 * h * s)], { num_heads: h }, ms);
      y = d.g.op('Gelu', [linear(d, y, h * s, m)], {}, ms);
      return d.g.op('FusedMatMul', [y, d.w(3, m)], { transB: 1 }, ms);
    },
  },
  {
    name: 'grouped-query attention',
    groups: 1,
    build: (d) => {
      const [h, kv, s] = [4, 2, 3];
      const x = tokens(d);
      const q = heads(d, linear(d, x, 6, h * s), h, s);
      const repeat = (y: string): string => {
        const wide = d.g.op('Expand', [d.g.op('Unsqueeze', [y, d.g.ints([2])]), d.g.ints([1, kv, h / kv, 5, s])]);
        return d.g.op('Reshape', [wide, d.g.ints([-1, h, 5, s])]);
      };
      const k = repeat(heads(d, linear(d, x, 6, kv * s), kv, s));
      const v = repeat(heads(d, linear(d, x, 6, kv * s), kv, s));
      return attend(d, q, d.g.op('Transpose', [k], { perm: [0, 1, 3, 2] }), v, h * s);
    },
  },
  {
    name: 'attention with one head and a scaled MLP',
    groups: 3,
    build: (d) => {
      const [a, b, c] = [d.width(), d.width(), d.width()];
      const x = tokens(d);
      const scores = d.g.op('MatMul', [
        linear(d, x, 6, a),
        d.g.op('Transpose', [linear(d, x, 6, a)], { perm: [0, 2, 1] }),
      ]);
      const y = linear(d, d.g.op('MatMul', [d.g.op('Softmax', [scores]), linear(d, x, 6, b)]), b, 6);
      const m = d.g.op('Mul', [d.g.op('Erf', [linear(d, d.g.op('Add', [x, y]), 6, c)]), d.w(c)]);
      return linear(d, m, c, 4);
    },
  },
  {
    name: 'class token, position table, LayerNormalization apart',
    groups: 1,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      let x = d.conv(d.image(3), 3, a, 1);
      x = d.g.op('Transpose', [d.g.op('Reshape', [x, d.g.ints([0, a, -1])])], { perm: [0, 2, 1] });
      const batch = d.g.op('Gather', [d.g.op('Shape', [x]), d.g.ints([0])]);
      const shape = d.g.op('Concat', [batch, d.g.ints([1]), d.g.ints([a])], { axis: 0 });
      const token = d.g.op('Expand', [d.w(1, 1, a), shape]);
      x = d.g.op('Add', [d.g.op('Concat', [token, x], { axis: 1 }), d.w(1, 37, a)]);
      const m = linear(d, d.g.op('Relu', [linear(d, x, a, b)]), b, a);
      x = d.g.op('Add', [x, m]);
      return linear(d, d.g.op('Gather', [x, d.g.ints(0)], { axis: 1 }), a, 4);
    },
  },
  {
    name: 'class token whose Expand keeps what is -1',
    groups: 2,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      let x = d.conv(d.image(3), 3, a, 1);
      x = d.g.op('Transpose', [d.g.op('Reshape', [x, d.g.ints([0, a, -1])])], { perm: [0, 2, 1] });
      const batch = d.g.op('Gather', [d.g.op('Shape', [x]), d.g.ints([0])]);
      const wish = d.g.op('Concat', [batch, d.g.ints([-1, -1])], { axis: 0 });
      const shape = d.g.op('Where', [d.g.op('Equal', [wish, d.g.ints([-1, -1, -1])]), d.g.ints([1, 1, 1]), wish]);
      x = d.g.op('Concat', [d.g.op('Expand', [d.w(1, 1, a), shape]), x], { axis: 1 });
      const m = linear(d, d.g.op('Relu', [linear(d, x, a, b)]), b, a);
      return linear(d, d.g.op('Gather', [d.g.op('Add', [x, m]), d.g.ints(0)], { axis: 1 }), a, 4);
    },
  },
  {
    name: 'NHWC between Transposes',
    groups: 2,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      const x = d.g.op('Transpose', [d.conv(d.image(3), 3, a)], { perm: [0, 2, 3, 1] });
      const y = d.g.op('Relu', [d.g.op('Add', [d.g.op('MatMul', [x, d.w(a, b)]), d.w(1, 1, 1, b)])]);
      return head(d, d.conv(d.g.op('Transpose', [y], { perm: [0, 3, 1, 2] }), b, 3, 1), 3);
    },
  },
  {
    name: 'weights on the left of MatMul',
    groups: 2,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      const x = d.g.input('x', F, ['N', 6, 5]);
      const y = d.g.op('MatMul', [d.w(b, a), d.g.op('Relu', [d.g.op('MatMul', [d.w(a, 6), x])])]);
      return d.g.op('MatMul', [d.w(2, b), y]);
    },
  },
  {
    name: 'Reshape by a computed batch into MatMul',
    groups: 1,
    build: (d) => {
      const a = d.width();
      const x = d.conv(d.image(3), 3, a);
      const batch = d.g.op('Unsqueeze', [d.g.op('Gather', [d.g.op('Shape', [x]), d.g.ints(0)]), d.g.ints([0])]);
      const flat = d.g.op('Reshape', [x, d.g.op('Concat', [batch, d.g.ints([36 * a])], { axis: 0 })]);
      return d.g.op('MatMul', [flat, d.w(36 * a, 2)]);
    },
  },
  {
    name: 'LSTM in both directions',
    groups: 2,
    build: (d) => {
      const [a, h] = [d.width(), d.width()];
      const x = d.g.op('Transpose', [linear(d, tokens(d), 6, a)], { perm: [1, 0, 2] });
      const y = d.g.ops('LSTM', [x, d.w(2, 4 * h, a), d.w(2, 4 * h, h), d.w(2, 8 * h)], 3, {
        hidden_size: h,
        direction: 'bidirectional',
      });
      const joined = d.g.op('Reshape', [d.g.op('Transpose', [y[0]!], { perm: [0, 2, 1, 3] }), d.g.ints([0, 0, -1])]);
      return [linear(d, joined, 2 * h, 3), linear(d, y[1]!, h, 2)];
    },
  },
  {
    name: 'GRU and RNN',
    groups: 2,
    build: (d) => {
      const [a, h] = [d.width(), d.width()];
      const x = d.g.op('Transpose', [tokens(d)], { perm: [1, 0, 2] });
      const y = d.g.op('GRU', [x, d.w(1, 3 * a, 6), d.w(1, 3 * a, a), d.w(1, 6 * a)], { hidden_size: a });
      const s = d.g.op('Squeeze', [y, d.g.ints([1])]);
      const z = d.g.op('RNN', [s, d.w(1, h, a), d.w(1, h, h)], { hidden_size: h });
      return linear(d, d.g.op('Squeeze', [z, d.g.ints([1])]), h, 3);
    },
  },
  {
    name: 'int8 weights by DequantizeLinear, activations by Q and DQ',
    groups: 2,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      const pair = (x: string): string => {
        const scale = d.g.floats(0.05);
        const zero = d.g.constant({ name: 'z', dataType: DataType.UINT8, dims: [], bytes: () => Uint8Array.of(128) });
        return d.g.op('DequantizeLinear', [d.g.op('QuantizeLinear', [x, scale, zero]), scale, zero]);
      };
      const pads = { pads: [1, 1, 1, 1] };
      let x = pair(d.g.op('Conv', [d.image(3), quantized(d, [a, 3, 3, 3], 0), d.w(a)], pads));
      x = pair(d.g.op('Relu', [d.g.op('Conv', [x, quantized(d, [b, a, 3, 3], 0)], pads)]));
      const flat = d.g.op('Flatten', [d.g.op('GlobalAveragePool', [x])]);
      return d.g.op('MatMul', [flat, quantized(d, [b, 4], 1)]);
    },
  },
  {
    name: 'weights behind Transpose, Reshape, Cast and Mul',
    groups: 3,
    build: (d) => {
      const [a, b, c] = [d.width(), d.width(), d.width()];
      const first = d.g.op('Transpose', [d.w(3, 3, a, 3)], { perm: [2, 3, 0, 1] });
      let x = d.g.op('Conv', [d.image(3), first]);
      const second = d.g.op('Reshape', [d.w(b * a, 9), d.g.ints([b, a, 3, 3])]);
      x = d.g.op('Relu', [d.g.op('Conv', [x, d.g.op('Mul', [second, d.w(b, 1, 1, 1)])])]);
      const flat = d.g.op('Flatten', [d.g.op('GlobalAveragePool', [x])]);
      const third = d.g.op('Cast', [d.g.op('Cast', [d.w(b, c)], { to: DataType.DOUBLE })], { to: F });
      return d.g.op('MatMul', [d.g.op('MatMul', [flat, third]), d.g.op('Transpose', [d.w(2, c)], { perm: [1, 0] })]);
    },
  },
  {
    name: 'embedding and pooled MLP',
    groups: 2,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      const ids = d.g.input('ids', DataType.INT64, ['N', 5]);
      const x = d.g.op('Gather', [d.w(4, a), ids]);
      const m = d.g.op('ReduceMean', [d.g.op('Add', [x, d.w(5, a)])], { axes: [1], keepdims: 0 });
      return linear(d, d.g.op('Relu', [linear(d, m, a, b)]), b, 2);
    },
  },
  {
    name: 'Einsum',
    groups: 1,
    build: (d) => {
      const a = d.width();
      const x = linear(d, tokens(d), 6, a);
      return d.g.op('Einsum', [x, d.w(a, 3)], { equation: 'bnc,cd->bnd' });
    },
  },
  {
    name: 'Einsum attention with heads of the weights',
    groups: 2,
    build: (d) => {
      const [h, s, m] = [3, 4, d.width()];
      const x = tokens(d);
      const project = (): string => d.g.op('Einsum', [x, d.w(6, h, s)], { equation: '...c,chd->...hd' });
      const scores = d.g.op('Einsum', [project(), project()], { equation: 'bihd,bjhd->bhij' });
      const mixed = d.g.op('Einsum', [d.g.op('Softmax', [scores]), project()], { equation: 'bhij,bjhd->bihd' });
      const y = d.g.op('Einsum', [mixed, d.w(h, s, m)], { equation: 'bihd,hde->bie' });
      return linear(d, y, m, 2);
    },
  },
  {
    name: 'linear attention',
    groups: 1,
    build: (d) => {
      const [a, b] = [d.width(), d.width()];
      const x = tokens(d);
      const k = d.g.op('Transpose', [linear(d, x, 6, a)], { perm: [0, 2, 1] });
      const context = d.g.op('MatMul', [k, linear(d, x, 6, b)]);
      return linear(d, d.g.op('MatMul', [linear(d, x, 6, a), context]), b, 3);
    },
  },
  {
    name: 'window attention by Reshape and Transpose',
    groups: 2,
    build: (d) => {
      const a = d.width();
      const [h, s] = [2, 3];
      let x = d.g.op('Transpose', [d.conv(d.image(3, 4), 3, a)], { perm: [0, 2, 3, 1] });
      x = d.g.op('Transpose', [d.g.op('Reshape', [x, d.g.ints([-1, 2, 2, 2, 2, a])])], { perm: [0, 1, 3, 2, 4, 5] });
      x = d.g.op('Reshape', [x, d.g.ints([-1, 4, a])]);
      const q = heads(d, linear(d, x, a, h * s), h, s);
      const k = heads(d, linear(d, x, a, h * s), h, s, [0, 2, 3, 1]);
      const v = heads(d, linear(d, x, a, h * s), h, s);
      return attend(d, q, d.g.op('Add', [k, d.w(1, h, s, 1)]), v, h * s);
    },
  },
];
