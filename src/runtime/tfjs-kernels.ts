// Operators of ONNX as calls of TensorFlow.js: element-wise, movement, reductions. Integers of 64 bits are 32 bits wide here.
// https://onnx.ai/onnx/operators/
import type { Tensor } from '@tensorflow/tfjs-core';
import { attrFloat, attrInt, attrInts, attrString, attrTensor, type Node } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';

export type TensorFlow = typeof import('@tensorflow/tfjs-core');

export interface KernelContext {
  readonly tf: TensorFlow;
  readonly node: Node;
  readonly opset: number;
  has(i: number): boolean;
  x(i: number): Tensor;
  /** The numbers of a small input: shapes, axes, pads. */
  numbers(i: number): readonly number[];
  /** A constant of the graph as a tensor. */
  constant(t: NonNullable<ReturnType<typeof attrTensor>>): Tensor;
  /** Ends with a sentence: an attribute or type that is not covered. */
  refuse(what: string): never;
}

/** One tensor an output. */
export type Kernel = (k: KernelContext) => Tensor | readonly Tensor[];

export function range(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i);
}

export function positive(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}

/** From an attribute, or from an input in newer opsets. */
export function listOf(k: KernelContext, name: string, input: number): readonly number[] | undefined {
  return attrInts(k.node, name) ?? (k.has(input) ? k.numbers(input) : undefined);
}

const product = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);

type Unary = (tf: TensorFlow, x: Tensor, k: KernelContext) => Tensor;
const unary =
  (f: Unary): Kernel =>
  (k) =>
    f(k.tf, k.x(0), k);

type Binary = (tf: TensorFlow, a: Tensor, b: Tensor) => Tensor;
const binary =
  (f: Binary): Kernel =>
  (k) =>
    f(k.tf, k.x(0), k.x(1));

/** All inputs, two at a time. */
const folded =
  (f: Binary): Kernel =>
  (k) =>
    range(k.node.inputs.length)
      .map((i) => k.x(i))
      .reduce((a, b) => f(k.tf, a, b));

const number = (k: KernelContext, name: string, fallback: number): number => attrFloat(k.node, name, fallback);

const divided: Binary = (tf, a, b) =>
  a.dtype === 'int32'
    ? tf.cast(truncated(tf, tf.div(tf.cast(a, 'float32'), tf.cast(b, 'float32'))), 'int32')
    : tf.div(a, b);

function truncated(tf: TensorFlow, x: Tensor): Tensor {
  return tf.mul(tf.sign(x), tf.floor(tf.abs(x)));
}

const powered: Binary = (tf, a, b) => {
  const result = tf.pow(tf.cast(a, 'float32'), tf.cast(b, 'float32'));
  return a.dtype === 'int32' ? tf.cast(tf.round(result), 'int32') : result;
};

