// Classes of atoms become units, units that lie on the same axes of the same constants become groups.
import type { Flow } from '../ir/flow.js';
import { describeNode, type Graph } from '../ir/graph.js';
import type { Tensor } from '../ir/tensor.js';
import { subgraphs } from '../ir/walk.js';
import type { Channels } from './channels.js';
import { isParameter, type Cost } from './cost.js';
import type { ChannelGroup, ChannelGroups, Frozen, GroupMember } from './groups.js';
import { shareMacs } from './macs.js';
import type { ChannelPlan, Line, PlannedCut } from './plan.js';
import { constantOfNode } from './scope.js';
import { concreteShape, type Shapes } from './shapes.js';

export function groupChannels(
  flow: Flow,
  shapes: Shapes,
  cost: Cost,
  channels: Channels,
  plan: ChannelPlan,
): ChannelGroups {
  const { graph } = flow.model;
  const { groupOf, indexOf, sizes, firsts } = partition(plan, (id) => channels.atoms.inexactOf(id) !== undefined);
  let units: number[][][] | undefined;

  const touching = lineTouches(groupOf, sizes.length);
  const members: PlannedCut[][] = sizes.map(() => []);
  for (const cut of plan.cuts) for (const g of touching(cut.line)) members[g]!.push(cut);
  const { shares, bodies } = shareMacs(flow, shapes, cost, plan);
  const macs = sizes.map(() => 0);
  const unitMacs = sizes.map(() => 0);
  const seen = sizes.map(() => -1);
  shares.forEach((share, k) => {
    for (const line of share.lines) {
      for (const g of touching(line)) {
        if (seen[g] === k) continue;
        seen[g] = k;
        macs[g]! += share.macs;
        unitMacs[g]! += share.macs * lostBy(share.lines, firsts[g]!);
      }
    }
  });

  const ids = new Map<string, number>();
  const consumers = consumersOf(graph);
  const floors = findFloors(plan, groupOf, indexOf, sizes);
  const groups = sizes.map((size, g): ChannelGroup => {
    const made = members[g]!.find((m) => m.role === 'out') ?? members[g]![0]!;
    const stem = `${made.tensor}:${made.axis}`;
    const again = (ids.get(stem) ?? 0) + 1;
    ids.set(stem, again);
    const inexact = channels.atoms.inexactOf(firsts[g]!);
    return {
      id: again === 1 ? stem : `${stem}#${again}`,
      size,
      // tens of thousands of small arrays: made when somebody asks
      get units() {
        units ??= unitsOf(plan, groupOf, indexOf, sizes);
        return units[g]!;
      },
      members: dedupe(members[g]!, consumers),
      macs: macs[g]!,
      unitMacs: unitMacs[g]!,
      atLeastOne: floors.get(g) ?? [],
      ...(inexact === undefined ? {} : { inexact }),
    };
  });
  return {
    groups,
    frozen: frozenOf(graph, shapes, channels, plan),
    labels: channels.labels,
    find: plan.classOf,
    macShares: shares,
    macBodies: bodies,
  };
}

interface Partition {
  /** Class -> its group, -1 for none; groups are numbered by the first cut that touches them. */
  readonly groupOf: Int32Array;
  /** Class -> its place in the group. */
  readonly indexOf: Int32Array;
  readonly sizes: readonly number[];
  /** A class of each group: its first unit. */
  readonly firsts: readonly number[];
}

