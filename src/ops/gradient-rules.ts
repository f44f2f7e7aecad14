// Gradient rules that several entries share. Each emits ordinary nodes; shapes are known when a rule runs.
import { attrInts } from '../ir/graph.js';
import type { GradientContext, GradientRule } from './op.js';

/** Sums `name` of shape `from` down to `to`: the adjoint of broadcasting `to` up to `from`. */
export function unbroadcast(
  ctx: GradientContext,
  name: string,
  from: readonly number[],
  to: readonly number[],
): string {
  const shift = from.length - to.length;
  const axes = from.flatMap((d, k) => (k < shift || (to[k - shift] === 1 && d !== 1) ? [k] : []));
  if (axes.length === 0) return name;
  const summed = ctx.emit('ReduceSum', [name, ctx.ints(axes)], { keepdims: 1 });
  return shift === 0 ? summed : ctx.emit('Reshape', [summed, ctx.ints(to)]);
}

/** An operator of one data input whose gradient is `g` times something: gives that product for input 0. */
export function unaryGradient(derivative: (ctx: GradientContext, g: string) => string): GradientRule {
  return (ctx) => {
    const g = ctx.gradient(0);
    return [g === undefined ? undefined : derivative(ctx, g)];
  };
}

/** A broadcasting operator of two inputs: the gradients before their sum over broadcast axes. */
export function binaryGradient(
  left: (ctx: GradientContext, g: string) => string,
  right: (ctx: GradientContext, g: string) => string,
): GradientRule {
  return (ctx) => {
    const g = ctx.gradient(0);
    if (g === undefined) return [];
    const out = ctx.outputShape(0);
    return [left, right].map((part, i) =>
      ctx.needed(i) ? unbroadcast(ctx, part(ctx, g), out, ctx.inputShape(i)) : undefined,
    );
  };
}

/** The operator only moves elements: the gradient is given back its input's shape. */
export const reshapeBack: GradientRule = unaryGradient((ctx, g) =>
  ctx.emit('Reshape', [g, ctx.ints(ctx.inputShape(0))]),
);

/** The gradient passes unchanged. */
export const passBack: GradientRule = (ctx) => [ctx.gradient(0)];

/** A reduction over axes whose gradient is spread evenly, times `factor(number of elements reduced into one)`. */
export function reduceGradient(factor: (count: number) => number): GradientRule {
  return unaryGradient((ctx, g) => {
    const x = ctx.inputShape(0);
    const said = ctx.value(1)?.elems.map(Number) ?? attrInts(ctx.node, 'axes') ?? x.map((_, k) => k);
    const axes = new Set(said.map((a) => (a < 0 ? a + x.length : a)));
    const kept = ctx.emit('Reshape', [g, ctx.ints(x.map((d, k) => (axes.has(k) ? 1 : d)))]);
    const scale = factor(x.reduce((count, d, k) => (axes.has(k) ? count * d : count), 1));
    const scaled = scale === 1 ? kept : ctx.emit('Mul', [kept, ctx.float(scale)]);
    return ctx.emit('Expand', [scaled, ctx.ints(x)]);
  });
}
