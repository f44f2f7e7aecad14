// Criteria: how much each unit of a channel group matters, by its weights, by what calibration data taught, or by chance. A plug-in
// adds one by the same interface.
import type { Analysis } from '../analysis/analyse.js';
import type { ChannelGroup } from '../analysis/groups.js';
import { readFloats } from '../ir/tensor.js';
import type { Rng } from '../rng.js';
import { gradientCriteria } from './importance-gradient.js';
import type { Knowledge } from './knowledge.js';
import type { Sensitivity } from './sensitivity.js';
import { eachTensorOf } from './unit-weights.js';

export interface ImportanceContext {
  readonly analysis: Analysis;
  readonly group: ChannelGroup;
  /** What calibration data taught; criteria that need it give undefined without. */
  readonly knowledge?: Knowledge;
  /** How a loss reacts to channels and weights, for the criteria that ask for it. */
  readonly sensitivity?: Sensitivity;
  readonly rng: Rng;
}

/** One number a unit, higher = stays longer; undefined where the criterion says nothing. */
export type Importance = (context: ImportanceContext) => Float64Array | undefined;

export type CriterionName = (typeof criterionNames)[number];
export const criterionNames = ['obs', 'taylor', 'fisher', 'obdc', 'snr', 'wanda', 'l2', 'l1', 'bn', 'random'] as const;

export const criteria: Readonly<Record<CriterionName, Importance>> = {
  /** Position in the removal order of the group optimal brain surgeon (removal.ts). */
  obs: ({ group, knowledge }) => {
    const removal = knowledge?.removal(group.id);
    if (removal === undefined) return undefined;
    const importance = new Float64Array(group.size);
    removal.order.forEach((unit, k) => {
      importance[unit] = removal.errors[k + 1] ?? Infinity;
    });
    return importance;
  },
  /** |W| times the root mean square of its input, summed over the consumers (Sun et al. 2023, arXiv 2306.11695, by channels). */
  wanda: ({ group, knowledge }) => knowledge?.activation(group.id),
  ...gradientCriteria,
  l2: (context) => norms(context, 'weights', (x) => x * x),
  l1: (context) => norms(context, 'weights', Math.abs),
  /** |scale| of the BatchNormalizations behind (Liu et al. 2017, arXiv 1708.06519). */
  bn: (context) => norms(context, 'scales', Math.abs),
  random: ({ group, rng }) => {
    const stream = rng.fork(group.id);
    return Float64Array.from({ length: group.size }, () => stream.next());
  },
};

/** Units by rising importance; ties go to the lower number. */
export function orderBy(importance: ArrayLike<number>): number[] {
  return Array.from(importance, (_, u) => u).sort((a, b) => importance[a]! - importance[b]! || a - b);
}

/** Share of each tensor's norm by unit, summed over the tensors: each tensor counts alike, whatever its scale. */
function norms(
  { analysis, group }: ImportanceContext,
  what: 'weights' | 'scales',
  measure: (x: number) => number,
): Float64Array | undefined {
  const sums = new Float64Array(group.size);
  let any = false;
  eachTensorOf(analysis, group, what, (tensor, unitAt) => {
    const own = new Float64Array(sums.length);
    let total = 0;
    readFloats(tensor).forEach((x, i) => {
      const unit = unitAt(i);
      const value = measure(x);
      total += value;
      if (unit !== undefined) own[unit] = own[unit]! + value;
    });
    any = true;
    if (total > 0) own.forEach((v, u) => (sums[u] = sums[u]! + v / total));
  });
  return any ? sums : undefined;
}
