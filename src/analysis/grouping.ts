// Classes of atoms become units, units that lie on the same axes of the same constants become groups.
import type { Model } from '../ir/graph.js';
import { elementCount } from '../ir/tensor.js';
import type { Channels } from './channels.js';
import type { Cost } from './cost.js';
import type { ChannelGroup, ChannelGroups, Frozen, GroupMember, MacShare } from './groups.js';
import type { ChannelPlan, Line, PlannedCut } from './plan.js';
import { concreteShape, type Shapes } from './shapes.js';

export function groupChannels(
  model: Model,
  shapes: Shapes,
  cost: Cost,
  channels: Channels,
  plan: ChannelPlan,
): ChannelGroups {
  const n = plan.atomCount;
  // two independent hashes of the list of cuts a class lies on: equal signature = same group
  const high = new Int32Array(n);
  const low = new Int32Array(n);
  const seen = new Int32Array(n).fill(-1);
  plan.cuts.forEach((cut, k) => {
    for (const id of cut.line) {
      if (id === 0 || seen[id] === k) continue;
      seen[id] = k;
      high[id] = Math.imul(high[id]! ^ (k + 1), 0x01000193);
      low[id] = (Math.imul(low[id]!, 31) + k + 1) | 0;
    }
  });

  const unitOf = new Map<number, number[]>();
  for (let a = 1; a < n; a++) {
    const c = plan.classOf(a);
    if (c === 0 || seen[c] === -1) continue;
    const unit = unitOf.get(c);
    if (unit === undefined) unitOf.set(c, [a]);
    else unit.push(a);
  }
  const bySignature = new Map<string, number[]>();
  for (const c of unitOf.keys()) {
    const key = `${high[c]}:${low[c]}`;
    const list = bySignature.get(key);
    if (list === undefined) bySignature.set(key, [c]);
    else list.push(c);
  }

  // groups in order of the first cut that touches them
  const groupOf = new Int32Array(n).fill(-1);
  const lists = [...bySignature.values()];
  lists.forEach((list, g) => {
    for (const c of list) groupOf[c] = g;
  });
  const members: PlannedCut[][] = lists.map(() => []);
  const firstCut = lists.map(() => -1);
  plan.cuts.forEach((cut, k) => {
    const touched = new Set<number>();
    for (const id of cut.line) if (id !== 0) touched.add(groupOf[id]!);
    for (const g of touched) {
      if (firstCut[g] === -1) firstCut[g] = k;
      members[g]!.push(cut);
    }
  });
  const shares = macShares(model, shapes, cost, plan);
  const macsOf = new Map<number, MacShare[]>();
  for (const share of shares) {
    const touched = new Set<number>();
    for (const line of share.lines) for (const id of line) if (id !== 0) touched.add(groupOf[id]!);
    for (const g of touched) {
      const list = macsOf.get(g);
      if (list === undefined) macsOf.set(g, [share]);
      else list.push(share);
    }
  }

  const ids = new Map<string, number>();
  const consumers = consumersOf(model);
  const order = lists.map((_, g) => g).sort((p, q) => firstCut[p]! - firstCut[q]!);
  const groups = order.flatMap((g): ChannelGroup[] => {
    const list = lists[g]!;
    // a group that could lose nothing but its only unit cannot be cut
    const made = members[g]!.find((m) => m.role === 'out') ?? members[g]![0]!;
    const stem = `${made.tensor}:${made.axis}`;
    const again = ids.get(stem) ?? 0;
    ids.set(stem, again + 1);
    const own = macsOf.get(g) ?? [];
    const inexact = channels.atoms.inexactOf(list[0]!);
    const group: ChannelGroup = {
      id: again === 0 ? stem : `${stem}#${again + 1}`,
      size: list.length,
      units: list.map((c) => unitOf.get(c)!),
      members: dedupe(members[g]!, consumers),
      macs: sumNodes(own),
      unitMacs: own.reduce((sum, share) => sum + share.macs * lostBy(share.lines, list[0]!), 0),
      atLeastOne: [],
    };
    return [inexact === undefined ? group : { ...group, inexact }];
  });
  const indexed = new Map<number, { readonly group: number; readonly unit: number }>();
  groups.forEach((group, k) => {
    group.units.forEach((unit, u) => indexed.set(plan.classOf(unit[0]!), { group: k, unit: u }));
  });
  return {
    groups: withFloors(groups, plan, indexed),
    frozen: frozenOf(model, channels),
    labels: channels.labels,
    find: plan.classOf,
    macShares: shares,
  };
}

/** Share of a node's work that goes with one class: what is left is the product over its axes. */
function lostBy(lines: readonly Line[], id: number): number {
  let left = 1;
  for (const line of lines) {
    let hits = 0;
    for (const c of line) if (c === id) hits++;
    left *= 1 - hits / line.length;
  }
  return 1 - left;
}

function sumNodes(shares: readonly MacShare[]): number {
  return shares.reduce((sum, s) => sum + s.macs, 0);
}

