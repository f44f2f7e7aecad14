// Zero-cost proxies against the goldens and laws of methods.md §4 and §5.3, as plain numbers.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { aggregateRanks } from '../../src/predictor/rank-aggregation.js';
import { largestSingular, spectralScore } from '../../src/predictor/proxies/az-nas.js';
import { correlations } from '../../src/predictor/proxies/correlations.js';
import { entropyOf } from '../../src/predictor/proxies/entropy.js';
import { epeOf } from '../../src/predictor/proxies/epe-nas.js';
import { fisherOf } from '../../src/predictor/proxies/fisher.js';
import { gradNormOf } from '../../src/predictor/proxies/grad-norm.js';
import { jacovOf } from '../../src/predictor/proxies/jacov.js';
import { kernelOf, logDeterminant } from '../../src/predictor/proxies/nwot.js';
import { plainOf } from '../../src/predictor/proxies/plain.js';
import { snipOf } from '../../src/predictor/proxies/snip.js';
import { zenOf } from '../../src/predictor/proxies/zen.js';

const rows = (list: readonly (readonly number[])[]): Float64Array[] => list.map((row) => Float64Array.from(row));
const numbers = fc.array(fc.double({ min: -3, max: 3, noNaN: true }), { minLength: 1, maxLength: 12 });

describe('nwot', () => {
  it('of two codes of four is ln 12', () => {
    const kernel = kernelOf([
      [1, 1, 0, 0],
      [1, 0, 1, 0],
    ]);
    expect(kernel).toEqual(
      rows([
        [4, 2],
        [2, 4],
      ]),
    );
    expect(logDeterminant(kernel)).toBeCloseTo(2.484907, 6);
  });
  it('is minus infinity where samples cannot be told apart', () => {
    expect(
      logDeterminant(
        kernelOf([
          [1, 0, 1],
          [1, 0, 1],
        ]),
      ),
    ).toBe(-Infinity);
    expect(
      logDeterminant(
        rows([
          [3, 1, 3],
          [1, 3, 1],
          [3, 1, 3],
        ]),
      ),
    ).toBe(-Infinity);
  });
  it('the determinant is the product of the pivots, whatever the order of the samples', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(numbers, fc.double({ min: 0.5, max: 4, noNaN: true })), { minLength: 2, maxLength: 6 }),
        (parts) => {
          // triangular with a known diagonal, rows turned round
          const n = parts.length;
          const matrix = parts.map(([values, d], i) =>
            Float64Array.from({ length: n }, (_, j) => (j > i ? 0 : j === i ? d : values[j % values.length]!)),
          );
          const known = parts.reduce((sum, [, d]) => sum + Math.log(d), 0);
          expect(logDeterminant(matrix)).toBeCloseTo(known, 8);
          expect(logDeterminant(matrix.toReversed())).toBeCloseTo(known, 8);
        },
      ),
    );
  });
});

describe('jacov and epe_nas', () => {
  const identity = (n: number): Float64Array =>
    Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
  it('uncorrelated samples and a half-correlated pair', () => {
    expect(jacovOf(identity(4), 4)).toBeCloseTo(-4.0000000002, 9);
    expect(jacovOf(Float64Array.of(1, 0.5, 0.5, 1), 2)).toBeCloseTo(-2.378967, 6);
  });
  it('correlations are those of the rows', () => {
    // rows 0 and 1 opposite, row 2 uncorrelated with both
    const found = correlations([1, 2, 3, 6, 4, 2, 1, -2, 1], 3, 3);
    [1, -1, 0, -1, 1, 0, 0, 0, 1].forEach((x, i) => expect(found[i]).toBeCloseTo(x, 12));
    expect(jacovOf(correlations([1, 1, 1, 1, 2, 3], 2, 3), 2)).toBeNaN();
  });
  it('epe_nas sums within classes, and compares them when there are more than a hundred', () => {
    const values = [1, 2, 3, 1, -2, 1, 3, 2, 1, 1, 2, 4];
    const labels = Int32Array.of(0, 0, 1, 2);
    const k = 1e-5;
    // classes: an uncorrelated pair, two single samples
    const pair = 2 * Math.log(1 + k) + 2 * Math.log(k);
    const single = Math.log(1 + k);
    expect(epeOf(values, 3, labels, 10)).toBeCloseTo(Math.abs(pair) + 2 * single, 9);
    expect(epeOf(values, 3, labels, 101)).toBeCloseTo((4 * Math.abs(pair / 2 - single)) / 3, 9);
  });
});

