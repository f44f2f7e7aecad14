// Layers of ONNX as calls of TensorFlow.js: convolutions, pooling, products, normalisations. Its images have their channels last.
// https://onnx.ai/onnx/operators/
import type { Rank, Tensor, Tensor4D } from '@tensorflow/tfjs-core';
import { attrFloat, attrInt, attrInts, attrString } from '../ir/graph.js';
import { padded, positive, range, type Kernel, type KernelContext } from './tfjs-kernels.js';

interface Sliding {
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly dilations: readonly [number, number];
  /** Begins, then ends. */
  readonly pads: readonly number[];
}

const last = (k: KernelContext, x: Tensor): Tensor4D => k.tf.transpose(x as Tensor4D, [0, 2, 3, 1]);
const first = (k: KernelContext, x: Tensor4D): Tensor => k.tf.transpose(x, [0, 3, 1, 2]);

/** Images of one axis get a second of length 1 before it. */
function asImage(k: KernelContext, x: Tensor): Tensor {
  if (x.rank === 4) return x;
  if (x.rank !== 3) return k.refuse(`${x.rank - 2} spatial axes`);
  return k.tf.expandDims(x, 2);
}

function sliding(k: KernelContext, spatial: readonly number[], kernel: readonly number[]): Sliding {
  const n = kernel.length;
  const [strides, dilations] = ['strides', 'dilations'].map((name) => attrInts(k.node, name) ?? kernel.map(() => 1));
  const auto = attrString(k.node, 'auto_pad', 'NOTSET');
  const given = attrInts(k.node, 'pads') ?? range(2 * n).map(() => 0);
  const total = range(n).map((i) => {
    const out = Math.ceil(spatial[i]! / strides![i]!);
    return Math.max(0, (out - 1) * strides![i]! + (kernel[i]! - 1) * dilations![i]! + 1 - spatial[i]!);
  });
  const small = total.map((t) => Math.floor(t / 2));
  const large = total.map((t) => Math.ceil(t / 2));
  const pads =
    auto === 'SAME_UPPER'
      ? [...small, ...large]
      : auto === 'SAME_LOWER'
        ? [...large, ...small]
        : auto === 'VALID'
          ? given.map(() => 0)
          : given;
  const two = (list: readonly number[], fill: number): [number, number] =>
    list.length === 1 ? [fill, list[0]!] : [list[0]!, list[1]!];
  return {
    kernel: two(kernel, 1),
    strides: two(strides!, 1),
    dilations: two(dilations!, 1),
    pads: n === 1 ? [0, pads[0]!, 0, pads[1]!] : pads,
  };
}

/** [N, C, H, W] and [M, C / group, h, w]. */
const conv: Kernel = (k) => {
  const { tf } = k;
  const flat = k.x(0).rank === 3;
  const [x, w] = [asImage(k, k.x(0)), asImage(k, k.x(1))];
  const s = sliding(k, k.x(0).shape.slice(2), k.x(1).shape.slice(2));
  const wide = last(k, padded(k, x, [2, 3], s.pads));
  const group = attrInt(k.node, 'group', 1);
  const [count = 1, per = 1] = w.shape;
  if (s.strides.some((v) => v > 1) && s.dilations.some((v) => v > 1)) return k.refuse('strides and dilations together');
  const strides: [number, number] = [...s.strides];
  const dilations: [number, number] = [...s.dilations];
  const filters = tf.transpose(w as Tensor4D, [2, 3, 1, 0]);
  const made = (): Tensor4D => {
    if (group === 1) return tf.conv2d(wide, filters, strides, 'valid', 'NHWC', dilations);
    if (per === 1) {
      const depthwise = tf.reshape<Rank.R4>(filters, [...s.kernel, group, count / group]);
      return tf.depthwiseConv2d(wide, depthwise, strides, 'valid', 'NHWC', dilations);
    }
    const parts = tf.split<Tensor4D>(wide, group, 3);
    const each = tf.split<Tensor4D>(filters, group, 3);
    return tf.concat(
      parts.map((p, i) => tf.conv2d(p, each[i]!, strides, 'valid', 'NHWC', dilations)),
      3,
    );
  };
  const y = k.has(2) ? tf.add(made(), k.x(2)) : made();
  const out = first(k, y as Tensor4D);
  return flat ? tf.squeeze(out, [2]) : out;
};

