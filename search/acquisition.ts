// Whom to measure next: the candidate whose measurement is expected to add most hypervolume, by Monte Carlo over what the
// predictor believes (Emmerich 2005); a batch is chosen greedily, each choice believed at its mean for the next.
import type { Rng } from '../src/rng.js';
import { hypervolumeGain } from './hypervolume.js';

export interface Hopeful {
  /** Objective 0 = -score: what the predictor foretells. */
  readonly mean: number;
  readonly deviation: number;
  /** The other objectives, known exactly. */
  readonly known: readonly number[];
}

export interface AcquisitionOptions {
  readonly count: number;
  /** What has been measured, all objectives. */
  readonly measured: readonly (readonly number[])[];
  readonly reference: readonly number[];
  readonly rng: Rng;
  readonly draws?: number;
  /**
   * How far hopeful i is from the nearest measured one, and from hopeful j: 0 = the same. What is close to something measured is nearly
   * known, so its deviation shrinks as under a Gaussian process with this distance (Rasmussen and Williams 2006, 2.2).
   */
  readonly apart?: { readonly measured: (i: number) => number; readonly between: (i: number, j: number) => number };
}

/** Scores of networks that differ by this share of their units have little to do with each other. */
const LENGTH = 0.03;

/** Share of the deviation that is left at a distance from something known. */
export function unknownAt(distance: number): number {
  return Math.sqrt(1 - Math.exp(-((distance / LENGTH) ** 2)));
}

/** Indices of the chosen, best first; fewer than `count` only when there are fewer hopefuls. */
export function chooseByGain(hopefuls: readonly Hopeful[], options: AcquisitionOptions): number[] {
  const draws = options.draws ?? 64;
  // The same normal draws for everybody: less noise in the comparison.
  const normals = Array.from({ length: draws }, () => options.rng.normal());
  const points = options.measured.map((p) => [...p]);
  const chosen: number[] = [];
  const { apart } = options;
  // Of each hopeful: to the nearest one that is measured or chosen.
  const nearest = hopefuls.map((_, i) => apart?.measured(i) ?? Infinity);
  const open = new Set(hopefuls.keys());
  while (chosen.length < options.count && open.size > 0) {
    let best = -1;
    let bestGain = -1;
    for (const i of open) {
      const deviation = hopefuls[i]!.deviation * unknownAt(nearest[i]!);
      const gain = expectedGain({ ...hopefuls[i]!, deviation }, points, options.reference, normals);
      // Without any gain, the one that the predictor knows least.
      const value = gain > 0 ? 1 + gain : deviation / (1 + deviation);
      if (value > bestGain) [best, bestGain] = [i, value];
    }
    chosen.push(best);
    open.delete(best);
    if (apart !== undefined) for (const i of open) nearest[i] = Math.min(nearest[i]!, apart.between(i, best));
    points.push([-hopefuls[best]!.mean, ...hopefuls[best]!.known]);
  }
  return chosen;
}

export function expectedGain(
  x: Hopeful,
  measured: readonly (readonly number[])[],
  reference: readonly number[],
  normals: readonly number[],
): number {
  let sum = 0;
  for (const z of normals) {
    sum += hypervolumeGain(measured, [-(x.mean + z * x.deviation), ...x.known], reference);
  }
  return sum / normals.length;
}
