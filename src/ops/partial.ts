// Arithmetic of small, partly known arrays: the movement operators on row-major lists, for value rules.
import type { PartialValue, ShapeContext } from './op.js';

type Elem = number | undefined;

/** Value rules make nothing larger than this. */
export const valueLimit = 4096;

export function partial(dims: readonly number[], elems: readonly Elem[]): PartialValue {
  return { dims, elems };
}

export function vector(elems: readonly Elem[]): PartialValue {
  return { dims: [elems.length], elems };
}

export function scalar(elem: Elem): PartialValue {
  return { dims: [], elems: [elem] };
}

export function countOf(dims: readonly number[]): number {
  let n = 1;
  for (const d of dims) n *= d;
  return n;
}

export function fitsValue(dims: readonly number[]): boolean {
  return countOf(dims) <= valueLimit;
}

export function stridesOf(dims: readonly number[]): number[] {
  const strides: number[] = Array.from({ length: dims.length });
  let s = 1;
  for (let i = dims.length - 1; i >= 0; i--) {
    strides[i] = s;
    s *= dims[i]!;
  }
  return strides;
}

/** The array of `dims` whose element at each position is read from `x` at the sum of `index` along the axes. */
export function gatherBy(
  x: PartialValue,
  dims: readonly number[],
  index: (position: readonly number[]) => number | undefined,
): PartialValue | undefined {
  if (!fitsValue(dims)) return undefined;
  const elems: Elem[] = Array.from({ length: countOf(dims) });
  const position = dims.map(() => 0);
  for (let i = 0; i < elems.length; i++) {
    const from = index(position);
    elems[i] = from === undefined ? undefined : x.elems[from];
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      if (++position[axis]! < dims[axis]!) break;
      position[axis] = 0;
    }
  }
  return { dims, elems };
}

/** A strided view, made dense: element at p is `x[offset + sum p * strides]`. */
export function strided(
  x: PartialValue,
  dims: readonly number[],
  strides: readonly number[],
  offset = 0,
): PartialValue | undefined {
  return gatherBy(x, dims, (p) => {
    let at = offset;
    for (let i = 0; i < p.length; i++) at += p[i]! * strides[i]!;
    return at;
  });
}

/** One list of source indices per axis (undefined: element unknown, 'fill': the fill value). */
export function pick(
  x: PartialValue,
  perAxis: readonly (readonly (number | undefined)[])[],
  fill?: Elem,
): PartialValue | undefined {
  const strides = stridesOf(x.dims);
  const dims = perAxis.map((list) => list.length);
  const outside = new Set<number>();
  let i = 0;
  const made = gatherBy(x, dims, (p) => {
    let at = 0;
    let known = true;
    for (let axis = 0; axis < p.length; axis++) {
      const index = perAxis[axis]![p[axis]!];
      if (index === undefined) known = false;
      else if (index < 0) outside.add(i);
      else at += index * strides[axis]!;
    }
    const skip = outside.has(i++);
    return known && !skip ? at : undefined;
  });
  if (made === undefined || outside.size === 0) return made;
  return { dims, elems: made.elems.map((e, k) => (outside.has(k) ? fill : e)) };
}

export function range(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i);
}

export function transpose(x: PartialValue, perm: readonly number[]): PartialValue | undefined {
  const strides = stridesOf(x.dims);
  return strided(
    x,
    perm.map((p) => x.dims[p]!),
    perm.map((p) => strides[p]!),
  );
}

export function broadcastTo(x: PartialValue, dims: readonly number[]): PartialValue | undefined {
  const strides = stridesOf(x.dims);
  const skip = dims.length - x.dims.length;
  return strided(
    x,
    dims,
    dims.map((_, i) => (i < skip || x.dims[i - skip] === 1 ? 0 : strides[i - skip]!)),
  );
}

export function concat(parts: readonly PartialValue[], axis: number): PartialValue | undefined {
  const first = parts[0];
  if (first === undefined) return undefined;
  const total = parts.reduce((n, p) => n + p.dims[axis]!, 0);
  const dims = first.dims.map((d, i) => (i === axis ? total : d));
  if (!fitsValue(dims)) return undefined;
  const outer = countOf(dims.slice(0, axis));
  const elems: Elem[] = [];
  for (let o = 0; o < outer; o++) {
    for (const p of parts) {
      const run = countOf(p.dims.slice(axis));
      for (let k = 0; k < run; k++) elems.push(p.elems[o * run + k]);
    }
  }
  return { dims, elems };
}

/** The value of input i, or all-unknown elements of its small known shape. */
export function valueOrBlank(ctx: ShapeContext, i: number): PartialValue | undefined {
  const value = ctx.value(i);
  if (value !== undefined) return value;
  const shape = ctx.shape(i);
  const dims = shape?.filter((d) => typeof d === 'number');
  if (shape === undefined || dims === undefined || dims.length !== shape.length || !fitsValue(dims)) return undefined;
  return { dims, elems: Array.from({ length: countOf(dims) }, () => undefined) };
}

/** All elements, when every one is known. */
export function knownElems(value: PartialValue | undefined): readonly number[] | undefined {
  return value?.elems.every((e) => e !== undefined) === true ? value.elems.filter((e) => e !== undefined) : undefined;
}
