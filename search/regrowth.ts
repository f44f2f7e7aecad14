// Gradual pruning with regrowth (CGP, Liu et al., TNNLS 2023, arXiv 2207.08209; methods.md §7): MACs fall by the cubic schedule, and
// after each cut some of the least important living units of every group die while as many dead ones, those that the loss asks for
// most, come back: channels wrongly removed early are found again. A candidate stays data: undoing a cut removes it from the list.
// Off by default: on the shipped example it gains 1.3 to 1.5 points at 70 % of the MACs without recovery, and nothing once layers are
// refitted, where one cut by Taylor does better than five steps (`npm run bench -- criteria`).
import type { DeadUnits } from '../src/analysis/groups.js';
import type { CostModel } from './cost-model.js';
import { allocate, cubicSchedule } from './progressive.js';

export interface GradualGroup {
  readonly id: string;
  readonly size: number;
  /** Numbers of removed units that are allowed, ascending, the first 0; [0] leaves the group alone. */
  readonly steps: readonly number[];
}

export interface GradualOptions {
  /** In the order of the cost model's groups. */
  readonly groups: readonly GradualGroup[];
  readonly macs: CostModel;
  /** MACs at the end. */
  readonly budget: number;
  readonly steps: number;
  /** Share of a group's living units that is exchanged after the first cut, falling to 0.005 by a cosine; 0: no regrowth. */
  readonly regrow: number;
  /**
   * By group id, one number a unit, of the network without the dead units: what the loss changes by when a living unit goes, and when a
   * dead one comes back. Groups that it leaves out are left alone.
   */
  readonly importance: (dead: DeadUnits, step: number) => Promise<ReadonlyMap<string, ArrayLike<number>>>;
}

/** Share of living units that die and are replaced at step t of `steps`: cosine from `first` to 0.005. */
export function deathRate(first: number, t: number, steps: number): number {
  const last = 0.005;
  return last + ((first - last) * (1 + Math.cos((Math.PI * Math.min(t, steps)) / Math.max(1, steps)))) / 2;
}

/**
 * As many dead units as before: the ceil(rate * living) least important living ones die, then as many come back from all that are
 * dead, most important first (the lower number at a tie). No more than were dead.
 */
export function regrow(size: number, dead: readonly number[], importance: ArrayLike<number>, rate: number): number[] {
  const gone = new Set(dead);
  const living = Array.from({ length: size }, (_, u) => u).filter((u) => !gone.has(u));
  const count = Math.min(Math.ceil(rate * living.length), dead.length, Math.max(0, living.length - 1));
  const rising = (a: number, b: number): number => importance[a]! - importance[b]! || b - a;
  for (const unit of living.toSorted(rising).slice(0, count)) gone.add(unit);
  const back = [...gone].toSorted(rising).slice(gone.size - count);
  for (const unit of back) gone.delete(unit);
  return [...gone].toSorted((a, b) => a - b);
}

/** The units that are dead at the end: within the budget where that can be reached. */
export async function gradualDead(options: GradualOptions): Promise<DeadUnits> {
  const { groups, macs, budget, steps, importance } = options;
  const whole = macs.value(groups.map(() => 0));
  let dead: DeadUnits = new Map();
  for (let t = 1; t <= steps; t++) {
    const scores = await importance(dead, t);
    const orders = groups.map((g) => orderOf(g, dead.get(g.id) ?? [], scores.get(g.id)));
    const removed = allocate({
      groups: groups.map((g, i) => {
        const { order, losses } = orders[i]!;
        return { id: g.id, size: g.size, steps: order.length === 0 ? [0] : g.steps, losses };
      }),
      limits: [{ cost: macs, budget: whole * cubicSchedule(1, budget / whole, t, steps) }],
      start: groups.map((g) => dead.get(g.id)?.length ?? 0),
    });
    const cut = new Map(
      groups.flatMap((g, i) => (removed[i]! > 0 ? [[g.id, orders[i]!.order.slice(0, removed[i])] as const] : [])),
    );
    dead = new Map([...cut].map(([id, units]) => [id, units.toSorted((a, b) => a - b)]));
    if (options.regrow <= 0) continue;
    // what the cut did to the others is known only now
    const after = await importance(dead, t);
    const rate = deathRate(options.regrow, t - 1, steps);
    dead = new Map(
      groups.flatMap((g) => {
        const units = dead.get(g.id);
        const own = after.get(g.id);
        return units === undefined
          ? []
          : [[g.id, own === undefined ? units : regrow(g.size, units, own, rate)] as const];
      }),
    );
  }
  return dead;
}

/** What is dead stays first and costs nothing more; then the living by rising importance. */
function orderOf(
  { size, steps }: GradualGroup,
  dead: readonly number[],
  importance: ArrayLike<number> | undefined,
): { readonly order: readonly number[]; readonly losses: readonly number[] } {
  if (importance === undefined || steps.length < 2) return { order: [], losses: [0] };
  const gone = new Set(dead);
  const rising = (a: number, b: number): number => importance[a]! - importance[b]! || a - b;
  const units = Array.from({ length: size }, (_, u) => u);
  const order = [...dead, ...units.filter((u) => !gone.has(u)).toSorted(rising)];
  const losses = [0];
  for (const unit of order) losses.push(losses.at(-1)! + (gone.has(unit) ? 0 : importance[unit]!));
  return { order, losses };
}
