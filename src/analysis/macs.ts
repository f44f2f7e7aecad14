// MACs of a network once units are dead, without cutting it: each node's work is proportional to what is left of its axes.
import { FLOW, type Flow } from '../ir/flow.js';
import { elementCount } from '../ir/tensor.js';
import { quantizedWeight } from '../ops/quantize.js';
import type { Analysis } from './analyse.js';
import type { Cost } from './cost.js';
import { decideFate } from './fate.js';
import type { DeadUnits, MacBody, MacShare } from './groups.js';
import type { ChannelPlan, Line, PlannedCut } from './plan.js';
import { concreteShape, type Shapes } from './shapes.js';

/** Microseconds per node; equal to counting the pruned network. */
export function macsAfter(analysis: Analysis, dead: DeadUnits): number {
  const fate = decideFate(analysis, dead);
  const { macShares, macBodies } = analysis.groups;
  const inside = macBodies.map(() => 0);
  let macs = analysis.cost.macs;
  for (const share of macShares) {
    let left = 1;
    for (const line of share.lines) {
      const keep = fate.keep(line);
      if (keep !== undefined) left *= keep.length / line.length;
    }
    if (share.inside === undefined) macs -= share.macs - share.macs * left;
    else {
      macs -= share.macs;
      inside[share.inside.body]! += share.inside.macs * left;
    }
  }
  return macs + withBodies(macBodies, inside);
}

/** Adds to each body (in place) what those inside it cost, and gives what the main graph has of them. */
function withBodies(bodies: readonly MacBody[], macs: number[]): number {
  const dearest = new Map<number, number>();
  let outside = 0;
  for (let b = bodies.length - 1; b >= 0; b--) {
    const { parent, first, runs, times } = bodies[b]!;
    const most = Math.max(dearest.get(first) ?? 0, runs ? times * macs[b]! : 0);
    dearest.set(first, most);
    if (first !== b) continue;
    if (parent < 0) outside += most;
    else macs[parent]! += most;
  }
  return outside;
}

/** How each node's MACs shrink: with the axes of its weights, or of its operands where it has none. */
export function shareMacs(
  flow: Flow,
  shapes: Shapes,
  cost: Cost,
  plan: ChannelPlan,
): { readonly shares: readonly MacShare[]; readonly bodies: readonly MacBody[] } {
  const { graph } = flow.model;
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
  const { bodies, parts } = bodiesOf(flow, shapes, cost);
  let next = 0;
  graph.nodes.forEach((node, i) => {
    if (node.opType === 'Constant' && node.domain === '') return;
    const entry = cost.nodes[next++];
    // a mark's are those of a whole loop
    if (entry === undefined || entry.macs === 0 || node.domain === FLOW) return;
    const body = flow.homes[i] ?? -1;
    const add = (macs: number, lines: readonly Line[]): void => {
      if (body < 0) shares.push({ node: i, macs, lines });
      else shares.push({ node: i, macs: macs * parts[body]!, lines, inside: { body, macs } });
    };
    // a recurrent layer has two matrices: their MACs go with their sizes
    const recurrent = RECURRENT.has(node.opType);
    const second = quantizedWeight(node.opType)?.weight ?? 1;
    const cuts = (cutsOf.get(i) ?? []).filter((c) => (recurrent ? c.input <= 2 : c.input === 0 || c.input === second));
    if (cuts.length === 0) {
      const out = plan.values.get(node.outputs[0] ?? '');
      const sum = consumed.get(i);
      const lines = [...(out === undefined ? [] : [out.line]), ...(sum === undefined ? [] : [sum])];
      add(entry.macs, lines);
      return;
    }
    if (node.opType === 'Attention') {
      // the projection inside com.microsoft's Attention goes with its weight, scores and sums with the heads
      const [batch = 1, length = 1] = entry.outputShape ?? [];
      const projection = elementCount(concreteShape(shapes, node.inputs[1]!) ?? []) * batch * length;
      const out = plan.values.get(node.outputs[0] ?? '');
      add(
        projection,
        cuts.map((c) => c.line),
      );
      add(entry.macs - projection, out === undefined ? [] : [out.line]);
      return;
    }
    const weights = recurrent ? [1, 2] : [cuts[0]!.input];
    const sizes = weights.map((k) => elementCount(concreteShape(shapes, node.inputs[k]!) ?? []));
    const total = sizes.reduce((a, b) => a + b, 0);
    weights.forEach((k, w) => {
      const lines = cuts.filter((c) => c.input === k).map((c) => c.line);
      add((entry.macs * sizes[w]!) / total, lines);
    });
  });
  return { shares, bodies };
}

/**
 * How bodies count, and the part of each body's MACs that counts in the whole network's: of branches of which one runs, the dearest
 * counts, so each in part.
 */
function bodiesOf(
  flow: Flow,
  shapes: Shapes,
  cost: Cost,
): { readonly bodies: readonly MacBody[]; readonly parts: readonly number[] } {
  if (flow.bodies.length === 0) return { bodies: [], parts: [] };
  // in one run, bodies inside included
  const macs = flow.bodies.map(() => 0);
  const whole = new Map<string, number>();
  let next = 0;
  flow.model.graph.nodes.forEach((node, i) => {
    if (node.opType === 'Constant' && node.domain === '') return;
    const own = cost.nodes[next++]?.macs ?? 0;
    if (node.domain === FLOW) whole.set(node.inputs[0] ?? '', own);
    else if (flow.homes[i]! >= 0) macs[flow.homes[i]!]! += own;
  });
  const bodies: MacBody[] = [];
  const counted = flow.bodies.map(() => 0);
  const [most, sum] = [flow.bodies.map(() => 0), flow.bodies.map(() => 0)];
  for (let b = flow.bodies.length - 1; b >= 0; b--) {
    const { parent, first, token, attribute } = flow.bodies[b]!;
    const condition = shapes.values.get(token)?.elems[0];
    const loop = attribute === 'body';
    const runs = loop || condition === undefined || (condition !== 0) === (attribute === 'then_branch');
    const times = loop ? (macs[b]! > 0 ? (whole.get(token) ?? 0) / macs[b]! : 0) : 1;
    bodies[b] = { parent, first, runs, times };
    counted[b] = runs ? times * macs[b]! : 0;
    most[first] = Math.max(most[first]!, counted[b]!);
    sum[first]! += counted[b]!;
    if (first === b && parent >= 0) macs[parent]! += most[first];
  }
  const parts: number[] = [];
  bodies.forEach(({ parent, first, runs, times }) => {
    const share = runs && sum[first]! > 0 ? (times * most[first]!) / sum[first]! : 0;
    parts.push((parent < 0 ? 1 : parts[parent]!) * share);
  });
  return { bodies, parts };
}

const RECURRENT: ReadonlySet<string> = new Set(['LSTM', 'GRU', 'RNN']);
