// The computation graph of a network with dead channels, without making that network: that of the uncut one, with channels and costs
// that shrink as its lines do. Equal to compressing the pruned model, byte for byte, and tens of times as fast.
import type { Analysis } from '../analysis/analyse.js';
import { countCost, isParameter } from '../analysis/cost.js';
import { pruneModel } from '../analysis/cut.js';
import type { DeadUnits } from '../analysis/groups.js';
import type { Line } from '../analysis/plan.js';
import { constantOfNode } from '../analysis/scope.js';
import { attrInt, type Node } from '../ir/graph.js';
import { elementCount, type Tensor } from '../ir/tensor.js';
import { standardOps } from '../ops/index.js';
import type { OpTable } from '../ops/op.js';
import { dimsOf, frameOf } from './channel-axis.js';
import { assumedShapes, compress } from './compress.js';
import { graphBytes, type ComputationGraph } from './computation-graph.js';
import { layOut, numbersOf } from './draft-layout.js';
import { draftGraph, sizeOf, type Place } from './draft.js';
import { inlined } from '../ir/inline.js';

/** Units as in `pruneModel`; all alive when there are none. */
export type Sketcher = (dead: DeadUnits) => ComputationGraph;

export interface SketchOptions {
  readonly table?: OpTable;
  readonly extras?: boolean;
}

/** The first network with dead units is compressed as well: where both differ, and where a rule does not hold, all of them are. */
export function createSketcher(
  analysis: Analysis,
  { table = standardOps, extras = false }: SketchOptions = {},
): Sketcher {
  const whole = (dead: DeadUnits): ComputationGraph =>
    compress(dead.size === 0 ? analysis.model : pruneModel(analysis, dead), { table, extras });
  const draw = template(analysis, table, extras);
  if (draw === undefined) return whole;
  let proven: boolean | undefined;
  return (dead) => {
    if (proven === false) return whole(dead);
    const drawn = draw(dead);
    if (drawn === undefined) return whole(dead);
    if (proven === undefined && dead.size > 0) {
      const right = whole(dead);
      proven = Buffer.compare(graphBytes(right), graphBytes(drawn)) === 0;
      return right;
    }
    return drawn;
  };
}

/** A value as one frame: its channels go with a line. */
interface Reading {
  readonly h: number;
  readonly w: number;
  readonly c: number;
  /** -1: never shrinks. */
  readonly line: number;
  /** Elements for each of the channels, 0 where unknown. */
  readonly each: number;
}

interface Shrinking {
  readonly node: number;
  readonly reads: readonly Reading[];
  readonly gives: Reading;
  /** Groups follow the channels. */
  readonly depthwise: boolean;
}

interface Cut {
  readonly dims: readonly number[];
  /** Pairs of axis and line. */
  readonly axes: readonly (readonly [number, number])[];
}

interface Work {
  readonly macs: number;
  readonly lines: readonly number[];
  readonly params: number;
  readonly cuts: readonly Cut[];
}

