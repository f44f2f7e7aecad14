// Hypervolume: how much of the box below a reference point a set of points dominates (all objectives minimised).
// Two objectives by a sweep, more by slicing along the last one (Zitzler and Thiele 1998; While et al. 2006).

/** Volume dominated by `points` and bounded by `reference`; points beyond the reference count for nothing. */
export function hypervolume(points: readonly (readonly number[])[], reference: readonly number[]): number {
  const inside = points.filter((p) => p.every((x, i) => x < reference[i]!));
  if (inside.length === 0) return 0;
  if (reference.length === 1) return reference[0]! - Math.min(...inside.map((p) => p[0]!));
  if (reference.length === 2) return area(inside, reference);
  // Slices between successive values of the last objective, each the volume of the points that reach it.
  const last = reference.length - 1;
  const sorted = inside.toSorted((a, b) => a[last]! - b[last]!);
  const below = reference.slice(0, last);
  let volume = 0;
  for (let i = 0; i < sorted.length; i++) {
    const upper = sorted[i + 1]?.[last] ?? reference[last]!;
    const depth = upper - sorted[i]![last]!;
    if (depth === 0) continue;
    const slice = sorted.slice(0, i + 1).map((p) => p.slice(0, last));
    volume += depth * hypervolume(slice, below);
  }
  return volume;
}

/** What `point` adds to the hypervolume of `points`. */
export function hypervolumeGain(
  points: readonly (readonly number[])[],
  point: readonly number[],
  reference: readonly number[],
): number {
  if (point.some((x, i) => !(x < reference[i]!))) return 0;
  let own = 1;
  for (let i = 0; i < point.length; i++) own *= reference[i]! - point[i]!;
  // What the others dominate of the box between `point` and the reference.
  const clipped = points.map((p) => p.map((x, i) => Math.max(x, point[i]!)));
  return Math.max(0, own - hypervolume(clipped, reference));
}

function area(points: readonly (readonly number[])[], reference: readonly number[]): number {
  const sorted = points.toSorted((a, b) => a[0]! - b[0]! || a[1]! - b[1]!);
  let sum = 0;
  let lowest = reference[1]!;
  for (const p of sorted) {
    if (p[1]! >= lowest) continue;
    sum += (reference[0]! - p[0]!) * (lowest - p[1]!);
    lowest = p[1]!;
  }
  return sum;
}
