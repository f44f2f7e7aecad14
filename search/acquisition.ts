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
}

/** Indices of the chosen, best first; fewer than `count` only when there are fewer hopefuls. */
export function chooseByGain(hopefuls: readonly Hopeful[], options: AcquisitionOptions): number[] {
  const draws = options.draws ?? 64;
  // The same normal draws for everybody: less noise in the comparison.
  const normals = Array.from({ length: draws }, () => options.rng.normal());
  const points = options.measured.map((p) => [...p]);
  const chosen: number[] = [];
  const open = new Set(hopefuls.keys());
  while (chosen.length < options.count && open.size > 0) {
    let best = -1;
    let bestGain = -1;
    for (const i of open) {
      const gain = expectedGain(hopefuls[i]!, points, options.reference, normals);
      // Without any gain, the one that the predictor knows least.
      const value = gain > 0 ? 1 + gain : hopefuls[i]!.deviation / (1 + hopefuls[i]!.deviation);
      if (value > bestGain) [best, bestGain] = [i, value];
    }
    chosen.push(best);
    open.delete(best);
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
