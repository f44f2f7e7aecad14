// Gradual pruning with regrowth: the schedule's golden values, its invariants, and a channel that was wrongly removed (methods.md §7.2).
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { DeadUnits } from '../../src/analysis/groups.js';
import { createRng } from '../../src/rng.js';
import { costModelOf } from '../../search/cost-model.js';
import { deathRate, gradualDead, regrow, type GradualOptions } from '../../search/regrowth.js';

test('the death rate: golden values', () => {
  const golden = [
    [0, 0.5],
    [50, 0.427509],
    [100, 0.2525],
    [200, 0.005],
  ] as const;
  for (const [t, rate] of golden) expect(deathRate(0.5, t, 200)).toBeCloseTo(rate, 6);
});

const exchange = fc
  .record({
    size: fc.integer({ min: 1, max: 20 }),
    seed: fc.string(),
    rate: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  .map(({ size, seed, rate }) => {
    const rng = createRng(seed);
    return {
      size,
      rate,
      dead: rng.sample(size, rng.int(size)),
      importance: Array.from({ length: size }, () => rng.int(5)),
    };
  });

test('as many units live after an exchange as before, and none of the dead is worth more than one of the living that came back', () => {
  fc.assert(
    fc.property(exchange, ({ size, dead, importance, rate }) => {
      const after = regrow(size, dead, importance, rate);
      expect(after).toHaveLength(dead.length);
      expect(new Set(after).size).toBe(after.length);
      expect(after.every((u) => u >= 0 && u < size)).toBe(true);
      const back = dead.filter((u) => !after.includes(u));
      for (const u of back) for (const v of after) expect(importance[u]!).toBeGreaterThanOrEqual(importance[v]!);
      // those that stay alive without having been dead are not worse than those that died
      const died = after.filter((u) => !dead.includes(u));
      for (let v = 0; v < size; v++) {
        if (dead.includes(v) || after.includes(v)) continue;
        for (const u of died) expect(importance[v]!).toBeGreaterThanOrEqual(importance[u]!);
      }
    }),
  );
});

test('nothing is exchanged at rate 0, or where the living are worth more', () => {
  expect(regrow(4, [1, 2], [1, 2, 3, 4], 0)).toEqual([1, 2]);
  expect(regrow(4, [0, 1], [1, 2, 3, 4], 0.5)).toEqual([0, 1]);
  expect(regrow(4, [2, 3], [1, 2, 3, 4], 0.5)).toEqual([0, 2]);
});

const macs = costModelOf([{ base: 100, shares: [[{ group: 0, slope: 0.1 }]], stage: 0 }], 1);
const group = { id: 'g', size: 10, steps: Array.from({ length: 10 }, (_, k) => k) };

/** A group of ten: what is dead by step, and what is at the end. */
async function run(
  options: Partial<GradualOptions>,
): Promise<{ readonly seen: DeadUnits[]; readonly dead: readonly number[] }> {
  const seen: DeadUnits[] = [];
  const dead = await gradualDead({
    groups: [group],
    macs,
    budget: 30,
    steps: 4,
    regrow: 0,
    importance: async () => new Map([['g', Array.from({ length: 10 }, (_, u) => u)]]),
    ...options,
    ...(options.importance === undefined
      ? {}
      : {
          importance: async (now, step) => {
            seen.push(now);
            return options.importance!(now, step);
          },
        }),
  });
  return { seen, dead: dead.get('g') ?? [] };
}

test('the budget is met; without regrowth what is dead stays dead, with it it need not', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.string(),
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 10, max: 100 }),
      async (seed, steps, budget) => {
        const rng = createRng(seed);
        const importance: GradualOptions['importance'] = async (_, t) =>
          new Map([['g', Array.from({ length: 10 }, (_u, u) => rng.fork(`${t}/${u}`).next())]]);
        const { seen, dead } = await run({ steps, budget, importance });
        expect(dead).toHaveLength(Math.ceil(10 - budget / 10));
        const sets = [...seen.map((d) => d.get('g') ?? []), dead];
        sets.slice(1).forEach((units, i) => expect(sets[i]!.every((u) => units.includes(u))).toBe(true));
        expect((await run({ steps, budget, regrow: 0.5, importance })).dead).toHaveLength(dead.length);
      },
    ),
    { numRuns: 40 },
  );
});

test('a channel that looked worthless at first comes back with regrowth, and does not without', async () => {
  // unit 7 is worth most, which the first look misses
  const importance: GradualOptions['importance'] = async (dead, t) =>
    new Map([['g', Array.from({ length: 10 }, (_, u) => (u === 7 ? (t === 1 && !dead.has('g') ? 0 : 100) : u))]]);
  expect((await run({ importance })).dead).toContain(7);
  expect((await run({ importance, regrow: 0.3 })).dead).not.toContain(7);
});

test('groups that nothing is known of, or that allow no step, are left alone', async () => {
  expect((await run({ importance: async () => new Map() })).dead).toEqual([]);
  expect((await run({ groups: [{ ...group, steps: [0] }] })).dead).toEqual([]);
});