/** Classes that lie on the same lines, so on the same cuts. The lists are compared by two independent hashes of 32 bits. */
function partition(plan: ChannelPlan, inexact: (id: number) => boolean): Partition {
  const n = plan.atomCount;
  const high = new Int32Array(n);
  const low = new Int32Array(n);
  const seen = new Int32Array(n).fill(-1);
  const order: number[] = [];
  const lines = [...new Set(plan.cuts.map((c) => c.line))];
  for (let k = 0; k < lines.length; k++) {
    const line = lines[k]!;
    for (let i = 0; i < line.length; i++) {
      const id = line[i]!;
      if (id === 0 || seen[id] === k) continue;
      if (seen[id] === -1) order.push(id);
      seen[id] = k;
      high[id] = Math.imul(high[id]! ^ (k + 1), 0x01000193);
      low[id] = (Math.imul(low[id]!, 31) + k + 1) | 0;
    }
  }
  const groupOf = new Int32Array(n).fill(-1);
  const indexOf = new Int32Array(n);
  const sizes: number[] = [];
  const bySignature = new Map<number, Map<number, number>>();
  for (const id of order) {
    // exact and inexact channels of one layer are cut on different terms
    if (inexact(id)) high[id] = ~high[id]!;
    let inner = bySignature.get(high[id]!);
    if (inner === undefined) bySignature.set(high[id]!, (inner = new Map<number, number>()));
    let g = inner.get(low[id]!);
    if (g === undefined) {
      g = sizes.length;
      inner.set(low[id]!, g);
      sizes.push(0);
    }
    groupOf[id] = g;
    indexOf[id] = sizes[g]!++;
  }
  // units in the order of their first atoms, whatever order cuts met them in
  const next = sizes.map(() => 0);
  const firsts = sizes.map(() => 0);
  for (let id = 1; id < n; id++) {
    const g = groupOf[id]!;
    if (g < 0) continue;
    if (next[g] === 0) firsts[g] = id;
    indexOf[id] = next[g]!++;
  }
  return { groupOf, indexOf, sizes, firsts };
}

/** Atoms of each unit of each group. */
function unitsOf(plan: ChannelPlan, groupOf: Int32Array, indexOf: Int32Array, sizes: readonly number[]): number[][][] {
  const units: number[][][] = sizes.map(() => []);
  for (let a = 1; a < plan.atomCount; a++) {
    const c = plan.classOf(a);
    const g = groupOf[c]!;
    if (c === 0 || g < 0) continue;
    const own = units[g]!;
    const u = indexOf[c]!;
    // the class is named by its smallest atom, which comes first
    if (c === a) own[u] = [a];
    else own[u]!.push(a);
  }
  return units;
}

/** Groups that a line touches, remembered per line. */
function lineTouches(groupOf: Int32Array, count: number): (line: Line) => readonly number[] {
  const known = new Map<Line, readonly number[]>();
  const stamp = new Int32Array(count).fill(-1);
  let turn = 0;
  return (line) => {
    const found = known.get(line);
    if (found !== undefined) return found;
    const groups: number[] = [];
    turn++;
    for (let i = 0; i < line.length; i++) {
      const g = line[i] === 0 ? -1 : groupOf[line[i]!]!;
      if (g < 0 || stamp[g] === turn) continue;
      stamp[g] = turn;
      groups.push(g);
    }
    known.set(line, groups);
    return groups;
  };
}

/** Share of a node's work that goes with one class: what is left is the product over its axes. */
function lostBy(lines: readonly Line[], id: number): number {
  let left = 1;
  for (const line of lines) {
    let hits = 0;
    for (let i = 0; i < line.length; i++) if (line[i] === id) hits++;
    left *= 1 - hits / line.length;
  }
  return 1 - left;
}