/** How each node's MACs shrink: with the axes of its weights, or of its operands where it has none. */
function macShares(model: Model, shapes: Shapes, cost: Cost, plan: ChannelPlan): MacShare[] {
  const shares: MacShare[] = [];
  const cutsOf = new Map<number, PlannedCut[]>();
  for (const cut of plan.cuts) {
    const list = cutsOf.get(cut.node);
    if (list === undefined) cutsOf.set(cut.node, [cut]);
    else list.push(cut);
  }
  const consumed = new Map<number, Line>();
  for (const c of plan.consumptions) {
    const placed = plan.resolve(c.labels);
    if (placed !== undefined && !consumed.has(c.node)) consumed.set(c.node, placed.line);
  }
  let next = 0;
  model.graph.nodes.forEach((node, i) => {
    if (node.opType === 'Constant' && node.domain === '') return;
    const entry = cost.nodes[next++];
    if (entry === undefined || entry.macs === 0) return;
    // a recurrent layer has two matrices: their MACs go with their sizes
    const last = RECURRENT.has(node.opType) ? 2 : 1;
    const cuts = (cutsOf.get(i) ?? []).filter((c) => c.input <= last);
    if (cuts.length > 0) {
      const weights = RECURRENT.has(node.opType) ? [1, 2] : [cuts[0]!.input];
      const sizes = weights.map((k) => elementCount(concreteShape(shapes, node.inputs[k]!) ?? []));
      const total = sizes.reduce((a, b) => a + b, 0);
      weights.forEach((k, w) => {
        const lines = cuts.filter((c) => c.input === k).map((c) => c.line);
        shares.push({ node: i, macs: (entry.macs * sizes[w]!) / total, lines });
      });
      return;
    }
    const out = plan.values.get(node.outputs[0] ?? '');
    const sum = consumed.get(i);
    const lines = [...(out === undefined ? [] : [out.line]), ...(sum === undefined ? [] : [sum])];
    shares.push({ node: i, macs: entry.macs, lines });
  });
  return shares;
}

/** Parts of a group that are a value's whole axis by themselves: one unit of each has to stay. */
function withFloors(
  groups: readonly ChannelGroup[],
  plan: ChannelPlan,
  indexed: ReadonlyMap<number, { readonly group: number; readonly unit: number }>,
): ChannelGroup[] {
  const floors: Map<string, readonly number[]>[] = groups.map(() => new Map<string, readonly number[]>());
  const lines = new Set<Line>();
  for (const { line } of plan.values.values()) lines.add(line);
  for (const cut of plan.cuts) lines.add(cut.line);
  for (const line of lines) {
    const first = indexed.get(line[0]!);
    if (first === undefined) continue;
    const units = new Set<number>();
    let alone = true;
    for (const id of line) {
      const at = indexed.get(id);
      if (at === undefined || at.group !== first.group) {
        alone = false;
        break;
      }
      units.add(at.unit);
    }
    if (alone && units.size < groups[first.group]!.size) {
      const list = [...units].sort((a, b) => a - b);
      floors[first.group]!.set(list.join(), list);
    }
  }
  return groups.map((g, k) => (floors[k]!.size === 0 ? g : { ...g, atLeastOne: [...floors[k]!.values()] }));
}

function consumersOf(model: Model): ReadonlyMap<string, readonly string[]> {
  const consumers = new Map<string, string[]>();
  for (const node of model.graph.nodes) {
    for (const input of node.inputs) {
      if (input === '') continue;
      const name = node.name === '' ? (node.outputs[0] ?? '') : node.name;
      const list = consumers.get(input);
      if (list === undefined) consumers.set(input, [name]);
      else list.push(name);
    }
  }
  return consumers;
}

function dedupe(cuts: readonly PlannedCut[], consumers: ReadonlyMap<string, readonly string[]>): GroupMember[] {
  const found = new Map<string, GroupMember>();
  for (const { tensor, axis, role } of cuts) {
    const key = `${tensor}:${axis}`;
    if (!found.has(key)) found.set(key, { tensor, axis, role, nodes: consumers.get(tensor) ?? [] });
  }
  return [...found.values()];
}

/** "Why not": atoms of each family that stay, by reason. */
function frozenOf(model: Model, channels: Channels): Frozen[] {
  const frozen: Frozen[] = [];
  const producers = new Map<number, string>();
  for (const c of channels.cuts) if (c.role === 'out' && !producers.has(c.node)) producers.set(c.node, c.tensor);
  for (const family of channels.families) {
    const reasons = new Map<string, number>();
    for (let a = family.base; a < family.base + family.size; a++) {
      const reason = channels.atoms.reasonOf(a);
      if (reason !== undefined) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    }
    if (reasons.size === 0) continue;
    const name = producers.get(family.node) ?? model.graph.nodes[family.node]!.outputs[0] ?? '';
    for (const [reason, count] of reasons) frozen.push({ name, channels: count, reason });
  }
  return frozen;
}

const RECURRENT: ReadonlySet<string> = new Set(['LSTM', 'GRU', 'RNN']);
