// Labels of values as strided views: a movement operator's channel rule is the operator itself, run on these.
// Copies are made only where axes are mixed, and then only of the axes along which labels change.
import { fail } from '../errors.js';
import type { Labels } from './op.js';

const NO_ATOMS = new Int32Array(1);

/** A value without labels. */
export function noLabels(shape: readonly number[]): Labels {
  return { shape, strides: shape.map(() => 0), offset: 0, atoms: NO_ATOMS };
}

/** True when the view is empty or made of the shared zero: cheap, and enough for values that never had labels. */
export function isBlank(l: Labels): boolean {
  return l.atoms === NO_ATOMS;
}

/** `atoms` along one axis. */
export function spread(atoms: Int32Array, axis: number, shape: readonly number[]): Labels {
  return { shape, strides: shape.map((_, i) => (i === axis ? 1 : 0)), offset: 0, atoms };
}

/** A view of another shape of the same rank in which the label does not change along `axis` (its first position stands for all). */
export function flat(l: Labels, axis: number, size: number): Labels {
  return {
    ...l,
    shape: l.shape.map((d, i) => (i === axis ? size : d)),
    strides: l.strides.map((s, i) => (i === axis ? 0 : s)),
  };
}

export function transpose(l: Labels, perm: readonly number[]): Labels {
  return { ...l, shape: perm.map((p) => l.shape[p]!), strides: perm.map((p) => l.strides[p]!) };
}

/** Numpy's broadcasting: aligned at the right, axes of size 1 repeat. */
export function broadcast(l: Labels, shape: readonly number[]): Labels {
  const lead = shape.length - l.shape.length;
  const strides = shape.map((d, i) => (i < lead || (l.shape[i - lead] === 1 && d !== 1) ? 0 : l.strides[i - lead]!));
  return { ...l, shape, strides };
}

/** Positions start, start + step, ... (count of them) along `axis`; step may be negative. */
export function slice(l: Labels, axis: number, start: number, step: number, count: number): Labels {
  return {
    ...l,
    offset: l.offset + start * l.strides[axis]!,
    shape: l.shape.map((d, i) => (i === axis ? count : d)),
    strides: l.strides.map((s, i) => (i === axis ? s * step : s)),
  };
}

/** The view without `axis`, at its position `index`. */
export function pick(l: Labels, axis: number, index: number): Labels {
  return {
    ...l,
    offset: l.offset + index * l.strides[axis]!,
    shape: l.shape.filter((_, i) => i !== axis),
    strides: l.strides.filter((_, i) => i !== axis),
  };
}

/** A new axis of the given size before `axis`, along which nothing changes. */
export function insertAxis(l: Labels, axis: number, size = 1): Labels {
  return { ...l, shape: l.shape.toSpliced(axis, 0, size), strides: l.strides.toSpliced(axis, 0, 0) };
}

/** The positions `indices` along `axis`, in that order. */
export function take(l: Labels, axis: number, indices: readonly number[]): Labels {
  if (l.strides[axis] === 0) return flat(l, axis, indices.length);
  return gatherAxis(
    l.shape.map((d, i) => (i === axis ? indices.length : d)),
    axis,
    [l],
    indices.map((p) => [0, p] as const),
  );
}

/** One after the other along `axis`; the other dims are equal. */
export function concat(list: readonly Labels[], axis: number): Labels {
  const first = list[0]!;
  if (list.length === 1) return first;
  const total = list.reduce((n, l) => n + l.shape[axis]!, 0);
  const shape = first.shape.map((d, i) => (i === axis ? total : d));
  if (list.every(isBlank)) return noLabels(shape);
  const places: (readonly [number, number])[] = [];
  list.forEach((l, k) => {
    for (let p = 0; p < l.shape[axis]!; p++) places.push([k, p]);
  });
  return gatherAxis(shape, axis, list, places);
}

/** Row-major reshape; dims must have the same product. */
export function reshape(l: Labels, shape: readonly number[]): Labels {
  if (l.strides.every((s) => s === 0) || shape.some((d) => d === 0) || l.shape.some((d) => d === 0)) {
    return { shape, strides: shape.map(() => 0), offset: l.offset, atoms: l.atoms };
  }
  const groups = matchAxes(l, shape);
  if (groups.every((g) => g.stride !== undefined)) {
    const strides = shape.map(() => 0);
    for (const g of groups) splitStride(shape, g, g.stride!, strides);
    return { shape, strides, offset: l.offset, atoms: l.atoms };
  }
  // some groups mix axes: copy what changes, keep constant groups at stride 0
  const compactShape = groups.map((g) => (g.stride === 0 ? 1 : g.size));
  const count = compactShape.reduce((n, d) => n * d, 1);
  const atoms = new Int32Array(count);
  const axes = groups.flatMap((g) => (g.stride === 0 ? [] : g.old));
  walk(
    axes.map((a) => l.shape[a]!),
    [axes.map((a) => l.strides[a]!)],
    [l.offset],
    (at, i) => {
      atoms[i] = l.atoms[at[0]!]!;
    },
  );
  const strides = shape.map(() => 0);
  let stride = count;
  for (const g of groups) {
    if (g.stride === 0) continue;
    stride /= g.size;
    splitStride(shape, g, stride, strides);
  }
  return { shape, strides, offset: 0, atoms };
}

/** Visits each distinct position once (axes on which nothing changes are skipped). */
export function forEachAtom(l: Labels, visit: (atom: number) => void): void {
  if (isBlank(l) || l.shape.some((d) => d === 0)) return;
  const axes = movingAxes([l]);
  if (axes.length === 1) {
    const stride = l.strides[axes[0]!]!;
    const n = l.shape[axes[0]!]!;
    for (let i = 0, p = l.offset; i < n; i++, p += stride) visit(l.atoms[p]!);
    return;
  }
  walk(
    axes.map((a) => l.shape[a]!),
    [axes.map((a) => l.strides[a]!)],
    [l.offset],
    (at) => visit(l.atoms[at[0]!]!),
  );
}

