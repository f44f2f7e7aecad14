// How much each group gives up for a budget: the cubic schedule of gradual pruning (Zhu and Gupta 2017; CGP, methods.md §7), and a
// greedy allocation along the lower convex hulls of the groups' loss curves, cheapest loss per MAC first, followed by a fill step
// that gives back what still fits.
import type { CostModel } from './cost-model.js';

/** What one group can give and what that is expected to cost. */
export interface GroupChoice {
  readonly id: string;
  readonly size: number;
  /** Numbers of removed units that are allowed, ascending, the first 0. */
  readonly steps: readonly number[];
  /** Expected loss after removing k units, k = 0..size-1 or more. */
  readonly losses: ArrayLike<number>;
}

/** Share of the cost that is left at step t of `steps`: cubic from `from` to `to`, fast first. */
export function cubicSchedule(from: number, to: number, t: number, steps: number): number {
  const left = 1 - Math.min(1, Math.max(0, t / Math.max(1, steps)));
  return to + (from - to) * left ** 3;
}

/** Never above `budget`, when that can be reached. */
export interface Limit {
  readonly cost: CostModel;
  readonly budget: number;
}

export interface AllocationOptions {
  readonly groups: readonly GroupChoice[];
  /** All of them hold at the end; where several are broken, the first in the list is mended first. */
  readonly limits: readonly Limit[];
  /** Units already removed; none otherwise. */
  readonly start?: ArrayLike<number>;
  /** Where single steps leave more than 1 % of the first budget unused, exchange steps between two groups to use it. */
  readonly tight?: boolean;
  /** Multiplies the loss of each group, to explore; 1 otherwise. */
  readonly weights?: ArrayLike<number>;
}

interface Step {
  readonly group: number;
  readonly to: number;
  readonly price: number;
}

/** Units to remove by group, in the order of `groups`. Cuts until the limits hold, then gives back what fits. */
export function allocate(options: AllocationOptions): Int32Array {
  const removed = Int32Array.from(options.start ?? options.groups.map(() => 0));
  const hulls = options.groups.map((g) => lowerHull(g));
  for (const limit of options.limits) cutTo(options, limit, hulls, removed);
  fillUp(options, removed);
  if (options.tight === true) tighten(options, removed);
  return removed;
}

/** The step with the least loss per cost saved, over all groups and all allowed depths, until the budget holds. */
function cutTo(
  options: AllocationOptions,
  { cost, budget }: Limit,
  hulls: readonly (readonly number[])[],
  removed: Int32Array,
): void {
  const { groups } = options;
  const cheapestOf = (g: number): Step | undefined => {
    const group = groups[g]!;
    const at = removed[g]!;
    // The next corner of the hull. It is the cheapest way on, since cost is linear in the group's units (nearly so where
    // a group is on both sides of a layer).
    const to = hulls[g]!.find((k) => k > at);
    if (to === undefined) return undefined;
    const change = cost.change(removed, g, to);
    if (change >= 0) return undefined;
    const price = (Math.max(0, group.losses[to]! - group.losses[at]!) * (options.weights?.[g] ?? 1)) / -change;
    return { group: g, to, price };
  };
  let value = cost.value(removed);
  if (value <= budget) return;
  // It stays what it is until a group that shares a layer with it changes.
  const known = groups.map((_, g) => cheapestOf(g));
  while (value > budget) {
    let best: Step | undefined;
    for (const step of known) {
      if (step !== undefined && (best === undefined || step.price < best.price)) best = step;
    }
    if (best === undefined) return;
    // No further along the edge than needed: the first allowed step that meets the budget.
    const { group, to: corner } = best;
    const at = removed[group]!;
    const enough = groups[group]!.steps.find(
      (k) => k > at && k < corner && value + cost.change(removed, group, k) <= budget,
    );
    const to = enough ?? corner;
    value += cost.change(removed, group, to);
    removed[group] = to;
    for (const g of new Set(cost.neighbours(group)).add(group)) known[g] = cheapestOf(g);
  }
}

/** What a group would give back: `changes` are those of the limits' costs. */
interface Return extends Step {
  readonly changes: readonly number[];
}

