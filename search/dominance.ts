// Who is better than whom, all objectives minimised. Constraint domination, non-dominated sorting and crowding after Deb et al.,
// NSGA-II (IEEE TEC 6(2), 2002).

/** What a comparison looks at. */
export interface Scored {
  /** Minimised. */
  readonly objectives: readonly number[];
  /** How far the constraints are broken, 0 = feasible; the sum of relative excesses. */
  readonly violation: number;
}

/** True when `a` is nowhere worse and somewhere better. */
export function dominates(a: readonly number[], b: readonly number[]): boolean {
  let better = false;
  for (let i = 0; i < a.length; i++) {
    if (a[i]! > b[i]!) return false;
    if (a[i]! < b[i]!) better = true;
  }
  return better;
}

/** Feasible before infeasible; of two infeasible ones, the smaller violation; of two feasible ones, Pareto domination. */
export function constrainedDominates(a: Scored, b: Scored): boolean {
  if (a.violation > 0 || b.violation > 0) return a.violation < b.violation;
  return dominates(a.objectives, b.objectives);
}

/** Indices by front, best front first; within a front in the order given. */
export function sortNondominated(xs: readonly Scored[]): number[][] {
  const beats: number[][] = xs.map(() => []);
  const beatenBy = new Int32Array(xs.length);
  for (let i = 0; i < xs.length; i++) {
    for (let j = i + 1; j < xs.length; j++) {
      if (constrainedDominates(xs[i]!, xs[j]!)) {
        beats[i]!.push(j);
        beatenBy[j]!++;
      } else if (constrainedDominates(xs[j]!, xs[i]!)) {
        beats[j]!.push(i);
        beatenBy[i]!++;
      }
    }
  }
  const fronts: number[][] = [];
  let front = xs.map((_, i) => i).filter((i) => beatenBy[i] === 0);
  while (front.length > 0) {
    fronts.push(front);
    const next: number[] = [];
    for (const i of front) {
      for (const j of beats[i]!) {
        beatenBy[j]!--;
        if (beatenBy[j] === 0) next.push(j);
      }
    }
    front = next.sort((a, b) => a - b);
  }
  return fronts;
}

/** Crowding distance of each point of one front; the ends of every objective are infinitely far. */
export function crowding(points: readonly (readonly number[])[]): number[] {
  const distance: number[] = points.map(() => 0);
  const count = points[0]?.length ?? 0;
  for (let m = 0; m < count; m++) {
    const order = points.map((_, i) => i).sort((a, b) => points[a]![m]! - points[b]![m]! || a - b);
    const low = points[order[0]!]![m]!;
    const high = points[order[order.length - 1]!]![m]!;
    distance[order[0]!] = Infinity;
    distance[order[order.length - 1]!] = Infinity;
    if (high === low) continue;
    for (let k = 1; k + 1 < order.length; k++) {
      distance[order[k]!]! += (points[order[k + 1]!]![m]! - points[order[k - 1]!]![m]!) / (high - low);
    }
  }
  return distance;
}
