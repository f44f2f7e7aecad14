// Label-free pretraining of the graph network against none (FGP, methods.md §2.5 and §10): NAS-Bench-201 cells as graphs of eight nodes,
// 78 labels, pairwise hinge, rank correlation on all the rest. `npm run bench -- predictor-pretraining [TABLES] [--seeds 5] [--epochs 40]`.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { drain } from '../src/drain.js';
import type { ComputationGraph } from '../src/predictor/computation-graph.js';
import { spread } from '../src/predictor/evaluate.js';
import { drawFlow, flowSurrogate, operatorVectors, standardizedSurrogates } from '../src/predictor/fgp.js';
import { freshWeights, weightDims, type Weights } from '../src/predictor/network.js';
import { fitHead } from '../src/predictor/pretrain-unlabelled.js';
import { nb201 } from '../src/predictor/spaces/nb201.js';
import { numberIn, readTable } from '../src/predictor/tables.js';
import { classIndex } from '../src/predictor/vocabulary.js';
import { createRng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { judgedOnFew, type Judged } from './support/few-labels.js';

const SIZE = { width: 64, layers: 3 };
const LABELLED = 78;
/** Sources and targets of a cell's six edges. */
const FROM = [0, 0, 0, 1, 1, 2];
const TO = [1, 2, 3, 2, 3, 3];
const OPS = ['Identity', 'Zero', 'Conv', 'Conv', 'Avgpool'] as const;

export async function run(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      seeds: { type: 'string', default: '5' },
      epochs: { type: 'string', default: '40' },
      label: { type: 'string', default: 'cifar10_test200_pct' },
    },
  });
  const [tables = '../shared/tables'] = positionals;
  const rows = readTable(join(tables, 'nb201.csv.gz')).rows.filter((r) => r.get('graf_valid_net') === '1');
  const cells = rows.map((r) => nb201.parse(r).cell!.ops);
  const labels = rows.map((r) => numberIn(r, values.label)!);
  const graphs = cells.map((c) => cellGraph(c));
  const runtime = ortRuntime();
  const rng = createRng('pretraining');
  const flow = drawFlow({ k: 7, features: 7, sigma: 0.1 }, rng.fork('flow'));
  const raw = cells.map((c) => surrogateOf(c, flow));
  const targets = {
    'flow, standardised': standardizedSurrogates(raw),
    'flow, as in the paper': raw,
    statistics: standardizedSurrogates(
      rows.map((r) => Float64Array.of(Math.log(numberIn(r, 'flops_m')!), Math.log(numberIn(r, 'params_m')!))),
    ),
  };
  const scratch = (seed: number): Weights => freshWeights(weightDims(SIZE), rng.fork(`weights/${seed}`));
  console.log(`${cells.length} cells, ${LABELLED} labels of ${values.label}, ${values.seeds} seeds`);
  const variants: [string, (seed: number) => Promise<Weights>][] = [
    ['from scratch', (seed) => Promise.resolve(scratch(seed))],
    ...Object.entries(targets).map(([name, wanted]): [string, (seed: number) => Promise<Weights>] => [
      name,
      (seed) =>
        drain(
          fitHead(
            {
              size: SIZE,
              weights: scratch(seed),
              graphs,
              epochs: Number(values.epochs),
              batch: 256,
              rate: 1e-3,
              rng: rng.fork(`pretrain/${seed}`),
              runtime,
            },
            wanted,
          ),
        ),
    ]),
  ];
  const few = { size: SIZE, graphs, labels, labelled: LABELLED, epochs: 150, runtime };
  for (const [name, start] of variants) {
    const found: Judged[] = [];
    for (let seed = 0; seed < Number(values.seeds); seed++) {
      found.push(await judgedOnFew(await start(seed), few, rng.fork(`seed/${seed}`)));
    }
    const [t, p] = [spread(found.map((f) => f.tau)), spread(found.map((f) => f.precision1))];
    console.log(
      `${name}: Kendall ${t.mean.toFixed(3)} ± ${t.std.toFixed(3)}, Precision@1 % ${p.mean.toFixed(3)} ± ${p.std.toFixed(3)}`,
    );
  }
}

/** Input, six operators, output; both directions of every edge, as the paper gives graphs to such encoders. */
function cellGraph(ops: readonly number[]): ComputationGraph {
  const weighted = (op: number): boolean => OPS[op] === 'Conv';
  const order = [...ops.keys()].sort((a, b) => Number(weighted(ops[b]!)) - Number(weighted(ops[a]!)) || a - b);
  const place = new Map(order.map((edge, i) => [edge, i]));
  const heavy = ops.filter((op) => weighted(op)).length;
  const [input, output] = [6, 7];
  const edges: [number, number][] = [];
  for (let e = 0; e < 6; e++) {
    if (FROM[e] === 0) edges.push([input, place.get(e)!]);
    if (TO[e] === 3) edges.push([place.get(e)!, output]);
    for (let f = 0; f < 6; f++) if (TO[e] === FROM[f]) edges.push([place.get(e)!, place.get(f)!]);
  }
  const both = [...edges, ...edges.map(([a, b]): [number, number] => [b, a])];
  return {
    size: 8,
    weighted: heavy,
    ops: Uint8Array.from([...order.map((e) => classIndex(OPS[ops[e]!]!)), classIndex('Input'), classIndex('Output')]),
    resolutions: new Float32Array(48),
    kernels: Uint8Array.from(order.slice(0, heavy).flatMap((e) => (ops[e] === 2 ? [3, 3] : [1, 1]))),
    bias: new Uint8Array(heavy),
    sources: Int32Array.from(both, ([a]) => a),
    targets: Int32Array.from(both, ([, b]) => b),
    order: Int32Array.from({ length: 8 }, (_, i) => i),
    macs: 0,
    clamped: 0,
  };
}

/** The paper's surrogate of a cell: source, six operators, sink; one-hot operators, sums. */
function surrogateOf(ops: readonly number[], constants: ReturnType<typeof drawFlow>): Float64Array {
  const features = new Float64Array(8 * 7);
  features[5] = 1;
  features[7 * 7 + 6] = 1;
  ops.forEach((op, e) => (features[(1 + e) * 7 + op] = 1));
  const edges: [number, number][] = [];
  for (let e = 0; e < 6; e++) {
    if (FROM[e] === 0) edges.push([0, 1 + e]);
    if (TO[e] === 3) edges.push([1 + e, 7]);
    for (let f = 0; f < 6; f++) if (TO[e] === FROM[f]) edges.push([1 + e, 1 + f]);
  }
  const graph = {
    size: 8,
    sources: Int32Array.from(edges, ([a]) => a),
    targets: Int32Array.from(edges, ([, b]) => b),
    // edges in the order of their sources are in topological order
    order: Int32Array.from([0, 1, 2, 3, 4, 5, 6, 7]),
  };
  return flowSurrogate(graph, operatorVectors(constants, features, 8), constants);
}
