// The method 'gcn' of the harness, and how networks become graphs with features: cells with operators on nodes, or computation graphs.
import type { ComputationGraph } from './computation-graph.js';
import type { Candidate, Method } from './evaluate.js';
import { fitGcn, type FeatureGraph } from './gcn.js';
import type { CellCode } from './spaces/space.js';
import { VOCABULARY } from './vocabulary.js';

/** From state to state, in the order of a cell's operators. */
const EDGES = [
  [0, 1],
  [0, 2],
  [0, 3],
  [1, 2],
  [1, 3],
  [2, 3],
] as const;

/** Six operators, between the cell's input and its output; an operator is joined to those that read what it writes. */
export function cellGraph({ ops, kinds }: CellCode): FeatureGraph {
  const width = kinds + 2;
  const features = new Float64Array(8 * width);
  ops.forEach((op, e) => (features[e * width + op] = 1));
  features[6 * width + kinds] = 1;
  features[7 * width + kinds + 1] = 1;
  const edges: [number, number][] = [];
  EDGES.forEach(([from, to], e) => {
    if (from === 0) edges.push([6, e]);
    if (to === 3) edges.push([e, 7]);
    EDGES.forEach(([next], other) => {
      if (next === to) edges.push([e, other]);
    });
  });
  return { size: 8, features, edges };
}

/** Operator, kernel, resolutions and channels of every node. */
export function networkGraph(cg: ComputationGraph): FeatureGraph {
  const width = VOCABULARY.length + 5;
  const features = new Float64Array(cg.size * width);
  for (let v = 0; v < cg.size; v++) {
    const at = v * width;
    features[at + cg.ops[v]!] = 1;
    const more = at + VOCABULARY.length;
    if (v < cg.weighted) features[more] = cg.kernels[2 * v]! / 3;
    for (const [k, column] of [1, 4, 5].entries()) {
      features[more + 1 + k] = Math.log2(1 + cg.resolutions[6 * v + column]!) / 8;
    }
    features[more + 4] = Math.log10(1 + (cg.extras?.macs[v] ?? 0)) / 8;
  }
  const edges = Array.from(cg.sources, (from, e) => [from, cg.targets[e]!] as const);
  return { size: cg.size, features, edges };
}

export function gcnMethod(): Method {
  const graphs = new WeakMap<Candidate, FeatureGraph>();
  const graphOf = (c: Candidate): FeatureGraph => {
    let found = graphs.get(c);
    if (found === undefined) {
      found = c.cell === undefined ? networkGraph(c.graph()) : cellGraph(c.cell);
      graphs.set(c, found);
    }
    return found;
  };
  return {
    name: 'gcn',
    fewest: 4,
    fit: async (train, task, rng) => {
      const cells = task.candidates[0]?.cell !== undefined;
      const labels = train.map((t) => t.label);
      const gcn = fitGcn(
        train.map((t) => graphOf(t.candidate)),
        labels,
        { rng, width: cells ? 64 : 32, epochs: Math.max(20, Math.min(200, Math.round(20_000 / train.length))) },
      );
      const center = labels.reduce((s, y) => s + y, 0) / labels.length;
      const deviation = Math.sqrt(labels.reduce((s, y) => s + (y - center) ** 2, 0) / labels.length);
      return {
        predict: async (candidates) => candidates.map((c) => ({ mean: gcn.predict(graphOf(c)), deviation })),
      };
    },
  };
}