/** undefined for networks whose cuts do more than shrink channels. */
export function template(
  analysis: Analysis,
  table: OpTable,
  extras: boolean,
): ((dead: DeadUnits) => ComputationGraph | undefined) | undefined {
  const { model, plan, groups } = analysis;
  if (inlined(model) !== model) return undefined;
  const shapes = assumedShapes(model, table);
  const cost = countCost(model, table, shapes);
  const draft = draftGraph(model, shapes, cost, false);
  const numbers = numbersOf(draft);
  if (numbers === undefined) return undefined;
  const lines = new Map<Line, number>();
  const lineId = (line: Line): number => {
    const id = lines.get(line) ?? lines.size;
    lines.set(line, id);
    return id;
  };
  let fits = true;
  const readingOf = ({ value, axis }: Place): Reading => {
    const dims = dimsOf(shapes.types.get(value));
    const frame = frameOf(dims, axis);
    const placed = plan.values.get(value);
    if (placed === undefined || dims === undefined) return { ...frame, line: -1, each: sizeOf(dims) };
    // what shrinks along another axis changes height or width: a rule for that would be seldom used
    fits &&= placed.axis === axis && dims[axis] === placed.line.length && frame.c === placed.line.length;
    return { ...frame, line: lineId(placed.line), each: sizeOf(dims) / placed.line.length };
  };
  const shrinking = draft.nodes.flatMap((d, i): Shrinking[] => {
    const reads = d.reads.map(readingOf);
    const gives = readingOf(d.gives);
    if (numbers[i]! < 0 || ![gives, ...reads].some((r) => r.line >= 0)) return [];
    const group = d.node === undefined ? 1 : attrInt(d.node, 'group', 1);
    const depthwise = group > 1 && reads[0]!.line >= 0;
    // how the groups of others follow is their rule's own business
    if (depthwise && group !== reads[0]!.c) fits = false;
    return [{ node: numbers[i]!, reads, gives, depthwise }];
  });
  const works = worksOf(analysis, cost.nodes, lineId);
  if (works === undefined || !fits) return undefined;
  const drafted = new Map(draft.nodes.map((d, i) => [d.node, numbers[i]!]));
  const working = [...works].flatMap(([node, work]): (Work & { readonly at: number })[] => {
    return work.lines.length + work.cuts.length === 0 ? [] : [{ ...work, at: drafted.get(node) ?? -1 }];
  });

  const whole = layOut(draft, cost.macs, true);
  const byId = new Map(groups.groups.map((g) => [g.id, g]));
  const all = [...lines.keys()];
  return (dead) => {
    const marks = new Uint8Array(plan.atomCount);
    for (const [id, units] of dead) {
      const own = byId.get(id)?.units;
      for (const u of units) {
        const unit = own?.[u];
        // the sentence is the cut's own
        if (unit === undefined) return undefined;
        marks[plan.classOf(unit[0]!)] = 1;
      }
    }
    const left = new Float64Array(all.length);
    for (let l = 0; l < all.length; l++) {
      const line = all[l]!;
      let n = 0;
      for (let i = 0; i < line.length; i++) n += 1 - marks[line[i]!]!;
      if (n === 0) return undefined;
      left[l] = n;
    }
    const resolutions = whole.resolutions.slice();
    const own = { ...whole.extras!, groups: whole.extras!.groups.slice() };
    for (const { node, reads, gives, depthwise } of shrinking) {
      const from = reads.length < 2 ? reads[0]! : largest(reads, left);
      const channels = from.line < 0 ? from.c : left[from.line]!;
      const at = 6 * node;
      resolutions[at] = from.h;
      resolutions[at + 2] = from.w;
      resolutions[at + 4] = channels;
      resolutions[at + 5] = gives.line < 0 ? gives.c : left[gives.line]!;
      if (depthwise) own.groups[node] = channels;
    }
    const macs = own.macs.slice();
    const params = own.params.slice();
    let total = cost.macs;
    for (const work of working) {
      let rest = work.macs;
      // products before quotients: whole numbers stay whole
      for (const l of work.lines) rest = Math.round((rest * left[l]!) / all[l]!.length);
      total += rest - work.macs;
      if (work.at < 0) continue;
      macs[work.at] = rest;
      params[work.at] = paramsOf(work, left);
    }
    const { extras: _, ...plain } = { ...whole, resolutions, macs: total };
    return extras ? { ...plain, extras: { ...own, macs, params } } : plain;
  };
}

/** As drafting chooses: of equal ones the first. */
function largest(reads: readonly Reading[], left: Float64Array): Reading {
  const sizeOfRead = ({ each, line }: Reading): number => (line < 0 ? each : each * left[line]!);
  let best = reads[0]!;
  let most = sizeOfRead(best);
  for (let k = 1; k < reads.length; k++) {
    const size = sizeOfRead(reads[k]!);
    if (size > most) [best, most] = [reads[k]!, size];
  }
  return best;
}

function paramsOf({ params, cuts }: Work, left: Float64Array): number {
  let rest = params;
  for (const { dims, axes } of cuts) {
    let size = elementCount(dims);
    const before = size;
    for (const [axis, line] of axes) size = (size * left[line]!) / dims[axis]!;
    rest += size - before;
  }
  return rest;
}

/** What each node's MACs and parameters shrink with; undefined where constants are shared or nodes do two kinds of work. */
function worksOf(
  { model, graph, plan, groups, constantUses }: Analysis,
  costs: readonly { readonly macs: number; readonly params: number }[],
  lineId: (line: Line) => number,
): ReadonlyMap<Node, Work> | undefined {
  // what lies in bodies is no node of its own in a computation graph
  if (graph !== model.graph) return undefined;
  const { nodes, initializers } = graph;
  const lines = new Map<number, readonly number[]>();
  for (const share of groups.macShares) {
    if (lines.has(share.node)) return undefined;
    lines.set(share.node, share.lines.map(lineId));
  }
  const axes = new Map<string, Map<number, number>>();
  for (const { tensor, axis, line } of plan.cuts) {
    let own = axes.get(tensor);
    if (own === undefined) axes.set(tensor, (own = new Map<number, number>()));
    // a reshaped weight may lose positions of one axis for two reasons
    if (own.has(axis) || (constantUses.get(tensor)?.length ?? 0) > 1) return undefined;
    own.set(axis, lineId(line));
  }
  const constants = new Map<string, Tensor>(initializers);
  const seen = new Set<string>();
  const works = new Map<Node, Work>();
  let next = 0;
  for (const [i, node] of nodes.entries()) {
    if (node.opType === 'Constant' && node.domain === '') {
      const tensor = constantOfNode(node);
      if (tensor !== undefined) constants.set(node.outputs[0] ?? '', tensor);
      continue;
    }
    const { macs, params } = costs[next++]!;
    const cuts: Cut[] = [];
    for (const name of node.inputs) {
      const tensor = constants.get(name);
      const own = axes.get(name);
      if (tensor === undefined || seen.has(name)) continue;
      seen.add(name);
      if (own !== undefined && isParameter(tensor)) cuts.push({ dims: tensor.dims, axes: [...own] });
    }
    works.set(node, { macs, lines: lines.get(i) ?? [], params, cuts });
  }
  return works;
}
