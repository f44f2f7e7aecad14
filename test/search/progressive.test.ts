import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRng } from '../../src/rng.js';
import { costModelOf, type CostModel } from '../../search/cost-model.js';
import { allocate, allowedSteps, cubicSchedule, type GroupChoice } from '../../search/progressive.js';

test('the cubic schedule: golden values of methods.md §7.2', () => {
  const golden = [1, 0.7561, 0.5608, 0.4087, 0.2944, 0.2125, 0.1576, 0.1243, 0.1072, 0.1009, 0.1];
  golden.forEach((value, t) => expect(cubicSchedule(1, 0.1, t, 10)).toBeCloseTo(value, 4));
});

/** A chain of layers: layer i sums over group i-1 and yields group i; the first and last widths are fixed. */
const chain = (sizes: readonly number[], positions: readonly number[]): CostModel =>
  costModelOf(
    positions.map((p, i) => ({
      base: p * (sizes[i - 1] ?? 3) * (sizes[i] ?? 10),
      shares: [
        i < sizes.length ? [{ group: i, slope: 1 / sizes[i]! }] : [],
        i > 0 ? [{ group: i - 1, slope: 1 / sizes[i - 1]! }] : [],
      ],
      stage: i % 2,
    })),
    sizes.length,
  );

const arbitrary = fc
  .record({
    sizes: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }),
    seed: fc.string(),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
    round: fc.constantFrom(1, 2, 4),
  })
  .map(({ sizes, seed, share, round }) => {
    const rng = createRng(seed);
    const cost = chain(
      sizes,
      Array.from({ length: sizes.length + 1 }, () => 1 + rng.int(50)),
    );
    const groups: GroupChoice[] = sizes.map((size, g) => {
      let sum = 0;
      const losses = Array.from({ length: size }, (_, k) => (k === 0 ? 0 : (sum += rng.next())));
      return { id: `g${g}`, size, steps: allowedSteps(size, round, 1), losses };
    });
    return { cost, groups, budget: share * cost.value(sizes.map(() => 0)) };
  });

describe('allocation', () => {
  test('keeps the budget whenever it can be kept, only takes allowed steps, and nothing more fits', () => {
    fc.assert(
      fc.property(arbitrary, ({ cost, groups, budget }) => {
        const removed = allocate({ groups, limits: [{ cost, budget }] });
        const least = cost.value(groups.map((g) => g.steps.at(-1)!));
        expect(groups.every((g, i) => g.steps.includes(removed[i]!))).toBe(true);
        expect(cost.value(removed)).toBeLessThanOrEqual(Math.max(budget, least) + 1e-6);
        // maximal: no group can get its next step back
        const fits = groups.some((g, i) => {
          const back = g.steps[g.steps.indexOf(removed[i]!) - 1];
          return back !== undefined && cost.value(removed) + cost.change(removed, i, back) <= budget - 1e-6;
        });
        expect(fits).toBe(false);
      }),
    );
  });

  test('cuts where a loss per cost saved is least, at every step', () => {
    fc.assert(
      fc.property(arbitrary, ({ cost, groups, budget }) => {
        // straight curves: their hulls are their ends
        const straight = groups.map((g, i) => ({ ...g, losses: Array.from(g.losses, (_, k) => (i + 1) * k) }));
        const removed = straight.map(() => 0);
        const open = (): number[] => straight.flatMap((g, i) => (removed[i]! < g.steps.at(-1)! ? [i] : []));
        const priceOf = (i: number): number => {
          const to = straight[i]!.steps.at(-1)!;
          return (straight[i]!.losses[to]! - straight[i]!.losses[removed[i]!]!) / -cost.change(removed, i, to);
        };
        while (cost.value(removed) > budget && open().length > 0) {
          const best = open().reduce((a, b) => (priceOf(b) < priceOf(a) ? b : a));
          const { steps } = straight[best]!;
          const enough = steps.find(
            (k) => k > removed[best]! && cost.value(removed) + cost.change(removed, best, k) <= budget,
          );
          removed[best] = enough ?? steps.at(-1)!;
        }
        // what is given back afterwards only lowers the loss
        const found = allocate({ groups: straight, limits: [{ cost, budget }] });
        const lossOf = (r: ArrayLike<number>): number => straight.reduce((sum, g, i) => sum + g.losses[r[i]!]!, 0);
        expect(lossOf(found)).toBeLessThanOrEqual(lossOf(removed) + 1e-9);
      }),
    );
  });

  test('a step of the cost model is a difference of its values, and its stages add up', () => {
    fc.assert(
      fc.property(arbitrary, fc.nat(), ({ cost, groups, budget }, pick) => {
        const removed = allocate({ groups, limits: [{ cost, budget }] });
        const g = pick % groups.length;
        const to = groups[g]!.steps.at(-1)!;
        const changed = removed.with(g, to);
        expect(cost.change(removed, g, to)).toBeCloseTo(cost.value(changed) - cost.value(removed), 6);
        expect(cost.byStage(removed).reduce((a, b) => a + b, 0)).toBeCloseTo(cost.value(removed), 6);
      }),
    );
  });

  test('is close to the best of all allocations when curves are convex (two groups, all tried)', () => {
    const rng = createRng('brute');
    for (let round = 0; round < 30; round++) {
      const sizes = [8, 8];
      const cost = chain(sizes, [10, 20, 10]);
      const groups: GroupChoice[] = sizes.map((size, g) => {
        const scale = rng.next();
        return {
          id: `g${g}`,
          size,
          steps: allowedSteps(size, 1, 1),
          losses: Array.from({ length: size }, (_, k) => scale * k * k),
        };
      });
      const lossOf = (r: ArrayLike<number>): number => groups.reduce((s, g, i) => s + g.losses[r[i]!]!, 0);
      const budget = (0.2 + 0.6 * rng.next()) * cost.value([0, 0]);
      let best = Infinity;
      for (const a of groups[0]!.steps) {
        for (const b of groups[1]!.steps) if (cost.value([a, b]) <= budget) best = Math.min(best, lossOf([a, b]));
      }
      const found = lossOf(allocate({ groups, limits: [{ cost, budget }] }));
      const oneStep = Math.max(...groups.map((g) => g.losses[7]! - g.losses[6]!));
      expect(found).toBeLessThanOrEqual(best + oneStep + 1e-9);
    }
  });
});

test('allowed steps: multiples where there is room for them, at least one unit, never above the ratio', () => {
  expect(allowedSteps(16, 8, 1)).toEqual([0, 8]);
  expect(allowedSteps(20, 8, 1)).toEqual([0, 4, 12]);
  expect(allowedSteps(3, 8, 1)).toEqual([0, 1, 2]);
  expect(allowedSteps(8, 8, 1)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(allowedSteps(16, 4, 0.5)).toEqual([0, 4, 8]);
  expect(allowedSteps(1, 1, 1)).toEqual([0]);
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 200 }),
      fc.integer({ min: 1, max: 32 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (size, roundTo, ratio) => {
        const steps = allowedSteps(size, roundTo, ratio);
        expect(steps[0]).toBe(0);
        expect(steps.every((k, i) => i === 0 || k > steps[i - 1]!)).toBe(true);
        expect(steps.at(-1)!).toBeLessThanOrEqual(Math.min(size - 1, size * ratio + 1e-6));
      },
    ),
  );
});
