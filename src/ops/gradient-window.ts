// Gradients of pooling and resizing. Averages and interpolations are linear along each axis: the gradient is the transposed
// map. https://onnx.ai/onnx/operators/onnx__AveragePool.html, onnx__MaxPool.html, onnx__Resize.html
import { attrFloat, attrInt, attrInts, attrString } from '../ir/graph.js';
import { countOfDims, filled, formulas, indices, mapAxis, transposed, unaryGradient } from './gradient-rules.js';
import type { GradientContext, GradientRule } from './op.js';
import { resizeWeights } from './interpolation.js';
import { axisOf, contradiction, knownInts } from './rules.js';

export interface Geometry {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** Begins, then ends; auto_pad is resolved. */
  readonly pads: readonly number[];
}

/** The lengths of a sliding window, with auto_pad written out from the sizes on both sides (`long` is the padded one). */
export function geometryOf(
  ctx: GradientContext,
  long: readonly number[],
  short: readonly number[],
  kernel: readonly number[],
): Geometry {
  const strides = attrInts(ctx.node, 'strides') ?? kernel.map(() => 1);
  const dilations = attrInts(ctx.node, 'dilations') ?? kernel.map(() => 1);
  const mode = attrString(ctx.node, 'auto_pad', 'NOTSET');
  if (mode !== 'SAME_UPPER' && mode !== 'SAME_LOWER') {
    const given = mode === 'VALID' ? undefined : attrInts(ctx.node, 'pads');
    return { kernel, strides, dilations, pads: given ?? [...kernel, ...kernel].map(() => 0) };
  }
  const total = kernel.map((k, i) =>
    Math.max((short[i]! - 1) * strides[i]! + (k - 1) * dilations[i]! + 1 - long[i]!, 0),
  );
  const begins = total.map((t) => (mode === 'SAME_UPPER' ? Math.floor(t / 2) : Math.ceil(t / 2)));
  return { kernel, strides, dilations, pads: [...begins, ...total.map((t, i) => t - begins[i]!)] };
}

const averagePool = unaryGradient((ctx, g) => {
  const x = ctx.inputShape(0);
  const out = ctx.outputShape(0);
  const kernel = attrInts(ctx.node, 'kernel_shape') ?? [];
  const geometry = geometryOf(ctx, x.slice(2), out.slice(2), kernel);
  const includePad = attrInt(ctx.node, 'count_include_pad', 0) === 1;
  let name = g;
  const shape = [...out];
  kernel.forEach((_, k) => {
    const matrix = averages(geometry, k, x[k + 2]!, out[k + 2]!, includePad);
    name = mapAxis(ctx, name, shape, k + 2, transposed(matrix, x[k + 2]!));
    shape[k + 2] = x[k + 2]!;
  });
  return name;
});

/** Row o: the share of each input position in output o. The count of a window is a product over axes, so shares are too. */
function averages(
  { kernel, strides, dilations, pads }: Geometry,
  k: number,
  long: number,
  short: number,
  includePad: boolean,
): number[][] {
  const [before, after] = [pads[k]!, pads[k + kernel.length]!];
  return indices(short).map((o) => {
    const row = indices(long).map(() => 0);
    const start = o * strides[k]! - before;
    const taps = indices(kernel[k]!).map((t) => start + t * dilations[k]!);
    const inside = taps.filter((at) => at >= 0 && at < long);
    // with ceil_mode the last window may reach beyond the padding too: that part never counts
    const counted = includePad ? taps.filter((at) => at < long + after) : inside;
    for (const at of inside) row[at]! += 1 / counted.length;
    return row;
  });
}

/** By the second output of the forward node: where each maximum came from, as the runtime chose it. */
const maxPool = unaryGradient((ctx, g) => {
  const m = formulas(ctx);
  const x = ctx.inputShape(0);
  const total = countOfDims(x);
  const out = countOfDims(ctx.outputShape(0));
  const at = m.reshape(attrInt(ctx.node, 'storage_order', 0) === 1 ? rowMajor(ctx) : ctx.output(1), [out]);
  const sum = ctx.emit('ScatterElements', [filled(ctx, 0, [total]), at, m.reshape(g, [out])], {
    axis: 0,
    reduction: 'add',
  });
  return m.reshape(sum, x);
});

/** The node again, with positions counted row by row. */
function rowMajor(ctx: GradientContext): string {
  const attributes: Record<string, number | string | readonly number[]> = {};
  for (const a of ctx.node.attributes.values()) {
    if (a.name !== 'storage_order' && (a.kind === 'int' || a.kind === 'ints' || a.kind === 'string')) {
      attributes[a.name] = a.value;
    }
  }
  return ctx.emitAll('MaxPool', [ctx.input(0)], 2, attributes)[1]!;
}

const resize = unaryGradient((ctx, g) => {
  const m = formulas(ctx);
  const x = ctx.inputShape(0);
  const out = ctx.outputShape(0);
  const mode = attrString(ctx.node, 'mode', 'nearest');
  const coordinates = attrString(ctx.node, 'coordinate_transformation_mode', 'half_pixel');
  if (coordinates === 'tf_crop_and_resize') {
    contradiction(ctx, 'there is no gradient for tf_crop_and_resize: freeze the weights before it');
  }
  if (attrInt(ctx.node, 'antialias', 0) === 1) {
    contradiction(ctx, 'there is no gradient for resizing with antialias: freeze the weights before it');
  }
  const given = scalesOf(ctx, x.length);
  let name = g;
  const shape = [...out];
  x.forEach((long, axis) => {
    const short = out[axis]!;
    const scale = given?.[axis] ?? short / long;
    if (scale === 1 && long === short) return;
    const weights = resizeWeights(long, short, scale, {
      mode,
      coordinates,
      nearest: attrString(ctx.node, 'nearest_mode', 'round_prefer_floor'),
      cubic: attrFloat(ctx.node, 'cubic_coeff_a', -0.75),
      excludeOutside: attrInt(ctx.node, 'exclude_outside', 0) === 1,
    });
    const times = short / long;
    // repeated whole: neighbours are summed
    const repeated = Number.isInteger(times) && weights.every((row, o) => row[Math.floor(o / times)] === 1);
    if (repeated) {
      const apart = [...shape.slice(0, axis), long, times, ...shape.slice(axis + 1)];
      name = m.sum(m.reshape(name, apart), [axis + 1], 0);
    } else {
      name = mapAxis(ctx, name, shape, axis, transposed(weights, long));
    }
    shape[axis] = long;
  });
  return name;
});

/** Scales as the runtime computes with them; undefined where sizes are given. */
function scalesOf(ctx: GradientContext, rank: number): readonly number[] | undefined {
  const scales = ctx.input(2) === '' || ctx.shape(2)?.[0] === 0 ? undefined : knownInts(ctx, 2);
  if (scales === undefined) return undefined;
  const axes = attrInts(ctx.node, 'axes')?.map((a) => axisOf(ctx, a, rank)) ?? indices(rank);
  const all = indices(rank).map(() => 1);
  axes.forEach((axis, k) => {
    all[axis] = scales[k]!;
  });
  return all;
}

export const windowGradients: readonly (readonly [string, GradientRule])[] = [
  ['AveragePool', averagePool],
  ['MaxPool', maxPool],
  ['Resize', resize],
];
