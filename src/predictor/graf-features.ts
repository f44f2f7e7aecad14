// GRAF of any network, from its computation graph (methods.md §3.3): the path and degree features of every set of the eight operator
// classes, counts by class plain and weighted by MACs and parameters, the same by stage of resolution, and the network's cheap scalars.
import type { ComputationGraph } from './computation-graph.js';
import {
  ALL_CLASSES,
  OPERATOR_CLASSES,
  degrees,
  maxOpsCrossing,
  maxOpsOnPath,
  minPathLength,
  type ClassGraph,
  type OperatorClass,
} from './graf.js';
import { VOCABULARY, type OperatorName } from './vocabulary.js';

/** Stages by the halvings of the resolution since the first operator: 0, 1, .. 5 and more. */
const STAGES = 6;
const CLASSES = OPERATOR_CLASSES.length;

/** Names of the columns; the same for all graphs. */
export function grafNames(): string[] {
  const names: string[] = [];
  for (const what of SCALARS) names.push(what);
  for (const c of OPERATOR_CLASSES) for (const by of COUNTS) names.push(`${by}:${c}`);
  for (let stage = 0; stage < STAGES; stage++) {
    for (const what of STAGE_SCALARS) names.push(`stage ${stage} ${what}`);
    for (const c of OPERATOR_CLASSES) {
      for (const by of ['count', 'MACs', 'longest through', 'degree']) names.push(`stage ${stage} ${by}:${c}`);
    }
  }
  for (let set = 1; set <= ALL_CLASSES; set++) for (const what of OF_SETS) names.push(`${what}:${setName(set)}`);
  return names;
}

const SCALARS = [
  'log MACs',
  'log parameters',
  'log activations',
  'nodes',
  'edges',
  'depth',
  'weighted depth',
  'shortest',
  'mean width',
  'largest width',
  'last width',
  'input size',
  'last size',
  'mean kernel',
  'largest kernel',
  'mean groups',
  'share with bias',
  'log MACs per parameter',
  'log MACs per activation',
  'attention products',
];
const COUNTS = ['count', 'share of nodes', 'log MACs', 'share of MACs', 'log parameters', 'share of parameters'];
const STAGE_SCALARS = [
  'depth',
  'log MACs',
  'share of MACs',
  'log parameters',
  'mean width',
  'largest width',
  'log activations',
];
const OF_SETS = [
  'detour without',
  'reached without',
  'longest within',
  'longest through',
  'degree in',
  'degree out',
  'degree mean',
];

/** The values of those columns. Wants a graph compressed with extras; finite, whatever the graph. */
export function grafFeatures(cg: ComputationGraph): Float64Array {
  const parts = operatorsOf(cg);
  const found: number[] = [];
  found.push(...scalars(cg, parts));
  found.push(...counts(cg, parts));
  for (let stage = 0; stage < STAGES; stage++) found.push(...ofStage(cg, parts, stage));
  found.push(...ofSets(parts.graph));
  return Float64Array.from(found, (v) => (Number.isFinite(v) ? v : -1));
}

interface Operators {
  readonly graph: ClassGraph;
  /** Nodes of the computation graph behind the operators 1 .. n of `graph`. */
  readonly nodes: Int32Array;
  /** Stage of each operator. */
  readonly stages: Int8Array;
  readonly macs: Float64Array;
  readonly params: Float64Array;
}

function operatorsOf(cg: ComputationGraph): Operators {
  const input = VOCABULARY.indexOf('Input');
  const output = VOCABULARY.indexOf('Output');
  const inner = cg.order.filter((v) => cg.ops[v] !== input && cg.ops[v] !== output);
  const place = new Int32Array(cg.size).fill(-1);
  inner.forEach((v, i) => (place[v] = i + 1));
  const sink = inner.length + 1;
  const successors: number[][] = Array.from({ length: sink + 1 }, () => []);
  const entered = new Uint8Array(sink + 1);
  for (let e = 0; e < cg.sources.length; e++) {
    const from = place[cg.sources[e]!]!;
    const to = place[cg.targets[e]!]!;
    // edges from inputs leave the source, edges to outputs enter the sink
    const head = from < 0 ? 0 : from;
    const tail = to < 0 ? sink : to;
    if (head === 0 && tail === sink) continue;
    successors[head]!.push(tail);
    entered[tail] = 1;
  }
  for (let v = 1; v < sink; v++) {
    if (entered[v] === 0) successors[0]!.push(v);
    if (successors[v]!.length === 0) successors[v]!.push(sink);
  }
  const classes = new Int8Array(sink + 1).fill(-1);
  inner.forEach((v, i) => (classes[i + 1] = OPERATOR_CLASSES.indexOf(classOf(cg, v))));
  const none = new Float64Array(cg.size);
  const { macs, params } = cg.extras ?? { macs: none, params: none };
  return { graph: { classes, successors }, nodes: inner, stages: stagesOf(cg, inner), macs, params };
}

