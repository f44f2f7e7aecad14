// A candidate's MACs from its widths in microseconds: every node costs base x (alive share of its output) x (alive share of what it
// sums over), each share affine in the number of units its groups lost. Exact for Conv, Gemm and MatMul whose units are alike;
// the search uses it to choose, and counts the chosen candidate for real.
import type { Analysis } from '../src/analysis/analyse.js';
import { attrInt, type Node } from '../src/ir/graph.js';
import { OPERATOR_CLASSES, operatorGraph, type OperatorClass } from '../src/predictor/graf.js';
import type { Labels } from '../src/ops/op.js';

/** 1 - sum of slope x units lost. */
export type Share = readonly { readonly group: number; readonly slope: number }[];

export interface CostTerm {
  readonly base: number;
  readonly output: Share;
  readonly summed: Share;
  /** Index into the stages: nodes of equal spatial resolution, largest first. */
  readonly stage: number;
  /** Class of the operator, for signals. */
  readonly kind?: OperatorClass;
}

export interface CostModel {
  readonly terms: readonly CostTerm[];
  /** Spatial size (height x width) of each stage, where known, descending. */
  readonly resolutions: readonly number[];
  /** What the whole network costs when group g has lost `removed[g]` units. */
  value(removed: ArrayLike<number>): number;
  /** How the cost changes when group g goes from `removed[g]` to `to` units lost, the others staying. */
  change(removed: ArrayLike<number>, group: number, to: number): number;
  termValue(term: CostTerm, removed: ArrayLike<number>): number;
  /** Cost by stage. */
  byStage(removed: ArrayLike<number>): Float64Array;
}

export function costModelOf(
  terms: readonly CostTerm[],
  groups: number,
  resolutions: readonly number[] = [1],
): CostModel {
  const stages = terms.reduce((most, t) => Math.max(most, t.stage + 1), resolutions.length);
  const touching: number[][] = Array.from({ length: groups }, () => []);
  terms.forEach((term, i) => {
    const touched = new Set([...term.output, ...term.summed].map((s) => s.group));
    for (const g of touched) touching[g]!.push(i);
  });
  return {
    terms,
    resolutions,
    value: (removed) => terms.reduce((sum, t) => sum + costOf(t, removed, -1, 0), 0),
    change(removed, group, to) {
      let sum = 0;
      for (const i of touching[group]!) {
        const term = terms[i]!;
        sum += costOf(term, removed, group, to) - costOf(term, removed, -1, 0);
      }
      return sum;
    },
    termValue: (term, removed) => costOf(term, removed, -1, 0),
    byStage(removed) {
      const found = new Float64Array(stages);
      for (const t of terms) found[t.stage]! += costOf(t, removed, -1, 0);
      return found;
    },
  };
}

