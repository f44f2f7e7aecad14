import { expect, test } from 'vitest';
import type { Measured } from '../../search/explore.js';
import type { Fitness } from '../../search/fitness.js';
import type { Genome } from '../../search/genome.js';
import { chooseMembers } from '../../search/members.js';
import type { Variation } from '../../search/variation.js';

const of = (macs: number, score: number, structure: string): Measured => ({
  genome: [
    { mutation: structure, params: null },
    { mutation: 'prune-channels', params: { group: 'g', dead: [10 * macs] } },
  ],
  key: `${structure}/${macs}`,
  macs,
  params: macs,
  memoryBytes: macs,
  signals: new Map(),
  graph: undefined as never,
  score,
});

/** Nothing is left to be filled up. */
const variation = { fill: (genome: Genome) => genome } as unknown as Variation;

function chosen(measured: readonly Measured[], count: number): readonly number[] {
  const fitness = {
    assess: (genome: Genome) => measured.find((m) => m.genome === genome)!,
  } as unknown as Fitness;
  return chooseMembers(measured, { macs: 50 }, count, variation, fitness, { score: 1 }).members.map((m) => m.macs);
}

const crowd = [50, 49.8, 49.6, 49.4, 49.2].map((macs, i) => of(macs, 0.95 - 0.001 * i, 'a'));
const cheaper = [45, 40, 35, 30].map((macs, i) => of(macs, 0.94 - 0.005 * i, 'a'));

test('the best within the budget, and others well below it; what costs nearly as much only fills up', () => {
  expect(chosen([...crowd, ...cheaper], 5)).toEqual([50, 45, 40, 35, 30]);
  expect(chosen([...crowd, ...cheaper], 3)).toEqual([50, 45, 30]);
  expect(chosen([...crowd, cheaper[0]!], 4)).toEqual([50, 49.8, 49.2, 45]);
});

test('beside the best within the budget its rivals of other structures', () => {
  const rivals = [of(49.9, 0.93, 'b'), of(49.7, 0.94, 'c'), of(49.5, 0.92, 'd')];
  expect(chosen([...crowd, ...rivals, ...cheaper], 6)).toEqual([50, 49.9, 49.7, 45, 40, 30]);
});