function classOf(cg: ComputationGraph, v: number): OperatorClass {
  const name = VOCABULARY[cg.ops[v]!]!;
  if (v < cg.weighted) {
    if (name === 'Depthwise') return 'depthwise';
    return name === 'Conv' && (cg.kernels[2 * v]! > 1 || cg.kernels[2 * v + 1]! > 1) ? 'conv' : 'pointwise';
  }
  return BY_NAME.get(name) ?? 'other';
}

const BY_NAME: ReadonlyMap<OperatorName, OperatorClass> = new Map<OperatorName, OperatorClass>([
  ['BatchNorm', 'norm'],
  ['Reserved1', 'norm'],
  ['ReLU', 'activation'],
  ['ReLU6', 'activation'],
  ['Sigmoid', 'activation'],
  ['Tanh', 'activation'],
  ['Swish', 'activation'],
  ['GeLU', 'activation'],
  ['Maxpool', 'pool'],
  ['Avgpool', 'pool'],
  ['Mean', 'pool'],
  ['Global', 'pool'],
  ['Reserved3', 'pool'],
  ['Reserved4', 'pool'],
  ['SpaceToDepthND', 'pool'],
  ['DepthToSpaceND', 'pool'],
  ['SpaceToBatchND', 'pool'],
  ['BatchToSpaceND', 'pool'],
  ['Identity', 'pool'],
  ['Add', 'merge'],
  ['Mul', 'merge'],
  ['Concat', 'merge'],
  ['Reserved5', 'merge'],
]);

/** How often the pixels were quartered since the largest resolution (tokens count as pixels). */
function stagesOf(cg: ComputationGraph, nodes: Int32Array): Int8Array {
  const pixels = (v: number): number => Math.max(1, cg.resolutions[6 * v + 1]! * cg.resolutions[6 * v + 3]!);
  let most = 1;
  for (const v of nodes) {
    most = Math.max(most, cg.resolutions[6 * v]! * cg.resolutions[6 * v + 2]!, pixels(v));
  }
  return Int8Array.from(nodes, (v) => Math.max(0, Math.min(STAGES - 1, Math.round(Math.log2(most / pixels(v)) / 2))));
}

function scalars(cg: ComputationGraph, { graph, nodes, params }: Operators): number[] {
  const weighted = [...nodes].filter((v) => v < cg.weighted);
  const width = (v: number): number => cg.resolutions[6 * v + 5]!;
  const widths = weighted.map(width);
  const kernels = weighted.map((v) => cg.kernels[2 * v]!);
  const activations = total(nodes, (v) => activationsOf(cg, v));
  const weights = total(nodes, (v) => params[v]!);
  const first = nodes[0] ?? 0;
  const last = weighted.reduce((a, v) => Math.max(a, v), 0);
  const attention = [...nodes].filter((v) => v >= cg.weighted && VOCABULARY[cg.ops[v]!] === 'MatMul').length;
  const everything = new Set<number>(weighted);
  return [
    log(cg.macs),
    log(weights),
    log(activations),
    nodes.length,
    cg.sources.length,
    maxOpsCrossing(graph, ALL_CLASSES),
    weightedDepth(graph, nodes, everything),
    minPathLength(graph, 0),
    mean(widths),
    Math.max(0, ...widths),
    weighted.length > 0 ? width(last) : 0,
    Math.max(cg.resolutions[6 * first]!, cg.resolutions[6 * first + 2]!),
    weighted.length > 0 ? cg.resolutions[6 * last + 1]! * cg.resolutions[6 * last + 3]! : 0,
    mean(kernels),
    Math.max(0, ...kernels),
    mean(weighted.map((v) => log(cg.extras?.groups[v] ?? 1))),
    mean(weighted.map((v) => cg.bias[v]!)),
    log(cg.macs) - log(weights),
    log(cg.macs) - log(activations),
    attention,
  ];
}

