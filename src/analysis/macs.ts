// MACs of a network once units are dead, without cutting it: each node's work is proportional to what is left of its axes.
import type { Model } from '../ir/graph.js';
import { elementCount } from '../ir/tensor.js';
import type { Analysis } from './analyse.js';
import type { Cost } from './cost.js';
import { decideFate } from './fate.js';
import type { DeadUnits, MacShare } from './groups.js';
import type { ChannelPlan, Line, PlannedCut } from './plan.js';
import { concreteShape, type Shapes } from './shapes.js';

/** Microseconds per node; equal to counting the pruned network. */
export function macsAfter(analysis: Analysis, dead: DeadUnits): number {
  const fate = decideFate(analysis, dead);
  let macs = analysis.cost.macs;
  for (const share of analysis.groups.macShares) {
    let left = share.macs;
    for (const line of share.lines) {
      const keep = fate.keep(line);
      if (keep !== undefined) left *= keep.length / line.length;
    }
    macs -= share.macs - left;
  }
  return macs;
}

/** How each node's MACs shrink: with the axes of its weights, or of its operands where it has none. */
export function shareMacs(model: Model, shapes: Shapes, cost: Cost, plan: ChannelPlan): MacShare[] {
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
    const recurrent = RECURRENT.has(node.opType);
    const second = QUANTIZED.has(node.opType) ? 3 : 1;
    const cuts = (cutsOf.get(i) ?? []).filter((c) => (recurrent ? c.input <= 2 : c.input === 0 || c.input === second));
    if (cuts.length === 0) {
      const out = plan.values.get(node.outputs[0] ?? '');
      const sum = consumed.get(i);
      const lines = [...(out === undefined ? [] : [out.line]), ...(sum === undefined ? [] : [sum])];
      shares.push({ node: i, macs: entry.macs, lines });
      return;
    }
    if (node.opType === 'Attention') {
      // the projection inside com.microsoft's Attention goes with its weight, scores and sums with the heads
      const [batch = 1, length = 1] = entry.outputShape ?? [];
      const projection = elementCount(concreteShape(shapes, node.inputs[1]!) ?? []) * batch * length;
      const out = plan.values.get(node.outputs[0] ?? '');
      shares.push({ node: i, macs: projection, lines: cuts.map((c) => c.line) });
      shares.push({ node: i, macs: entry.macs - projection, lines: out === undefined ? [] : [out.line] });
      return;
    }
    const weights = recurrent ? [1, 2] : [cuts[0]!.input];
    const sizes = weights.map((k) => elementCount(concreteShape(shapes, node.inputs[k]!) ?? []));
    const total = sizes.reduce((a, b) => a + b, 0);
    weights.forEach((k, w) => {
      const lines = cuts.filter((c) => c.input === k).map((c) => c.line);
      shares.push({ node: i, macs: (entry.macs * sizes[w]!) / total, lines });
    });
  });
  return shares;
}

/** Scale and zero point stand between their operands. */
const QUANTIZED: ReadonlySet<string> = new Set(['QLinearConv', 'QLinearMatMul', 'QGemm']);
const RECURRENT: ReadonlySet<string> = new Set(['LSTM', 'GRU', 'RNN']);
