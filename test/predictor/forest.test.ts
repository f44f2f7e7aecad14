import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fitForest } from '../../src/predictor/forest.js';
import { columnsOf, growTree, leafOf } from '../../src/predictor/tree.js';
import { createRng } from '../../src/rng.js';

const small = fc
  .array(fc.tuple(fc.integer({ min: 0, max: 6 }), fc.integer({ min: 0, max: 200 }), fc.integer({ min: -9, max: 9 })), {
    minLength: 2,
    maxLength: 24,
  })
  .map((list) => ({ rows: list.map(([a, b]) => [a, b / 7]), targets: list.map(([, , y]) => y) }));
const whole = { leaf: 1, depth: Infinity, columns: 1, randomThresholds: false };

test('the first split is the best of all columns and thresholds', () => {
  fc.assert(
    fc.property(small, fc.integer(), ({ rows, targets }, seed) => {
      const ones = rows.map(() => 1);
      const tree = growTree(columnsOf(rows), targets, ones, { ...whole, depth: 1, rng: createRng(seed) });
      const squares = (at: readonly number[]): number => {
        const m = at.reduce((s, i) => s + targets[i]!, 0) / Math.max(1, at.length);
        return at.reduce((s, i) => s + (targets[i]! - m) ** 2, 0);
      };
      const all = rows.map((_, i) => i);
      let best = squares(all);
      for (const f of [0, 1])
        for (const r of rows) {
          const low = all.filter((i) => rows[i]![f]! <= r[f]!);
          best = Math.min(best, squares(low) + squares(all.filter((i) => !low.includes(i))));
        }
      const leaves = all.map((i) => leafOf(tree, rows[i]!));
      const found = [...new Set(leaves)].reduce((s, leaf) => s + squares(all.filter((i) => leaves[i] === leaf)), 0);
      expect(found).toBeCloseTo(best, 6);
      for (const i of all) {
        const mates = all.filter((j) => leaves[j] === leaves[i]);
        expect(tree.value[leaves[i]!]!).toBeCloseTo(mates.reduce((s, j) => s + targets[j]!, 0) / mates.length, 9);
      }
    }),
  );
});

test('a tree grown to the end says the mean of equal rows; a row that counts twice is two rows', () => {
  fc.assert(
    fc.property(small, fc.integer(), ({ rows, targets }, seed) => {
      const weights = rows.map((_, i) => i % 3);
      const tree = growTree(columnsOf(rows), targets, weights, { ...whole, rng: createRng(seed) });
      rows.forEach((row, i) => {
        if (weights[i] === 0) return;
        const twins = rows.flatMap((r, j) => (r[0] === row[0] && r[1] === row[1] ? [j] : []));
        const weight = twins.reduce((s, j) => s + weights[j]!, 0);
        const mean = twins.reduce((s, j) => s + weights[j]! * targets[j]!, 0) / weight;
        // a split that gains less than a ten-billionth is rounding and not made
        expect(tree.value[leafOf(tree, row)]!).toBeCloseTo(mean, 3);
      });
    }),
  );
});

test('leaves hold as many rows as asked', () => {
  const rows = Array.from({ length: 50 }, (_, i) => [i, (i * 7) % 11]);
  const targets = rows.map(([a, b]) => Math.sin(a! * b!));
  const tree = growTree(
    columnsOf(rows),
    targets,
    rows.map(() => 1),
    { ...whole, leaf: 4, rng: createRng(1) },
  );
  const counts = new Map<number, number>();
  for (const row of rows) counts.set(leafOf(tree, row), (counts.get(leafOf(tree, row)) ?? 0) + 1);
  expect(Math.min(...counts.values())).toBeGreaterThanOrEqual(4);
  expect(counts.size).toBeGreaterThan(4);
});

test("Friedman's first problem: as good as scikit-learn's forest, and the bag tells the error", () => {
  const rng = createRng('friedman');
  const draw = (n: number) => Array.from({ length: n }, () => Array.from({ length: 10 }, () => rng.next()));
  const truth = ([a, b, c, d, e]: number[]): number =>
    10 * Math.sin(Math.PI * a! * b!) + 20 * (c! - 0.5) ** 2 + 10 * d! + 5 * e!;
  const train = draw(300);
  const tests = draw(500);
  const targets = train.map((r) => truth(r) + rng.normal());
  const forest = fitForest(train, targets, { rng });
  const square = (said: number[], of: number[]): number =>
    said.reduce((s, y, i) => s + (y - of[i]!) ** 2, 0) / of.length;
  const error = square(
    tests.map((r) => forest.predict(r).mean),
    tests.map(truth),
  );
  // scikit-learn 1.9, 100 trees, 300 samples, 20 draws: 4.29 +- 0.33 against the noiseless truth
  expect(error).toBeLessThan(5.5);
  expect(error).toBeGreaterThan(3.2);
  expect(square([...forest.outOfBag], targets)).toBeGreaterThan(0.8 * (error + 1));
  expect(square([...forest.outOfBag], targets)).toBeLessThan(1.5 * (error + 1));
  const { base, columns } = forest.explain(tests[0]!);
  expect(base + columns.reduce((s, v) => s + v, 0)).toBeCloseTo(forest.predict(tests[0]!).mean, 9);
});
