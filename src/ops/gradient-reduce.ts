// Gradients of reductions over axes. https://onnx.ai/onnx/operators/onnx__ReduceSum.html
import { attrFloat, attrInt } from '../ir/graph.js';
import { countOfDims, formulas, indices, mapAxis, unaryGradient, type Formulas } from './gradient-rules.js';
import type { GradientContext, GradientRule } from './op.js';
import { reducedAxes } from './reduce.js';
import { contradiction } from './rules.js';

interface Reduction {
  readonly m: Formulas;
  readonly x: string;
  /** Gradient and result with the reduced axes kept as 1. */
  readonly g: string;
  readonly y: string;
  readonly shape: readonly number[];
  readonly axes: readonly number[];
  /** How many elements are reduced into one. */
  readonly count: number;
}

/** The gradient of input 0, of the input's shape or one that broadcasts to it. */
function reduction(part: (r: Reduction, ctx: GradientContext) => string): GradientRule {
  return unaryGradient((ctx, gradient) => {
    const shape = ctx.inputShape(0);
    const axes = axesReduced(ctx, shape.length);
    const kept = shape.map((d, k) => (axes.includes(k) ? 1 : d));
    const m = formulas(ctx);
    const back = (name: string): string => (ctx.outputShape(0).length === shape.length ? name : m.reshape(name, kept));
    const count = countOfDims(axes.map((a) => shape[a]!));
    const r: Reduction = {
      m,
      x: ctx.input(0),
      g: back(gradient),
      // asked for by few: a getter, so that no other emits it
      get y() {
        return back(ctx.output(0));
      },
      shape,
      axes,
      count,
    };
    return part(r, ctx);
  });
}

function axesReduced(ctx: GradientContext, rank: number): readonly number[] {
  const found = reducedAxes(ctx, rank, ctx.node.opType === 'ReduceSum' ? 13 : 18);
  return found ?? contradiction(ctx, 'its gradient needs constant axes');
}

function spread(name: string, r: Reduction, ctx: GradientContext): string {
  return r.count === 1 ? name : ctx.emit('Expand', [name, ctx.ints(r.shape)]);
}

/** The largest or smallest: those that are equal share. */
const extreme = reduction(({ m, x, g, y, axes }, ctx) => {
  const mask = ctx.emit('Cast', [m.is('Equal', x, y)], { to: ctx.elemType(0) });
  return m.mul(mask, m.div(g, m.sum(mask, axes)));
});

/** The product of the others, also where some elements are 0. */
const product = reduction(({ m, x, g, axes }, ctx) => {
  const zero = m.is('Equal', x, 0);
  const zeros = m.sum(ctx.emit('Cast', [zero], { to: ctx.elemType(0) }), axes);
  const safe = m.where(zero, 1, x);
  const all = axes.length === 0 ? safe : ctx.emit('ReduceProd', [safe, ctx.ints(axes)], { keepdims: 1 });
  const withoutZeros = m.where(m.is('Equal', zeros, 0), m.div(all, safe), 0);
  const atTheZero = m.where(m.is('Equal', zeros, 1), all, 0);
  return m.mul(g, m.where(zero, atTheZero, withoutZeros));
});

const l2 = reduction(({ m, x, g, y }) => {
  const zero = m.is('Equal', y, 0);
  return m.mul(x, m.where(zero, 0, m.div(g, m.where(zero, 1, y))));
});

/** Values and where they came from: each goes back there. */
const topK: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const rank = ctx.inputShape(0).length;
  const axis = attrInt(ctx.node, 'axis', -1);
  const zeros = ctx.emit('Expand', [ctx.float(0), ctx.ints(ctx.inputShape(0))]);
  return [ctx.emit('ScatterElements', [zeros, ctx.output(1), g], { axis: axis < 0 ? axis + rank : axis })];
};

const globalAverage = unaryGradient((ctx, g) => {
  const x = ctx.inputShape(0);
  const count = countOfDims(x.slice(2));
  return ctx.emit('Expand', [formulas(ctx).mul(g, 1 / count), ctx.ints(x)]);
});

const globalMax = unaryGradient((ctx, g) => {
  const m = formulas(ctx);
  const axes = indices(ctx.inputShape(0).length).slice(2);
  const mask = ctx.emit('Cast', [m.is('Equal', ctx.input(0), ctx.output(0))], { to: ctx.elemType(0) });
  return m.mul(mask, m.div(g, m.sum(mask, axes)));
});

/** x / (bias + alpha / size * sum of squares over neighbouring channels)^beta. */
const lrn = unaryGradient((ctx, g) => {
  const m = formulas(ctx);
  const shape = ctx.inputShape(0);
  const size = attrInt(ctx.node, 'size', 1);
  const [alpha, beta, bias] = [
    attrFloat(ctx.node, 'alpha', 1e-4),
    attrFloat(ctx.node, 'beta', 0.75),
    attrFloat(ctx.node, 'bias', 1),
  ];
  const before = Math.floor((size - 1) / 2);
  const channels = indices(shape[1]!);
  const window = channels.map((c) => channels.map((d) => (d >= c - before && d <= c - before + size - 1 ? 1 : 0)));
  const adjoint = channels.map((c) => channels.map((d) => window[d]![c]!));
  const x = ctx.input(0);
  const s = m.add(m.mul(mapAxis(ctx, m.mul(x, x), shape, 1, window), alpha / size), bias);
  const scale = m.pow(s, -beta);
  const inner = mapAxis(ctx, m.mul(m.mul(g, x), m.div(scale, s)), shape, 1, adjoint);
  return m.sub(m.mul(g, scale), m.mul(m.mul(x, inner), (2 * alpha * beta) / size));
});

export const reduceGradients: readonly (readonly [string, GradientRule])[] = [
  ['ReduceSum', reduction((r, ctx) => spread(r.g, r, ctx))],
  ['ReduceMean', reduction((r, ctx) => spread(r.m.mul(r.g, 1 / r.count), r, ctx))],
  ['ReduceMax', extreme],
  ['ReduceMin', extreme],
  ['ReduceProd', product],
  ['ReduceL1', reduction(({ m, x, g }) => m.mul(g, m.f('Sign', x)))],
  ['ReduceL2', l2],
  ['ReduceSumSquare', reduction(({ m, x, g }) => m.mul(m.mul(g, 2), x))],
  ['ReduceLogSum', reduction((r, ctx) => spread(r.m.div(r.g, r.m.f('Exp', r.y)), r, ctx))],
  ['ReduceLogSumExp', reduction(({ m, x, g, y }) => m.mul(g, m.f('Exp', m.sub(x, y))))],
  ['TopK', topK],
  ['GlobalAveragePool', globalAverage],
  ['GlobalMaxPool', globalMax],
  ['LRN', lrn],
];
