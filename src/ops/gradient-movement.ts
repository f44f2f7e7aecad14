// Gradients of operators that move elements: each gives them back where they came from.
// https://onnx.ai/onnx/operators/onnx__Slice.html
import { attrInt, attrInts, attrString } from '../ir/graph.js';
import {
  axisAttribute,
  countOfDims,
  filled,
  formulas,
  indices,
  knownOrFail,
  mapAxis,
  reshapeBack,
  unaryGradient,
  unbroadcast,
} from './gradient-rules.js';
import type { EmitContext, GradientContext, GradientRule } from './op.js';
import { axisOf, contradiction } from './rules.js';
import { padSource, sliceReadings, type Reading } from './slicing.js';

const transpose = unaryGradient((ctx, g) => {
  const rank = ctx.inputShape(0).length;
  const perm = attrInts(ctx.node, 'perm') ?? indices(rank).reverse();
  const back = indices(rank).map((k) => perm.indexOf(k));
  return formulas(ctx).transpose(g, back);
});

const expand = unaryGradient((ctx, g) => unbroadcast(ctx, g, ctx.outputShape(0), ctx.inputShape(0)));

/** Output axis k is (repeats, length). */
const tile = unaryGradient((ctx, g) => {
  const m = formulas(ctx);
  const x = ctx.inputShape(0);
  const out = ctx.outputShape(0);
  const split = x.flatMap((d, k) => [d === 0 ? 1 : out[k]! / d, d]);
  return m.reshape(
    m.sum(
      m.reshape(g, split),
      indices(x.length).map((k) => 2 * k),
    ),
    x,
  );
});

const concat: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const axis = axisAttribute(ctx, 0);
  let start = 0;
  return indices(ctx.arity).map((i) => {
    const from = start;
    start += ctx.inputShape(i)[axis]!;
    return ctx.needed(i) ? cutOut(ctx, g, axis, from, start) : undefined;
  });
};

function cutOut(ctx: EmitContext, g: string, axis: number, from: number, to: number): string {
  return ctx.emit('Slice', [g, ctx.ints([from]), ctx.ints([to]), ctx.ints([axis])]);
}

const split: GradientRule = (ctx) => {
  const parts = ctx.node.outputs.map((_, k) => ctx.gradient(k) ?? zeros(ctx, ctx.outputShape(k)));
  return [parts.length === 1 ? parts[0] : ctx.emit('Concat', parts, { axis: axisAttribute(ctx, 0) })];
};

function zeros(ctx: EmitContext, shape: readonly number[]): string {
  return filled(ctx, 0, shape);
}

/** Each axis: turned round when it was read backwards, spread by the step, and put into its place among zeros. */
const slice = unaryGradient((ctx, g) => {
  const x = ctx.inputShape(0);
  const readings = sliceReadings(ctx, x);
  if (readings === undefined) contradiction(ctx, 'its gradient needs constant starts, ends and steps');
  return putBack(ctx, g, x, readings);
});

/** The adjoint of reading `x` at the given positions. */
export function putBack(ctx: EmitContext, g: string, x: readonly number[], readings: readonly Reading[]): string {
  let name = g;
  const shape = readings.map((r) => r.count);
  if (countOfDims(shape) === 0) return zeros(ctx, x);
  const pads = { before: x.map(() => 0), after: x.map(() => 0) };
  readings.forEach(({ first, step, count }, k) => {
    if (count === x[k] && step === 1) return;
    const backwards = step < 0;
    if (backwards && count > 1) {
      name = ctx.emit('Slice', [name, ctx.ints([-1]), ctx.ints([-(2 ** 31)]), ctx.ints([k]), ctx.ints([-1])]);
    }
    const stride = count > 1 ? Math.abs(step) : 1;
    if (stride > 1) {
      name = dilated(ctx, name, shape, k, stride);
      shape[k] = (count - 1) * stride + 1;
    }
    pads.before[k] = backwards ? first + (count - 1) * step : first;
    pads.after[k] = x[k]! - pads.before[k] - shape[k]!;
  });
  return padded(ctx, name, pads.before, pads.after);
}

/** Zeros around; negative pads cut off. */
export function padded(ctx: EmitContext, name: string, before: readonly number[], after: readonly number[]): string {
  const pads = [...before, ...after];
  return pads.every((p) => p === 0) ? name : ctx.emit('Pad', [name, ctx.ints(pads)]);
}

/** stride - 1 zeros between neighbours along the axis. */
export function dilated(
  ctx: EmitContext,
  name: string,
  shape: readonly number[],
  axis: number,
  stride: number,
): string {
  const m = formulas(ctx);
  const apart = [...shape.slice(0, axis + 1), 1, ...shape.slice(axis + 1)];
  const after = apart.map((_, k) => (k === axis + 1 ? stride - 1 : 0));
  const spread = padded(
    ctx,
    m.reshape(name, apart),
    apart.map(() => 0),
    after,
  );
  const joined = m.reshape(spread, shape.with(axis, shape[axis]! * stride));
  return cutOut(ctx, joined, axis, 0, (shape[axis]! - 1) * stride + 1);
}

