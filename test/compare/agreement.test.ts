import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { agreementOf, linearMap, mapped, type PredictedPair } from '../../src/compare/agreement.js';
import { createRng } from '../../src/rng.js';

const score = fc.integer({ min: 0, max: 1000 }).map((x) => x / 1000);
const pairList = fc.array(fc.record({ predicted: score, measured: score, deviation: fc.constant(0.05) }), {
  minLength: 3,
  maxLength: 12,
});
const agree = (pairs: readonly PredictedPair[]) => agreementOf(pairs, createRng('test'), 60);

describe('agreement of predictions with measurements', () => {
  test('by hand', () => {
    const pairs = [
      { predicted: 0.9, measured: 0.8, deviation: 0.05 },
      { predicted: 0.7, measured: 0.72, deviation: 0.05 },
      { predicted: 0.5, measured: 0.6, deviation: 0.1 },
      { predicted: 0.6, measured: 0.5, deviation: 0.01 },
    ];
    const a = agree(pairs);
    expect(a.meanAbsoluteError.value).toBeCloseTo(0.08, 12);
    expect(a.bias.value).toBeCloseTo((0.1 - 0.02 - 0.1 + 0.1) / 4, 12);
    // ranks 4 3 1 2 against 4 3 2 1: one of six pairs is turned round
    expect(a.spearman!.value).toBeCloseTo(0.8, 12);
    expect(a.kendall!.value).toBeCloseTo(4 / 6, 12);
    // |0.1| > 1.645 x 0.05; |0.02| and |0.1| are inside; |0.1| > 1.645 x 0.01
    expect(a.coverage90.value).toBe(0.5);
  });

  test('equal for equal seeds, intervals hold the value and stay in range', () => {
    fc.assert(
      fc.property(pairList, (pairs) => {
        const a = agree(pairs);
        expect(agree(pairs)).toEqual(a);
        expect(a.meanAbsoluteError.ci95[0]).toBeGreaterThanOrEqual(0);
        for (const e of [a.spearman, a.kendall]) {
          if (e === undefined) continue;
          expect(e.ci95[0]).toBeGreaterThanOrEqual(-1 - 1e-12);
          expect(e.ci95[1]).toBeLessThanOrEqual(1 + 1e-12);
        }
        expect(a.coverage90.ci95[0]).toBeLessThanOrEqual(a.coverage90.value);
      }),
      { numRuns: 40 },
    );
  });

  test('rank correlations do not change under a rising map of the predictions; perfect predictions have no error', () => {
    fc.assert(
      fc.property(pairList, (pairs) => {
        const bent = agree(pairs.map((p) => ({ ...p, predicted: Math.expm1(3 * p.predicted) })));
        const a = agree(pairs);
        expect(bent.spearman).toEqual(a.spearman);
        expect(bent.kendall).toEqual(a.kendall);
        const exact = agree(pairs.map((p) => ({ ...p, predicted: p.measured })));
        expect(exact.meanAbsoluteError).toEqual({ value: 0, ci95: [0, 0] });
        expect(exact.coverage90.value).toBe(1);
      }),
      { numRuns: 40 },
    );
  });

  test('the interval of the error narrows with more pairs, and mostly holds the truth', () => {
    const rng = createRng('truth');
    const draw = (n: number): PredictedPair[] =>
      Array.from({ length: n }, () => ({ predicted: 0.1 * Math.abs(rng.normal()), measured: 0, deviation: 1 }));
    const truth = 0.1 * Math.sqrt(2 / Math.PI);
    const runs = Array.from({ length: 60 }, (_, i) => agreementOf(draw(40), createRng(i), 200).meanAbsoluteError.ci95);
    const held = runs.filter(([low, high]) => low <= truth && truth <= high).length;
    expect(held).toBeGreaterThan(48);
    const width = ([low, high]: readonly [number, number]): number => high - low;
    const many = agreementOf(draw(600), createRng(1), 200).meanAbsoluteError.ci95;
    expect(width(many)).toBeLessThan(0.5 * width(runs[0]!));
  });
});

describe('carrying predictions over to other data', () => {
  test('a line is recovered; deviations scale and grow by what the line leaves', () => {
    const from = [0.2, 0.5, 0.7, 0.9, 1];
    const map = linearMap(
      from,
      from.map((x) => 0.1 + 0.8 * x),
    );
    expect(map.slope).toBeCloseTo(0.8, 10);
    expect(map.intercept).toBeCloseTo(0.1, 10);
    expect(map.residual).toBeCloseTo(0, 10);
    expect(mapped({ ...map, residual: 0.03 }, { mean: 0.5, deviation: 0.05 }).deviation).toBeCloseTo(0.05, 10);
  });

  test('without a rising line only the mean difference is taken', () => {
    for (const [from, to] of [
      [
        [0.9, 0.9, 0.9, 0.9],
        [0.8, 0.8, 0.7, 0.9],
      ],
      [
        [0.1, 0.2, 0.3, 0.4],
        [0.4, 0.3, 0.2, 0.1],
      ],
      [
        [0.5, 0.9],
        [0.4, 0.6],
      ],
    ] as const) {
      const map = linearMap(from, to);
      expect(map.slope).toBe(1);
      const mean = (xs: readonly number[]): number => xs.reduce((s, x) => s + x, 0) / xs.length;
      expect(map.intercept).toBeCloseTo(mean(to) - mean(from), 12);
    }
  });
});
