// Gradients of convolutions. Input gradient: the transposed convolution, with stride 1 a plain one. Weight gradient: a product of
// the output gradient with the input unfolded tap by tap, or a Conv with swapped axes, whichever bench/conv-gradient.ts found
// faster for such shapes. https://onnx.ai/onnx/operators/onnx__Conv.html
import { countOfDims, formulas, indices } from './gradient-rules.js';
import { padded } from './gradient-movement.js';
import { geometryOf, type Geometry } from './gradient-window.js';
import type { GradientContext, GradientRule } from './op.js';
import { groupOf } from './window.js';

const convGradient: GradientRule = (ctx) => {
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
const convTransposeGradient: GradientRule = (ctx) => {
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
  geometry: Geometry,
): string {
  const { kernel, strides, dilations, pads } = geometry;
  const n = kernel.length;
  const extent = kernel.map((k, i) => (k - 1) * dilations[i]! + 1);
  // few channels (images) gain nothing from a Conv, and pads beyond the window cannot be said in one
  const turned = strides.every((s) => s === 1) && ctx.inputShape(0)[1]! >= 8;
  if (turned && pads.every((p, k) => p < extent[k % n]!)) return turnedConv(ctx, g, geometry, extent);
  // ConvTranspose gives (out - 1) * stride + extent - pads; what the stride skipped at the end is its output_padding
  const missing = input.map(
    (length, k) => length - ((output[k]! - 1) * strides[k]! + extent[k]! - pads[k]! - pads[k + n]!),
  );
  return ctx.emit('ConvTranspose', [g, ctx.input(1)], {
    group: groupOf(ctx),
    kernel_shape: kernel,
    strides,
    dilations,
    pads,
    ...(missing.some((m) => m > 0) ? { output_padding: missing } : {}),
  });
}

/** Stride 1: a plain Conv of the gradient with the filters turned round, inputs and outputs exchanged. */
function turnedConv(
  ctx: GradientContext,
  g: string,
  { kernel, dilations, pads }: Geometry,
  extent: readonly number[],
): string {
  const m = formulas(ctx);
  const n = kernel.length;
  const group = groupOf(ctx);
  const [count = 1, perGroup = 1] = ctx.inputShape(1);
  const axes = kernel.flatMap((k, i) => (k > 1 ? [i + 2] : []));
  const all = (value: number): string => ctx.ints(axes.map(() => value));
  const turned =
    axes.length === 0
      ? ctx.input(1)
      : ctx.emit('Slice', [ctx.input(1), all(-1), all(-(2 ** 31)), ctx.ints(axes), all(-1)]);
  const apart = m.reshape(turned, [group, count / group, perGroup, ...kernel]);
  const exchanged = m.transpose(apart, [0, 2, 1, ...kernel.map((_, k) => k + 3)]);
  return ctx.emit('Conv', [g, m.reshape(exchanged, [group * perGroup, count / group, ...kernel])], {
    group,
    kernel_shape: kernel,
    dilations,
    pads: pads.map((p, k) => extent[k % n]! - 1 - p),
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
  const [count = 1, perGroup = 1] = shape;
  const taps = countOfDims(geometry.kernel);
  const output = countOfDims(short.shape.slice(2));
  // the choices are those of bench/conv-gradient.ts
  if (group > 1 || (taps > 1 && geometry.strides.some((s) => s > 1))) return bySwapping(ctx, long, short, filters);
  const products = count * perGroup * taps;
  const apart = products <= output * (count + perGroup);
  if (metByRows(long, short, geometry) && count <= 2 * perGroup) return byRows(ctx, long, short, filters, apart);
  return apart ? perImage(ctx, long, short, filters) : overAll(ctx, long, short, filters);
}

/** The windows' first axis has several taps, and they reach every row (an output_padding of ConvTranspose leaves some out). */
function metByRows(long: Side, short: Side, { kernel, dilations, pads }: Geometry): boolean {
  const n = kernel.length;
  const high = kernel[0]!;
  const rows = long.shape[2]! + pads[0]! + pads[n]!;
  return n > 1 && high > 1 && rows === short.shape[2]! + (high - 1) * dilations[0]!;
}

/**
 * Only the taps of the other axes are unfolded; those of the first are met by putting the output gradient between rows of zeros. Copies
 * of both sides, but few: as many as the kernel is wide and high, where unfolding takes their product.
 */
function byRows(ctx: GradientContext, long: Side, short: Side, filters: Filters, apart: boolean): string {
  const m = formulas(ctx);
  const { shape, geometry } = filters;
  const { kernel, dilations, strides, pads } = geometry;
  const [count = 1, channels = 1] = shape;
  const [high = 1, ...wide] = kernel;
  const n = kernel.length;
  const swap = indices(n + 2)
    .with(0, 1)
    .with(1, 0);
  const side = (name: string): string => (apart ? name : m.transpose(name, swap));
  const batch = short.shape[0]!;
  const output = short.shape.slice(3);
  const step = dilations[0]!;
  const rows = short.shape[2]! + (high - 1) * step;
  const flat = (parts: readonly string[], rowsOf: number): string => {
    const all = rows * countOfDims(output);
    return m.reshape(joined(ctx, parts, apart ? 1 : 0), apart ? [batch, rowsOf, all] : [rowsOf, batch * all]);
  };
  const padding = padded(ctx, side(long.name), [0, 0, ...pads.slice(0, n)], [0, 0, ...pads.slice(n)]);
  const rest: Geometry = { kernel: wide, dilations: dilations.slice(1), strides: strides.slice(1), pads: [] };
  const columns = flat(slices(ctx, padding, rest, output, 3), countOfDims(wide) * channels);
  const none = indices(n + 2).map(() => 0);
  const g = side(short.name);
  const moved = indices(high).map((k) => padded(ctx, g, none.with(2, k * step), none.with(2, (high - 1 - k) * step)));
  const gradients = flat(moved, high * count);
  const product = apart
    ? m.sum(ctx.emit('MatMul', [gradients, m.transpose(columns, [0, 2, 1])]), [0], 0)
    : ctx.emit('Gemm', [gradients, columns], { transB: 1 });
  const each = m.reshape(product, [high, count, countOfDims(wide), channels]);
  return m.reshape(m.transpose(each, [1, 3, 0, 2]), shape);
}

/** One Gemm over all images: channels first, so that taps stack on the first axis without moving anything else. */
function overAll(ctx: GradientContext, long: Side, short: Side, { shape, geometry }: Filters): string {
  const m = formulas(ctx);
  const [count = 1, channels = 1] = shape;
  const output = short.shape.slice(2);
  const taps = countOfDims(geometry.kernel);
  const flat = short.shape[0]! * countOfDims(output);
  const swap = [1, 0, ...output.map((_, k) => k + 2)];
  const unfolded = unfold(ctx, m.transpose(long.name, swap), geometry, output);
  const stack = m.reshape(joined(ctx, unfolded, 0), [taps * channels, flat]);
  const gradient = m.reshape(m.transpose(short.name, swap), [count, flat]);
  return tapsLast(ctx, ctx.emit('Gemm', [gradient, stack], { transB: 1 }), shape);
}

/** A small product for each image, summed: nothing is transposed, but every image has a gradient of its own for a while. */
function perImage(ctx: GradientContext, long: Side, short: Side, { shape, geometry }: Filters): string {
  const m = formulas(ctx);
  const [count = 1, channels = 1] = shape;
  const batch = short.shape[0]!;
  const output = short.shape.slice(2);
  const positions = countOfDims(output);
  const unfolded = unfold(ctx, long.name, geometry, output);
  const columns = m.reshape(joined(ctx, unfolded, 1), [batch, countOfDims(geometry.kernel) * channels, positions]);
  const gradient = m.reshape(short.name, [batch, count, positions]);
  const products = ctx.emit('MatMul', [gradient, m.transpose(columns, [0, 2, 1])]);
  return tapsLast(ctx, m.sum(products, [0], 0), shape);
}

/**
 * A Conv whose images are channels and whose channels are images: its filters are the output gradient, its dilation the stride
 * and its stride the dilation. Groups lie side by side.
 */
function bySwapping(ctx: GradientContext, long: Side, short: Side, { group, shape, geometry }: Filters): string {
  const m = formulas(ctx);
  const { kernel, strides, dilations, pads } = geometry;
  const [batch = 1, channels = 1, ...input] = long.shape;
  const perGroup = channels / group;
  const spatial = input.map((_, k) => k + 2);
  const apart = m.reshape(long.name, [batch, group, perGroup, ...input]);
  const turned = m.transpose(apart, [2, 1, 0, ...spatial.map((k) => k + 1)]);
  const images = m.reshape(turned, [perGroup, group * batch, ...input]);
  const made = ctx.emit('Conv', [images, m.transpose(short.name, [1, 0, ...spatial])], {
    group,
    kernel_shape: short.shape.slice(2),
    strides: dilations,
    dilations: strides,
    pads,
  });
  // positions that the forward stride never reached leave more taps than there are
  const reached = input.map((d, k) => {
    const room = d + pads[k]! + pads[k + kernel.length]! - (short.shape[k + 2]! - 1) * strides[k]! - 1;
    return Math.floor(room / dilations[k]!) + 1;
  });
  const cut = reached.every((r, k) => r === kernel[k])
    ? made
    : ctx.emit('Slice', [made, ctx.ints(kernel.map(() => 0)), ctx.ints(kernel), ctx.ints(spatial)]);
  return perGroup === 1 ? m.reshape(cut, shape) : m.transpose(cut, [1, 0, ...spatial]);
}

function joined(ctx: GradientContext, parts: readonly string[], axis: number): string {
  return parts.length === 1 ? parts[0]! : ctx.emit('Concat', parts, { axis });
}

/** [M, taps x C] as [M, C, taps...]. */
function tapsLast(ctx: GradientContext, name: string, shape: readonly number[]): string {
  const m = formulas(ctx);
  const [count = 1, channels = 1, ...kernel] = shape;
  const taps = countOfDims(kernel);
  if (taps === 1) return m.reshape(name, shape);
  return m.reshape(m.transpose(m.reshape(name, [count, taps, channels]), [0, 2, 1]), shape);
}

/** For every tap, in row-major order, the values that it meets: [.., .., output...]. */
function unfold(ctx: GradientContext, name: string, geometry: Geometry, output: readonly number[]): string[] {
  const { pads } = geometry;
  const n = geometry.kernel.length;
  const wide = padded(ctx, name, [0, 0, ...pads.slice(0, n)], [0, 0, ...pads.slice(n)]);
  return slices(ctx, wide, geometry, output, 2);
}

/** The same over the axes from `first` on, of values that are padded already. */
function slices(
  ctx: GradientContext,
  wide: string,
  { kernel, strides, dilations }: Geometry,
  output: readonly number[],
  first: number,
): string[] {
  const n = kernel.length;
  const taps = countOfDims(kernel);
  if (taps === 1 && strides.every((s) => s === 1)) return [wide];
  const axes = ctx.ints(kernel.map((_, k) => k + first));
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
