import fc from 'fast-check';
import { expect, test } from 'vitest';
import { leadingEigen, symmetricEigen, type Eigen } from '../src/recovery/eigen.js';
import { multiplyTransposed } from '../src/recovery/linear-algebra.js';
import { createRng } from '../src/rng.js';

/** A = X X^T with X [n, k]: positive semidefinite, of rank k. */
function semidefinite(seed: number, n: number, k: number): Float64Array {
  const rng = createRng(seed);
  const x = Float64Array.from({ length: n * k }, () => rng.normal());
  return multiplyTransposed(x, n, k, x, n);
}

function expectEigen(a: Float64Array, n: number, { values, vectors }: Eigen, tolerance: number): void {
  const count = values.length;
  const scale = Math.max(1e-300, Math.abs(values[0]!), Math.abs(values.at(-1)!));
  const product = multiplyTransposed(vectors, count, n, a, n);
  const gram = multiplyTransposed(vectors, count, n, vectors, count);
  for (let i = 0; i < count; i++) {
    expect(values[i]!).toBeLessThanOrEqual(values[i - 1] ?? Infinity);
    for (let j = 0; j < count; j++) expect(Math.abs(gram[i * count + j]! - (i === j ? 1 : 0))).toBeLessThan(1e-10);
    for (let j = 0; j < n; j++) {
      expect(Math.abs(product[i * n + j]! - values[i]! * vectors[i * n + j]!)).toBeLessThan(tolerance * scale);
    }
  }
}

test('A v = lambda v, orthonormal and descending', () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 24 }), fc.integer({ min: 1, max: 30 }), (seed, n, k) => {
      const a = semidefinite(seed, n, k);
      const eigen = symmetricEigen(a, n);
      expectEigen(a, n, eigen, 1e-11);
      const trace = Array.from({ length: n }, (_, i) => a[i * n + i]!).reduce((s, v) => s + v, 0);
      expect(eigen.values.reduce((s, v) => s + v, 0)).toBeCloseTo(trace, 6);
    }),
    { numRuns: 60 },
  );
});

test('diagonal, zero and repeated eigenvalues', () => {
  const identity = Float64Array.from([1, 0, 0, 0, 1, 0, 0, 0, 1]);
  expectEigen(identity, 3, symmetricEigen(identity, 3), 1e-14);
  const zero = new Float64Array(16);
  expect([...symmetricEigen(zero, 4).values]).toEqual([0, 0, 0, 0]);
  const signs = Float64Array.from([-2, 0, 0, 5]);
  expect([...symmetricEigen(signs, 2).values]).toEqual([5, -2]);
});

test('the largest of many by subspace iteration', () => {
  const n = 700;
  const a = semidefinite(3, n, 12);
  const some = leadingEigen(a, n, 8);
  expect(some.values.length).toBe(8);
  expectEigen(a, n, some, 1e-6);
});

test('far from full rank: values of nothing but rounding', () => {
  const a = semidefinite(128, 128, 64);
  expectEigen(a, 128, symmetricEigen(a, 128), 1e-11);
});
