import { expect, test } from 'vitest';
import { chooseByGain, expectedGain } from '../../search/acquisition.js';
import { createRng } from '../../src/rng.js';

const measured = [
  [-0.9, 0.8],
  [-0.7, 0.4],
];
const options = { count: 2, measured, reference: [0, 1], rng: createRng('gain'), draws: 200 };

test('certain candidates: the gain is the hypervolume they add', () => {
  // better than the cheaper one by 0.1, cheaper than the better one by 0.3
  expect(expectedGain({ mean: 0.8, deviation: 0, known: [0.5] }, measured, [0, 1], [0])).toBeCloseTo(0.1 * 0.3, 12);
  expect(expectedGain({ mean: 0.6, deviation: 0, known: [0.5] }, measured, [0, 1], [0])).toBe(0);
});

test('a better mean wins; among dominated means, the uncertain one; twins are not chosen together', () => {
  const good = { mean: 0.95, deviation: 0.01, known: [0.5] };
  const twin = { mean: 0.95, deviation: 0.01, known: [0.5] };
  const dull = { mean: 0.6, deviation: 0.001, known: [0.5] };
  const daring = { mean: 0.6, deviation: 0.2, known: [0.5] };
  const small = { mean: 0.6, deviation: 0.01, known: [0.2] };
  expect(chooseByGain([dull, good], options)).toEqual([1, 0]);
  expect(chooseByGain([dull, daring], { ...options, count: 1 })).toEqual([1]);
  expect(chooseByGain([good, twin, small], options)).toEqual([2, 0]);
  expect(chooseByGain([good], options)).toEqual([0]);
});
