// The weights of a channel group by unit: every tensor that its units have a part in, once.
import type { Analysis } from '../analysis/analyse.js';
import type { ChannelGroup } from '../analysis/groups.js';
import { attrInt, type Node } from '../ir/graph.js';
import { DataType, floatTensor, readFloats, type Tensor } from '../ir/tensor.js';
import { quantizedWeight } from '../ops/quantize.js';
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
  const { plan, graph } = analysis;
  const unitOf = new Map<number, number>();
  group.units.forEach((atoms, unit) => unitOf.set(plan.classOf(atoms[0]!), unit));
  const seen = new Set<string>();
  for (const cut of plan.cuts) {
    const node = graph.nodes[cut.node]!;
    const scale = node.opType === 'BatchNormalization' && cut.input === 1;
    if (what === 'scales' ? !scale : cut.role === 'along') continue;
    const key = `${cut.tensor}:${cut.axis}`;
    if (seen.has(key) || !cut.line.some((c) => unitOf.has(c))) continue;
    seen.add(key);
    const stored = constantAt(analysis, cut.tensor);
    const tensor = stored === undefined ? undefined : dequantized(analysis, node, cut.input, stored);
    if (tensor === undefined || tensor.dims[cut.axis] !== cut.line.length) continue;
    const inner = tensor.dims.slice(cut.axis + 1).reduce((a, b) => a * b, 1);
    visit(tensor, (i) => unitOf.get(cut.line[Math.floor(i / inner) % cut.line.length]!));
  }
}

/** The numbers that bytes stand for: an offset of 128 says nothing of how much a channel matters. */
function dequantized(analysis: Analysis, node: Node, input: number, tensor: Tensor): Tensor {
  const places = quantizedWeight(node.opType);
  if (tensor.dataType !== DataType.INT8 && tensor.dataType !== DataType.UINT8) return tensor;
  if (places?.weight !== input) return tensor;
  const read = (i: number | undefined): Float32Array | undefined => {
    const found = i === undefined ? undefined : constantAt(analysis, node.inputs[i] ?? '');
    return found === undefined ? undefined : readFloats(found);
  };
  const rank = tensor.dims.length;
  const conv = node.opType.includes('Conv');
  const turned = node.opType === 'QGemm' && attrInt(node, 'transB', 0) !== 0;
  const given = node.opType === 'DequantizeLinear' ? attrInt(node, 'axis', 1) : conv || turned ? 0 : rank - 1;
  const axis = given < 0 ? given + rank : given;
  const inner = tensor.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const n = tensor.dims[axis] ?? 1;
  const at = (values: Float32Array | undefined, i: number, none: number): number =>
    values === undefined ? none : (values[values.length === n ? Math.floor(i / inner) % n : 0] ?? none);
  const [scale, zero] = [read(places.scale), read(places.zero)];
  return floatTensor(
    tensor.name,
    tensor.dims,
    readFloats(tensor).map((x, i) => (x - at(zero, i, 0)) * at(scale, i, 1)),
  );
}

function constantAt(analysis: Analysis, name: string): Tensor | undefined {
  const { graph } = analysis;
  const initializer = graph.initializers.get(name);
  if (initializer !== undefined) return initializer.bytes === undefined ? undefined : initializer;
  const producer = analysis.producers.get(name);
  return producer === undefined ? undefined : constantOf(graph.nodes[producer]);
}
