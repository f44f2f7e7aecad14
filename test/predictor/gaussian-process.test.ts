import { expect, test } from 'vitest';
import { leaveGroupsOut, type Blocks } from '../../src/predictor/gaussian-process.js';
import { recipeWords } from '../../src/predictor/recipe.js';
import { createRng } from '../../src/rng.js';

const rng = createRng('process');
const rows: Blocks[] = Array.from({ length: 60 }, () => [
  Float64Array.from({ length: 3 }, () => rng.normal()),
  Float64Array.of(rng.int(2)),
  Float64Array.of(rng.normal()),
]);
const truth = rows.map(([x, r, s]) => Math.sin(x[0]!) + 0.5 * x[1]! + 2 * r[0]! - 0.3 * s[0]! ** 2);
const options = { lengths: [1.5, 2], noise: 0.01 } as const;

test('a group left out is foretold from the others, and its own labels do not matter', () => {
  const groups = rows.map((_, i) => String(i % 12));
  const [said] = leaveGroupsOut(rows, [truth], groups, options);
  const error = truth.reduce((s, y, i) => s + (y - said![i]!) ** 2, 0) / 60;
  const mean = truth.reduce((s, y) => s + y, 0) / 60;
  expect(error).toBeLessThan(0.15 * (truth.reduce((s, y) => s + (y - mean) ** 2, 0) / 60));
  // other labels of group 3 with the same mean and square, so that the scale stays what it was
  const own = rows.flatMap((_, i) => (groups[i] === '3' ? [i] : []));
  const turned = truth.map((y, i) => (own.includes(i) ? truth[own[(own.indexOf(i) + 1) % own.length]!]! : y));
  const [other] = leaveGroupsOut(rows, [turned], groups, options);
  for (const i of own) expect(other![i]!).toBeCloseTo(said![i]!, 6);
});

test('the trend of the size is carried beyond all sizes that were seen', () => {
  const sizes = [...Array.from({ length: 40 }, () => 2 * rng.next() - 1), -5, 5];
  const curve = (s: number): number => 3 + s - 0.5 * s ** 2;
  const far = sizes.map((s): Blocks => [Float64Array.of(rng.normal()), Float64Array.of(0), Float64Array.of(s)]);
  const groups = sizes.map((s, i) => (Math.abs(s) > 1 ? 'far' : String(i)));
  const [said] = leaveGroupsOut(far, [sizes.map(curve)], groups, options);
  // the mean of the others is 3 at most
  for (const i of [40, 41]) expect(Math.abs(said![i]! - curve(sizes[i]!))).toBeLessThan(2.5);
});

test("words of recipes' names: those that several families share", () => {
  const { words, rows: found } = recipeWords(
    ['a1h_in1k', 'a1h_in1k', 'ra2_ft_in1k', 'untrained', 'a1h'],
    ['a', 'a', 'b', 'c', 'd'],
    2,
  );
  expect(words).toEqual(['a1h', 'in1k']);
  expect(found.map((r) => [...r])).toEqual([
    [1, 1],
    [1, 1],
    [0, 1],
    [0, 0],
    [1, 0],
  ]);
});
