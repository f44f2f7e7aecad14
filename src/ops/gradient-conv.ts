// Gradients of convolutions. Input gradient: the transposed convolution. Weight gradient: one Gemm of the output gradient
// [M, N*P] with the input unfolded tap by tap [taps*C, N*P]. https://onnx.ai/onnx/operators/onnx__Conv.html
import { countOfDims, formulas, indices } from './gradient-rules.js';
import { padded } from './gradient-movement.js';
import { geometryOf, type Geometry } from './gradient-window.js';
import type { GradientContext, GradientRule } from './op.js';
import { groupOf } from './window.js';

export const convGradient: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const x = ctx.inputShape(0);
  const w = ctx.inputShape(1);
  const out = ctx.outputShape(0);
  const geometry = geometryOf(ctx, x.slice(2), out.slice(2), w.slice(2));
  const filters = { group: groupOf(ctx), shape: w, geometry };
  return [
    ctx.needed(0) ? inputGradient(ctx, g, x.slice(2), out.slice(2), geometry) : undefined,
    ctx.needed(1) ? filterGradient(ctx, { name: ctx.input(0), shape: x }, { name: g, shape: out }, filters) : undefined,
    ctx.arity > 2 && ctx.needed(2) ? perChannel(ctx, g, x.length) : undefined,
  ];
};

/** The transposed convolution is the adjoint of a convolution of its output: the parts are the same, the other way round. */
export const convTransposeGradient: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const x = ctx.inputShape(0);
  const w = ctx.inputShape(1);
  const out = ctx.outputShape(0);
  const geometry = transposedGeometry(ctx, out.slice(2), x.slice(2), w.slice(2));
  const filters = { group: groupOf(ctx), shape: w, geometry };
  const input = (): string =>
    ctx.emit('Conv', [g, ctx.input(1)], {
      group: groupOf(ctx),
      kernel_shape: geometry.kernel,
      strides: geometry.strides,
      dilations: geometry.dilations,
      pads: geometry.pads,
    });
  return [
    ctx.needed(0) ? input() : undefined,
    ctx.needed(1) ? filterGradient(ctx, { name: g, shape: out }, { name: ctx.input(0), shape: x }, filters) : undefined,
    ctx.arity > 2 && ctx.needed(2) ? perChannel(ctx, g, x.length) : undefined,
  ];
};

function perChannel(ctx: GradientContext, g: string, rank: number): string {
  const axes = indices(rank).filter((k) => k !== 1);
  return formulas(ctx).sum(g, axes, 0);
}

/** Pads follow from output_shape or auto_pad where those are given. */
function transposedGeometry(
  ctx: GradientContext,
  out: readonly number[],
  x: readonly number[],
  kernel: readonly number[],
): Geometry {
  const plain = geometryOf(ctx, out, x, kernel);
  const { attributes } = ctx.node;
  const auto = attributes.get('auto_pad');
  const same = auto?.kind === 'string' && auto.value.startsWith('SAME');
  if (!attributes.has('output_shape') && !same) return plain;
  const extra = attributes.get('output_padding');
  const outputPadding = extra?.kind === 'ints' ? extra.value : kernel.map(() => 0);
  const total = kernel.map((k, i) =>
    Math.max(0, plain.strides[i]! * (x[i]! - 1) + outputPadding[i]! + (k - 1) * plain.dilations[i]! + 1 - out[i]!),
  );
  // onnxruntime puts the odd one at the end for SAME_UPPER only
  const upper = auto?.kind === 'string' && auto.value === 'SAME_UPPER';
  const begins = total.map((t) => (upper ? Math.floor(t / 2) : t - Math.floor(t / 2)));
  return { ...plain, pads: [...begins, ...total.map((t, i) => t - begins[i]!)] };
}

function inputGradient(
  ctx: GradientContext,
  g: string,
  input: readonly number[],
  output: readonly number[],
  { kernel, strides, dilations, pads }: Geometry,
): string {
  const n = kernel.length;
  // ConvTranspose gives (out - 1) * stride + extent - pads; what the stride skipped at the end is its output_padding
  const missing = input.map((length, k) => {
    const extent = (kernel[k]! - 1) * dilations[k]! + 1;
    return length - ((output[k]! - 1) * strides[k]! + extent - pads[k]! - pads[k + n]!);
  });
  return ctx.emit('ConvTranspose', [g, ctx.input(1)], {
    group: groupOf(ctx),
    kernel_shape: kernel,
    strides,
    dilations,
    pads,
    ...(missing.some((m) => m > 0) ? { output_padding: missing } : {}),
  });
}

