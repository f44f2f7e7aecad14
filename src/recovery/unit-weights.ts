// The weights of a channel group by unit: every tensor that its units have a part in, once.
import type { Analysis } from '../analysis/analyse.js';
import type { ChannelGroup } from '../analysis/groups.js';
import type { Tensor } from '../ir/tensor.js';
import { constantOf } from './constants.js';

/**
 * `weights`: what makes the channels and what consumes them; `scales`: of the BatchNormalizations between. `unitAt`: the unit that
 * element i belongs to, if any.
 */
export function eachTensorOf(
  analysis: Analysis,
  group: ChannelGroup,
  what: 'weights' | 'scales',
  visit: (tensor: Tensor, unitAt: (i: number) => number | undefined) => void,
): void {
  const { plan, model } = analysis;
  const unitOf = new Map<number, number>();
  group.units.forEach((atoms, unit) => unitOf.set(plan.classOf(atoms[0]!), unit));
  const seen = new Set<string>();
  for (const cut of plan.cuts) {
    const node = model.graph.nodes[cut.node]!;
    const scale = node.opType === 'BatchNormalization' && cut.input === 1;
    if (what === 'scales' ? !scale : cut.role === 'along') continue;
    const key = `${cut.tensor}:${cut.axis}`;
    if (seen.has(key) || !cut.line.some((c) => unitOf.has(c))) continue;
    seen.add(key);
    const tensor = constantAt(analysis, cut.tensor);
    if (tensor === undefined || tensor.dims[cut.axis] !== cut.line.length) continue;
    const inner = tensor.dims.slice(cut.axis + 1).reduce((a, b) => a * b, 1);
    visit(tensor, (i) => unitOf.get(cut.line[Math.floor(i / inner) % cut.line.length]!));
  }
}

function constantAt(analysis: Analysis, name: string): Tensor | undefined {
  const { graph } = analysis.model;
  const initializer = graph.initializers.get(name);
  if (initializer !== undefined) return initializer.bytes === undefined ? undefined : initializer;
  const producer = analysis.producers.get(name);
  return producer === undefined ? undefined : constantOf(graph.nodes[producer]);
}
