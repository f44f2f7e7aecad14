import fc from 'fast-check';
import { expect, test } from 'vitest';
import { costModelOf, type CostTerm } from '../../search/cost-model.js';
import { createRng } from '../../src/rng.js';

const SIZE = 6;

/** Groups on several axes of a node, on both sides of one, and nodes at which something was chosen. */
const networks = fc.record({ groups: fc.integer({ min: 1, max: 4 }), seed: fc.string() }).map(({ groups, seed }) => {
  const rng = createRng(seed);
  const share = (): CostTerm['shares'][number] =>
    Array.from({ length: rng.int(3) }, () => ({ group: rng.int(groups), slope: rng.next() / SIZE }));
  const terms = Array.from({ length: 1 + rng.int(5) }, (): CostTerm => ({
    base: 1 + rng.int(100),
    shares: Array.from({ length: rng.int(4) }, share),
    stage: 0,
    ...(rng.next() < 0.3 ? { site: rng.int(groups), ratios: Array.from({ length: SIZE }, () => rng.next()) } : {}),
  }));
  const removed = Int32Array.from({ length: groups }, () => rng.int(SIZE + 1));
  return { cost: costModelOf(terms, groups), removed, group: rng.int(groups), to: rng.int(SIZE + 1) };
});

test('the change of one group is the difference of the two values, asked one by one or many at a time', () => {
  fc.assert(
    fc.property(networks, ({ cost, removed, group, to }) => {
      const difference = cost.value(removed.with(group, to)) - cost.value(removed);
      expect(cost.change(removed, group, to)).toBeCloseTo(difference, 8);
      expect(cost.changesOf(removed, group)(to)).toBeCloseTo(difference, 8);
    }),
  );
});
