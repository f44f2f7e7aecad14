// Small words for shape rules: types, dims that may be unknown, axes, attributes that moved to inputs.
import { attrInts, type Dim, type ValueType } from '../ir/graph.js';
import type { OpDef, ShapeContext, ShapeRule } from './op.js';
import { contradiction, tensorType } from './rules.js';

export type Dims = readonly Dim[];

/** Output 0 has the type of input `i`. */
export function sameAs(i: number): ShapeRule {
  return (ctx) => [ctx.type(i)];
}

/** One entry per operator name with the same rules. */
export function entries(opTypes: readonly string[], rules: Omit<OpDef, 'opType'>): OpDef[] {
  return opTypes.map((opType) => ({ opType, ...rules }));
}

export function unknownDims(rank: number): Dim[] {
  return Array.from<Dim>({ length: rank });
}

export function allKnown(dims: readonly (Dim | undefined)[]): dims is readonly number[] {
  return dims.every((d) => typeof d === 'number');
}

/** The product; a symbol survives when everything else multiplies to 1. */
export function productDim(dims: Dims): Dim {
  let n = 1;
  let symbol: Dim;
  let unknown = 0;
  for (const d of dims) {
    if (typeof d === 'number') n *= d;
    else {
      symbol = d;
      unknown++;
    }
  }
  if (unknown === 0 || n === 0) return n;
  return unknown === 1 && n === 1 ? symbol : undefined;
}

export function addDim(dim: Dim, by: number | undefined): Dim {
  if (by === 0) return dim;
  return typeof dim === 'number' && by !== undefined ? dim + by : undefined;
}

export function timesDim(dim: Dim, by: number | undefined): Dim {
  if (by === 1) return dim;
  if (by === 0) return 0;
  return typeof dim === 'number' && by !== undefined ? dim * by : undefined;
}

/** Two dims that must be equal: whichever says more. */
export function unifyDim(ctx: ShapeContext, a: Dim, b: Dim, what: string): Dim {
  if (typeof a === 'number' && typeof b === 'number' && a !== b) contradiction(ctx, `${what} differ: ${a} and ${b}`);
  if (typeof a === 'number') return a;
  return typeof b === 'number' ? b : (a ?? b);
}

/** What two types have in common, for branches and loops. Undefined when nothing. */
export function mergeTypes(a: ValueType | undefined, b: ValueType | undefined): ValueType | undefined {
  if (a === undefined || b === undefined || a.kind !== b.kind) return undefined;
  switch (a.kind) {
    case 'tensor':
    case 'sparse': {
      if (b.kind !== a.kind || b.elemType !== a.elemType) return undefined;
      const shape =
        a.shape === undefined || b.shape?.length !== a.shape.length
          ? undefined
          : a.shape.map((d, i) => (d === b.shape?.[i] ? d : undefined));
      return shape === undefined ? { kind: a.kind, elemType: a.elemType } : { ...a, shape };
    }
    case 'sequence':
    case 'optional':
      return b.kind === a.kind ? { kind: a.kind, elem: mergeTypes(a.elem, b.elem) } : undefined;
    case 'map':
    case 'opaque':
      return a;
  }
}

/** `first` where it speaks, `second` where it does not: an inferred type filled in by a declared one. */
export function refineType(first: ValueType | undefined, second: ValueType | undefined): ValueType | undefined {
  if (first === undefined) return second;
  if (first.kind !== 'tensor' || second?.kind !== 'tensor') return first;
  const elemType = first.elemType === 0 ? second.elemType : first.elemType;
  if (first.shape === undefined) return tensorType(elemType, second.shape);
  if (second.shape?.length !== first.shape.length) return { ...first, elemType };
  return tensorType(
    elemType,
    first.shape.map((d, i) => d ?? second.shape?.[i]),
  );
}

/** Whole numbers from input i, as far as known; undefined when not even their count is known. */
export function inputInts(ctx: ShapeContext, i: number): readonly (number | undefined)[] | undefined {
  const value = ctx.value(i);
  if (value !== undefined) return value.elems;
  const shape = ctx.shape(i);
  if (shape === undefined || !allKnown(shape)) return undefined;
  const n = shape.reduce((a, b) => a * b, 1);
  // a shape never has thousands of entries: anything longer is not a list of dims or axes
  return n <= 1024 ? Array.from({ length: n }, () => undefined) : undefined;
}

export function present(ctx: ShapeContext, i: number): boolean {
  return i < ctx.arity && ctx.node.inputs[i] !== undefined && ctx.node.inputs[i] !== '';
}

/** Axes that were an attribute once and are an input now. 'none' = omitted; undefined = given but not known. */
export function axesOf(ctx: ShapeContext, input: number, name = 'axes'): readonly number[] | 'none' | undefined {
  const given = attrInts(ctx.node, name);
  if (given !== undefined) return given;
  if (!present(ctx, input)) return 'none';
  const value = inputInts(ctx, input);
  return value !== undefined && allKnown(value) ? value : undefined;
}