function counts(cg: ComputationGraph, { graph, nodes, macs, params }: Operators): number[] {
  const found: number[] = [];
  const allParams = total(nodes, (v) => params[v]!);
  for (let c = 0; c < CLASSES; c++) {
    const mine = nodes.filter((_, i) => graph.classes[i + 1] === c);
    const cost = total(mine, (v) => macs[v]!);
    const weights = total(mine, (v) => params[v]!);
    found.push(mine.length, share(mine.length, nodes.length));
    found.push(log(cost), share(cost, cg.macs), log(weights), share(weights, allParams));
  }
  return found;
}

function ofStage(cg: ComputationGraph, { graph, nodes, stages, macs, params }: Operators, stage: number): number[] {
  const mine = nodes.filter((_, i) => stages[i] === stage);
  const widths = [...mine].filter((v) => v < cg.weighted).map((v) => cg.resolutions[6 * v + 5]!);
  const cost = total(mine, (v) => macs[v]!);
  // outside the stage no operator has a class: it is crossed without being counted
  const classes = graph.classes.map((c, i) => (c >= 0 && stages[i - 1] === stage ? c : -1));
  const local: ClassGraph = { classes, successors: graph.successors };
  const found = [
    maxOpsCrossing(local, ALL_CLASSES),
    log(cost),
    share(cost, cg.macs),
    log(total(mine, (v) => params[v]!)),
    mean(widths),
    Math.max(0, ...widths),
    log(total(mine, (v) => activationsOf(cg, v))),
  ];
  for (let c = 0; c < CLASSES; c++) {
    const those = nodes.filter((_, i) => classes[i + 1] === c);
    found.push(
      those.length,
      share(
        total(those, (v) => macs[v]!),
        cg.macs,
      ),
    );
    if (those.length === 0) found.push(0, 0);
    else found.push(maxOpsCrossing(local, 1 << c), degrees(local, 1 << c).average);
  }
  return found;
}

/** Sets that differ only in classes which the graph has not are the same set: each is worked out once. */
function ofSets(graph: ClassGraph): number[] {
  let present = 0;
  for (const c of graph.classes) if (c >= 0) present |= 1 << c;
  const known = new Map<number, readonly number[]>();
  const shortest = minPathLength(graph, 0);
  const single = OPERATOR_CLASSES.map((_, c) => degrees(graph, 1 << c));
  const found: number[] = [];
  for (let set = 1; set <= ALL_CLASSES; set++) {
    const key = set & present;
    let values = known.get(key);
    if (values === undefined) {
      const around = minPathLength(graph, key);
      const mine = single.filter((_, c) => ((key >> c) & 1) === 1);
      values = [
        around < 0 ? -1 : around / Math.max(1, shortest),
        around < 0 ? 0 : 1,
        maxOpsOnPath(graph, key),
        maxOpsCrossing(graph, key),
        mine.reduce((s, d) => s + d.input, 0),
        mine.reduce((s, d) => s + d.output, 0),
        mine.reduce((s, d) => s + d.average, 0),
      ];
      known.set(key, values);
    }
    found.push(...values);
  }
  return found;
}

/** Most operators with weights on any path. */
function weightedDepth(graph: ClassGraph, nodes: Int32Array, weighted: ReadonlySet<number>): number {
  const classes = Int8Array.from(graph.classes, (_, i) =>
    i > 0 && i <= nodes.length && weighted.has(nodes[i - 1]!) ? 0 : -1,
  );
  return maxOpsCrossing({ classes, successors: graph.successors }, 1);
}

function activationsOf(cg: ComputationGraph, v: number): number {
  return cg.resolutions[6 * v + 1]! * cg.resolutions[6 * v + 3]! * cg.resolutions[6 * v + 5]!;
}

function setName(set: number): string {
  return OPERATOR_CLASSES.filter((_, c) => ((set >> c) & 1) === 1).join('+');
}

function total(nodes: Int32Array, of: (v: number) => number): number {
  let sum = 0;
  for (const v of nodes) sum += of(v);
  return sum;
}

function log(x: number): number {
  return Math.log(1 + Math.max(0, x));
}

function share(part: number, whole: number): number {
  return whole > 0 ? part / whole : 0;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, v) => sum + v, 0) / Math.max(1, values.length);
}
