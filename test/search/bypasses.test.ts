// Seeds for runs that want time: blocks bypassed one by one, then the least missed ones together.
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { bypassSeeds } from '../../search/bypasses.js';
import { createFitness } from '../../search/fitness.js';
import { standardMutations } from '../../search/mutations/index.js';
import { createReplayer, surgeryWith } from '../../search/replay.js';
import { createVariation } from '../../search/variation.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';

const example = fileURLToPath(new URL('../../examples/shapes/shapes-resnet.onnx', import.meta.url));

describe('bypass seeds', () => {
  it('measure every way round alone, then join the least missed ones, channels cut to the share behind them', async () => {
    const surgery = surgeryWith(standardOps);
    const base = surgery.analyse(readModel(example));
    const replayer = createReplayer(base, {
      surgery,
      mutations: standardMutations(surgery),
      ignore: () => false,
      roundTo: 8,
      maxRatio: 1,
    });
    const fitness = createFitness(replayer);
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