/** Visits the positions of two views of the same shape side by side. */
export function forEachPair(a: Labels, b: Labels, visit: (x: number, y: number) => void): void {
  if (a.shape.some((d) => d === 0)) return;
  const axes = movingAxes([a, b]);
  if (axes.length === 1) {
    const [p, q] = [a.strides[axes[0]!]!, b.strides[axes[0]!]!];
    const n = a.shape[axes[0]!]!;
    for (let i = 0, x = a.offset, y = b.offset; i < n; i++, x += p, y += q) visit(a.atoms[x]!, b.atoms[y]!);
    return;
  }
  walk(
    axes.map((k) => a.shape[k]!),
    [axes.map((k) => a.strides[k]!), axes.map((k) => b.strides[k]!)],
    [a.offset, b.offset],
    (at) => visit(a.atoms[at[0]!]!, b.atoms[at[1]!]!),
  );
}

/** Axes with more than one position along which some of the views move. */
export function movingAxes(views: readonly Labels[]): number[] {
  const axes: number[] = [];
  const shape = views[0]!.shape;
  for (let k = 0; k < shape.length; k++) {
    if (shape[k]! > 1 && views.some((v) => v.strides[k] !== 0)) axes.push(k);
  }
  return axes;
}

/** Odometer over `shape` with several stride lists at once; `index` counts row-major positions. */
export function walk(
  shape: readonly number[],
  strides: readonly (readonly number[])[],
  offsets: readonly number[],
  visit: (at: readonly number[], index: number) => void,
): void {
  const rank = shape.length;
  const at = [...offsets];
  const counter = shape.map(() => 0);
  let total = 1;
  for (const d of shape) total *= d;
  for (let i = 0; i < total; i++) {
    visit(at, i);
    for (let k = rank - 1; k >= 0; k--) {
      counter[k]!++;
      if (counter[k]! < shape[k]!) {
        for (let v = 0; v < at.length; v++) at[v]! += strides[v]![k]!;
        break;
      }
      counter[k] = 0;
      for (let v = 0; v < at.length; v++) at[v]! -= strides[v]![k]! * (shape[k]! - 1);
    }
  }
}

interface AxisGroup {
  readonly old: readonly number[];
  readonly from: number;
  readonly to: number;
  readonly size: number;
  /** Stride of the merged axis; undefined when the axes do not merge without a copy. */
  readonly stride: number | undefined;
}

/** Smallest runs of old axes and new axes with equal products; axes of size 1 belong to no old run. */
function matchAxes(l: Labels, shape: readonly number[]): AxisGroup[] {
  const old = l.shape.flatMap((d, i) => (d === 1 ? [] : [i]));
  const groups: AxisGroup[] = [];
  let i = 0;
  let j = 0;
  while (i < old.length || j < shape.length) {
    const from = j;
    const run: number[] = [];
    let a = 1;
    let b = 1;
    if (i < old.length) {
      run.push(old[i]!);
      a = l.shape[old[i++]!]!;
    }
    if (j < shape.length) b = shape[j++]!;
    while (a !== b) {
      // a hostile file may say so: without this the search for equal products would never end
      if (a < b ? i >= old.length : j >= shape.length) {
        fail(`channels of shape [${l.shape.join(', ')}] cannot be reshaped to [${shape.join(', ')}]`);
      }
      if (a < b) {
        run.push(old[i]!);
        a *= l.shape[old[i++]!]!;
      } else b *= shape[j++]!;
    }
    groups.push({ old: run, from, to: j, size: a, stride: mergedStride(l, run) });
  }
  return groups;
}

function mergedStride(l: Labels, run: readonly number[]): number | undefined {
  for (let k = 0; k + 1 < run.length; k++) {
    if (l.strides[run[k]!] !== l.strides[run[k + 1]!]! * l.shape[run[k + 1]!]!) return undefined;
  }
  return run.length === 0 ? 0 : l.strides[run[run.length - 1]!]!;
}

function splitStride(shape: readonly number[], g: AxisGroup, stride: number, strides: number[]): void {
  let s = stride;
  for (let j = g.to - 1; j >= g.from; j--) {
    strides[j] = shape[j] === 1 ? 0 : s;
    s *= shape[j]!;
  }
}

/** A copy assembled along `axis` from places [view, position]; axes on which no view moves stay at stride 0. */
function gatherAxis(
  shape: readonly number[],
  axis: number,
  views: readonly Labels[],
  places: readonly (readonly [number, number])[],
): Labels {
  const others = shape
    .map((_, k) => k)
    .filter((k) => k !== axis && shape[k]! > 1 && views.some((v) => v.strides[k] !== 0));
  const inner = others.map((k) => shape[k]!);
  const block = inner.reduce((n, d) => n * d, 1);
  const atoms = new Int32Array(block * places.length);
  places.forEach(([v, p], row) => {
    const view = views[v]!;
    const start = view.offset + p * view.strides[axis]!;
    if (others.length === 0) atoms[row] = view.atoms[start]!;
    else {
      walk(inner, [others.map((k) => view.strides[k]!)], [start], (at, i) => {
        atoms[row * block + i] = view.atoms[at[0]!]!;
      });
    }
  });
  const strides = shape.map(() => 0);
  strides[axis] = block;
  let s = block;
  others.forEach((k, i) => {
    s /= inner[i]!;
    strides[k] = s;
  });
  return { shape, strides, offset: 0, atoms };
}
