// Seeds for runs that want time: blocks bypassed one by one, then the least missed ones together.
import { describe, expect, it } from 'vitest';
import { bypassSeeds } from '../../search/bypasses.js';
import { createVariation } from '../../search/variation.js';
import { openSearch, shapesModel } from './open-search.js';

describe('bypass seeds', () => {
  it('measure every way round alone, then join the least missed ones, channels cut to the share behind them', async () => {
    const { base, replayer, fitness } = openSearch(shapesModel, { roundTo: 8 });
    const variation = createVariation(fitness, replayer, { kind: 'macs', low: 0.3, high: 0.6 });
    const alone: number[] = [];
    const { seeds, alone: singles } = await bypassSeeds({
      replayer,
      variation,
      assess: (genome) => fitness.assess(genome),
      // what is missed least here: what costs least
      measure: (candidates) => {
        alone.push(...candidates.map((c) => c.macs));
        return Promise.resolve(candidates.map((c) => ({ key: c.key, score: c.macs })));
      },
      score: base.cost.macs,
      share: 0.6,
    });
    expect(alone.length).toBeGreaterThan(0);
    expect(alone.every((macs) => macs < base.cost.macs)).toBe(true);
    expect(singles.map((m) => m.macs)).toEqual(alone);
    expect(seeds.length).toBeGreaterThan(0);
    for (const seed of seeds) {
      expect(seed[0]?.mutation).toBe('remove-block');
      expect(fitness.assess(seed).macs).toBeLessThanOrEqual(0.6 * base.cost.macs);
    }
  });
});