/** Gives units back, most loss regained per cost of the first limit first, while all limits hold. */
function fillUp(options: AllocationOptions, removed: Int32Array): void {
  const { groups, limits } = options;
  const first = limits[0];
  if (first === undefined) return;
  const room = limits.map((l) => l.budget - l.cost.value(removed));
  if (room.some((r) => r < 0)) return;
  const fits = (changes: readonly number[]): boolean => changes.every((c, i) => c <= room[i]!);
  const bestOf = (g: number): Return | undefined => {
    const { steps, losses } = groups[g]!;
    const at = removed[g]!;
    const changesOf = limits.map((l) => l.cost.changesOf(removed, g));
    let best: Return | undefined;
    for (let s = steps.length - 1; s >= 0; s--) {
      const to = steps[s]!;
      if (to >= at) continue;
      const changes = changesOf.map((change) => change(to));
      if (!fits(changes)) break;
      const gain = (losses[at]! - losses[to]!) * (options.weights?.[g] ?? 1);
      const price = gain / Math.max(changes[0]!, 1e-9);
      if (gain >= 0 && (best === undefined || price > best.price)) best = { group: g, to, price, changes };
    }
    return best;
  };
  // Room only shrinks: what was a group's best and still fits is its best, until a group that shares a layer with it changes.
  const known = groups.map((_, g) => bestOf(g));
  for (;;) {
    let best: Return | undefined;
    for (let g = 0; g < groups.length; g++) {
      const before = known[g];
      if (before !== undefined && !fits(before.changes)) known[g] = bestOf(g);
      const found = known[g];
      if (found !== undefined && (best === undefined || found.price > best.price)) best = found;
    }
    if (best === undefined) return;
    const { group, to, changes } = best;
    for (let i = 0; i < limits.length; i++) room[i]! -= changes[i]!;
    removed[group] = to;
    const near = new Set(limits.flatMap((l) => l.cost.neighbours(group)));
    for (const g of near.add(group)) known[g] = bestOf(g);
  }
}

/** Groups further apart in the list of steps than this are not exchanged. */
const REACH = 6;

/** One group gives units back, another one pays for it: the exchange that costs least loss among those that land within 1 %. */
function tighten(options: AllocationOptions, removed: Int32Array): void {
  const { groups, limits } = options;
  const first = limits[0];
  if (first === undefined) return;
  const value = first.cost.value(removed);
  if (value > first.budget || value > 0.99 * first.budget) return;
  const loss = (g: number, k: number): number => groups[g]!.losses[k]! * (options.weights?.[g] ?? 1);
  let best: { back: number; backTo: number; pay: number; payTo: number; price: number } | undefined;
  for (let back = 0; back < groups.length; back++) {
    const from = removed[back]!;
    for (const backTo of groups[back]!.steps.filter((k) => k < from).slice(-REACH)) {
      const given = removed.with(back, backTo);
      const higher = value + first.cost.change(removed, back, backTo);
      for (let pay = 0; pay < groups.length; pay++) {
        if (pay === back) continue;
        for (const payTo of groups[pay]!.steps.filter((k) => k > removed[pay]!).slice(0, REACH)) {
          const after = higher + first.cost.change(given, pay, payTo);
          if (after > first.budget || after <= 0.99 * first.budget) continue;
          const price = loss(back, backTo) - loss(back, from) + loss(pay, payTo) - loss(pay, removed[pay]!);
          if (best !== undefined && price >= best.price) continue;
          const changed = given.with(pay, payTo);
          if (limits.every((l) => l.cost.value(changed) <= l.budget)) best = { back, backTo, pay, payTo, price };
        }
      }
    }
  }
  if (best === undefined) return;
  removed[best.back] = best.backTo;
  removed[best.pay] = best.payTo;
}

/** Allowed steps on the lower convex hull of the loss curve, ascending from 0. */
function lowerHull(group: GroupChoice): number[] {
  const hull: number[] = [];
  const { losses } = group;
  for (const k of group.steps) {
    while (hull.length >= 2) {
      const a = hull[hull.length - 2]!;
      const b = hull[hull.length - 1]!;
      if ((losses[b]! - losses[a]!) * (k - a) < (losses[k]! - losses[a]!) * (b - a)) break;
      hull.pop();
    }
    hull.push(k);
  }
  return hull;
}

/**
 * Allowed numbers of removed units: what is left is a multiple of `roundTo` where the group has room for at least two
 * multiples, and never less than one unit or than `maxRatio` leaves.
 */
export function allowedSteps(size: number, roundTo: number, maxRatio: number): number[] {
  const least = Math.max(1, size - Math.floor(size * maxRatio + 1e-9));
  const round = Math.max(1, Math.min(roundTo, size));
  const multiple = size >= 2 * round || size % round === 0 ? round : 1;
  const steps = [0];
  for (let left = size - 1; left >= least; left--) if (left % multiple === 0) steps.push(size - left);
  return steps.length > 1 || multiple === 1 ? steps : allowedSteps(size, 1, maxRatio);
}
