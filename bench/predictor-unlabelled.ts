// What graphs without labels are worth to the graph network (FGP, methods.md §2) on operator graphs of a space that it does not know: nothing,
// the graphs of the known spaces, and with them nb101-unlabelled, ../shared/graphs and random mutants of these. Then 78 labels of
// NAS-Bench-101, pairwise hinge, rank correlation on the other rows.
// usage: npm run bench -- predictor-unlabelled [rows of a source (150)] [passes without labels (6)] [passes over the labels (30)] [seeds (5)]
import { join } from 'node:path';
import { randomMutants } from '../search/random-mutants.js';
import { drain } from '../src/drain.js';
import { standardOps } from '../src/ops/index.js';
import { drawnNetworks, loadCorpus } from '../src/predictor/corpus.js';
import { spread } from '../src/predictor/evaluate.js';
import type { DetailedGraph } from '../src/predictor/graph-features.js';
import { freshWeights, REFERENCE, weightDims } from '../src/predictor/network.js';
import { pretrainUnlabelled, type Unlabelled } from '../src/predictor/pretrain-unlabelled.js';
import { SOURCES } from '../src/predictor/sources.js';
import { numberIn, readTable } from '../src/predictor/tables.js';
import { graphsOfFolder, graphsOfTable, type Mutator } from '../src/predictor/unlabelled-graphs.js';
import { createRng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { sharedPath } from '../test/shared-path.js';
import { unpackShared } from '../test/conformance.js';
import { judgedOnFew, type Judged } from './support/few-labels.js';

const LABELLED = 78;

interface Start {
  readonly name: string;
  readonly kind: Unlabelled;
  readonly graphs: readonly DetailedGraph[];
}

export async function run(args: string[]): Promise<void> {
  const [most = 150, passes = 6, epochs = 30, seeds = 5] = args.map(Number);
  const rng = createRng('unlabelled');
  const runtime = ortRuntime();
  const tables = sharedPath('tables');
  const corpus = await drain(loadCorpus({ tables, sources: SOURCES, perSpace: most, rng: rng.fork('corpus') }));
  const known = corpus.rows.map((r) => r.graph);
  const mutate: Mutator = (base, own) => randomMutants(base, { table: standardOps, count: 1, rng: own });
  const sources = [
    graphsOfTable(join(tables, 'nb101-unlabelled.csv.gz'), 'nb101', most, rng.fork('nb101')),
    ...graphsOfFolder(unpackShared('graphs', 'graphs.tar.xz'), most, rng.fork('graphs'), mutate),
  ];
  const all = [...known, ...sources.flatMap((s) => s.graphs)];
  const [cells, networks, mutants] = sources.map((s) => s.graphs.length);
  const words = `${cells} of nb101-unlabelled, ${networks} of ../shared/graphs, ${mutants} mutants of these`;
  const starts: readonly Start[] = [
    { name: 'from scratch', kind: 'none', graphs: [] },
    { name: `flow, ${known.length} graphs of the known spaces`, kind: 'fgp', graphs: known },
    { name: `flow, these and ${words}`, kind: 'fgp', graphs: all },
    { name: 'statistics of all of these', kind: 'statistics', graphs: all },
  ];

  const rows = [
    ...drawnNetworks(readTable(join(tables, 'nb101-500.csv')), 'nb101', Number.POSITIVE_INFINITY, rng.fork('rows')),
  ];
  const graphs = rows.map((r) => r.graph);
  const labels = rows.map((r) => numberIn(r.row, 'cifar10_val108_pct')!);
  console.log(
    `NAS-Bench-101, ${rows.length} different cells as operator graphs, ${LABELLED} labels, ${epochs} passes, width ${REFERENCE.width}, ${REFERENCE.layers} layers, ${seeds} seeds, mean ± deviation`,
  );
  console.log(`| start (${passes} passes) | Kendall | Precision@1 % |\n|---|---|---|`);
  const few = { size: REFERENCE, graphs, labels, labelled: LABELLED, epochs, runtime };
  for (const { name, kind, graphs: unlabelled } of starts) {
    const found: Judged[] = [];
    for (let seed = 0; seed < seeds; seed++) {
      const own = rng.fork(`seed/${seed}`);
      const weights = freshWeights(weightDims(REFERENCE), own.fork('weights'));
      const common = { size: REFERENCE, batch: 32, runtime };
      const pretrained = await drain(
        pretrainUnlabelled({ ...common, kind, weights, graphs: unlabelled, epochs: passes, rng: own.fork(kind) }),
      );
      found.push(await judgedOnFew(pretrained, few, own));
    }
    const [t, p] = [spread(found.map((f) => f.tau)), spread(found.map((f) => f.precision1))];
    console.log(
      `| ${name} | ${t.mean.toFixed(3)} ± ${t.std.toFixed(3)} | ${p.mean.toFixed(3)} ± ${p.std.toFixed(3)} |`,
    );
  }
}
