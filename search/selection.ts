// Who survives and who becomes a parent (NSGA-II, Deb et al. 2002).
import type { Rng } from '../src/rng.js';
import { crowding, sortNondominated, type Scored } from './dominance.js';

/** Front number (0 = best) and crowding distance of one individual among its population. */
export interface Standing {
  readonly rank: number;
  readonly crowding: number;
}

export function standings(xs: readonly Scored[]): Standing[] {
  const found: Standing[] = Array.from({ length: xs.length });
  sortNondominated(xs).forEach((front, rank) => {
    const distances = crowding(front.map((i) => xs[i]!.objectives));
    front.forEach((i, k) => (found[i] = { rank, crowding: distances[k]! }));
  });
  return found;
}

/** Negative when `a` is preferred: lower front, then less crowded. */
export function compareStanding(a: Standing, b: Standing): number {
  if (a.rank !== b.rank) return a.rank - b.rank;
  if (a.crowding === b.crowding) return 0;
  return a.crowding > b.crowding ? -1 : 1;
}

/** Indices of the `size` best, whole fronts first, the last one by crowding; stable. */
export function survivors(xs: readonly Scored[], size: number): number[] {
  const standing = standings(xs);
  return xs
    .map((_, i) => i)
    .sort((a, b) => compareStanding(standing[a]!, standing[b]!) || a - b)
    .slice(0, size);
}

/** Binary tournament: the better standing of two drawn at random. */
export function tournament(standing: readonly Standing[], rng: Rng): number {
  const a = rng.int(standing.length);
  const b = rng.int(standing.length);
  return compareStanding(standing[b]!, standing[a]!) < 0 ? b : a;
}
