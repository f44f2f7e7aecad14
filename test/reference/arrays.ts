// Arrays of float64 for the reference interpreter: row-major, integers and booleans as numbers. Naive on purpose.

export interface Ref {
  readonly dims: readonly number[];
  readonly data: Float64Array;
}

export function size(dims: readonly number[]): number {
  return dims.reduce((a, b) => a * b, 1);
}

export function range(n: number): number[] {
  return Array.from({ length: n }, (_, k) => k);
}

export function stridesOf(dims: readonly number[]): number[] {
  return dims.map((_, k) => size(dims.slice(k + 1)));
}

export function ref(dims: readonly number[], data: ArrayLike<number>): Ref {
  return { dims, data: Float64Array.from(data) };
}

/** Every place of a box in row-major order; the array given to `visit` is reused. */
export function eachPlace(dims: readonly number[], visit: (at: readonly number[], n: number) => void): void {
  const at = dims.map(() => 0);
  const total = size(dims);
  for (let n = 0; n < total; n++) {
    visit(at, n);
    for (let k = dims.length - 1; k >= 0; k--) {
      at[k]!++;
      if (at[k]! < dims[k]!) break;
      at[k] = 0;
    }
  }
}

export function build(dims: readonly number[], value: (at: readonly number[], n: number) => number): Ref {
  const data = new Float64Array(size(dims));
  eachPlace(dims, (at, n) => {
    data[n] = value(at, n);
  });
  return { dims, data };
}

/** Offset of a place; axes of length 1 broadcast, missing leading axes too. */
export function offset(x: Ref, at: readonly number[]): number {
  const shift = at.length - x.dims.length;
  let o = 0;
  for (let k = 0; k < x.dims.length; k++) o = o * x.dims[k]! + (x.dims[k] === 1 ? 0 : at[k + shift]!);
  return o;
}

export function get(x: Ref, at: readonly number[]): number {
  return x.data[offset(x, at)]!;
}

export function broadcastDims(...all: readonly (readonly number[])[]): number[] {
  const rank = Math.max(...all.map((d) => d.length));
  return range(rank).map((k) => {
    let length = 1;
    for (const d of all) {
      const own = d[k - rank + d.length];
      if (own !== undefined && own !== 1) length = own;
    }
    return length;
  });
}

export function axisIn(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}
