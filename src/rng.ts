// Seeded random streams on seedrandom (ARC4). A seed is a path: `root.fork('generation/3/child/7')` is always the same
// stream, no matter who drew how many numbers before, so the order of evaluation never changes a result.

import seedrandom from 'seedrandom';

export interface Rng {
  /** Seed and names of the forks, joined by `/`; it alone determines the stream. */
  readonly path: string;
  /** A new stream at `path/name`; `fork('a/b')` is `fork('a').fork('b')`. */
  fork(name: string): Rng;
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform integer in 0..n-1. */
  int(n: number): number;
  /** Standard normal. */
  normal(): number;
  /** One element of a non-empty list. */
  pick<T>(xs: readonly T[]): T;
  /** A new list: a uniform permutation of `xs`. */
  shuffle<T>(xs: readonly T[]): T[];
  /** `k` different integers of 0..n-1, in the order drawn. */
  sample(n: number, k: number): number[];
}

/** The root of a tree of streams. `createRng(7)` and `createRng('7')` are the same stream. */
export function createRng(seed: string | number): Rng {
  return stream(String(seed));
}

function stream(path: string): Rng {
  // A local instance: neither Math.random nor seedrandom's entropy pool takes part.
  const next = seedrandom(path);

  const int = (n: number): number => {
    if (!Number.isSafeInteger(n) || n < 1) throw new RangeError(`int(${n}): the bound must be a positive integer`);
    return Math.floor(next() * n);
  };

  const sample = (n: number, k: number): number[] => {
    if (!Number.isSafeInteger(k) || k < 0 || k > n) throw new RangeError(`sample(${n}, ${k}): k must be in 0..n`);
    // Fisher-Yates on the list 0..n-1, of which only the moved entries are stored.
    const moved = new Map<number, number>();
    return Array.from({ length: k }, (_, i) => {
      const j = i + int(n - i);
      const drawn = moved.get(j) ?? j;
      moved.set(j, moved.get(i) ?? i);
      return drawn;
    });
  };

  return {
    path,
    fork(name) {
      if (name === '') throw new RangeError(`fork of "${path}": a stream needs a name`);
      return stream(`${path}/${name}`);
    },
    next: () => next(),
    int,
    // Box-Muller. Its second value is dropped, so that a stream has no state but the generator's.
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
    // The casts: an index below the length exists, though its element may itself be undefined.
    pick: <T>(xs: readonly T[]) => xs[int(xs.length)] as T,
    shuffle: <T>(xs: readonly T[]) => sample(xs.length, xs.length).map((i) => xs[i] as T),
    sample,
  };
}
