// GRAF on operator graphs: counts, shortest and longest paths and degrees by operator class (Kadlecova et al., ICML 2024;
// methods.md §3.3). Operators sit on nodes, as in NAS-Bench-101; a virtual source and sink close the graph.
import type { Graph, Node } from '../ir/graph.js';
import { attrInt } from '../ir/graph.js';

/** The classes, in the order of all feature vectors. */
export const OPERATOR_CLASSES = [
  'conv',
  'pointwise',
  'depthwise',
  'norm',
  'activation',
  'pool',
  'merge',
  'other',
] as const;
export type OperatorClass = (typeof OPERATOR_CLASSES)[number];

/** What paths and degrees are read from. */
export type ClassGraph = Pick<OperatorGraph, 'classes' | 'successors'>;

/** An operator graph: node 0 is the source, the last node the sink; every edge goes from a lower to a higher number. */
export interface OperatorGraph {
  /** Class of each node, as an index; -1 for source and sink. */
  readonly classes: Int8Array;
  readonly successors: readonly (readonly number[])[];
  /** The ONNX node behind each operator; undefined for source and sink. */
  readonly nodes: readonly (Node | undefined)[];
}

/** Drops constants, shape arithmetic and movement, connecting what they connected. */
export function operatorGraph(graph: Graph): OperatorGraph {
  const classes: number[] = [-1];
  const nodes: (Node | undefined)[] = [undefined];
  const successors: number[][] = [[]];
  // value -> the operators that it comes from; absent for constants
  const origin = new Map<string, readonly number[]>();
  for (const input of graph.inputs) if (!graph.initializers.has(input.name)) origin.set(input.name, [0]);
  for (const node of graph.nodes) {
    const from = [...new Set(node.inputs.flatMap((name) => origin.get(name) ?? []))];
    const kind = shapeOnly.has(node.opType) || from.length === 0 ? undefined : operatorClass(node, graph, origin);
    if (shapeOnly.has(node.opType) || from.length === 0) continue;
    if (kind === undefined) {
      for (const output of node.outputs) origin.set(output, from);
      continue;
    }
    const at = classes.length;
    classes.push(OPERATOR_CLASSES.indexOf(kind));
    nodes.push(node);
    successors.push([]);
    for (const f of from) successors[f]!.push(at);
    for (const output of node.outputs) origin.set(output, [at]);
  }
  const sink = classes.length;
  classes.push(-1);
  nodes.push(undefined);
  successors.push([]);
  for (const f of new Set(graph.outputs.flatMap((o) => origin.get(o.name) ?? []))) successors[f]!.push(sink);
  return { classes: Int8Array.from(classes), successors, nodes };
}

/** Bit i of a set stands for class i. */
export type ClassSet = number;
export const ALL_CLASSES: ClassSet = (1 << OPERATOR_CLASSES.length) - 1;

/** Number of nodes of each class. */
export function opCounts(g: ClassGraph): number[] {
  const counts: number[] = OPERATOR_CLASSES.map(() => 0);
  for (const c of g.classes) if (c >= 0) counts[c]!++;
  return counts;
}

/** Edges of the shortest path from source to sink that avoids the banned classes; -1 when there is none. */
export function minPathLength(g: ClassGraph, banned: ClassSet): number {
  const distance = new Int32Array(g.classes.length).fill(-1);
  distance[0] = 0;
  for (let v = 0; v < g.classes.length; v++) {
    if (distance[v]! < 0) continue;
    for (const w of g.successors[v]!) {
      if (has(banned, g.classes[w]!)) continue;
      const through = distance[v]! + 1;
      if (distance[w]! < 0 || through < distance[w]!) distance[w] = through;
    }
  }
  return distance[distance.length - 1]!;
}

/** Operators on the longest path from source to sink that crosses allowed classes only; -1 when there is none. */
export function maxOpsOnPath(g: ClassGraph, allowed: ClassSet): number {
  return longest(g, (c) => (c < 0 ? 0 : has(allowed, c) ? 1 : undefined));
}

/** Most operators of the given classes on any path from source to sink, crossing whatever lies between; -1 without a path. */
export function maxOpsCrossing(g: ClassGraph, counted: ClassSet): number {
  return longest(g, (c) => (has(counted, c) ? 1 : 0));
}