/** MACs (or parameters) of the network of an analysis, by the groups in their order. */
export function costModel(analysis: Analysis, kind: 'macs' | 'params'): CostModel {
  const { groups, labels, find } = analysis.groups;
  const groupOfAtom = new Map<number, number>();
  const unitOfAtom = new Map<number, number>();
  groups.forEach((group, g) =>
    group.units.forEach((atoms, u) => {
      for (const atom of atoms) {
        groupOfAtom.set(find(atom), g);
        unitOfAtom.set(find(atom), u);
      }
    }),
  );
  const sizes = groups.map((g) => g.size);
  const groupAt = (atom: number): number => (atom === 0 ? -1 : (groupOfAtom.get(find(atom)) ?? -1));
  const unitAt = (atom: number): number => (atom === 0 ? -1 : (unitOfAtom.get(find(atom)) ?? -1));

  const share = (counts: ReadonlyMap<number, number>, total: number): Share =>
    [...counts].map(([group, count]) => ({ group, slope: count / total / sizes[group]! }));

  /** By elements of the whole value. */
  const byElements = (view: Labels | undefined): Share => {
    if (view === undefined) return [];
    const counts = new Map<number, number>();
    let total = 0;
    eachDistinct(view, (atom) => {
      total++;
      const g = groupAt(atom);
      if (g >= 0) counts.set(g, (counts.get(g) ?? 0) + 1);
    });
    return share(counts, total);
  };

  /** By positions along one axis; a position counts where all its labels are one unit. */
  const byAxis = (view: Labels | undefined, axis: number): Share => {
    if (view === undefined || axis < 0 || axis >= view.shape.length || view.strides[axis] === 0) return [];
    const length = view.shape[axis]!;
    const counts = new Map<number, number>();
    for (let p = 0; p < length; p++) {
      let group = -2;
      let unit = -2;
      let pure = true;
      const slice: Labels = {
        shape: view.shape.map((d, i) => (i === axis ? 1 : d)),
        strides: view.strides,
        offset: view.offset + p * view.strides[axis]!,
        atoms: view.atoms,
      };
      eachDistinct(slice, (atom) => {
        const g = groupAt(atom);
        const u = unitAt(atom);
        if (group === -2) [group, unit] = [g, u];
        else if (g !== group || u !== unit) pure = false;
      });
      if (pure && group >= 0) counts.set(group, (counts.get(group) ?? 0) + 1);
    }
    return share(counts, length);
  };

  const nodes = analysis.model.graph.nodes;
  const costs = new Map(analysis.cost.nodes.map((c) => [c.node, c]));
  const operators = operatorGraph(analysis.model.graph);
  const kinds = new Map(operators.nodes.map((n, i) => [n, OPERATOR_CLASSES[operators.classes[i]!]]));
  const spatial: number[] = [];
  const found: { base: number; output: Share; summed: Share; spatial: number; kind: OperatorClass | undefined }[] = [];
  for (const node of nodes) {
    const cost = costs.get(node.name) ?? costs.get(node.outputs[0] ?? '');
    const base = cost?.[kind] ?? 0;
    if (cost === undefined || base === 0) continue;
    const size = spatialSize(cost.outputShape);
    spatial.push(size);
    const output = byElements(labels.get(node.outputs[0] ?? ''));
    const contracts = cost.macs > 0 ? summedAxis(node, (name) => labels.get(name)) : undefined;
    const summed = contracts === undefined ? [] : byAxis(labels.get(contracts.value), contracts.axis);
    found.push({ base, output, summed, spatial: size, kind: kinds.get(node) });
  }
  const sizesDescending = [...new Set(spatial)].sort((a, b) => b - a);
  const rest = analysis.cost[kind] - found.reduce((sum, t) => sum + t.base, 0);
  const terms = found.map(({ base, output, summed, spatial: s, kind }): CostTerm => ({
    base,
    output,
    summed,
    stage: sizesDescending.indexOf(s),
    ...(kind === undefined ? {} : { kind }),
  }));
  // What belongs to no node that shrinks (subgraphs, functions) is a constant.
  const constant: CostTerm = { base: rest, output: [], summed: [], stage: 0 };
  return costModelOf(Math.abs(rest) > 0 ? [constant, ...terms] : terms, groups.length, sizesDescending);
}

function costOf(term: CostTerm, removed: ArrayLike<number>, group: number, to: number): number {
  return term.base * aliveShare(term.output, removed, group, to) * aliveShare(term.summed, removed, group, to);
}

function aliveShare(share: Share, removed: ArrayLike<number>, group: number, to: number): number {
  let alive = 1;
  for (const s of share) alive -= s.slope * (s.group === group ? to : removed[s.group]!);
  return alive < 0 ? 0 : alive;
}

/** The activation, and its axis, over which a contraction sums; undefined where nothing of it can shrink. */
function summedAxis(
  node: Node,
  labels: (name: string) => Labels | undefined,
): { value: string; axis: number } | undefined {
  const a = node.inputs[0] ?? '';
  const rank = labels(a)?.shape.length ?? 0;
  if (node.opType === 'Conv' || node.opType === 'ConvTranspose' || node.opType === 'ConvInteger') {
    return attrInt(node, 'group', 1) === 1 ? { value: a, axis: 1 } : undefined;
  }
  if (node.opType === 'Gemm') return { value: a, axis: attrInt(node, 'transA', 0) === 1 ? 0 : 1 };
  if (node.opType === 'MatMul' || node.opType === 'MatMulInteger') {
    if (rank > 0) return { value: a, axis: rank - 1 };
    const b = node.inputs[1] ?? '';
    return { value: b, axis: Math.max(0, (labels(b)?.shape.length ?? 0) - 2) };
  }
  return undefined;
}

/** Visits a view's labels, once per position that can differ: axes of stride 0 repeat the same labels. */
function eachDistinct(view: Labels, visit: (atom: number) => void): void {
  const axes = view.shape.map((_, i) => i).filter((i) => view.strides[i] !== 0 && view.shape[i] !== 1);
  const walk = (depth: number, at: number): void => {
    const axis = axes[depth];
    if (axis === undefined) {
      visit(view.atoms[at]!);
      return;
    }
    for (let p = 0; p < view.shape[axis]!; p++) walk(depth + 1, at + p * view.strides[axis]!);
  };
  if (view.shape.every((d) => d > 0)) walk(0, view.offset);
}

function spatialSize(shape: readonly number[] | undefined): number {
  return shape === undefined || shape.length < 4 ? 1 : shape.slice(2).reduce((a, b) => a * b, 1);
}
