// A computation graph as one vector of numbers, all logarithms, shares or small counts: work, size, depth, what the operators are, where
// they stand between the first and the last resolution, and paths through them (after GRAF, methods.md §3.3). Closed-form heads read it.
import { VOCABULARY } from './vocabulary.js';
import type { ComputationGraph, Extras } from './computation-graph.js';

/** Needs a graph compressed with `extras`. */
export type DetailedGraph = ComputationGraph & { readonly extras: Extras };

/** Kinds of nodes that paths and stages are counted by. */
const KINDS = ['pointwise', 'conv', 'large', 'depthwise', 'matrix', 'pool', 'activation', 'join'] as const;
type Kind = (typeof KINDS)[number];

/** Halvings of the resolution that are told apart: from the input's own to 1/64 and less. */
const STAGES = 7;

/** Names in the order of the vector; the first ones alone rank unknown spaces. */
export function graphFeatureNames(): readonly string[] {
  return [...features(EMPTY).keys()];
}

/** In the order of {@link graphFeatureNames}. O(nodes + edges). */
export function graphFeatures(graph: DetailedGraph): Float32Array {
  return Float32Array.from(features(graph).values());
}

function features(g: DetailedGraph): Map<string, number> {
  const found = new Map<string, number>();
  const { params } = g.extras;
  const log = (v: number): number => Math.log10(Math.max(0, v) + 1);
  const paths = pathsOf(g);
  const [height, width] = inputSize(g);
  const t = tallies(g, height * width);

  found.set('macs', log(g.macs)).set('params', log(params.reduce((a, b) => a + b, 0)));
  found.set('nodes', log(g.size)).set('weighted', log(g.weighted));
  const weights = (v: number): number => (v < g.weighted ? 1 : 0);
  found.set('depth', log(paths(Math.max, weights)));
  found.set('shortest', log(paths(Math.min, weights)));
  found.set('resolution', Math.log2(Math.max(1, Math.sqrt(height * width))));
  found.set('activations', log(activations(g)));
  const spatial = (v: number): number => (t.kinds[v] === 1 || t.kinds[v] === 2 || t.kinds[v] === 3 ? 1 : 0);
  found.set('spatial', log(t.count[1]! + t.count[2]! + t.count[3]!));
  found.set('spatial path', log(paths(Math.max, spatial)));
  found.set('edges', g.size === 0 ? 0 : g.sources.length / g.size);

  for (let s = 0; s < STAGES; s++) {
    found.set(`macs@${s}`, log(t.stageMacs[s]!)).set(`params@${s}`, log(t.stageParams[s]!));
    found
      .set(`weighted@${s}`, log(t.stageCount[s]!))
      .set(`width@${s}`, t.stageWidth[s]! / Math.max(1, t.stageCount[s]!));
  }
  KINDS.forEach((kind, k) => {
    const one = (v: number): number => (t.kinds[v] === k ? 1 : 0);
    found.set(`count/${kind}`, log(t.count[k]!));
    found.set(`longest/${kind}`, log(paths(Math.max, one)));
    found.set(`shortest/${kind}`, log(paths(Math.min, one)));
    found.set(`work/${kind}`, log(t.work[k]!)).set(`share/${kind}`, g.macs === 0 ? 0 : t.work[k]! / g.macs);
    // where along the way they stand: cells differ by it
    found.set(`stage/${kind}`, t.place[k]! / Math.max(1, t.count[k]!));
    if (kind === 'activation' || kind === 'join' || kind === 'matrix') return;
    for (let s = 0; s < 5; s++) found.set(`count/${kind}@${s}`, log(t.at[k * STAGES + s]!));
  });
  VOCABULARY.forEach((name, op) => found.set(`op/${name}`, log(t.ops[op]!)));
  found.set(
    'kernel',
    mean(g, (v) => Math.max(g.kernels[2 * v]!, g.kernels[2 * v + 1]!)),
  );
  found.set(
    'groups',
    mean(g, (v) => Math.log2(Math.max(1, g.extras.groups[v]!))),
  );
  found.set(
    'expansion',
    mean(g, (v) => Math.log2(ratio(g.resolutions[6 * v + 5]!, g.resolutions[6 * v + 4]!))),
  );
  found.set(
    'bias',
    mean(g, (v) => g.bias[v]!),
  );
  return found;
}

interface Tallies {
  /** Index of KINDS of each node; -1 for none. */
  readonly kinds: Int8Array;
  /** By kind: nodes, MACs, sum of stages. */
  readonly count: Float64Array;
  readonly work: Float64Array;
  readonly place: Float64Array;
  /** [kinds, stages] nodes. */
  readonly at: Float64Array;
  readonly ops: Float64Array;
  readonly stageMacs: Float64Array;
  readonly stageParams: Float64Array;
  /** Weighted nodes, and the sum of their log widths. */
  readonly stageCount: Float64Array;
  readonly stageWidth: Float64Array;
}