const pad: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const x = ctx.inputShape(0);
  const { before, after } = padsOf(ctx, x.length);
  const mode = attrString(ctx.node, 'mode', 'constant');
  const inside = (): string =>
    padded(
      ctx,
      g,
      before.map((p) => -p),
      after.map((p) => -p),
    );
  if (mode === 'constant') {
    const m = formulas(ctx);
    const around = (): string => {
      const all = m.sum(g, indices(x.length), 0);
      return m.reshape(m.sub(all, m.sum(inside(), indices(x.length), 0)), ctx.inputShape(2));
    };
    return [ctx.needed(0) ? inside() : undefined, undefined, ctx.needed(2) ? around() : undefined];
  }
  const out = ctx.outputShape(0);
  let name = g;
  const shape = [...out];
  x.forEach((length, axis) => {
    if (before[axis] === 0 && after[axis] === 0) return;
    const from = indices(out[axis]!).map((o) => padSource(mode, o - before[axis]!, length));
    const adjoint = indices(length).map((i) => from.map((at) => (at === i ? 1 : 0)));
    name = mapAxis(ctx, name, shape, axis, adjoint);
    shape[axis] = length;
  });
  return [name];
};

function padsOf(ctx: GradientContext, rank: number): { before: number[]; after: number[] } {
  const pads = knownOrFail(ctx, 1, 'pads');
  const given = ctx.input(3) === '' ? indices(rank) : knownOrFail(ctx, 3, 'axes').map((a) => axisOf(ctx, a, rank));
  const before = indices(rank).map(() => 0);
  const after = indices(rank).map(() => 0);
  given.forEach((axis, k) => {
    before[axis] = pads[k]!;
    after[axis] = pads[k + given.length]!;
  });
  return { before, after };
}

/** [N, C, H, W] from [N, b, b, C, H, W] (DCR) or [N, C, b, b, H, W] (CRD), each block unfolded in space. */
const depthToSpace = unaryGradient((ctx, g) => {
  const [n = 1, c = 1, h = 1, w = 1] = ctx.outputShape(0);
  const b = attrInt(ctx.node, 'blocksize', 1);
  const m = formulas(ctx);
  const blocks = m.reshape(g, [n, c, h / b, b, w / b, b]);
  const perm = attrString(ctx.node, 'mode', 'DCR') === 'CRD' ? [0, 1, 3, 5, 2, 4] : [0, 3, 5, 1, 2, 4];
  return m.reshape(m.transpose(blocks, perm), ctx.inputShape(0));
});

const spaceToDepth = unaryGradient((ctx, g) =>
  ctx.emit('DepthToSpace', [g], {
    blocksize: attrInt(ctx.node, 'blocksize', 1),
    mode: attrString(ctx.node, 'mode', 'DCR'),
  }),
);

const trilu = unaryGradient((ctx, g) =>
  ctx.emit('Trilu', ctx.input(1) === '' ? [g] : [g, ctx.input(1)], { upper: attrInt(ctx.node, 'upper', 1) }),
);

/** Each element of the columns is added to one position of the image: it takes that position's gradient. */
const col2Im = unaryGradient((ctx, g) => {
  const m = formulas(ctx);
  const image = knownOrFail(ctx, 1, 'image sizes');
  const block = knownOrFail(ctx, 2, 'block sizes');
  const [n = 1, c = 1] = ctx.outputShape(0);
  const ones = image.map(() => 1);
  const strides = attrInts(ctx.node, 'strides') ?? ones;
  const dilations = attrInts(ctx.node, 'dilations') ?? ones;
  const pads = attrInts(ctx.node, 'pads') ?? [...ones, ...ones].map(() => 0);
  const large = image.map((d, k) => d + pads[k]! + pads[k + image.length]!);
  const windows = large.map((d, k) => Math.floor((d - (block[k]! - 1) * dilations[k]! - 1) / strides[k]!) + 1);
  const around = padded(ctx, g, [0, 0, ...pads.slice(0, image.length)], [0, 0, ...pads.slice(image.length)]);
  // positions in the padded image, for every place in the block (rows) and every window (columns)
  const positions = places(block).flatMap((inside) =>
    places(windows).map((window) =>
      large.reduce((at, d, k) => at * d + window[k]! * strides[k]! + inside[k]! * dilations[k]!, 0),
    ),
  );
  const flat = m.reshape(around, [n, c, countOfDims(large)]);
  return m.reshape(ctx.emit('Gather', [flat, ctx.ints(positions)], { axis: 2 }), ctx.inputShape(0));
});

/** All places of a box, in row-major order. */
function places(dims: readonly number[]): number[][] {
  return dims.reduce<number[][]>((all, d) => all.flatMap((p) => indices(d).map((k) => [...p, k])), [[]]);
}

export const movementGradients: readonly (readonly [string, GradientRule])[] = [
  ['Reshape', reshapeBack],
  ['Flatten', reshapeBack],
  ['Squeeze', reshapeBack],
  ['Unsqueeze', reshapeBack],
  ['Transpose', transpose],
  ['Expand', expand],
  ['Tile', tile],
  ['Concat', concat],
  ['Split', split],
  ['Slice', slice],
  ['Pad', pad],
  ['DepthToSpace', depthToSpace],
  ['SpaceToDepth', spaceToDepth],
  ['Trilu', trilu],
  ['Col2Im', col2Im],
];
