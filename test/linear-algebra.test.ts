// Laws of the linear algebra behind the refits, on random well- and ill-conditioned matrices.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  cholesky,
  columns,
  conjugateGradient,
  inverseFromCholesky,
  multiplyTransposed,
  principal,
  ridgedCholesky,
  solveRows,
} from '../src/recovery/linear-algebra.js';
import { createRng } from '../src/rng.js';

// sizes on both sides of the block of 48 rows, and odd ones
const size = fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constantFrom(47, 48, 49, 50, 97, 131));

function random(seed: number, length: number): Float64Array {
  const rng = createRng(seed);
  return Float64Array.from({ length }, () => rng.normal());
}

function positiveDefinite(seed: number, n: number): Float64Array {
  const x = random(seed, n * (n + 3));
  const a = multiplyTransposed(x, n, n + 3, x, n);
  for (let i = 0; i < n; i++) a[i * n + i] = a[i * n + i]! + 0.1;
  return a;
}

function naive(a: Float64Array, m: number, k: number, b: Float64Array, n: number): Float64Array {
  const c = new Float64Array(m * n);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++)
      for (let t = 0; t < k; t++) c[i * n + j] = c[i * n + j]! + a[i * k + t]! * b[j * k + t]!;
  return c;
}

function distance(a: Float64Array, b: Float64Array): number {
  expect(a.length).toBe(b.length);
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i]! - b[i]!) / (1 + Math.abs(b[i]!)));
  return worst;
}

function factorOf(a: Float64Array, n: number): Float64Array {
  const l = cholesky(a, n);
  if (l === undefined) throw new Error('not positive definite');
  return l;
}

describe('linear algebra', () => {
  test('the blocked product equals three loops', () => {
    fc.assert(
      fc.property(size, size, size, fc.nat(), (m, k, n, seed) => {
        const a = random(seed, m * k);
        const b = random(seed + 1, n * k);
        expect(distance(multiplyTransposed(a, m, k, b, n), naive(a, m, k, b, n))).toBeLessThan(1e-10);
      }),
      { numRuns: 30 },
    );
  });

  test('L is lower triangular and L Lᵀ = A, read from the lower half only', () => {
    fc.assert(
      fc.property(size, fc.nat(), (n, seed) => {
        const a = positiveDefinite(seed, n);
        const half = a.slice();
        for (let i = 0; i < n; i++) half.fill(NaN, i * n + i + 1, (i + 1) * n);
        const l = factorOf(half, n);
        for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) expect(l[i * n + j]).toBe(0);
        expect(distance(multiplyTransposed(l, n, n, l, n), a)).toBeLessThan(1e-10);
      }),
      { numRuns: 40 },
    );
  });

  test('solves: X A = B for any number of rows; the inverse times A is one', () => {
    fc.assert(
      fc.property(size, fc.integer({ min: 1, max: 9 }), fc.nat(), (n, m, seed) => {
        const a = positiveDefinite(seed, n);
        const l = factorOf(a, n);
        const b = random(seed + 1, m * n);
        const x = solveRows(l, n, b, m);
        expect(distance(multiplyTransposed(x, m, n, a, n), b)).toBeLessThan(1e-6);
        const one = multiplyTransposed(inverseFromCholesky(l, n), n, n, a, n);
        const identity = new Float64Array(n * n);
        for (let i = 0; i < n; i++) identity[i * n + i] = 1;
        expect(distance(one, identity)).toBeLessThan(1e-6);
      }),
      { numRuns: 40 },
    );
  });

  test('conjugate gradients agree with the factorisation, from any start', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 5 }),
        fc.nat(),
        async (n, m, seed) => {
          const a = positiveDefinite(seed, n);
          const b = random(seed + 1, m * n);
          const diagonal = (v: Float64Array): Float64Array => v.map((x, i) => x / a[(i % n) * (n + 1)]!);
          const { x } = await conjugateGradient((v, rows) => multiplyTransposed(v, rows, n, a, n), b, m, n, {
            tolerance: 1e-10,
            maxIterations: 20 * n,
            precondition: diagonal,
            ...(seed % 2 === 0 ? { start: random(seed + 2, m * n) } : {}),
          });
          expect(distance(multiplyTransposed(x, m, n, a, n), b)).toBeLessThan(1e-6);
        },
      ),
      { numRuns: 30 },
    );
  });

  test('a singular matrix has no factor; a ridge gives it one, and dead inputs get weight zero', () => {
    const a = Float64Array.from([4, 2, 0, 2, 1, 0, 0, 0, 0]);
    expect(cholesky(a, 3)).toBeUndefined();
    const { factor, ridge } = ridgedCholesky(a, 3, 1e-6);
    expect(ridge).toBeGreaterThan(0);
    const [x0, x1, x2] = solveRows(factor, 3, Float64Array.from([4, 2, 0]), 1);
    expect(2 * x0! + x1!).toBeCloseTo(2, 4);
    expect(x2).toBe(0);
    expect(ridgedCholesky(new Float64Array(4), 2, 1e-3).factor[0]).toBeGreaterThan(0);
    expect(() => ridgedCholesky(Float64Array.from([NaN]), 1, 1e-3)).toThrow('not finite');
  });

  test('principal and columns pick', () => {
    const a = Float64Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect([...principal(a, 3, [2, 0])]).toEqual([9, 7, 3, 1]);
    expect([...columns(a, 3, 3, [1])]).toEqual([2, 5, 8]);
  });
});
