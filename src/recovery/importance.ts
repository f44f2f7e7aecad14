// Criteria: how much each unit of a channel group matters, by its weights, by what calibration data taught, or by chance. A plug-in
// adds one by the same interface.
import type { Analysis } from '../analysis/analyse.js';
import type { ChannelGroup } from '../analysis/groups.js';
import { readFloats, type Tensor } from '../ir/tensor.js';
import type { Rng } from '../rng.js';
import { constantOf } from './constants.js';
import type { Knowledge } from './knowledge.js';

export interface ImportanceContext {
  readonly analysis: Analysis;
  readonly group: ChannelGroup;
  /** What calibration data taught; criteria that need it give undefined without. */
  readonly knowledge?: Knowledge;
  readonly rng: Rng;
}

/** One number a unit, higher = stays longer; undefined where the criterion says nothing. */
export type Importance = (context: ImportanceContext) => Float64Array | undefined;

export const criteria: Readonly<Record<'obs' | 'wanda' | 'l2' | 'l1' | 'bn' | 'random', Importance>> = {
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
  l2: (context) => norms(context, 'weights', (x) => x * x),
  l1: (context) => norms(context, 'weights', Math.abs),
  /** |scale| of the BatchNormalizations behind (Liu et al. 2017, arXiv 1708.06519). */
  bn: (context) => norms(context, 'scales', Math.abs),
  random: ({ group, rng }) => {
    const stream = rng.fork(group.id);
    return Float64Array.from({ length: group.size }, () => stream.next());
  },
};

export type CriterionName = keyof typeof criteria;
export const criterionNames: readonly CriterionName[] = ['obs', 'wanda', 'l2', 'l1', 'bn', 'random'];

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
  const { plan, model } = analysis;
  const unitOf = new Map<number, number>();
  group.units.forEach((atoms, unit) => unitOf.set(plan.classOf(atoms[0]!), unit));
  const sums = new Float64Array(group.size);
  const seen = new Set<string>();
  let any = false;
  for (const cut of plan.cuts) {
    const node = model.graph.nodes[cut.node]!;
    const scale = node.opType === 'BatchNormalization' && cut.input === 1;
    if (what === 'scales' ? !scale : cut.role === 'along') continue;
    const key = `${cut.tensor}:${cut.axis}`;
    if (seen.has(key) || !cut.line.some((c) => unitOf.has(c))) continue;
    seen.add(key);
    const tensor = constantAt(analysis, cut.tensor);
    if (tensor === undefined || tensor.dims[cut.axis] !== cut.line.length) continue;
    any = true;
    addShares(sums, tensor, cut.axis, cut.line, unitOf, measure);
  }
  return any ? sums : undefined;
}

function addShares(
  sums: Float64Array,
  tensor: Tensor,
  axis: number,
  line: Int32Array,
  unitOf: ReadonlyMap<number, number>,
  measure: (x: number) => number,
): void {
  const values = readFloats(tensor);
  const inner = tensor.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const own = new Float64Array(sums.length);
  let total = 0;
  values.forEach((x, i) => {
    const unit = unitOf.get(line[Math.floor(i / inner) % line.length]!);
    const value = measure(x);
    total += value;
    if (unit !== undefined) own[unit] = own[unit]! + value;
  });
  if (total > 0) own.forEach((v, u) => (sums[u] = sums[u]! + v / total));
}

function constantAt(analysis: Analysis, name: string): Tensor | undefined {
  const { graph } = analysis.model;
  const initializer = graph.initializers.get(name);
  if (initializer !== undefined) return initializer.bytes === undefined ? undefined : initializer;
  const producer = analysis.producers.get(name);
  return producer === undefined ? undefined : constantOf(graph.nodes[producer]);
}