/** Parts of a group that fill a value's whole axis by themselves: one unit of each has to stay. */
function findFloors(
  plan: ChannelPlan,
  groupOf: Int32Array,
  indexOf: Int32Array,
  sizes: readonly number[],
): Map<number, readonly (readonly number[])[]> {
  const found = new Map<number, Map<string, readonly number[]>>();
  const lines = new Set<Line>();
  const stamp = new Int32Array(plan.atomCount);
  let turn = 0;
  for (const { line } of plan.values.values()) lines.add(line);
  for (const cut of plan.cuts) lines.add(cut.line);
  for (const line of lines) {
    const g = line[0] === 0 || line.length === 0 ? -1 : groupOf[line[0]!]!;
    if (g < 0) continue;
    let alone = true;
    for (let i = 0; i < line.length && alone; i++) alone = line[i] !== 0 && groupOf[line[i]!] === g;
    if (!alone) continue;
    turn++;
    let distinct = 0;
    for (let i = 0; i < line.length; i++) {
      if (stamp[line[i]!] === turn) continue;
      stamp[line[i]!] = turn;
      distinct++;
    }
    if (distinct >= sizes[g]!) continue;
    const list = [...new Set(Array.from(line, (id) => indexOf[id]!))].sort((a, b) => a - b);
    const own = found.get(g);
    if (own === undefined) found.set(g, new Map([[list.join(), list]]));
    else own.set(list.join(), list);
  }
  return new Map([...found].map(([g, sets]) => [g, [...sets.values()]]));
}

function consumersOf(graph: Graph): ReadonlyMap<string, readonly string[]> {
  const consumers = new Map<string, string[]>();
  for (const node of graph.nodes) {
    const name = node.name === '' ? (node.outputs[0] ?? '') : node.name;
    for (const input of node.inputs) {
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
function frozenOf(graph: Graph, shapes: Shapes, channels: Channels, plan: ChannelPlan): Frozen[] {
  const frozen: Frozen[] = [];
  const producers = new Map<number, string>();
  for (const c of channels.cuts) if (c.role === 'out' && !producers.has(c.node)) producers.set(c.node, c.tensor);
  for (const family of channels.families) {
    const reasons = new Map<string, number>();
    for (let a = family.base; a < family.base + family.size; a++) {
      if (plan.classOf(a) !== 0) continue;
      const reason = channels.atoms.reasonOf(a);
      if (reason !== undefined) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    }
    if (reasons.size === 0) continue;
    const name = producers.get(family.node) ?? graph.nodes[family.node]!.outputs[0] ?? '';
    for (const [reason, count] of reasons) frozen.push({ name, channels: count, reason });
  }
  const named = new Set(frozen.map((f) => f.name));
  const name = (weight: string, { dims }: Pick<Tensor, 'dims'>, reason: string): void => {
    // out of the last axis of a matrix, the first of a Conv's weight
    if (!named.has(weight))
      frozen.push({ name: weight, channels: (dims.length === 2 ? dims[1] : dims[0]) ?? 0, reason });
    named.add(weight);
  };
  for (const { node, reason } of channels.unseen) {
    for (const input of node.inputs) {
      const dims = concreteShape(shapes, input);
      const type = shapes.types.get(input);
      if (!channels.constants.has(input) || dims === undefined || type?.kind !== 'tensor' || dims.length < 2) continue;
      if (isParameter({ name: input, dataType: type.elemType, dims })) name(input, { dims }, reason);
    }
    for (const inner of subgraphs(node)) {
      const lies = `lies in a body that is not looked into at ${describeNode(node)}`;
      for (const [weight, tensor] of weightsIn(inner, graph)) name(weight, tensor, lies);
    }
  }
  return frozen;
}

/** Matrices and larger weights that a graph inside a node holds or takes from around it. */
function weightsIn(inner: Graph, outer: Graph, found = new Map<string, Tensor>()): ReadonlyMap<string, Tensor> {
  const see = (name: string, t: Tensor | undefined): void => {
    if (t !== undefined && t.dims.length > 1 && isParameter(t)) found.set(name, t);
  };
  for (const [name, t] of inner.initializers) see(name, t);
  for (const node of inner.nodes) {
    for (const name of node.inputs) see(name, outer.initializers.get(name));
    if (node.opType === 'Constant') see(node.outputs[0] ?? '', constantOfNode(node));
    for (const deeper of subgraphs(node)) weightsIn(deeper, outer, found);
  }
  return found;
}