/** Edges into the sink and out of the source whose other end is allowed, and edges between any two per node. */
export function degrees(g: ClassGraph, allowed: ClassSet): { input: number; output: number; average: number } {
  const sink = g.classes.length - 1;
  let input = 0;
  let output = 0;
  let all = 0;
  g.successors.forEach((next, v) => {
    for (const w of next) {
      if (v === 0 && has(allowed, g.classes[w]!)) output++;
      if (w === sink && has(allowed, g.classes[v]!)) input++;
      if (has(allowed, g.classes[v]!)) all++;
    }
  });
  return { input, output, average: all / g.classes.length };
}

/** Names and values of the structural features for single classes: what does not change when channels are cut. */
export function structuralFeatures(g: OperatorGraph): Map<string, number> {
  const found = new Map<string, number>();
  const counts = opCounts(g);
  const shortest = minPathLength(g, 0);
  found.set('graf:depth', maxOpsCrossing(g, ALL_CLASSES));
  found.set('graf:shortest', shortest);
  OPERATOR_CLASSES.forEach((name, c) => {
    const set = 1 << c;
    const around = minPathLength(g, set);
    found.set(`graf:count:${name}`, counts[c]!);
    found.set(`graf:around:${name}`, around < 0 ? -1 : around / Math.max(1, shortest));
    found.set(`graf:longest:${name}`, maxOpsCrossing(g, set));
    found.set(`graf:degree:${name}`, degrees(g, set).average);
  });
  return found;
}

function longest(g: ClassGraph, weight: (c: number) => number | undefined): number {
  const length = new Int32Array(g.classes.length).fill(-1);
  length[0] = 0;
  for (let v = 0; v < g.classes.length; v++) {
    if (length[v]! < 0) continue;
    for (const w of g.successors[v]!) {
      const own = weight(g.classes[w]!);
      if (own !== undefined && length[v]! + own > length[w]!) length[w] = length[v]! + own;
    }
  }
  return length[length.length - 1]!;
}

function has(set: ClassSet, c: number): boolean {
  return c >= 0 && ((set >> c) & 1) === 1;
}

const shapeOnly: ReadonlySet<string> = new Set(['Shape', 'Size', 'Constant', 'ConstantOfShape', 'Range', 'NonZero']);

const byType: ReadonlyMap<string, OperatorClass | undefined> = new Map([
  ...list('norm', 'BatchNormalization InstanceNormalization LayerNormalization GroupNormalization LRN LpNormalization'),
  ...list('norm', 'RMSNormalization MeanVarianceNormalization'),
  ...list('activation', 'Relu LeakyRelu PRelu Elu Selu Celu Clip Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign'),
  ...list('activation', 'Gelu Mish Swish Erf ThresholdedRelu Softmax LogSoftmax Hardmax Exp Log Sqrt Pow Abs Neg'),
  ...list('pool', 'MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool ReduceMean ReduceMax'),
  ...list('pool', 'ReduceSum Resize Upsample'),
  ...list('merge', 'Add Sub Mul Div Concat Sum Mean Max Min'),
  ...list('other', 'LSTM GRU RNN Attention Einsum'),
  ...list(undefined, 'Identity Dropout Reshape Flatten Squeeze Unsqueeze Transpose Cast CastLike Pad Slice Split'),
  ...list(undefined, 'Gather Expand Tile QuantizeLinear DequantizeLinear DynamicQuantizeLinear SpaceToDepth'),
  ...list(undefined, 'DepthToSpace'),
]);

function list(kind: OperatorClass | undefined, names: string): [string, OperatorClass | undefined][] {
  return names.split(' ').map((name) => [name, kind]);
}

/** undefined = passed over. */
function operatorClass(
  node: Node,
  graph: Graph,
  origin: ReadonlyMap<string, readonly number[]>,
): OperatorClass | undefined {
  const { opType } = node;
  if (/^(QLinear)?Conv|^DeformConv$/.test(opType)) {
    const weight = graph.initializers.get(node.inputs[opType === 'QLinearConv' ? 3 : 1] ?? '');
    const group = attrInt(node, 'group', 1);
    if (group > 1 && weight?.dims[1] === 1) return 'depthwise';
    return weight !== undefined && weight.dims.slice(2).every((k) => k === 1) ? 'pointwise' : 'conv';
  }
  if (/MatMul|^Gemm$/.test(opType)) {
    return node.inputs.filter((name) => origin.has(name)).length > 1 ? 'other' : 'pointwise';
  }
  const kind = byType.get(opType);
  // a sum with a constant is a bias, a product with one a scale
  if (kind === 'merge') return node.inputs.filter((name) => origin.has(name)).length > 1 ? 'merge' : undefined;
  if (kind !== undefined || byType.has(opType)) return kind;
  return 'other';
}
