// Group optimal brain surgeon against brute force: each step takes the unit whose removal costs least under a full refit.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cholesky, columns, multiplyTransposed, principal, solveRows } from '../src/recovery/linear-algebra.js';
import { outputVariance, prepareGram, removalOrder, type RemovalConsumer } from '../src/recovery/removal.js';
import { createRng } from '../src/rng.js';

function randomConsumer(seed: string, size: number, taps: number, rows: number, fixed: number): RemovalConsumer {
  const rng = createRng(seed);
  const n = size * taps + fixed;
  const x = Float64Array.from({ length: n * (n + 5) }, () => rng.normal());
  return {
    weights: Float64Array.from({ length: rows * n }, () => rng.normal()),
    rows,
    columns: n,
    gram: prepareGram(multiplyTransposed(x, n, n + 5, x, n), n, 1e-12),
    unit: Int32Array.from({ length: n }, (_, i) => (i < size * taps ? Math.floor(i / taps) : -1)),
  };
}

/** What is left unexplained when only these columns may be used: tr(W C Wᵀ) - tr(W C_*K C_KK⁻¹ C_K* Wᵀ), over the variance. */
function lostShare(c: RemovalConsumer, dead: ReadonlySet<number>): number {
  const n = c.columns;
  const covariance = c.gram.covariance;
  const keep = [...c.unit.keys()].filter((i) => c.unit[i]! < 0 || !dead.has(c.unit[i]!));
  const total = outputVariance(c.weights, c.rows, covariance, n);
  if (keep.length === 0) return 1;
  const cross = columns(multiplyTransposed(c.weights, c.rows, n, covariance, n), c.rows, n, keep);
  const factor = cholesky(principal(covariance, n, keep), keep.length)!;
  const fitted = solveRows(factor, keep.length, cross, c.rows);
  let explained = 0;
  fitted.forEach((v, i) => (explained += v * cross[i]!));
  return (total - explained) / total;
}

describe('removal order', () => {
  test('every step is the cheapest under a full refit, and the curve is what that refit loses', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 6 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 2 }),
        fc.nat(),
        (size, taps, users, seed) => {
          const consumers = Array.from({ length: users }, (_, i) =>
            randomConsumer(`${seed}/${i}`, size, taps, 4, i * 2),
          );
          const { order, errors } = removalOrder(size, consumers);
          expect(order.toSorted((a, b) => a - b)).toEqual(Array.from({ length: size }, (_, i) => i));
          const dead = new Set<number>();
          order.forEach((unit, k) => {
            const cost = (u: number): number => consumers.reduce((s, c) => s + lostShare(c, new Set([...dead, u])), 0);
            const best = Math.min(...order.slice(k).map(cost));
            expect(cost(unit)).toBeCloseTo(best, 6);
            dead.add(unit);
            const roots = consumers.map((c) => Math.sqrt(Math.max(0, lostShare(c, dead))));
            expect(errors[k + 1]).toBeCloseTo(roots.reduce((a, b) => a + b, 0) ** 2, 4);
          });
        },
      ),
      { numRuns: 25 },
    );
  });

  test('a duplicate of another unit goes first, at no cost', () => {
    const base = randomConsumer('twin', 5, 2, 3, 0);
    // unit 4 gets the columns of unit 1
    const from = Int32Array.from({ length: 10 }, (_, i) => (i < 8 ? i : i - 6));
    const covariance = principal(base.gram.covariance, 10, from);
    const { order, errors } = removalOrder(5, [{ ...base, gram: prepareGram(covariance, 10, 1e-10) }]);
    expect([1, 4]).toContain(order[0]);
    expect(errors[1]).toBeLessThan(1e-6);
    expect(errors[2]).toBeGreaterThan(1e-3);
  });

  test('several at once: the curve still is what the refit loses', () => {
    const consumer = randomConsumer('many', 9, 1, 4, 0);
    const { order, errors } = removalOrder(9, [consumer], { atOnce: 4 });
    for (const k of [1, 4, 7]) expect(errors[k]).toBeCloseTo(lostShare(consumer, new Set(order.slice(0, k))), 6);
  });
});
