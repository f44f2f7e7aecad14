// Peak memory as a budget: the moments at which too much is alive, and widths that hold the budget exactly.
import { describe, expect, test } from 'vitest';
import { partsOf } from '../../search/genome.js';
import { memoryModels } from '../../search/memory-model.js';
import { createVariation } from '../../search/variation.js';
import { momentsAbove } from '../../src/analysis/memory.js';
import { createRng } from '../../src/rng.js';
import { openSearch, shapesModel } from './open-search.js';

const { base, replayer, fitness } = openSearch(shapesModel);
const peak = base.cost.peakMemoryBytes;

describe('peak memory', () => {
  test('is the largest of the moments, and none of them is below what was asked', () => {
    const all = momentsAbove(base.model.graph, base.shapes.types, 0);
    expect(Math.max(...all.map((m) => m.bytes))).toBe(peak);
    for (const { bytes, alive } of all) expect([...alive.values()].reduce((a, b) => a + b, 0)).toBe(bytes);
    const above = momentsAbove(base.model.graph, base.shapes.types, 0.6 * peak);
    expect(above).toEqual(all.filter((m) => m.bytes > 0.6 * peak));
    expect(momentsAbove(base.model.graph, base.shapes.types, peak)).toEqual([]);
  });

  test('of any widths is the largest of the models', () => {
    const models = memoryModels(fitness.base, 0);
    const plain = createVariation(fitness, replayer, { kind: 'params', low: 0.3, high: 0.9 });
    for (const share of [0.3, 0.5, 0.7, 0.9]) {
      const genome = plain.draw(share, createRng(`${share}`));
      const removed = fitness.removed(genome, fitness.base);
      const foretold = Math.max(...models.map((m) => m.value(removed)));
      expect(foretold).toBeCloseTo(fitness.assess(genome).memoryBytes, 6);
    }
  });

  test.each([0.8, 0.6, 0.4])('asked for alone, a budget of %d is held and used', (share) => {
    const memoryBytes = share * peak;
    const variation = createVariation(fitness, replayer, { kind: 'macs', low: 0.3, high: 0.97, memoryBytes });
    const found = fitness.assess(variation.greedy(0.97));
    expect(found.memoryBytes).toBeLessThanOrEqual(memoryBytes);
    expect(found.memoryBytes).toBeGreaterThan(0.85 * memoryBytes);
    for (const seed of variation.seeds(8, createRng('seeds')).filter((g) => partsOf(g).structure.length === 0)) {
      expect(fitness.assess(seed).memoryBytes).toBeLessThanOrEqual(memoryBytes);
    }
  });
});