const elementwise: Readonly<Record<string, Kernel>> = {
  Add: binary((tf, a, b) => tf.add(a, b)),
  Sub: binary((tf, a, b) => tf.sub(a, b)),
  Mul: binary((tf, a, b) => tf.mul(a, b)),
  Div: binary(divided),
  Pow: binary(powered),
  Sum: folded((tf, a, b) => tf.add(a, b)),
  Min: folded((tf, a, b) => tf.minimum(a, b)),
  Max: folded((tf, a, b) => tf.maximum(a, b)),
  Mean: (k) => {
    const all = range(k.node.inputs.length).map((i) => k.x(i));
    return k.tf.div(
      all.reduce((a, b) => k.tf.add(a, b)),
      all.length,
    );
  },
  Equal: binary((tf, a, b) => tf.equal(a, b)),
  Greater: binary((tf, a, b) => tf.greater(a, b)),
  GreaterOrEqual: binary((tf, a, b) => tf.greaterEqual(a, b)),
  Less: binary((tf, a, b) => tf.less(a, b)),
  LessOrEqual: binary((tf, a, b) => tf.lessEqual(a, b)),
  And: binary((tf, a, b) => tf.logicalAnd(a, b)),
  Or: binary((tf, a, b) => tf.logicalOr(a, b)),
  Xor: binary((tf, a, b) => tf.logicalXor(a, b)),
  Not: unary((tf, x) => tf.logicalNot(x)),
  Where: (k) => {
    const [a, b] = [k.x(1), k.x(2)];
    const float = (t: Tensor): Tensor => k.tf.cast(t, 'float32');
    const shape = k.tf.add(k.tf.add(float(a), float(b)), float(k.x(0))).shape;
    const full = (t: Tensor): Tensor => k.tf.broadcastTo(t, shape);
    return k.tf.where(k.tf.cast(full(k.tf.cast(k.x(0), 'int32')), 'bool'), full(a), full(b));
  },
  Abs: unary((tf, x) => tf.abs(x)),
  Neg: unary((tf, x) => tf.neg(x)),
  Sign: unary((tf, x) => tf.sign(x)),
  Exp: unary((tf, x) => tf.exp(x)),
  Log: unary((tf, x) => tf.log(x)),
  Sqrt: unary((tf, x) => tf.sqrt(x)),
  Reciprocal: unary((tf, x) => tf.reciprocal(x)),
  Floor: unary((tf, x) => tf.floor(x)),
  Ceil: unary((tf, x) => tf.ceil(x)),
  Round: unary((tf, x) => tf.round(x)),
  Sin: unary((tf, x) => tf.sin(x)),
  Cos: unary((tf, x) => tf.cos(x)),
  Tan: unary((tf, x) => tf.tan(x)),
  Tanh: unary((tf, x) => tf.tanh(x)),
  Sigmoid: unary((tf, x) => tf.sigmoid(x)),
  Erf: unary((tf, x) => tf.erf(x)),
  Relu: unary((tf, x) => tf.relu(x)),
  Softplus: unary((tf, x) => tf.softplus(x)),
  Softsign: unary((tf, x) => tf.div(x, tf.add(tf.abs(x), 1))),
  LeakyRelu: unary((tf, x, k) => tf.leakyRelu(x, number(k, 'alpha', 0.01))),
  PRelu: (k) => k.tf.where(k.tf.greater(k.x(0), 0), k.x(0), k.tf.mul(k.x(0), k.x(1))),
  Elu: unary((tf, x, k) => below(tf, x, tf.mul(tf.sub(tf.exp(tf.minimum(x, 0)), 1), number(k, 'alpha', 1)))),
  Selu: unary((tf, x, k) => {
    const [alpha, gamma] = [
      number(k, 'alpha', 1.67326319217681884765625),
      number(k, 'gamma', 1.05070102214813232421875),
    ];
    return tf.mul(below(tf, x, tf.mul(tf.sub(tf.exp(tf.minimum(x, 0)), 1), alpha)), gamma);
  }),
  HardSigmoid: unary((tf, x, k) =>
    tf.clipByValue(tf.add(tf.mul(x, number(k, 'alpha', 0.2)), number(k, 'beta', 0.5)), 0, 1),
  ),
  HardSwish: unary((tf, x) => tf.mul(x, tf.clipByValue(tf.add(tf.mul(x, 1 / 6), 0.5), 0, 1))),
  Mish: unary((tf, x) => tf.mul(x, tf.tanh(tf.softplus(x)))),
  Gelu: unary((tf, x, k) => {
    if (attrString(k.node, 'approximate', 'none') !== 'none') return k.refuse('approximate');
    return tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));
  }),
  Clip: (k) => {
    const bound = (name: string, i: number): Tensor | undefined =>
      k.opset < 11
        ? k.node.attributes.has(name)
          ? k.tf.scalar(number(k, name, 0))
          : undefined
        : k.has(i)
          ? k.x(i)
          : undefined;
    const [low, high] = [bound('min', 1), bound('max', 2)];
    const raised = low === undefined ? k.x(0) : k.tf.maximum(k.x(0), low);
    return high === undefined ? k.tf.clone(raised) : k.tf.minimum(raised, high);
  },
  Cast: (k) => {
    const to = attrInt(k.node, 'to', DataType.FLOAT);
    const x = k.x(0);
    if (to === DataType.FLOAT) return k.tf.cast(x, 'float32');
    if (to === DataType.BOOL) return k.tf.cast(x, 'bool');
    if (to !== DataType.INT32 && to !== DataType.INT64) return k.refuse(`data type ${to}`);
    return x.dtype === 'float32' ? k.tf.cast(truncated(k.tf, x), 'int32') : k.tf.cast(x, 'int32');
  },
  Softmax: (k) =>
    softmax(k, (x, axis) => {
      const e = k.tf.exp(k.tf.sub(x, k.tf.max(x, axis, true)));
      return k.tf.div(e, k.tf.sum(e, axis, true));
    }),
  LogSoftmax: (k) =>
    softmax(k, (x, axis) => {
      const level = k.tf.sub(x, k.tf.max(x, axis, true));
      return k.tf.sub(level, k.tf.log(k.tf.sum(k.tf.exp(level), axis, true)));
    }),
};

