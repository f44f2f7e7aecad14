// Points that fill a space: one by one the one whose nearest neighbour, known or chosen, is farthest (Gonzalez 1985).

/** Indices of the chosen, fewer than `count` where there are no more points. All rows are equally long. */
export function farthestFirst(
  points: readonly ArrayLike<number>[],
  known: readonly ArrayLike<number>[],
  count: number,
): number[] {
  const nearest = points.map((p) => known.reduce((least, k) => Math.min(least, squaredDistance(p, k)), Infinity));
  const left = new Set(points.keys());
  const chosen: number[] = [];
  while (chosen.length < count && left.size > 0) {
    const best = [...left].reduce((a, b) => (nearest[b]! > nearest[a]! ? b : a));
    left.delete(best);
    chosen.push(best);
    for (const i of left) nearest[i] = Math.min(nearest[i]!, squaredDistance(points[i]!, points[best]!));
  }
  return chosen;
}

function squaredDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let j = 0; j < a.length; j++) sum += (a[j]! - b[j]!) ** 2;
  return sum;
}
