// The computation graph of a network with dead channels, without making that network: what was drafted of the uncut one, with frames and
// costs that shrink as its lines do. Equal to compressing the pruned model, byte for byte, and tens of times as fast.
import type { Analysis } from '../analysis/analyse.js';
import { countCost, isParameter } from '../analysis/cost.js';
import { pruneModel } from '../analysis/cut.js';
import type { DeadUnits } from '../analysis/groups.js';
import type { Line } from '../analysis/plan.js';
import { constantOfNode } from '../analysis/scope.js';
import { attrInt, type Dim, type Node } from '../ir/graph.js';
import { elementCount, type Tensor } from '../ir/tensor.js';
import type { OpTable } from '../ops/op.js';
import { dimsOf, frameOf } from './channel-axis.js';
import { assumedShapes, compress } from './compress.js';
import { graphBytes, type ComputationGraph } from './computation-graph.js';
import { layOut } from './draft-layout.js';
import { draftGraph, sizeOf, type Draft } from './draft.js';
import { inlined } from './inline.js';

/** Units as in `pruneModel`; all alive when there are none. */
export type Sketcher = (dead: DeadUnits) => ComputationGraph;

export interface SketchOptions {
  readonly table: OpTable;
  readonly extras?: boolean;
}

/** The first network with dead units is compressed as well: where both differ, and where a rule does not hold, all of them are. */
export function createSketcher(analysis: Analysis, { table, extras = false }: SketchOptions): Sketcher {
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

interface Value {
  readonly dims: readonly Dim[];
  /** -1: never shrinks. */
  readonly axis: number;
  readonly line: number;
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

/** undefined for networks whose cuts do more than shrink dims. */
export function template(
  analysis: Analysis,
  table: OpTable,
  extras: boolean,
): ((dead: DeadUnits) => ComputationGraph | undefined) | undefined {
  const { model, plan, groups } = analysis;
  const { nodes } = model.graph;
  if (inlined(model) !== model) return undefined;
  const shapes = assumedShapes(model, table);
  const cost = countCost(model, table, shapes);
  const draft = draftGraph(model, shapes, cost, false);
  const lines = new Map<Line, number>();
  const lineId = (line: Line): number => {
    const id = lines.get(line) ?? lines.size;
    lines.set(line, id);
    return id;
  };

  const values: Value[] = [];
  const ids = new Map<string, number>();
  let fits = true;
  const valueId = (name: string): number => {
    const known = ids.get(name);
    if (known !== undefined) return known;
    const dims = dimsOf(shapes.types.get(name));
    const placed = plan.values.get(name);
    ids.set(name, values.length);
    // a value of unknown rank has no frame, cut or not
    if (placed === undefined || dims === undefined) values.push({ dims: dims ?? [], axis: -1, line: 0 });
    else {
      fits &&= dims[placed.axis] === placed.line.length;
      values.push({ dims, axis: placed.axis, line: lineId(placed.line) });
    }
    return values.length - 1;
  };
  const known = (name: string): number => (shapes.types.get(name) === undefined ? -1 : valueId(name));
  const places = draft.nodes.map((d) => ({
    reads: d.reads.map((p) => known(p.value)),
    gives: known(d.gives.value),
  }));
  const works = worksOf(analysis, cost.nodes, lineId);
  if (works === undefined) return undefined;
  const workOf = draft.nodes.map((d) => (d.node === undefined ? undefined : works.get(d.node)));
  // groups of a convolution follow the channels of depthwise ones; how others do is their rule's own business
  const follows = draft.nodes.map((d, i) => {
    const group = d.node === undefined ? 1 : attrInt(d.node, 'group', 1);
    if (group <= 1) return false;
    const from = values[places[i]!.reads[0]!];
    const shrinks = from !== undefined && from.axis >= 0;
    if (shrinks && group !== from.dims[1]) fits = false;
    return shrinks;
  });
  if (!fits) return undefined;

  const byId = new Map(groups.groups.map((g) => [g.id, g]));
  const all = [...lines.keys()];
  const lengths = all.map((l) => l.length);
  return (dead) => {
    const marks = new Uint8Array(plan.atomCount);
    for (const [id, units] of dead) {
      const group = byId.get(id);
      for (const u of units) {
        const unit = group?.units[u];
        // the sentence is the cut's own
        if (unit === undefined) return undefined;
        marks[plan.classOf(unit[0]!)] = 1;
      }
    }
    const left = all.map((line) => {
      let n = 0;
      for (const id of line) n += 1 - marks[id]!;
      return n;
    });
    if (left.includes(0)) return undefined;
    const now = values.map(({ dims, axis, line }) => {
      if (axis < 0 || left[line] === lengths[line]) return dims;
      const shrunk = [...dims];
      shrunk[axis] = left[line];
      return shrunk;
    });
    const macsOf = ({ macs, lines: own }: Work): number => {
      let rest = macs;
      // products before quotients: whole numbers stay whole
      for (const l of own) if (left[l] !== lengths[l]) rest = Math.round((rest * left[l]!) / lengths[l]!);
      return rest;
    };
    let macs = cost.macs;
    for (const work of works.values()) macs += macsOf(work) - work.macs;
    const drawn = draft.nodes.map((d, i): Draft => {
      const { reads, gives } = places[i]!;
      const work = workOf[i];
      const from = reads.length < 2 ? 0 : largest(reads, now);
      const input = frameOf(dimsAt(now, reads[from]!), d.reads[from]!.axis);
      return {
        ...d,
        input,
        output: d.node === undefined ? input : frameOf(dimsAt(now, gives), d.gives.axis),
        node: d.node !== undefined && follows[i]! ? regrouped(d.node, input.c) : d.node,
        macs: work === undefined ? d.macs : macsOf(work),
        params: work === undefined ? d.params : paramsOf(work, left),
      };
    });
    return layOut({ ...draft, nodes: drawn }, macs, extras);
  };
}

function dimsAt(now: readonly (readonly Dim[])[], id: number): readonly Dim[] | undefined {
  return id < 0 ? undefined : now[id];
}

/** As drafting chooses: of equal ones the first. */
function largest(reads: readonly number[], now: readonly (readonly Dim[])[]): number {
  let best = 0;
  let most = sizeOf(dimsAt(now, reads[0]!));
  for (let k = 1; k < reads.length; k++) {
    const size = sizeOf(dimsAt(now, reads[k]!));
    if (size > most) [best, most] = [k, size];
  }
  return best;
}

function regrouped(node: Node, group: number): Node {
  const attributes = new Map(node.attributes).set('group', { name: 'group', kind: 'int', value: group });
  return { ...node, attributes };
}

function paramsOf({ params, cuts }: Work, left: readonly number[]): number {
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
  { model, plan, groups, constantUses }: Analysis,
  costs: readonly { readonly macs: number; readonly params: number }[],
  lineId: (line: Line) => number,
): ReadonlyMap<Node, Work> | undefined {
  const { nodes, initializers } = model.graph;
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