function below(tf: TensorFlow, x: Tensor, otherwise: Tensor): Tensor {
  return tf.where(tf.greater(x, 0), x, otherwise);
}

/** Before opset 13 over all axes from `axis` on, seen as one. */
function softmax(k: KernelContext, along: (x: Tensor, axis: number) => Tensor): Tensor {
  const x = k.x(0);
  const axis = positive(attrInt(k.node, 'axis', k.opset < 13 ? 1 : -1), x.rank);
  if (k.opset >= 13) return along(x, axis);
  const rows = product(x.shape.slice(0, axis));
  return k.tf.reshape(along(k.tf.reshape(x, [rows, product(x.shape) / rows]), 1), x.shape);
}

/** Takes along one axis the elements with these indices. */
export function taken(tf: TensorFlow, x: Tensor, axis: number, indices: readonly number[]): Tensor {
  return tf.gather(x, tf.tensor1d([...indices], 'int32'), axis);
}

const movement: Readonly<Record<string, Kernel>> = {
  Identity: unary((tf, x) => tf.clone(x)),
  Dropout: (k) => {
    if (k.has(2) && k.numbers(2)[0] !== 0) return k.refuse('training_mode');
    return [k.tf.clone(k.x(0)), k.tf.cast(k.tf.onesLike(k.x(0)), 'bool')];
  },
  Shape: (k) => {
    const { shape } = k.x(0);
    const [start, end] = [attrInt(k.node, 'start', 0), attrInt(k.node, 'end', shape.length)];
    return k.tf.tensor1d(shape.slice(start, end), 'int32');
  },
  Constant: (k) => {
    const value = attrTensor(k.node, 'value');
    if (value !== undefined) return k.constant(value);
    const { attributes } = k.node;
    const found =
      attributes.get('value_float') ??
      attributes.get('value_int') ??
      attributes.get('value_floats') ??
      attributes.get('value_ints');
    if (found?.kind === 'float') return k.tf.scalar(found.value);
    if (found?.kind === 'int') return k.tf.scalar(found.value, 'int32');
    if (found?.kind === 'floats') return k.tf.tensor1d([...found.value]);
    if (found?.kind === 'ints') return k.tf.tensor1d([...found.value], 'int32');
    return k.refuse('this kind of constant');
  },
  ConstantOfShape: (k) => {
    const value = attrTensor(k.node, 'value');
    const one = value === undefined ? k.tf.scalar(0) : k.tf.reshape(k.constant(value), []);
    return k.tf.mul(k.tf.ones([...k.numbers(0)], one.dtype), one);
  },
  Range: (k) => {
    const [start = 0, limit = 0, delta = 1] = range(3).map((i) => k.numbers(i)[0]!);
    const { dtype } = k.x(0);
    return k.tf.tensor1d(
      range(Math.max(0, Math.ceil((limit - start) / delta))).map((i) => start + i * delta),
      dtype === 'int32' ? 'int32' : 'float32',
    );
  },
  Reshape: (k) => {
    const x = k.x(0);
    const target = listOf(k, 'shape', 1) ?? k.refuse('no target');
    const keep = attrInt(k.node, 'allowzero', 0) === 0;
    return k.tf.reshape(
      x,
      target.map((d, i) => (d === 0 && keep ? x.shape[i]! : d)),
    );
  },
  Flatten: (k) => {
    const x = k.x(0);
    const rows = product(x.shape.slice(0, positive(attrInt(k.node, 'axis', 1), x.rank)));
    return k.tf.reshape(x, [rows, product(x.shape) / Math.max(1, rows)]);
  },
  Squeeze: (k) => {
    const x = k.x(0);
    const axes = listOf(k, 'axes', 1)?.map((a) => positive(a, x.rank));
    return k.tf.reshape(
      x,
      x.shape.filter((d, i) => (axes === undefined ? d !== 1 : !axes.includes(i))),
    );
  },
  Unsqueeze: (k) => {
    const x = k.x(0);
    const axes = listOf(k, 'axes', 1) ?? [];
    const shape = [...x.shape];
    for (const a of axes.map((v) => positive(v, x.rank + axes.length)).toSorted((a, b) => a - b)) shape.splice(a, 0, 1);
    return k.tf.reshape(x, shape);
  },
  Transpose: (k) => {
    const x = k.x(0);
    return k.tf.transpose(x, [...(attrInts(k.node, 'perm') ?? range(x.rank).toReversed())]);
  },
  Concat: (k) => {
    const all = range(k.node.inputs.length).map((i) => k.x(i));
    return k.tf.concat(all, positive(attrInt(k.node, 'axis', 1), all[0]!.rank));
  },
  Split: (k) => {
    const x = k.x(0);
    const axis = positive(attrInt(k.node, 'axis', 0), x.rank);
    const count = k.node.outputs.length;
    const each = Math.ceil(x.shape[axis]! / count);
    const sizes = listOf(k, 'split', 1) ?? range(count).map((i) => Math.min(each, x.shape[axis]! - i * each));
    let at = 0;
    return sizes.map((size) => {
      const begin = x.shape.map((_, i) => (i === axis ? at : 0));
      at += size;
      return k.tf.slice(x, begin, x.shape.with(axis, size));
    });
  },
  Slice: (k) => {
    let x = k.x(0);
    const starts = listOf(k, 'starts', 1) ?? [];
    const ends = listOf(k, 'ends', 2) ?? [];
    const axes = listOf(k, 'axes', 3) ?? range(starts.length);
    const steps = k.has(4) ? k.numbers(4) : starts.map(() => 1);
    axes.forEach((given, i) => {
      const axis = positive(given, x.rank);
      const length = x.shape[axis]!;
      const step = steps[i]!;
      const inside = (v: number): number => {
        const at = v < 0 ? v + length : v;
        return step > 0 ? Math.max(0, Math.min(length, at)) : Math.max(-1, Math.min(length - 1, at));
      };
      const [from, to] = [inside(starts[i]!), inside(ends[i]!)];
      const count = Math.max(0, Math.ceil((to - from) / step));
      x =
        step === 1
          ? k.tf.slice(
              x,
              x.shape.map((_, a) => (a === axis ? from : 0)),
              x.shape.with(axis, count),
            )
          : taken(
              k.tf,
              x,
              axis,
              range(count).map((c) => from + c * step),
            );
    });
    return x === k.x(0) ? k.tf.clone(x) : x;
  },
  Pad: (k) => {
    const x = k.x(0);
    const pads = listOf(k, 'pads', 1) ?? [];
    const axes = k.has(3) ? k.numbers(3).map((a) => positive(a, x.rank)) : range(x.rank);
    const mode = attrString(k.node, 'mode', 'constant');
    const value = k.opset < 11 ? number(k, 'value', 0) : k.has(2) ? k.numbers(2)[0]! : 0;
    return padded(k, x, axes, pads, mode, value);
  },
  Expand: (k) => {
    const x = k.x(0);
    const target = k.numbers(1);
    const rank = Math.max(x.rank, target.length);
    const full = (dims: readonly number[]): number[] => [...range(rank - dims.length).map(() => 1), ...dims];
    const [own, wanted] = [full(x.shape), full(target)];
    const shape = own.map((d, i) => (d === 1 ? wanted[i]! : d));
    if (x.dtype === 'bool') return k.tf.cast(k.tf.broadcastTo(k.tf.cast(x, 'int32'), shape), 'bool');
    return k.tf.broadcastTo(x, shape);
  },
  Tile: (k) => k.tf.tile(k.x(0), [...k.numbers(1)]),
  Gather: (k) => {
    const x = k.x(0);
    const axis = positive(attrInt(k.node, 'axis', 0), x.rank);
    const wrapped = k.numbers(1).map((i) => (i < 0 ? i + x.shape[axis]! : i));
    return k.tf.gather(x, k.tf.tensor(wrapped, k.x(1).shape, 'int32'), axis);
  },
};