/** Everything that is counted, in one pass over the nodes. */
function tallies(g: DetailedGraph, area: number): Tallies {
  const { macs, params } = g.extras;
  const t = {
    kinds: new Int8Array(g.size),
    count: new Float64Array(KINDS.length),
    work: new Float64Array(KINDS.length),
    place: new Float64Array(KINDS.length),
    at: new Float64Array(KINDS.length * STAGES),
    ops: new Float64Array(VOCABULARY.length),
    stageMacs: new Float64Array(STAGES),
    stageParams: new Float64Array(STAGES),
    stageCount: new Float64Array(STAGES),
    stageWidth: new Float64Array(STAGES),
  };
  for (let v = 0; v < g.size; v++) {
    const kind = kindOf(g, v);
    const k = kind === undefined ? -1 : KINDS.indexOf(kind);
    const s = stageOf(g, v, area);
    t.kinds[v] = k;
    t.ops[g.ops[v]!]!++;
    t.stageMacs[s]! += macs[v]!;
    t.stageParams[s]! += params[v]!;
    if (v < g.weighted) {
      t.stageCount[s]!++;
      t.stageWidth[s]! += Math.log2(Math.max(1, g.resolutions[6 * v + 5]!));
    }
    if (k < 0) continue;
    t.count[k]!++;
    t.work[k]! += macs[v]!;
    t.place[k]! += s;
    t.at[k * STAGES + s]!++;
  }
  return t;
}

function kindOf(g: ComputationGraph, v: number): Kind | undefined {
  const name = VOCABULARY[g.ops[v]!]!;
  if (v < g.weighted) {
    if (name === 'MatMul') return 'matrix';
    if (name === 'Depthwise') return 'depthwise';
    const kernel = Math.max(g.kernels[2 * v]!, g.kernels[2 * v + 1]!);
    return kernel <= 1 ? 'pointwise' : kernel <= 3 ? 'conv' : 'large';
  }
  if (name === 'Maxpool' || name === 'Avgpool') return 'pool';
  if (name === 'Add' || name === 'Concat') return 'join';
  return /^(ReLU6?|Sigmoid|Tanh|Swish|GeLU)$/.test(name) ? 'activation' : undefined;
}

/** Halvings between the input's area and that of what the node gives. */
function stageOf(g: ComputationGraph, v: number, area: number): number {
  const own = g.resolutions[6 * v + 1]! * g.resolutions[6 * v + 3]!;
  return Math.min(STAGES - 1, Math.max(0, Math.round(0.5 * Math.log2(Math.max(1, area) / Math.max(1, own)))));
}

function inputSize(g: ComputationGraph): readonly [number, number] {
  let [height, width] = [1, 1];
  // the largest side of anything early: the input has it
  for (let v = 0; v < g.size; v++) {
    height = Math.max(height, g.resolutions[6 * v]!);
    width = Math.max(width, g.resolutions[6 * v + 2]!);
  }
  return [height, width];
}

function activations(g: ComputationGraph): number {
  let sum = 0;
  for (let v = 0; v < g.weighted; v++) {
    sum += g.resolutions[6 * v + 1]! * g.resolutions[6 * v + 3]! * g.resolutions[6 * v + 5]!;
  }
  return sum;
}

/** The largest or smallest sum of weights along a path from a first to a last node, for any weights. */
function pathsOf(
  g: ComputationGraph,
): (pick: (a: number, b: number) => number, weight: (v: number) => number) => number {
  const into = new Int32Array(g.size + 1);
  for (const t of g.targets) into[t + 1]!++;
  for (let v = 0; v < g.size; v++) into[v + 1]! += into[v]!;
  const last = new Uint8Array(g.size).fill(1);
  for (const s of g.sources) last[s] = 0;
  const sums = new Float64Array(g.size);
  return (pick, weight) => {
    let best = NaN;
    for (const v of g.order) {
      let before = NaN;
      // edges are sorted by target
      for (let e = into[v]!; e < into[v + 1]!; e++) {
        const s = sums[g.sources[e]!]!;
        before = Number.isNaN(before) ? s : pick(before, s);
      }
      const sum = (Number.isNaN(before) ? 0 : before) + weight(v);
      sums[v] = sum;
      if (last[v] === 1) best = Number.isNaN(best) ? sum : pick(best, sum);
    }
    return Number.isNaN(best) ? 0 : best;
  };
}

/** Over the weighted nodes. */
function mean(g: ComputationGraph, of: (v: number) => number): number {
  let sum = 0;
  for (let v = 0; v < g.weighted; v++) sum += of(v);
  return sum / Math.max(1, g.weighted);
}

function ratio(a: number, b: number): number {
  return a > 0 && b > 0 ? a / b : 1;
}

const EMPTY: DetailedGraph = {
  size: 0,
  weighted: 0,
  ops: new Uint8Array(0),
  resolutions: new Float32Array(0),
  kernels: new Uint8Array(0),
  bias: new Uint8Array(0),
  sources: new Int32Array(0),
  targets: new Int32Array(0),
  order: new Int32Array(0),
  macs: 0,
  clamped: 0,
  extras: {
    groups: new Float32Array(0),
    strides: new Float32Array(0),
    macs: new Float64Array(0),
    params: new Float64Array(0),
    positions: new Float32Array(0),
  },
};
