// Gradients of operators that read or write at positions given as data: reading is undone by adding, writing by reading.
// https://onnx.ai/onnx/operators/onnx__GatherND.html
import { attrInt, attrString } from '../ir/graph.js';
import { axisAttribute, countOfDims, filled, formulas, indices } from './gradient-rules.js';
import { putBack } from './gradient-movement.js';
import type { GradientContext, GradientRule } from './op.js';
import { contradiction, knownInts } from './rules.js';

const gather: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined || !ctx.needed(0)) return [];
  const m = formulas(ctx);
  const x = ctx.inputShape(0);
  const axis = axisAttribute(ctx, 0);
  const length = x[axis]!;
  const count = countOfDims(ctx.inputShape(1));
  const [before, after] = [x.slice(0, axis), x.slice(axis + 1)];
  const known = knownInts(ctx, 1)?.map((v) => (v < 0 ? v + length : v));
  const even = known === undefined ? undefined : evenly(known);
  if (even !== undefined) {
    // one position, or positions at equal distances: no more than a Slice
    const rows = m.reshape(g, [...before, count, ...after]);
    const whole = x.map((d) => ({ first: 0, step: 1, count: d }));
    return [putBack(ctx, rows, x, whole.with(axis, { ...even, count }))];
  }
  const view = [countOfDims(before), count, countOfDims(after)];
  if (view[0] === 1) {
    // whole rows: ScatterND adds them some ten times faster than ScatterElements, element by element
    const rows = m.reshape(positive(ctx, ctx.input(1), length), [count, 1]);
    const zeros = filled(ctx, 0, [length, view[2]!]);
    const whole = ctx.emit('ScatterND', [zeros, rows, m.reshape(g, [count, view[2]!])], { reduction: 'add' });
    return [m.reshape(whole, x)];
  }
  const at = m.reshape(positive(ctx, ctx.input(1), length), [1, count, 1]);
  const sum = ctx.emit(
    'ScatterElements',
    [filled(ctx, 0, [view[0]!, length, view[2]!]), ctx.emit('Expand', [at, ctx.ints(view)]), m.reshape(g, view)],
    { axis: 1, reduction: 'add' },
  );
  return [m.reshape(sum, x)];
};

/** First position and step when no position is read twice. */
function evenly(at: readonly number[]): { readonly first: number; readonly step: number } | undefined {
  const [first, second] = at;
  if (first === undefined) return undefined;
  const step = second === undefined ? 1 : second - first;
  return step !== 0 && at.every((v, k) => v === first + k * step) ? { first, step } : undefined;
}

/** Negative positions count from the end. */
function positive(ctx: GradientContext, at: string, length: number): string {
  const long = ctx.elemType(1) === 7 ? at : ctx.emit('Cast', [at], { to: 7 });
  const negative = ctx.emit('Less', [long, ctx.ints([0])]);
  return ctx.emit('Where', [negative, ctx.emit('Add', [long, ctx.ints([length])]), long]);
}

const gatherElements: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const zeros = filled(ctx, 0, ctx.inputShape(0));
  const axis = axisAttribute(ctx, 0);
  return [ctx.emit('ScatterElements', [zeros, ctx.input(1), g], { axis, reduction: 'add' })];
};

/** Positions become row numbers of the input seen as [batches x rows, slice]; rows that are read twice add up. */
const gatherNd: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const m = formulas(ctx);
  const x = ctx.inputShape(0);
  const at = ctx.inputShape(1);
  const batchDims = attrInt(ctx.node, 'batch_dims', 0);
  const depth = at[at.length - 1]!;
  const batches = countOfDims(x.slice(0, batchDims));
  const dims = x.slice(batchDims, batchDims + depth);
  const width = countOfDims(x.slice(batchDims + depth));
  const rows = countOfDims(dims);
  const each = countOfDims(at.slice(batchDims, -1));
  const strides = dims.map((_, k) => countOfDims(dims.slice(k + 1)));
  const list = m.reshape(ctx.input(1), [batches, each, depth]);
  const negative = ctx.emit('Less', [list, ctx.ints([0])]);
  const there = ctx.emit('Where', [negative, ctx.emit('Add', [list, ctx.ints(dims)]), list]);
  const row = ctx.emit('ReduceSum', [ctx.emit('Mul', [there, ctx.ints(strides)]), ctx.ints([-1])], { keepdims: 1 });
  const offset = ctx.ints(
    indices(batches).map((b) => b * rows),
    [batches, 1, 1],
  );
  const index = m.reshape(ctx.emit('Add', [row, offset]), [batches * each, 1]);
  const sum = ctx.emit(
    'ScatterElements',
    [
      filled(ctx, 0, [batches * rows, width]),
      ctx.emit('Expand', [index, ctx.ints([batches * each, width])]),
      m.reshape(g, [batches * each, width]),
    ],
    { axis: 0, reduction: 'add' },
  );
  return [m.reshape(sum, x)];
};

/** What is written over has no gradient; what is written or added has that of its place. */
function scatter(kind: 'ScatterElements' | 'ScatterND'): GradientRule {
  return (ctx) => {
    const g = ctx.gradient(0);
    if (g === undefined) return [];
    const elements = kind === 'ScatterElements';
    const reduction = attrString(ctx.node, 'reduction', 'none');
    if (reduction !== 'none' && reduction !== 'add') {
      contradiction(ctx, `there is no gradient for the reduction "${reduction}": freeze the weights before it`);
    }
    const axis = elements ? { axis: axisAttribute(ctx, 0) } : {};
    const cleared = (): string => ctx.emit(kind, [g, ctx.input(1), filled(ctx, 0, ctx.inputShape(2))], axis);
    const read = (): string => ctx.emit(elements ? 'GatherElements' : 'GatherND', [g, ctx.input(1)], axis);
    return [
      ctx.needed(0) ? (reduction === 'add' ? g : cleared()) : undefined,
      undefined,
      ctx.needed(2) ? read() : undefined,
    ];
  };
}

export const gatherGradients: readonly (readonly [string, GradientRule])[] = [
  ['Gather', gather],
  ['GatherElements', gatherElements],
  ['GatherND', gatherNd],
  ['ScatterElements', scatter('ScatterElements')],
  ['ScatterND', scatter('ScatterND')],
];
