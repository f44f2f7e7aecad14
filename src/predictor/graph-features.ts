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
  const kinds = Array.from(g.ops, (_, v) => kindOf(g, v));
  const { macs, params } = g.extras;
  const total = (values: Float64Array): number => values.reduce((a, b) => a + b, 0);
  const allParams = total(params);
  const log = (v: number): number => Math.log10(Math.max(0, v) + 1);
  const count = (test: (v: number) => boolean): number => kinds.reduce((n, _, v) => n + (test(v) ? 1 : 0), 0);

  found.set('macs', log(g.macs)).set('params', log(allParams));
  found.set('nodes', log(g.size)).set('weighted', log(g.weighted));
  const weights = (v: number): number => (v < g.weighted ? 1 : 0);
  found.set('depth', log(extreme(g, Math.max, weights)));
  found.set('shortest', log(extreme(g, Math.min, weights)));
  const [height, width] = inputSize(g);
  found.set('resolution', Math.log2(Math.max(1, Math.sqrt(height * width))));
  found.set('activations', log(activations(g)));
  const spatial = (v: number): number =>
    kinds[v] === 'conv' || kinds[v] === 'large' || kinds[v] === 'depthwise' ? 1 : 0;
  found.set('spatial', log(count((v) => spatial(v) === 1)));
  found.set('spatial path', log(extreme(g, Math.max, spatial)));
  found.set('edges', g.size === 0 ? 0 : g.sources.length / g.size);

  const stages = Array.from({ length: g.size }, (_, v) => stageOf(g, v, height * width));
  const stageMacs = new Float64Array(STAGES);
  const stageParams = new Float64Array(STAGES);
  const stageWidth = new Float64Array(STAGES);
  const stageCount = new Float64Array(STAGES);
  for (let v = 0; v < g.size; v++) {
    const s = stages[v]!;
    stageMacs[s]! += macs[v]!;
    stageParams[s]! += params[v]!;
    if (v >= g.weighted) continue;
    stageCount[s]!++;
    stageWidth[s]! += Math.log2(Math.max(1, g.resolutions[6 * v + 5]!));
  }
  for (let s = 0; s < STAGES; s++) {
    found.set(`macs@${s}`, log(stageMacs[s]!)).set(`params@${s}`, log(stageParams[s]!));
    found.set(`weighted@${s}`, log(stageCount[s]!)).set(`width@${s}`, stageWidth[s]! / Math.max(1, stageCount[s]!));
  }

  for (const kind of KINDS) {
    const own = (v: number): boolean => kinds[v] === kind;
    const one = (v: number): number => (own(v) ? 1 : 0);
    found.set(`count/${kind}`, log(count(own)));
    found.set(`longest/${kind}`, log(extreme(g, Math.max, one)));
    found.set(`shortest/${kind}`, log(extreme(g, Math.min, one)));
    let work = 0;
    for (let v = 0; v < g.size; v++) if (own(v)) work += macs[v]!;
    found.set(`work/${kind}`, log(work)).set(`share/${kind}`, g.macs === 0 ? 0 : work / g.macs);
    // where along the way they stand: cells differ by it
    let place = 0;
    for (let v = 0; v < g.size; v++) if (own(v)) place += stages[v]!;
    found.set(`stage/${kind}`, place / Math.max(1, count(own)));
    if (kind === 'activation' || kind === 'join' || kind === 'matrix') continue;
    for (let s = 0; s < 5; s++) found.set(`count/${kind}@${s}`, log(count((v) => own(v) && stages[v] === s)));
  }
  VOCABULARY.forEach((name, op) => found.set(`op/${name}`, log(count((v) => g.ops[v] === op))));
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

/** The largest or smallest sum of weights along a path from a first to a last node. */
function extreme(g: ComputationGraph, pick: (a: number, b: number) => number, weight: (v: number) => number): number {
  const sums = new Float64Array(g.size).fill(NaN);
  const into = new Int32Array(g.size + 1);
  for (const t of g.targets) into[t + 1]!++;
  for (let v = 0; v < g.size; v++) into[v + 1]! += into[v]!;
  const last = new Uint8Array(g.size).fill(1);
  for (const s of g.sources) last[s] = 0;
  let best = NaN;
  for (const v of g.order) {
    let before = NaN;
    // edges are sorted by target
    for (let e = into[v]!; e < into[v + 1]!; e++) {
      const s = sums[g.sources[e]!]!;
      before = Number.isNaN(before) ? s : pick(before, s);
    }
    sums[v] = (Number.isNaN(before) ? 0 : before) + weight(v);
    if (last[v] === 1) best = Number.isNaN(best) ? sums[v] : pick(best, sums[v]);
  }
  return Number.isNaN(best) ? 0 : best;
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
