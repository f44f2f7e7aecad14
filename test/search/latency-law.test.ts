// What time is made of: learnt from networks whose true times are known, and used to allocate milliseconds.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { partsOf, type Genome } from '../../search/genome.js';
import { fitNonNegative, latencyProbes, learnLatency } from '../../search/latency-law.js';
import { roundingProbes } from '../../search/rounding.js';
import { createVariation } from '../../search/variation.js';
import { createRng } from '../../src/rng.js';
import { openSearch, shapesModel } from './open-search.js';

const { base, replayer, fitness } = openSearch(shapesModel);
const plain = createVariation(fitness, replayer, { kind: 'macs', low: 0.3, high: 0.9 });

/** A machine on which every layer costs a tenth of a millisecond and a MAC so much. */
const trueTime = (genome: Genome): number => {
  const landscape = fitness.landscape(partsOf(genome).structure);
  const removed = fitness.removed(genome, landscape);
  const layers = landscape.macs.terms.filter((t) => t.node !== undefined).length;
  return 0.1 * layers + 1e-6 * landscape.macs.value(removed);
};
const timed = (genomes: readonly Genome[]) => genomes.map((genome) => ({ genome, latencyMs: trueTime(genome) }));

describe('the law of latency', () => {
  const rng = createRng('latency');
  const factors = plain.mixed(0.6, { alone: true })!;
  const law = learnLatency(fitness, timed([[], ...latencyProbes(fitness), factors]));
  const strangers = [0.4, 0.5, 0.6, 0.7, 0.8].map((share, i) => plain.draw(share, rng.fork(`${i}`)));

  test('foretells networks that were not timed, factors among them', () => {
    expect(strangers.some((g) => partsOf(g).structure.length > 0)).toBe(true);
    for (const genome of strangers) expect(law.of(genome) / trueTime(genome)).toBeCloseTo(1, 1);
  });

  test('says the same of a candidate and of its widths', () => {
    for (const genome of strangers) {
      const landscape = fitness.landscape(partsOf(genome).structure);
      const cost = law.costModel(landscape);
      expect(cost.value(fitness.removed(genome, landscape))).toBeCloseTo(law.of(genome), 9);
    }
  });

  test('makes an allocation hold a limit on time beside one on MACs', () => {
    const budgetMs = 0.6 * trueTime([]);
    const variation = createVariation(fitness, replayer, {
      kind: 'macs',
      low: 0.5,
      high: 0.9,
      latency: { law: () => law, budgetMs },
    });
    expect(law.of(plain.greedy(0.9))).toBeGreaterThan(budgetMs);
    expect(law.of(variation.greedy(0.9))).toBeLessThanOrEqual(budgetMs * 1.0001);
    const alone = createVariation(fitness, replayer, {
      kind: 'latency',
      low: 0.4,
      high: 0.6,
      latency: { law: () => law, budgetMs },
    });
    expect(law.of(alone.greedy(0.6))).toBeLessThanOrEqual(budgetMs * 1.0001);
    expect(law.of(alone.greedy(0.6))).toBeGreaterThan(0.9 * budgetMs);
  });

  test('leaves factors alone where they save no time', () => {
    const variation = createVariation(fitness, replayer, { kind: 'macs', low: 0.5, high: 0.6, noFactors: true });
    const seeds = variation.seeds(12, createRng('seeds'));
    expect(seeds.length).toBeGreaterThanOrEqual(8);
    expect(seeds.every((g) => partsOf(g).structure.length === 0)).toBe(true);
  });
});

test('the fit is never negative, and exact where the data say everything', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0, max: 3, noNaN: true }), { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 0, max: 1000 }),
      (truth, seed) => {
        const rng = createRng(`${seed}`);
        const rows = Array.from({ length: 30 }, () => truth.map(() => rng.next()));
        const targets = rows.map((row) => row.reduce((s, x, j) => s + x * truth[j]!, 0));
        const found = fitNonNegative(
          rows,
          targets,
          truth.map(() => 1),
          1e-4,
        );
        found.forEach((w, j) => {
          expect(w).toBeGreaterThanOrEqual(0);
          expect(Math.abs(w - truth[j]!)).toBeLessThan(1e-3);
        });
      },
    ),
    { numRuns: 50 },
  );
});

test('rounding is judged by widths at multiples of 8 and just under them', () => {
  const widths = (genome: Genome | undefined): number[] => {
    const { dead } = partsOf(genome!);
    return fitness.base.groups.filter((g) => g.size >= 16).map((g) => g.size - (dead.get(g.id)?.length ?? 0));
  };
  const [rounded, under] = roundingProbes(base, replayer.options.surgery, () => false);
  const [a, b] = [widths(rounded), widths(under)];
  expect(a.length).toBeGreaterThan(0);
  expect(a.every((w) => w % 8 === 0)).toBe(true);
  expect(b).toEqual(a.map((w) => w - 1));
});
