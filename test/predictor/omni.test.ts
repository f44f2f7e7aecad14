import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { normalScores, probit } from '../../src/predictor/normal-scores.js';
import { fitOmni } from '../../src/predictor/omni.js';
import { createRng } from '../../src/rng.js';

describe('normal scores', () => {
  test("the normal's quantiles", () => {
    // scipy.stats.norm.ppf
    expect(probit(0.5)).toBeCloseTo(0, 8);
    expect(probit(0.975)).toBeCloseTo(1.959963984540054, 8);
    expect(probit(0.0005)).toBeCloseTo(-3.290526731491895, 7);
  });

  test('are monotone in the label, lead back to it, and go on beyond the ends', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -20, max: 20 }), { minLength: 1, maxLength: 40 }), (labels) => {
        const { scores, label } = normalScores(labels);
        labels.forEach((y, i) => {
          expect(label(scores[i]!)).toBeCloseTo(y, 6);
          labels.forEach((other, j) => expect(Math.sign(other - y)).toBe(Math.sign(scores[j]! - scores[i]!)));
        });
        for (let z = -4; z < 4; z += 0.25) expect(label(z + 0.25)).toBeGreaterThanOrEqual(label(z));
      }),
    );
  });
});

describe('OMNI', () => {
  const rng = createRng('omni');
  const truth = (r: ArrayLike<number>): number => 90 - 10 * Math.exp(-2 * r[0]!) - 3 * Math.abs(r[1]! - r[2]!);
  const draw = (n: number, far = 0) =>
    Array.from({ length: n }, () => Float64Array.from({ length: 6 }, () => far + rng.normal()));
  const rows = draw(120);
  const omni = fitOmni(
    rows,
    rows.map((r) => truth(r) + 0.5 * rng.normal()),
    rng,
  );

  test('its 90 % intervals hold 85 to 95 % of what it has not seen, over four draws of what it has', () => {
    const shares = Array.from({ length: 4 }, (_, k) => {
      const seen = draw(120);
      const labels = seen.map((r) => truth(r) + 0.5 * rng.normal());
      const fitted = fitOmni(seen, labels, rng.fork(`draw/${k}`));
      const held = draw(250).filter((r) => {
        const y = truth(r) + 0.5 * rng.normal();
        const [low, high] = fitted.predict(r).interval!;
        return low <= y && y <= high;
      });
      return held.length / 250;
    });
    const mean = shares.reduce((s, v) => s + v, 0) / shares.length;
    expect(mean).toBeGreaterThan(0.85);
    expect(mean).toBeLessThan(0.95);
  });

  test('what lies far from all it has learnt from is believed less', () => {
    const near = draw(100).map((r) => omni.predict(r).deviation);
    const far = draw(100, 4).map((r) => omni.predict(r).deviation);
    const pairs = near.flatMap((a) => far.map((b) => (b > a ? 1 : 0) as number));
    expect(pairs.reduce((s, v) => s + v, 0) / pairs.length).toBeGreaterThan(0.8);
  });

  test('few rows and equal labels are no trouble', () => {
    const one = fitOmni(rows.slice(0, 4), [1, 1, 1, 1], rng).predict(rows[5]!);
    expect(one.mean).toBe(1);
    expect(Number.isFinite(one.deviation)).toBe(true);
  });
});