interface Side {
  readonly name: string;
  readonly shape: readonly number[];
}

interface Filters {
  readonly group: number;
  /** [M, C / group, kernel...] */
  readonly shape: readonly number[];
  readonly geometry: Geometry;
}

/** Of `long` [N, C, ...], over which the windows slide, and the gradient `short` [N, M, ...] of what they give. */
function filterGradient(ctx: GradientContext, long: Side, short: Side, filters: Filters): string {
  const { group, shape, geometry } = filters;
  const m = formulas(ctx);
  const [batch = 1, channels = 1] = long.shape;
  const [count = 1, perGroup = 1] = shape;
  const output = short.shape.slice(2);
  const { kernel } = geometry;
  const taps = countOfDims(kernel);
  if (group === channels && channels > 1) return depthwise(ctx, long, short, filters);
  // [C, N, P...]: taps stack on the first axis without moving anything else
  const swap = [1, 0, ...kernel.map((_, k) => k + 2)];
  const flat = batch * countOfDims(output);
  const unfolded = unfold(ctx, m.transpose(long.name, swap), geometry, output);
  const gradient = m.transpose(short.name, swap);
  if (group === 1) {
    const stack = taps === 1 ? unfolded[0]! : ctx.emit('Concat', unfolded, { axis: 0 });
    const product = ctx.emit('Gemm', [m.reshape(gradient, [count, flat]), m.reshape(stack, [taps * channels, flat])], {
      transB: 1,
    });
    if (taps === 1) return m.reshape(product, shape);
    const moved = m.transpose(m.reshape(product, [count, taps, channels]), [0, 2, 1]);
    return m.reshape(moved, shape);
  }
  const grouped = m.reshape(gradient, [group, count / group, flat]);
  const perTap = unfolded.map((u) => {
    const operand = m.transpose(m.reshape(u, [group, perGroup, flat]), [0, 2, 1]);
    return m.reshape(ctx.emit('MatMul', [grouped, operand]), [count, perGroup, 1]);
  });
  return m.reshape(taps === 1 ? perTap[0]! : ctx.emit('Concat', perTap, { axis: 2 }), shape);
}

/** One tap of one channel meets the gradients of its own filters only. */
function depthwise(ctx: GradientContext, long: Side, short: Side, { shape, geometry }: Filters): string {
  const m = formulas(ctx);
  const [batch = 1, channels = 1] = long.shape;
  const output = short.shape.slice(2);
  const per = shape[0]! / channels;
  const taps = unfold(ctx, long.name, geometry, output);
  const spatial = output.map((_, k) => k + 2);
  const rows = taps.map((u) => {
    if (per === 1) return m.reshape(m.sum(m.mul(short.name, u), [0, ...spatial], 0), [channels, 1]);
    const product = m.mul(
      m.reshape(short.name, [batch, channels, per, ...output]),
      m.reshape(u, [batch, channels, 1, ...output]),
    );
    return m.reshape(m.sum(product, [0, ...spatial.map((a) => a + 1)], 0), [shape[0]!, 1]);
  });
  return m.reshape(rows.length === 1 ? rows[0]! : ctx.emit('Concat', rows, { axis: 1 }), shape);
}

/** For every tap, in row-major order, the values that it meets: [.., .., output...]. */
function unfold(ctx: GradientContext, name: string, geometry: Geometry, output: readonly number[]): string[] {
  const { kernel, strides, dilations, pads } = geometry;
  const n = kernel.length;
  const wide = padded(ctx, name, [0, 0, ...pads.slice(0, n)], [0, 0, ...pads.slice(n)]);
  const taps = countOfDims(kernel);
  if (taps === 1 && strides.every((s) => s === 1)) return [wide];
  const axes = ctx.ints(kernel.map((_, k) => k + 2));
  return indices(taps).map((t) => {
    let rest = t;
    const at = kernel.map(() => 0);
    for (let k = n - 1; k >= 0; k--) {
      at[k] = (rest % kernel[k]!) * dilations[k]!;
      rest = Math.floor(rest / kernel[k]!);
    }
    const ends = at.map((a, k) => a + (output[k]! - 1) * strides[k]! + 1);
    return ctx.emit('Slice', [wide, ctx.ints(at), ctx.ints(ends), axes, ctx.ints(strides)]);
  });
}

export const convGradients: readonly (readonly [string, GradientRule])[] = [
  ['Conv', convGradient],
  ['ConvTranspose', convTransposeGradient],
];
