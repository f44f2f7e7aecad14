// Gradients of convolutions. Input gradient: the transposed convolution. Weight gradient: one Gemm of the output gradient
// [M, N*P] with the input unfolded tap by tap [taps*C, N*P]. https://onnx.ai/onnx/operators/onnx__Conv.html
import { attrInts } from '../ir/graph.js';
import type { GradientContext, GradientRule } from './op.js';
import { groupOf } from './window.js';

interface Geometry {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** Begins, then ends; auto_pad is resolved. */
  readonly pads: readonly number[];
}

export const convGradient: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const x = ctx.inputShape(0);
  const geometry = geometryOf(ctx, x.slice(2), ctx.outputShape(0).slice(2), ctx.inputShape(1).slice(2));
  const others = x.slice(2).map((_, k) => k + 2);
  return [
    ctx.needed(0) ? inputGradient(ctx, g, geometry) : undefined,
    ctx.needed(1) ? weightGradient(ctx, g, geometry) : undefined,
    ctx.arity > 2 && ctx.needed(2) ? ctx.emit('ReduceSum', [g, ctx.ints([0, ...others])], { keepdims: 0 }) : undefined,
  ];
};

/** The lengths, with auto_pad written out from input and output sizes. */
function geometryOf(
  ctx: GradientContext,
  input: readonly number[],
  output: readonly number[],
  kernel: readonly number[],
): Geometry {
  const strides = attrInts(ctx.node, 'strides') ?? kernel.map(() => 1);
  const dilations = attrInts(ctx.node, 'dilations') ?? kernel.map(() => 1);
  const auto = ctx.node.attributes.get('auto_pad');
  const mode = auto?.kind === 'string' ? auto.value : 'NOTSET';
  if (mode === 'NOTSET' || mode === '') {
    return { kernel, strides, dilations, pads: attrInts(ctx.node, 'pads') ?? [...kernel, ...kernel].map(() => 0) };
  }
  const total = kernel.map((k, i) =>
    mode === 'VALID' ? 0 : Math.max((output[i]! - 1) * strides[i]! + (k - 1) * dilations[i]! + 1 - input[i]!, 0),
  );
  const begins = total.map((t) => (mode === 'SAME_UPPER' ? Math.floor(t / 2) : Math.ceil(t / 2)));
  return { kernel, strides, dilations, pads: [...begins, ...total.map((t, i) => t - begins[i]!)] };
}

function inputGradient(ctx: GradientContext, g: string, { kernel, strides, dilations, pads }: Geometry): string {
  const n = kernel.length;
  const input = ctx.inputShape(0).slice(2);
  const output = ctx.outputShape(0).slice(2);
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

function weightGradient(ctx: GradientContext, g: string, geometry: Geometry): string {
  const group = groupOf(ctx);
  const [batch = 1, channels = 1] = ctx.inputShape(0);
  const filters = ctx.inputShape(1)[0]!;
  const output = ctx.outputShape(0).slice(2);
  const positions = output.reduce((a, b) => a * b, 1);
  const { kernel } = geometry;
  const taps = kernel.reduce((a, b) => a * b, 1);
  const unfolded = unfold(ctx, geometry, output);
  const spatial = kernel.map((_, k) => k + 2);
  if (group === channels && channels > 1) {
    // depthwise: one tap of one channel meets the gradients of its own filters only
    const per = filters / channels;
    const rows = unfolded.map((u) => {
      const product = ctx.emit('Mul', [
        ctx.emit('Reshape', [g, ctx.ints([batch, channels, per, ...output])]),
        ctx.emit('Reshape', [u, ctx.ints([batch, channels, 1, ...output])]),
      ]);
      return ctx.emit('ReduceSum', [product, ctx.ints([0, ...spatial.map((a) => a + 1)])], { keepdims: 0 });
    });
    const stacked = taps === 1 ? rows[0]! : ctx.emit('Concat', columns(ctx, rows, filters), { axis: 1 });
    return ctx.emit('Reshape', [stacked, ctx.ints([filters, 1, ...kernel])]);
  }
  // [N, C, P...] -> [C, N, P...]: then taps stack on the first axis without moving anything else
  const swap = [1, 0, ...spatial];
  const swapped = unfolded.map((u) => ctx.emit('Transpose', [u], { perm: swap }));
  const gradient = ctx.emit('Transpose', [g], { perm: swap });
  const perGroup = channels / group;
  const filtersPerGroup = filters / group;
  const flat = batch * positions;
  if (group === 1) {
    const stack = swapped.length === 1 ? swapped[0]! : ctx.emit('Concat', swapped, { axis: 0 });
    const product = ctx.emit(
      'Gemm',
      [
        ctx.emit('Reshape', [gradient, ctx.ints([filters, flat])]),
        ctx.emit('Reshape', [stack, ctx.ints([taps * channels, flat])]),
      ],
      { transB: 1 },
    );
    const arranged = ctx.emit('Reshape', [product, ctx.ints([filters, taps, channels])]);
    const moved = ctx.emit('Transpose', [arranged], { perm: [0, 2, 1] });
    return ctx.emit('Reshape', [moved, ctx.ints([filters, channels, ...kernel])]);
  }
  const grouped = ctx.emit('Reshape', [gradient, ctx.ints([group, filtersPerGroup, flat])]);
  const perTap = swapped.map((s) => {
    const operand = ctx.emit('Reshape', [s, ctx.ints([group, perGroup, flat])]);
    const product = ctx.emit('MatMul', [grouped, ctx.emit('Transpose', [operand], { perm: [0, 2, 1] })]);
    return ctx.emit('Reshape', [product, ctx.ints([filters, perGroup, 1])]);
  });
  const all = taps === 1 ? perTap[0]! : ctx.emit('Concat', perTap, { axis: 2 });
  return ctx.emit('Reshape', [all, ctx.ints([filters, perGroup, ...kernel])]);
}

function columns(ctx: GradientContext, rows: readonly string[], length: number): string[] {
  return rows.map((r) => ctx.emit('Reshape', [r, ctx.ints([length, 1])]));
}

/** For every tap, in row-major order, the input values that it meets: [N, C, output...]. */
function unfold(ctx: GradientContext, geometry: Geometry, output: readonly number[]): string[] {
  const { kernel, strides, dilations, pads } = geometry;
  const n = kernel.length;
  const none = [0, 0];
  const padded = pads.some((p) => p > 0)
    ? ctx.emit('Pad', [ctx.input(0), ctx.ints([...none, ...pads.slice(0, n), ...none, ...pads.slice(n)])])
    : ctx.input(0);
  const axes = ctx.ints(kernel.map((_, k) => k + 2));
  const taps = kernel.reduce((a, b) => a * b, 1);
  return Array.from({ length: taps }, (_, t) => {
    let rest = t;
    const at = kernel.map(() => 0);
    for (let k = n - 1; k >= 0; k--) {
      at[k] = (rest % kernel[k]!) * dilations[k]!;
      rest = Math.floor(rest / kernel[k]!);
    }
    const ends = at.map((a, k) => a + (output[k]! - 1) * strides[k]! + 1);
    return ctx.emit('Slice', [padded, ctx.ints(at), ctx.ints(ends), axes, ctx.ints(strides)]);
  });
}
