import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { constrainedDominates, crowding, dominates, sortNondominated, type Scored } from '../../search/dominance.js';
import { hypervolume, hypervolumeGain } from '../../search/hypervolume.js';
import { standings, survivors } from '../../search/selection.js';

const point = (n: number) => fc.array(fc.integer({ min: 0, max: 9 }), { minLength: n, maxLength: n });
const scored: fc.Arbitrary<Scored> = fc.record({
  objectives: point(2),
  violation: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 3 })),
});

describe('domination', () => {
  test('is irreflexive, asymmetric and transitive, with and without constraints', () => {
    fc.assert(
      fc.property(scored, scored, scored, (a, b, c) => {
        for (const better of [
          constrainedDominates,
          (x: Scored, y: Scored) => dominates(x.objectives, y.objectives),
        ] as const) {
          expect(better(a, a)).toBe(false);
          expect(better(a, b) && better(b, a)).toBe(false);
          expect(!(better(a, b) && better(b, c)) || better(a, c)).toBe(true);
        }
      }),
    );
  });

  test('fronts partition the indices; rank k is dominated by somebody of rank k-1 and by nobody of its own', () => {
    fc.assert(
      fc.property(fc.array(scored, { maxLength: 25 }), (xs) => {
        const fronts = sortNondominated(xs);
        expect(fronts.flat().toSorted((a, b) => a - b)).toEqual(xs.map((_, i) => i));
        fronts.forEach((front, rank) => {
          for (const i of front) {
            expect(front.some((j) => constrainedDominates(xs[j]!, xs[i]!))).toBe(false);
            expect(rank === 0 || fronts[rank - 1]!.some((j) => constrainedDominates(xs[j]!, xs[i]!))).toBe(true);
          }
        });
      }),
    );
  });

  test('a feasible one always comes before an infeasible one', () => {
    fc.assert(
      fc.property(fc.array(scored, { minLength: 1, maxLength: 25 }), (xs) => {
        const order = survivors(xs, xs.length).map((i) => xs[i]!.violation > 0);
        expect(order).toEqual(order.toSorted((a, b) => Number(a) - Number(b)));
      }),
    );
  });
});

test('crowding: the ends are infinite, the middle is the scaled gap between neighbours', () => {
  const front = [
    [0, 10],
    [1, 6],
    [4, 5],
    [10, 0],
  ];
  expect(crowding(front)).toEqual([Infinity, 4 / 10 + 5 / 10, 9 / 10 + 6 / 10, Infinity]);
  expect(crowding([])).toEqual([]);
});

test('survivors keep whole fronts first', () => {
  fc.assert(
    fc.property(fc.array(scored, { minLength: 2, maxLength: 20 }), fc.nat(20), (xs, n) => {
      const standing = standings(xs);
      const kept = new Set(survivors(xs, n));
      const worstKept = Math.max(-1, ...[...kept].map((i) => standing[i]!.rank));
      const dropped = standing.filter((_, i) => !kept.has(i));
      expect(dropped.every((s) => s.rank >= worstKept)).toBe(true);
    }),
  );
});

describe('hypervolume', () => {
  // On an integer grid the hypervolume is the number of unit cells whose lower corner is dominated.
  const countCells = (points: readonly (readonly number[])[], reference: readonly number[]): number => {
    const cells = reference.reduce<number[][]>(
      (found, top) => found.flatMap((c) => Array.from({ length: top }, (_, x) => [...c, x])),
      [[]],
    );
    return cells.filter((cell) => points.some((p) => p.every((x, i) => x <= cell[i]!))).length;
  };

  for (const n of [1, 2, 3]) {
    test(`counts unit cells in ${n} dimensions, and the gain is a difference`, () => {
      const reference = Array.from({ length: n }, () => 6);
      fc.assert(
        fc.property(fc.array(point(n), { maxLength: 8 }), point(n), (points, extra) => {
          expect(hypervolume(points, reference)).toBe(countCells(points, reference));
          expect(hypervolumeGain(points, extra, reference)).toBe(
            hypervolume([...points, extra], reference) - hypervolume(points, reference),
          );
        }),
      );
    });
  }
});
