import fc from 'fast-check';
import { expect, test } from 'vitest';
import { shapley } from '../../src/predictor/explain.js';
import { whyText } from '../../src/report/why.js';
import { createRng } from '../../src/rng.js';

const row = fc.array(fc.double({ min: -3, max: 3, noNaN: true }), { minLength: 4, maxLength: 4 });

test('effects add up, signals without effect have none, and those of a sum are its terms', () => {
  fc.assert(
    fc.property(row, row, (a, b) => {
      const [at, start] = [Float64Array.from(a), Float64Array.from(b)];
      const rng = createRng('shapley');
      // the last one is not looked at
      const bent = (x: Float64Array): number => Math.max(x[0]! * x[1]!, x[2]!);
      const effects = shapley(bent, at, start, rng, 3);
      expect(effects.reduce((s, e) => s + e, 0)).toBeCloseTo(bent(at) - bent(start), 9);
      expect(effects[3]).toBe(0);
      const line = (x: Float64Array): number => 2 * x[0]! - x[1]! + 0.5 * x[2]! + 7;
      const terms = shapley(line, at, start, rng, 1);
      [2, -1, 0.5, 0].forEach((w, f) => expect(terms[f]).toBeCloseTo(w * (at[f]! - start[f]!), 9));
    }),
  );
});

test('of two signals that only count together each has half, by orders that come in pairs', () => {
  const both = (x: Float64Array): number => x[0]! * x[1]!;
  const effects = shapley(both, Float64Array.of(1, 1), Float64Array.of(0, 0), createRng('pairs'), 1);
  expect([...effects]).toEqual([0.5, 0.5]);
});

test('in words: what is foretold, against what, and the signals that moved it', () => {
  const effects = [
    { signal: 'loss:stage/1', value: 0.02, mean: 0.05, effect: 0.008 },
    { signal: 'macs', value: 0.5, mean: 0.4, effect: -0.002 },
  ];
  expect(whyText({ foretold: 0.979, reference: 0.964, effects }, true)).toBe(
    "foretold 97.90 %, the front's mean network 96.40 %: +0.80 by the expected loss in stage 2 (0.0200; mean 0.0500), -0.20 by its share of the MACs (50.0 %; mean 40.0 %)",
  );
  expect(whyText({ foretold: 0.9, reference: 0.9, effects: [] }, false)).toContain('nothing sets it apart');
});
