import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fitBoosting } from '../../src/predictor/boosting.js';
import { fitNgboost, naturalGradient, normalGradient, normalLoss } from '../../src/predictor/ngboost.js';
import { createRng } from '../../src/rng.js';

const usual = { steps: 200, rate: 0.05, depth: 3, leaf: 5, rows: 1, columns: 1 };

describe('NGBoost', () => {
  test('gradient by finite differences; natural gradient = gradient over the Fisher information', () => {
    const number = fc.double({ min: -3, max: 3, noNaN: true });
    fc.assert(
      fc.property(number, number, number, (y, mean, log) => {
        const h = 1e-5;
        const [byMean, byLog] = normalGradient(y, mean, log);
        const scale = 1 + Math.abs(byMean) + Math.abs(byLog);
        const slope = (f: (x: number) => number): number => (f(h) - f(-h)) / (2 * h);
        expect(Math.abs(slope((d) => normalLoss(y, mean + d, log)) - byMean) / scale).toBeLessThan(1e-4);
        expect(Math.abs(slope((d) => normalLoss(y, mean, log + d)) - byLog) / scale).toBeLessThan(1e-4);
        const [a, b] = naturalGradient(y, mean, log);
        expect(Math.abs(a - byMean * Math.exp(2 * log))).toBeLessThan(1e-9 * scale * Math.exp(6));
        expect(Math.abs(b - byLog / 2)).toBeLessThan(1e-9 * scale);
      }),
    );
  });

  test('y ~ N(2x, (0.1 + x)^2): mean and deviation within 15 %', () => {
    const rng = createRng('ngboost');
    const rows = Array.from({ length: 4000 }, () => [rng.next()]);
    const targets = rows.map(([x]) => 2 * x! + (0.1 + x!) * rng.normal());
    const fitted = fitNgboost(rows, targets, { ...usual, leaf: 100, rate: 0.1, steps: 60, rng });
    let mean = 0;
    let deviation = 0;
    const at = [0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95];
    for (const x of at) {
      const said = fitted.predict([x]);
      mean += Math.abs(said.mean - 2 * x) / (2 * x) / at.length;
      deviation += Math.abs(said.deviation - (0.1 + x)) / (0.1 + x) / at.length;
    }
    expect(mean).toBeLessThan(0.15);
    expect(deviation).toBeLessThan(0.15);
  });

  test('the likelihood of the training rows never falls, and a constant target is no trouble', () => {
    const rng = createRng('falls');
    const rows = Array.from({ length: 120 }, () => [rng.next(), rng.next()]);
    const { losses } = fitNgboost(
      rows,
      rows.map(([a, b]) => Math.sin(6 * a!) + b! * rng.normal()),
      { ...usual, rate: 0.02, rng },
    );
    expect(losses.length).toBeGreaterThan(50);
    losses.forEach((loss, i) => expect(i === 0 || loss <= losses[i - 1]!).toBe(true));
    const flat = fitNgboost(
      rows,
      rows.map(() => 3),
      { ...usual, rng },
    ).predict([0.5, 0.5]);
    expect(flat.mean).toBe(3);
    expect(flat.deviation).toBeLessThan(1e-6);
  });
});

test('boosting learns what no single split can, and its attributions add up', () => {
  const rng = createRng('boosting');
  const draw = (n: number) => Array.from({ length: n }, () => Array.from({ length: 5 }, () => rng.next()));
  const truth = ([a, b, c]: number[]): number => (a! > 0.5 === b! > 0.5 ? 1 : 0) + c!;
  const rows = draw(400);
  const boosted = fitBoosting(rows, rows.map(truth), { ...usual, rows: 0.7, columns: 0.8, rng });
  const tests = draw(200);
  const error = tests.reduce((s, r) => s + (boosted.predict(r) - truth(r)) ** 2, 0) / tests.length;
  expect(error).toBeLessThan(0.05); // the variance of the truth is 0.33
  const { base, columns } = boosted.explain(tests[0]!);
  expect(base + columns.reduce((s, v) => s + v, 0)).toBeCloseTo(boosted.predict(tests[0]!), 9);
  expect(Math.abs(columns[3]!) + Math.abs(columns[4]!)).toBeLessThan(Math.abs(columns[0]!) + Math.abs(columns[1]!));
});
