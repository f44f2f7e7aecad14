// prune-channels: units of one group (channels of a Conv, neurons, heads) die together. Edits of many groups are merged and cut in one
// pass by search/replay; applied alone it cuts one group.
import type { ChannelGroup } from '../../src/analysis/groups.js';
import { readFloats } from '../../src/ir/tensor.js';
import type { Model } from '../../src/ir/graph.js';
import type { Rng } from '../../src/rng.js';
import { pruneParams, PRUNE_CHANNELS, type Json } from '../genome.js';
import { allowedSteps } from '../progressive.js';
import { openGroups, type Surgery } from '../replay.js';
import type { Mutation, MutationContext } from './mutation.js';

export function pruneChannels(surgery: Pick<Surgery, 'prune'>): Mutation {
  return {
    name: PRUNE_CHANNELS,
    summary:
      'removes the least important channels, neurons or heads of one group, with everything that belongs to them',
    law: 'masked',
    propose(context: MutationContext, rng: Rng): Json | undefined {
      const groups = openGroups(context.analysis, context.ignore);
      const open = groups.filter((g) => allowedSteps(g.size, context.roundTo, context.maxRatio).length > 1);
      if (open.length === 0) return undefined;
      const group = rng.pick(open);
      const most = group.size - Math.max(1, group.atLeastOne.length);
      const steps = allowedSteps(group.size, context.roundTo, context.maxRatio).filter((k) => k > 0 && k <= most);
      if (steps.length === 0) return undefined;
      const removed = rng.pick(steps);
      return { group: group.id, dead: deadUnits(removalOf(group, context), removed) };
    },
    apply(params: Json, context: MutationContext): Model {
      const { group, dead } = pruneParams(params);
      return surgery.prune(context.analysis, new Map([[group, dead]]));
    },
  };
}

/** In which order a group's units go, and what is expected to be lost after k of them: losses[k]. */
export interface Removal {
  readonly order: readonly number[];
  readonly losses: ArrayLike<number>;
}

/** As calibration taught it; without calibration data by the norms of the weights (share of the squared norm that is lost). */
export function removalOf(group: ChannelGroup, context: Pick<MutationContext, 'analysis' | 'knowledge'>): Removal {
  return withFloors(group, unfloored(group, context));
}

/** The last unit of every set of which one must stay goes to the end of the order. */
function withFloors(group: ChannelGroup, removal: Removal): Removal {
  if (group.atLeastOne.length === 0) return removal;
  const kept = new Set<number>();
  for (const set of group.atLeastOne) {
    const inside = new Set(set);
    if (![...inside].some((u) => kept.has(u))) kept.add(removal.order.findLast((u) => inside.has(u))!);
  }
  return {
    order: [...removal.order.filter((u) => !kept.has(u)), ...removal.order.filter((u) => kept.has(u))],
    losses: removal.losses,
  };
}

function unfloored(group: ChannelGroup, context: Pick<MutationContext, 'analysis' | 'knowledge'>): Removal {
  const learnt = context.knowledge?.removal(group.id);
  if (learnt !== undefined && learnt.order.length === group.size) return { order: learnt.order, losses: learnt.errors };
  const norms = squaredNorms(group, context);
  const total = norms.reduce((a, b) => a + b, 0) || 1;
  const order = norms.map((_, i) => i).sort((a, b) => norms[a]! - norms[b]! || a - b);
  const losses = [0];
  let sum = 0;
  for (const unit of order) {
    sum += norms[unit]! / total;
    losses.push(sum);
  }
  return { order, losses };
}

/** The first `count` units of the order, ascending: how they are written in a genome. */
export function deadUnits(removal: Removal, count: number): number[] {
  return removal.order.slice(0, count).toSorted((a, b) => a - b);
}

/** By unit, over the weights that produce and consume it. Positions of an axis are shared out evenly, in the order of the units. */
function squaredNorms(group: ChannelGroup, context: Pick<MutationContext, 'analysis'>): number[] {
  const norms: number[] = Array.from({ length: group.size }, () => 0);
  for (const member of group.members) {
    if (member.role === 'along') continue;
    const tensor = context.analysis.graph.initializers.get(member.tensor);
    const length = tensor?.dims[member.axis] ?? 0;
    if (tensor?.bytes === undefined || length === 0 || length % group.size !== 0) continue;
    const values = readFloats(tensor);
    const inner = tensor.dims.slice(member.axis + 1).reduce((a, b) => a * b, 1);
    const outer = values.length / (inner * length);
    const each = length / group.size;
    const own = norms.map(() => 0);
    let all = 0;
    for (let o = 0; o < outer; o++) {
      for (let p = 0; p < length; p++) {
        const unit = Math.floor(p / each);
        const start = (o * length + p) * inner;
        for (let i = 0; i < inner; i++) {
          const square = values[start + i]! ** 2;
          own[unit]! += square;
          all += square;
        }
      }
    }
    // Every tensor counts alike, whatever its scale.
    own.forEach((x, u) => (norms[u]! += all > 0 ? x / all : 0));
  }
  return norms;
}