describe('per-weight proxies', () => {
  const layer = fc.tuple(numbers, numbers).map(([a, b]) => {
    const n = Math.min(a.length, b.length);
    return { weights: Float32Array.from(a.slice(0, n)), gradient: Float32Array.from(b.slice(0, n)) };
  });
  const layers = fc.array(layer, { minLength: 1, maxLength: 4 });
  it('snip is at least |plain|, and equal where all products share a sign', () => {
    fc.assert(
      fc.property(layers, (list) => {
        expect(snipOf(list)).toBeGreaterThanOrEqual(Math.abs(plainOf(list)) - 1e-9);
        const positive = list.map(({ weights, gradient }) => ({
          weights: weights.map((w) => -Math.abs(w)),
          gradient: gradient.map((g) => Math.abs(g)),
        }));
        expect(snipOf(positive)).toBeCloseTo(-plainOf(positive), 9);
      }),
    );
  });
  it('grad_norm grows with the scale of the loss', () => {
    fc.assert(
      fc.property(layers, (list) => {
        const scaled = list.map(({ gradient }) => ({ gradient: gradient.map((g) => 4 * g) }));
        expect(gradNormOf(scaled)).toBeCloseTo(4 * gradNormOf(list), 5);
      }),
    );
    expect(gradNormOf([{ gradient: Float32Array.of(3, 4) }, { gradient: Float32Array.of(0, 2) }])).toBe(7);
  });
  it('fisher is half the mean square, times the weights of a channel, whatever the signs', () => {
    const products = { dims: [2, 2], values: Float32Array.of(1, -2, 3, 4) };
    expect(fisherOf([{ perChannel: 9, products }])).toBe((9 * 0.5 * (1 + 9)) / 2 + (9 * 0.5 * (4 + 16)) / 2);
    const flipped = { dims: [2, 2], values: products.values.map((x) => -x) };
    expect(fisherOf([{ perChannel: 9, products: flipped }])).toBe(fisherOf([{ perChannel: 9, products }]));
  });
});

it('zen is the logarithm of the mean distance, with the scale of the normalisations given back', () => {
  const [a, b] = [Float32Array.of(1, 2, 3, 4), Float32Array.of(1, 1, 1, 1)];
  expect(zenOf(a, b, 2, [])).toBeCloseTo(Math.log(3), 12);
  expect(zenOf(a, b, 2, [Float32Array.of(3, 5), Float32Array.of(9)])).toBeCloseTo(
    Math.log(3) + Math.log(2) + Math.log(3),
    12,
  );
});

describe('AZ-NAS', () => {
  it('entropy: isotropic features ln c, one direction 0, nothing between them outside', () => {
    const isotropic = Float64Array.from({ length: 64 }, (_, i) => (i % 9 === 0 ? 2.5 : 0));
    expect(entropyOf(isotropic, 8)).toBeCloseTo(2.079441, 5);
    const v = [1, -2, 0.5];
    expect(
      entropyOf(
        Float64Array.from({ length: 9 }, (_, i) => v[Math.floor(i / 3)]! * v[i % 3]!),
        3,
      ),
    ).toBeCloseTo(0, 6);
  });
  it('score of the largest singular value', () => {
    const cases = [
      [0.25, -2.249984],
      [0.5, -0.499996],
      [1, 1.0e-6],
      [2, -0.4999998],
      [4, -2.25],
    ] as const;
    for (const [sigma, score] of cases) expect(spectralScore(sigma)).toBeCloseTo(score, 6);
    // a rotation times diag(3, 2), with a row of zeros
    expect(largestSingular([0, 2, -3, 0, 0, 0], 3, 2)).toBeCloseTo(3, 12);
  });
  it('aggregation of ranks', () => {
    const found = aggregateRanks([
      [10, 20, 30, 40],
      [1, 3, 2, 4],
      [4, 3, 2, 1],
      [1, 2, 3, 4],
    ]);
    [-4.158883, -1.961659, -1.961659, -1.386294].forEach((x, k) => expect(found[k]).toBeCloseTo(x, 6));
    expect([...aggregateRanks([[5, 5]])]).toEqual([Math.log(1.5 / 2), Math.log(1.5 / 2)]);
  });
});
