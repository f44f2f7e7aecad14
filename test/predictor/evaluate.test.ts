import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { kendall, ranks, spearman } from '../../src/predictor/correlation.js';
import { evaluate, score, split, type Candidate, type Method, type Task } from '../../src/predictor/evaluate.js';
import { createRng } from '../../src/rng.js';

const numbers = fc.array(fc.tuple(fc.integer({ min: -4, max: 4 }), fc.integer({ min: -4, max: 4 })), {
  minLength: 2,
  maxLength: 40,
});

/** Tau-b by its definition, over all pairs. */
function pairwise(a: readonly number[], b: readonly number[]): number {
  let sum = 0;
  let untiedA = 0;
  let untiedB = 0;
  for (let i = 0; i < a.length; i++)
    for (let j = 0; j < i; j++) {
      const x = Math.sign(a[i]! - a[j]!);
      const y = Math.sign(b[i]! - b[j]!);
      sum += x * y;
      untiedA += x * x;
      untiedB += y * y;
    }
  return sum / Math.sqrt(untiedA * untiedB);
}

test("Kendall's tau-b in O(n log n) is the one over all pairs, ties included", () => {
  fc.assert(
    fc.property(numbers, (pairs) => {
      const a = pairs.map((p) => p[0]);
      const b = pairs.map((p) => p[1]);
      expect(kendall(a, b)).toBeCloseTo(pairwise(a, b), 12);
    }),
  );
});

test("Spearman's rho is Pearson's of the ranks and blind to monotone changes", () => {
  expect([...ranks([10, 20, 20, 30])]).toEqual([1, 2.5, 2.5, 4]);
  fc.assert(
    fc.property(numbers, (pairs) => {
      const a = pairs.map((p) => p[0]);
      const b = pairs.map((p) => p[1]);
      expect(
        spearman(
          a.map((x) => Math.exp(x)),
          b,
        ),
      ).toBeCloseTo(spearman(a, b), 12);
    }),
  );
});

const unseen = (): never => {
  throw new Error('no method here looks at the network');
};
const candidates: Candidate[] = Array.from({ length: 200 }, (_, i) => ({
  key: String(i),
  group: String(Math.floor(i / 2)),
  model: unseen,
  graph: unseen,
  macs: unseen,
  params: unseen,
  recipe: new Map(),
  proxies: new Map([['truth', Math.sin(i) + i / 100]]),
}));
const labels = candidates.map((c) => c.proxies.get('truth')!);
const task: Task = { space: undefined, label: 'truth', prior: { mean: 0, deviation: 1 }, candidates };
const method = (name: string, say: (c: Candidate, next: () => number) => number): Method => ({
  name,
  fewest: 0,
  fit: async (_train, _task, rng) => ({
    predict: async (asked) => asked.map((c) => ({ mean: say(c, () => rng.next()), deviation: 1 })),
  }),
});

describe('the harness', () => {
  test('truth scores 1 and no error, its opposite -1, a constant 0, chance near 0', async () => {
    const options = { samples: 20, seeds: 5 };
    const truth = await evaluate(
      method('truth', (c) => c.proxies.get('truth')!),
      task,
      labels,
      options,
    );
    expect(truth).toMatchObject({
      spearman: { mean: 1, std: 0 },
      kendall: { mean: 1, std: 0 },
      mae: { mean: 0, std: 0 },
      precision1: { mean: 1, std: 0 },
      samples: 20,
      seeds: 5,
    });
    const opposite = await evaluate(
      method('opposite', (c) => -c.proxies.get('truth')!),
      task,
      labels,
      options,
    );
    expect(opposite.kendall.mean).toBe(-1);
    const constant = await evaluate(
      method('constant', () => 3),
      task,
      labels,
      options,
    );
    expect(constant).toMatchObject({ spearman: { mean: 0, std: 0 }, kendall: { mean: 0, std: 0 } });
    const chance = await evaluate(
      method('chance', (_, next) => next()),
      task,
      labels,
      options,
    );
    expect(Math.abs(chance.kendall.mean)).toBeLessThan(0.1);
  });

  test('no twin of a training row is ever tested', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 0, max: 60 }), (seed, samples) => {
        const { train, test: tested } = split(candidates, samples, createRng(seed));
        expect(new Set(train).size).toBe(samples);
        const groups = new Set(train.map((i) => candidates[i]!.group));
        expect(tested.every((i) => !groups.has(candidates[i]!.group))).toBe(true);
        expect(tested.length).toBe(candidates.filter((c) => !groups.has(c.group)).length);
      }),
    );
  });

  test('a method sees no label but those of its training rows', async () => {
    const spy: Method = {
      name: 'spy',
      fewest: 0,
      fit: async (train) => {
        expect(train.map((t) => t.label)).toEqual(train.map((t) => labels[Number(t.candidate.key)]));
        return { predict: async (asked) => asked.map(() => ({ mean: 0, deviation: 1 })) };
      },
    };
    expect((await evaluate(spy, task, labels, { samples: 7, seeds: 2 })).seeds).toBe(2);
  });

  test('too few and too many samples are sentences', async () => {
    const hungry = { ...method('hungry', () => 0), fewest: 2 };
    await expect(evaluate(hungry, task, labels, { samples: 1, seeds: 1 })).rejects.toThrow(
      /at least 2 training samples/,
    );
    expect(() => split(candidates, 199, createRng(1))).toThrow(/fewer than two of the 200 rows/);
  });

  test('the error is in the unit of the label', () => {
    expect(score([1, 2, 4], [2, 4, 7])).toMatchObject({ mae: 2, spearman: 1 });
  });
});
