import fc from 'fast-check';
import { expect, test } from 'vitest';
import { distanceOver } from '../../search/distance.js';
import type { Genome } from '../../search/genome.js';
import { isUseful } from '../../search/members.js';
import { chooseByGain, expectedGain, unknownAt } from '../../search/acquisition.js';
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

test('a near-twin of something measured is nearly known: a stranger of equal promise goes first', () => {
  const promising = { mean: 0.85, deviation: 0.05, known: [0.7] };
  const hopefuls = [promising, { ...promising, mean: 0.849 }];
  const toMeasured = [0.001, 0.2];
  const apart = { measured: (i: number) => toMeasured[i]!, between: () => 0.2 };
  expect(chooseByGain(hopefuls, { ...options, count: 1 })).toEqual([0]);
  expect(chooseByGain(hopefuls, { ...options, count: 1, apart })).toEqual([1]);
  // and of two twins that are both strangers, only one goes into a batch before another stranger
  const third = { ...promising, mean: 0.84 };
  const between = (i: number, j: number): number => (i + j === 1 ? 0.001 : 0.2);
  const batch = chooseByGain([promising, promising, third], { ...options, apart: { measured: () => 1, between } });
  expect(batch.toSorted((a, b) => a - b)).not.toEqual([0, 1]);
  expect([unknownAt(0), unknownAt(1)]).toEqual([0, 1]);
});

test('the distance of genomes is one: zero to itself, the same both ways, never shorter by a detour', () => {
  const cuts = fc.array(fc.record({ group: fc.constantFrom('a', 'b', 'c'), count: fc.nat(8) }), { maxLength: 3 });
  const edits = fc.array(fc.constantFrom('x', 'y', 'z'), { maxLength: 2 });
  const genomes = fc.tuple(edits, cuts).map(([layers, list]): Genome => [
    ...(layers.length === 0 ? [] : [{ mutation: 'factor', params: { layers: layers.map((weight) => ({ weight })) } }]),
    ...Array.from(new Map(list.map(({ group, count }) => [group, count])), ([group, count]) => ({
      mutation: 'prune-channels',
      params: { group, dead: Array.from({ length: count }, (_, i) => i) },
    })),
  ]);
  const distance = distanceOver(40);
  fc.assert(
    fc.property(genomes, genomes, genomes, (a, b, c) => {
      expect(distance(a, a)).toBe(0);
      expect(distance(a, b)).toBeCloseTo(distance(b, a), 12);
      expect(distance(a, c)).toBeLessThanOrEqual(distance(a, b) + distance(b, c) + 1e-12);
    }),
    { numRuns: 100 },
  );
});

test('members that lose out of all proportion are of no use', () => {
  const original = { score: 0.93 };
  const useful = (score: number, best: number): boolean => isUseful({ score }, { score: best }, original);
  expect([0.92, 0.85, 0.82, 0.5].map((s) => useful(s, 0.92))).toEqual([true, true, false, false]);
  expect([0.6, 0.5, 0.4].map((s) => useful(s, 0.7))).toEqual([true, true, false]);
  // errors, which are negative scores
  const zero = { score: 0 };
  expect([-0.1, -0.25, -0.4].map((s) => isUseful({ score: s }, { score: -0.1 }, zero))).toEqual([true, true, false]);
});