/** [N, C, H, W] and [C, M / group, h, w]. */
const convTranspose: Kernel = (k) => {
  const { tf } = k;
  const flat = k.x(0).rank === 3;
  if (k.node.attributes.has('output_shape') || attrString(k.node, 'auto_pad', 'NOTSET') !== 'NOTSET') {
    return k.refuse('output_shape or auto_pad');
  }
  const [x, w] = [asImage(k, k.x(0)), asImage(k, k.x(1))];
  const s = sliding(k, k.x(0).shape.slice(2), k.x(1).shape.slice(2));
  if (s.dilations.some((v) => v > 1)) return k.refuse('dilations');
  const extra = attrInts(k.node, 'output_padding') ?? [];
  const [eh, ew] = flat ? [0, extra[0] ?? 0] : [extra[0] ?? 0, extra[1] ?? 0];
  const group = attrInt(k.node, 'group', 1);
  const [batch = 1, , height = 1, width = 1] = x.shape;
  const size = [(height - 1) * s.strides[0] + s.kernel[0], (width - 1) * s.strides[1] + s.kernel[1]] as const;
  const parts = tf.split(last(k, x), group, 3);
  const filters = tf.split(tf.transpose(w as Tensor4D, [2, 3, 1, 0]), group, 3);
  const each = w.shape[1]!;
  const full = tf.concat(
    parts.map((p, i) =>
      tf.conv2dTranspose(p as Tensor4D, filters[i] as Tensor4D, [batch, ...size, each], [...s.strides], 'valid'),
    ),
    3,
  );
  const [top = 0, left = 0, bottom = 0, right = 0] = s.pads;
  const cut = padded(k, first(k, full), [2, 3], [-top, -left, eh - bottom, ew - right]);
  const y = k.has(2) ? tf.add(cut, tf.reshape(k.x(2), [1, -1, 1, 1])) : cut;
  return flat ? tf.squeeze(y, [2]) : y;
};

/** Windows that reach beyond the padding, with ceil_mode, meet more of it. */
function pooling(k: KernelContext, x: Tensor): { readonly s: Sliding; readonly beyond: number } {
  const s = sliding(k, k.x(0).shape.slice(2), attrInts(k.node, 'kernel_shape') ?? []);
  if (attrInt(k.node, 'ceil_mode', 0) === 0) return { s, beyond: 0 };
  const more = range(2).map((i) => {
    const length = x.shape[i + 2]!;
    const room = length + s.pads[i]! + s.pads[i + 2]! - ((s.kernel[i]! - 1) * s.dilations[i]! + 1);
    let steps = Math.ceil(room / s.strides[i]!);
    if (steps * s.strides[i]! >= length + s.pads[i]!) steps--;
    return Math.max(0, steps * s.strides[i]! - room);
  });
  const pads = s.pads.map((p, i) => (i < 2 ? p : p + more[i - 2]!));
  return { s: { ...s, pads }, beyond: more[0]! + more[1]! };
}

const maxPool: Kernel = (k) => {
  const flat = k.x(0).rank === 3;
  if (k.node.outputs.length > 1) return k.refuse('indices');
  const x = asImage(k, k.x(0));
  const { s } = pooling(k, x);
  const wide = last(k, padded(k, x, [2, 3], s.pads, 'constant', -3.4e38));
  const y = k.tf.pool(wide, [...s.kernel], 'max', 'valid', [...s.dilations], [...s.strides]);
  const out = first(k, y);
  return flat ? k.tf.squeeze(out, [2]) : out;
};

const averagePool: Kernel = (k) => {
  const { tf } = k;
  const flat = k.x(0).rank === 3;
  const x = asImage(k, k.x(0));
  const { s, beyond } = pooling(k, x);
  if (s.dilations.some((v) => v > 1)) return k.refuse('dilations');
  const all = attrInt(k.node, 'count_include_pad', 0) === 1;
  if (all && beyond > 0) return k.refuse('ceil_mode with count_include_pad');
  const mean = (t: Tensor): Tensor4D =>
    tf.avgPool(last(k, padded(k, t, [2, 3], s.pads)), [...s.kernel], [...s.strides], 'valid');
  const sum = mean(x);
  const y = all || s.pads.every((p) => p === 0) ? sum : tf.div(sum, mean(tf.onesLike(x)));
  const out = first(k, y as Tensor4D);
  return flat ? tf.squeeze(out, [2]) : out;
};

const globally =
  (what: 'mean' | 'max'): Kernel =>
  (k) => {
    const x = k.x(0);
    return k.tf[what](x, range(x.rank).slice(2), true);
  };

