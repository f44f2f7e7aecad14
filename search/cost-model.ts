// A candidate's MACs or parameters from its widths, in microseconds: every node (or constant) costs base x product of the alive
// shares of its axes, each share affine in the number of units its groups lost. Exact where the units of a group are alike; the
// search uses it to choose, and counts the chosen candidates for real.
import type { Analysis } from '../src/analysis/analyse.js';
import { elementCount } from '../src/ir/tensor.js';
import { OPERATOR_CLASSES, operatorGraph, type OperatorClass } from '../src/predictor/graf.js';

/** 1 - sum of slope x units lost. */
export type Share = readonly { readonly group: number; readonly slope: number }[];

export interface CostTerm {
  readonly base: number;
  readonly shares: readonly Share[];
  /** Index into the resolutions. */
  readonly stage: number;
  /** A choice at this node beside its widths: where `removed[site]` is k > 0 it costs ratios[k - 1] x base x mean of the shares. */
  readonly site?: number;
  readonly ratios?: readonly number[];
  /** Node of the graph. */
  readonly node?: number;
  /** Class of the operator, for signals. */
  readonly kind?: OperatorClass;
}

export interface CostModel {
  readonly terms: readonly CostTerm[];
  /** Spatial size (height x width) of each stage, descending; 1 where a value has none. */
  readonly resolutions: readonly number[];
  /** What the whole network costs when group g has lost `removed[g]` units. */
  value(removed: ArrayLike<number>): number;
  /** How the cost changes when group g goes from `removed[g]` to `to` units lost, the others staying. */
  change(removed: ArrayLike<number>, group: number, to: number): number;
  /** The same for many `to` while `removed` stays as it is. */
  changesOf(removed: ArrayLike<number>, group: number): (to: number) => number;
  /** The groups whose changes may differ once this one has changed: those that share a term with it, itself among them. */
  neighbours(group: number): readonly number[];
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
  const near = Array.from({ length: groups }, () => new Set<number>());
  terms.forEach((term, i) => {
    const touched = new Set(term.shares.flat().map((s) => s.group));
    if (term.site !== undefined) touched.add(term.site);
    for (const g of touched) touching[g]!.push(i);
    for (const g of touched) for (const h of touched) near[g]!.add(h);
  });
  const neighbours = near.map((set) => [...set]);
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
    changesOf(removed, group) {
      const own = touching[group]!.map((i) => {
        const term = terms[i]!;
        return { term, now: costOf(term, removed, -1, 0), slice: sliceOf(term, removed, group) };
      });
      return (to) => {
        let sum = 0;
        for (const { term, now, slice } of own) {
          let value = slice?.factor ?? costOf(term, removed, group, to);
          if (slice !== undefined) {
            for (const { whole, slope } of slice.lines) value *= Math.max(0, whole - slope * to);
          }
          sum += value - now;
        }
        return sum;
      };
    },
    neighbours: (group) => neighbours[group]!,
    termValue: (term, removed) => costOf(term, removed, -1, 0),
    byStage(removed) {
      const found = new Float64Array(stages);
      for (const t of terms) found[t.stage]! += costOf(t, removed, -1, 0);
      return found;
    },
  };
}

/** MACs of the network of an analysis, by its groups in their order. */
export function macsModel(analysis: Analysis): CostModel {
  const shareOf = lineReader(analysis);
  const { nodes } = analysis.graph;
  const operators = operatorGraph(analysis.model.graph);
  const kinds = new Map(operators.nodes.map((n, i) => [n, OPERATOR_CLASSES[operators.classes[i]!]]));
  const sizes = new Map(analysis.cost.nodes.map((c) => [c.node, spatialSize(c.outputShape)]));
  const sizeOf = (node: number): number =>
    sizes.get(nodes[node]!.name) ?? sizes.get(nodes[node]!.outputs[0] ?? '') ?? 1;
  const { macShares } = analysis.groups;
  const resolutions = [...new Set([1, ...macShares.map((s) => sizeOf(s.node))])].sort((a, b) => b - a);
  const terms = macShares.map((s): CostTerm => {
    const kind = kinds.get(nodes[s.node]);
    return {
      base: s.macs,
      shares: s.lines.map(shareOf).filter((share) => share.length > 0),
      stage: resolutions.indexOf(sizeOf(s.node)),
      node: s.node,
      ...(kind === undefined ? {} : { kind }),
    };
  });
  return costModelOf(
    [...terms, ...constantTerm(analysis.cost.macs, terms)],
    analysis.groups.groups.length,
    resolutions,
  );
}

