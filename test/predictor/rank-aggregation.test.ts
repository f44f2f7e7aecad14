import { expect, test } from 'vitest';
import { spearman } from '../../src/predictor/correlation.js';
import type { Sample } from '../../src/predictor/predictor.js';
import { aggregateRanks, createRankAggregation } from '../../src/predictor/rank-aggregation.js';
import { createRng } from '../../src/rng.js';

// methods.md §5.3, computed there with the authors' own code.
test('aggregates ranks as AZ-NAS does', () => {
  const scores = aggregateRanks([
    [10, 20, 30, 40],
    [1, 3, 2, 4],
    [4, 3, 2, 1],
    [1, 2, 3, 4],
  ]);
  const golden = [-4.158883, -1.961659, -1.961659, -1.386294];
  golden.forEach((g, i) => expect(scores[i]).toBeCloseTo(g, 5));
});

const samples = (count: number, name: string): Sample[] => {
  const rng = createRng(name);
  return Array.from({ length: count }, () => {
    const loss = rng.next();
    const macs = rng.next();
    const signals = new Map([
      ['loss', loss * Math.exp(0.2 * rng.normal())],
      ['macs', macs],
      ['unknown', rng.normal()],
    ]);
    // The cast: no predictor of ranks looks at the graph.
    return { graph: {} as Sample['graph'], signals, score: 0.9 - 0.3 * loss + 0.1 * macs };
  });
};

test('ranks unseen candidates without learning a direction, on the scale of what was measured', async () => {
  const predictor = createRankAggregation();
  const known = samples(10, 'few');
  await predictor.fit(known);
  const fresh = samples(60, 'fresh');
  const said = await predictor.predict(fresh);
  const means = said.map((p) => p.mean);
  expect(
    spearman(
      means,
      fresh.map((s) => s.score),
    ),
  ).toBeGreaterThan(0.75);
  // The same of a candidate, whoever is asked about beside it.
  expect(await predictor.predict([fresh[7]!])).toEqual([said[7]]);
  expect(Math.max(...means)).toBeLessThan(1.1);
  expect(Math.min(...means)).toBeGreaterThan(0.3);
  // Scores that contradict the ranking do not turn it round.
  await predictor.fit(known.map((s) => ({ ...s, score: 1 - s.score })));
  const again = (await predictor.predict(fresh)).map((p) => p.mean);
  expect(spearman(again, means)).toBeCloseTo(1, 6);
});