const gemm: Kernel = (k) => {
  const { tf, node } = k;
  const [transA, transB] = [attrInt(node, 'transA', 0) === 1, attrInt(node, 'transB', 0) === 1];
  const [alpha, beta] = [attrFloat(node, 'alpha', 1), attrFloat(node, 'beta', 1)];
  const made = tf.matMul(k.x(0), k.x(1), transA, transB);
  const scaled = alpha === 1 ? made : tf.mul(made, alpha);
  if (!k.has(2)) return scaled;
  return tf.add(scaled, beta === 1 ? k.x(2) : tf.mul(k.x(2), beta));
};

const matMul: Kernel = (k) => {
  const { tf } = k;
  const [a, b] = [k.x(0), k.x(1)];
  const left = a.rank === 1 ? tf.expandDims(a, 0) : a;
  const right = b.rank === 1 ? tf.expandDims(b, 1) : b;
  // its own broadcasting of stacks is wrong for ranks that differ
  const batch = common(left.shape.slice(0, -2), right.shape.slice(0, -2));
  const full = (t: Tensor): Tensor => {
    const shape = [...batch, ...t.shape.slice(-2)];
    return shape.join() === t.shape.join() ? t : tf.broadcastTo(t, shape);
  };
  const made = tf.matMul(full(left), full(right));
  const gone = [...(a.rank === 1 ? [made.rank - 2] : []), ...(b.rank === 1 ? [made.rank - 1] : [])];
  return gone.length === 0 ? made : tf.squeeze(made, gone);
};

function common(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  const at = (dims: readonly number[], i: number): number => dims[i - rank + dims.length] ?? 1;
  return range(rank).map((i) => (at(a, i) === 1 ? at(b, i) : at(a, i)));
}

const batchNormalization: Kernel = (k) => {
  const { tf, node } = k;
  const x = k.x(0);
  const wide = (t: Tensor): Tensor =>
    tf.reshape(
      t,
      range(Math.max(2, x.rank)).map((i) => (i === 1 ? t.size : 1)),
    );
  const epsilon = attrFloat(node, 'epsilon', 1e-5);
  const normal = (mean: Tensor, variance: Tensor): Tensor =>
    tf.add(
      tf.mul(tf.mul(tf.sub(x, wide(mean)), tf.rsqrt(tf.add(wide(variance), epsilon))), wide(k.x(1))),
      wide(k.x(2)),
    );
  if (attrInt(node, 'training_mode', 0) === 0) return normal(k.x(3), k.x(4));
  const axes = range(x.rank).filter((a) => a !== 1);
  const { mean, variance } = tf.moments(x, axes);
  const momentum = attrFloat(node, 'momentum', 0.9);
  const mixed = (old: Tensor, now: Tensor): Tensor => tf.add(tf.mul(old, momentum), tf.mul(now, 1 - momentum));
  return [normal(mean, variance), mixed(k.x(3), mean), mixed(k.x(4), variance)];
};

const layerNormalization: Kernel = (k) => {
  const { tf, node } = k;
  if (node.outputs.length > 1) return k.refuse('mean and deviation as outputs');
  const x = k.x(0);
  const axes = range(x.rank).slice(positive(attrInt(node, 'axis', -1), x.rank));
  const { mean, variance } = tf.moments(x, axes, true);
  const normal = tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, attrFloat(node, 'epsilon', 1e-5))));
  const scaled = tf.mul(normal, k.x(1));
  return k.has(2) ? tf.add(scaled, k.x(2)) : scaled;
};

const instanceNormalization: Kernel = (k) => {
  const { tf } = k;
  const x = k.x(0);
  const { mean, variance } = tf.moments(x, range(x.rank).slice(2), true);
  const wide = (t: Tensor): Tensor =>
    tf.reshape(
      t,
      range(x.rank).map((i) => (i === 1 ? t.size : 1)),
    );
  const normal = tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, attrFloat(k.node, 'epsilon', 1e-5))));
  return tf.add(tf.mul(normal, wide(k.x(1))), wide(k.x(2)));
};

export const layerKernels: ReadonlyMap<string, Kernel> = new Map(
  Object.entries({
    Conv: conv,
    ConvTranspose: convTranspose,
    MaxPool: maxPool,
    AveragePool: averagePool,
    GlobalAveragePool: globally('mean'),
    GlobalMaxPool: globally('max'),
    Gemm: gemm,
    MatMul: matMul,
    BatchNormalization: batchNormalization,
    LayerNormalization: layerNormalization,
    InstanceNormalization: instanceNormalization,
  }),
);