/** Parameters, likewise: constants shrink along the axes they are cut on. */
export function paramsModel(analysis: Analysis): CostModel {
  const shareOf = lineReader(analysis);
  const cuts = new Map<string, Map<number, Int32Array>>();
  for (const { tensor, axis, line } of analysis.plan.cuts) {
    const known = cuts.get(tensor);
    if (known === undefined) cuts.set(tensor, new Map([[axis, line]]));
    else known.set(axis, line);
  }
  const terms: CostTerm[] = [];
  for (const [name, axes] of cuts) {
    const dims = analysis.graph.initializers.get(name)?.dims;
    if (dims !== undefined) terms.push({ base: elementCount(dims), shares: [...axes.values()].map(shareOf), stage: 0 });
  }
  return costModelOf([...terms, ...constantTerm(analysis.cost.params, terms)], analysis.groups.groups.length);
}

/** Which share of the channels of a line is left, by the units its groups lost. */
export function lineReader(analysis: Analysis): (line: Int32Array) => Share {
  const { groups } = analysis.groups;
  const groupOf = new Map<number, number>();
  groups.forEach((group, g) => {
    for (const atoms of group.units) groupOf.set(analysis.groups.find(atoms[0]!), g);
  });
  const known = new Map<Int32Array, Share>();
  return (line) => {
    const before = known.get(line);
    if (before !== undefined) return before;
    const counts = new Map<number, number>();
    for (const id of line) {
      const g = id === 0 ? undefined : groupOf.get(id);
      if (g !== undefined) counts.set(g, (counts.get(g) ?? 0) + 1);
    }
    const share = [...counts].map(([group, n]) => ({ group, slope: n / line.length / groups[group]!.size }));
    known.set(line, share);
    return share;
  };
}

/** What belongs to nothing that shrinks. */
function constantTerm(total: number, terms: readonly CostTerm[]): CostTerm[] {
  const rest = total - terms.reduce((sum, t) => sum + t.base, 0);
  return rest === 0 ? [] : [{ base: rest, shares: [], stage: 0 }];
}

function costOf(term: CostTerm, removed: ArrayLike<number>, group: number, to: number): number {
  const choice = term.site === undefined ? 0 : term.site === group ? to : removed[term.site]!;
  let product = 1;
  let sum = 0;
  for (const share of term.shares) {
    let alive = 1;
    for (const s of share) alive -= s.slope * (s.group === group ? to : removed[s.group]!);
    if (alive < 0) alive = 0;
    product *= alive;
    sum += alive;
  }
  if (choice === 0) return term.base * product;
  // two thin layers: one shrinks with the inputs, the other with the outputs
  const mean = term.shares.length === 0 ? 1 : sum / term.shares.length;
  return term.base * (term.ratios?.[choice - 1] ?? 1) * mean;
}

/** A term by the units that one group lost, the others staying: factor x product of (whole - slope x units). */
interface Slice {
  readonly factor: number;
  readonly lines: readonly { readonly whole: number; readonly slope: number }[];
}

/** Undefined where something was chosen at the node, or may be: then the term is no such product. */
function sliceOf(term: CostTerm, removed: ArrayLike<number>, group: number): Slice | undefined {
  if (term.site !== undefined && (term.site === group || removed[term.site] !== 0)) return undefined;
  let factor = term.base;
  const lines: { whole: number; slope: number }[] = [];
  for (const share of term.shares) {
    let whole = 1;
    let slope = 0;
    for (const s of share) {
      if (s.group === group) slope += s.slope;
      else whole -= s.slope * removed[s.group]!;
    }
    if (slope === 0) factor *= Math.max(0, whole);
    else lines.push({ whole, slope });
  }
  return { factor, lines };
}

function spatialSize(shape: readonly number[] | undefined): number {
  return shape === undefined || shape.length < 4 ? 1 : shape.slice(2).reduce((a, b) => a * b, 1);
}
