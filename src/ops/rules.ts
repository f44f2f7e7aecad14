// What the entries of the operator table share: types of values, broadcasting, axes, and makers of shape rules.
import { PareError } from '../errors.js';
import { describeNode } from '../ir/graph.js';
import type { Dim, ValueType } from '../ir/graph.js';
import type { ShapeContext, ShapeRule } from './op.js';

export function tensorType(elemType: number, shape?: readonly Dim[]): ValueType {
  return shape === undefined ? { kind: 'tensor', elemType } : { kind: 'tensor', elemType, shape };
}

/** `Conv "layer1.0": message`. */
export function contradiction(ctx: ShapeContext, message: string): never {
  throw new PareError(`${describeNode(ctx.node)}: ${message}`);
}

/** `[1, 64, ?, ?]` for messages. */
export function showShape(shape: readonly Dim[]): string {
  return `[${shape.map((d) => d ?? '?').join(', ')}]`;
}

/** Output 0 = input 0's type; further outputs unknown. */
export const sameAsInput: ShapeRule = (ctx) => [ctx.type(0)];

/** Shape of input 0, element type given (for Cast-like operators by attribute, for comparisons BOOL). */
export function sameShape(elemType: number | ((ctx: ShapeContext) => number)): ShapeRule {
  return (ctx) => [tensorType(typeof elemType === 'number' ? elemType : elemType(ctx), ctx.shape(0))];
}

/** The axis as a non-negative number; a contradiction when it lies outside [-rank, rank). */
export function axisOf(ctx: ShapeContext, axis: number, rank: number): number {
  const a = axis < 0 ? axis + rank : axis;
  if (a < 0 || a >= Math.max(rank, 1)) {
    contradiction(ctx, `axis ${axis} lies outside its input's ${rank} dimensions`);
  }
  return a;
}

/**
 * Numpy's broadcasting of one pair of dims; undefined when it cannot be told. Two unequal numbers of which none is 1
 * give null: they contradict each other.
 */
export function broadcastDim(a: Dim, b: Dim): Dim | null {
  if (a === b) return a;
  if (a === 1) return b;
  if (b === 1) return a;
  if (typeof a === 'number') return typeof b === 'number' ? null : a;
  return typeof b === 'number' ? b : undefined;
}

/** Shape of several operands broadcast together; undefined when one rank is unknown. */
export function broadcastShapes(
  ctx: ShapeContext,
  shapes: readonly (readonly Dim[] | undefined)[],
): readonly Dim[] | undefined {
  let result = shapes[0];
  for (let k = 1; k < shapes.length; k++) {
    const next = shapes[k];
    if (result === undefined || next === undefined) return undefined;
    result = broadcastPair(ctx, result, next);
  }
  return result;
}

/** Shapes of inputs `from` to the last, broadcast together. */
export function broadcastInputs(ctx: ShapeContext, from = 0): readonly Dim[] | undefined {
  let result = ctx.shape(from);
  for (let i = from + 1; i < ctx.arity; i++) {
    const next = ctx.shape(i);
    if (result === undefined || next === undefined) return undefined;
    result = broadcastPair(ctx, result, next);
  }
  return result;
}

function broadcastPair(ctx: ShapeContext, a: readonly Dim[], b: readonly Dim[]): readonly Dim[] {
  const long = a.length >= b.length ? a : b;
  const short = long === a ? b : a;
  const shift = long.length - short.length;
  let same = true;
  for (let k = 0; k < short.length; k++) {
    if (short[k] !== 1 && short[k] !== long[k + shift]) same = false;
  }
  if (same) return long;
  return long.map((d, k) => {
    if (k < shift) return d;
    const dim = broadcastDim(d, short[k - shift]);
    if (dim === null) contradiction(ctx, `operands ${showShape(a)} and ${showShape(b)} do not broadcast`);
    return dim;
  });
}

/** Number of elements; undefined when a dim is unknown. */
export function countElements(shape: readonly Dim[] | undefined): number | undefined {
  if (shape === undefined) return undefined;
  let n = 1;
  for (const d of shape) {
    if (typeof d !== 'number') return undefined;
    n *= d;
  }
  return n;
}

/** All elements of input i where all are known: shapes, axes, sizes that are data. */
export function knownInts(ctx: ShapeContext, i: number): readonly number[] | undefined {
  const elems = ctx.value(i)?.elems;
  if (elems === undefined) return undefined;
  for (const e of elems) if (e === undefined) return undefined;
  // the cast: every element was just seen to be a number
  return elems as readonly number[];
}

/** The one element of input i, when known. */
export function knownScalar(ctx: ShapeContext, i: number): number | undefined {
  const elems = ctx.value(i)?.elems;
  return elems?.length === 1 ? elems[0] : undefined;
}
