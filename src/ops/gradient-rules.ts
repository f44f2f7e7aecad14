// What gradient rules share: formulas over emitted nodes, adjoints of broadcasting, linear maps along one axis. Shapes are
// known when a rule runs.
import { attrInt } from '../ir/graph.js';
import type { EmitContext, GradientContext, GradientRule } from './op.js';
import { axisOf, contradiction } from './rules.js';

/** A value of the graph, or a number that becomes a constant. */
export type Operand = string | number;

/** Formulas as nodes: `m.mul(g, m.sub(1, y))`. */
export interface Formulas {
  add(a: Operand, b: Operand): string;
  sub(a: Operand, b: Operand): string;
  mul(a: Operand, b: Operand): string;
  div(a: Operand, b: Operand): string;
  pow(a: Operand, b: Operand): string;
  max(a: Operand, b: Operand): string;
  /** An operator of one input: Neg, Exp, Tanh ... */
  f(opType: string, a: Operand): string;
  /** 1 where the comparison holds, 0 elsewhere, as BOOL: Greater, Less, Equal, GreaterOrEqual, LessOrEqual. */
  is(opType: string, a: Operand, b: Operand): string;
  where(condition: string, a: Operand, b: Operand): string;
  reshape(a: string, shape: readonly number[]): string;
  transpose(a: string, perm: readonly number[]): string;
  /** Sums over axes, keeping them with length 1 unless told otherwise. No axes: unchanged. */
  sum(a: string, axes: readonly number[], keepdims?: 0 | 1): string;
}

export function formulas(ctx: EmitContext): Formulas {
  const v = (a: Operand): string => (typeof a === 'number' ? ctx.float(a) : a);
  const two =
    (opType: string) =>
    (a: Operand, b: Operand): string =>
      ctx.emit(opType, [v(a), v(b)]);
  return {
    add: two('Add'),
    sub: two('Sub'),
    mul: (a, b) => (b === 1 ? v(a) : two('Mul')(a, b)),
    div: two('Div'),
    pow: two('Pow'),
    max: two('Max'),
    f: (opType, a) => ctx.emit(opType, [v(a)]),
    is: (opType, a, b) => ctx.emit(opType, [v(a), v(b)]),
    where: (condition, a, b) => ctx.emit('Where', [condition, v(a), v(b)]),
    reshape: (a, shape) => ctx.emit('Reshape', [a, ctx.ints(shape)]),
    transpose: (a, perm) => (perm.every((p, k) => p === k) ? a : ctx.emit('Transpose', [a], { perm })),
    sum: (a, axes, keepdims = 1) => (axes.length === 0 ? a : ctx.emit('ReduceSum', [a, ctx.ints(axes)], { keepdims })),
  };
}

export function countOfDims(dims: readonly number[]): number {
  return dims.reduce((a, b) => a * b, 1);
}

/** 0 to n - 1. */
export function indices(n: number): number[] {
  return Array.from({ length: n }, (_, k) => k);
}

/** A tensor of one number, made by the runtime. */
export function filled(ctx: EmitContext, value: number, shape: readonly number[]): string {
  return ctx.emit('Expand', [ctx.float(value), ctx.ints(shape)]);
}

/** Sums `name` of shape `from` down to `to`: the adjoint of broadcasting `to` up to `from`. */
export function unbroadcast(ctx: EmitContext, name: string, from: readonly number[], to: readonly number[]): string {
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
    return [g === undefined || !ctx.needed(0) ? undefined : derivative(ctx, g)];
  };
}

/** y = f(x) element by element: the derivative as a formula of x and y. */
export function pointwiseGradient(
  derivative: (m: Formulas, x: string, y: string, ctx: GradientContext) => string,
): GradientRule {
  return unaryGradient((ctx, g) => {
    const m = formulas(ctx);
    return m.mul(g, derivative(m, ctx.input(0), ctx.output(0), ctx));
  });
}

/** y = f(x) element by element: g times the derivative as a formula, where a mere product says too little (gates). */
export function gatedGradient(
  gradient: (m: Formulas, g: string, x: string, y: string, ctx: GradientContext) => string,
): GradientRule {
  return unaryGradient((ctx, g) => gradient(formulas(ctx), g, ctx.input(0), ctx.output(0), ctx));
}

/** A broadcasting operator of several inputs: the gradient of input i before its sum over broadcast axes. */
export function broadcastGradient(
  part: (m: Formulas, g: string, i: number, ctx: GradientContext) => string,
): GradientRule {
  return (ctx) => {
    const g = ctx.gradient(0);
    if (g === undefined) return [];
    const m = formulas(ctx);
    const out = ctx.outputShape(0);
    return indices(ctx.arity).map((i) =>
      ctx.needed(i) ? unbroadcast(ctx, part(m, g, i, ctx), out, ctx.inputShape(i)) : undefined,
    );
  };
}

/** The operator only moves elements: the gradient is given back its input's shape. */
export const reshapeBack: GradientRule = unaryGradient((ctx, g) =>
  ctx.emit('Reshape', [g, ctx.ints(ctx.inputShape(0))]),
);

/** The gradient passes unchanged. */
export const passBack: GradientRule = (ctx) => [ctx.gradient(0)];

/** Constant between jumps (Floor, Sign): nothing flows back. */
export const noGradient: GradientRule = () => [];

/**
 * Multiplies along one axis: result[.., j, ..] = sum over i of matrix[j][i] * value[.., i, ..]. Interpolation, averaging,
 * padding by reflection and their adjoints are such maps.
 */
export function mapAxis(
  ctx: EmitContext,
  name: string,
  shape: readonly number[],
  axis: number,
  matrix: readonly (readonly number[])[],
): string {
  const m = formulas(ctx);
  const [rows, columns] = [matrix.length, shape[axis]!];
  const [before, after] = [countOfDims(shape.slice(0, axis)), countOfDims(shape.slice(axis + 1))];
  const out = shape.with(axis, rows);
  if (after === 1) {
    const transposed = indices(columns).flatMap((i) => matrix.map((row) => row[i]!));
    const product = ctx.emit('MatMul', [m.reshape(name, [before, columns]), ctx.float(transposed, [columns, rows])]);
    return m.reshape(product, out);
  }
  const left = ctx.float(matrix.flat(), [rows, columns]);
  return m.reshape(ctx.emit('MatMul', [left, m.reshape(name, [before, columns, after])]), out);
}

/** Rows become columns. */
export function transposed(matrix: readonly (readonly number[])[], columns: number): number[][] {
  return indices(columns).map((i) => matrix.map((row) => row[i]!));
}

/** The attribute `axis`, not negative. */
export function axisAttribute(ctx: GradientContext, fallback: number): number {
  return axisOf(ctx, attrInt(ctx.node, 'axis', fallback), ctx.inputShape(0).length);
}

/** Whole numbers that must be known before a graph is written: shapes, axes, pads. */
export function knownOrFail(ctx: GradientContext, i: number, what: string): readonly number[] {
  const elems = ctx.value(i)?.elems;
  if (elems?.every((e) => e !== undefined) !== true) {
    contradiction(ctx, `its gradient needs constant ${what}, but input ${i} is computed from data`);
  }
  return elems;
}