/** Negative pads cut. */
export function padded(
  k: KernelContext,
  given: Tensor,
  axes: readonly number[],
  pads: readonly number[],
  mode = 'constant',
  value = 0,
): Tensor {
  const { tf } = k;
  let x = given;
  axes.forEach((axis, i) => {
    const [before, after] = [pads[i]!, pads[i + axes.length]!];
    const length = x.shape[axis]!;
    if (mode === 'constant') {
      const cut = [Math.max(0, -before), Math.max(0, -after)] as const;
      if (cut[0] + cut[1] > 0) {
        const begin = x.shape.map((_, a) => (a === axis ? cut[0] : 0));
        x = tf.slice(x, begin, x.shape.with(axis, length - cut[0] - cut[1]));
      }
      const list = x.shape.map((_, a): [number, number] =>
        a === axis ? [Math.max(0, before), Math.max(0, after)] : [0, 0],
      );
      if (before > 0 || after > 0) x = tf.pad(x, list, value);
      return;
    }
    const period = 2 * (length - 1);
    const reflect = (at: number): number => {
      const inside = period === 0 ? 0 : ((at % period) + period) % period;
      return inside < length ? inside : period - inside;
    };
    const edge = (at: number): number => Math.max(0, Math.min(length - 1, at));
    const wrap = (at: number): number => ((at % length) + length) % length;
    const place = { reflect, edge, wrap }[mode] ?? k.refuse(`mode ${mode}`);
    x = taken(
      tf,
      x,
      axis,
      range(before + length + after).map((at) => place(at - before)),
    );
  });
  return x === given ? tf.clone(x) : x;
}

type Reduction = (tf: TensorFlow, x: Tensor, axes: number[], keep: boolean) => Tensor;

const reduced =
  (f: Reduction): Kernel =>
  (k) => {
    const x = k.x(0);
    if (x.size === 0) return k.refuse('reductions of nothing');
    const given = listOf(k, 'axes', 1);
    const none = given === undefined || given.length === 0;
    const axes = none && attrInt(k.node, 'noop_with_empty_axes', 0) === 0 ? range(x.rank) : (given ?? []);
    const keep = attrInt(k.node, 'keepdims', 1) === 1;
    return f(
      k.tf,
      x,
      axes.map((a) => positive(a, x.rank)),
      keep,
    );
  };

const extreme =
  (f: (tf: TensorFlow, x: Tensor, axis: number) => Tensor): Kernel =>
  (k) => {
    const x = k.x(0);
    const axis = positive(attrInt(k.node, 'axis', 0), x.rank);
    if (attrInt(k.node, 'select_last_index', 0) === 1) return k.refuse('select_last_index');
    const found = f(k.tf, x, axis);
    return attrInt(k.node, 'keepdims', 1) === 1 ? k.tf.expandDims(found, axis) : found;
  };

const reductions: Readonly<Record<string, Kernel>> = {
  ReduceSum: reduced((tf, x, axes, keep) => tf.sum(x, axes, keep)),
  ReduceMean: reduced((tf, x, axes, keep) => tf.mean(x, axes, keep)),
  ReduceMax: reduced((tf, x, axes, keep) => tf.max(x, axes, keep)),
  ReduceMin: reduced((tf, x, axes, keep) => tf.min(x, axes, keep)),
  ReduceProd: reduced((tf, x, axes, keep) => tf.prod(x, axes, keep)),
  ReduceL1: reduced((tf, x, axes, keep) => tf.sum(tf.abs(x), axes, keep)),
  ReduceL2: reduced((tf, x, axes, keep) => tf.sqrt(tf.sum(tf.square(x), axes, keep))),
  ReduceSumSquare: reduced((tf, x, axes, keep) => tf.sum(tf.square(x), axes, keep)),
  ReduceLogSum: reduced((tf, x, axes, keep) => tf.log(tf.sum(x, axes, keep))),
  ReduceLogSumExp: reduced((tf, x, axes, keep) => tf.logSumExp(x, axes, keep)),
  ArgMax: extreme((tf, x, axis) => tf.argMax(x, axis)),
  ArgMin: extreme((tf, x, axis) => tf.argMin(x, axis)),
};

export const plainKernels: ReadonlyMap<string, Kernel> = new Map(
  Object.entries({ ...elementwise, ...movement, ...reductions }),
);
