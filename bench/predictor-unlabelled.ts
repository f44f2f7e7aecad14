// What graphs without labels are worth to the graph network (FGP, methods.md §2) on operator graphs of a space that it does not know: nothing,
// the graphs of the known spaces, and with them nb101-unlabelled, ../shared/graphs and random mutants of these. Then 78 labels of
// NAS-Bench-101, pairwise hinge, rank correlation on the other rows.
// usage: npm run bench -- predictor-unlabelled [rows of a source (150)] [passes without labels (6)] [passes over the labels (30)] [seeds (5)]
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomMutants } from '../search/random-mutants.js';
import { standardOps } from '../src/ops/index.js';
import { kendall } from '../src/predictor/correlation.js';
import { drawnNetworks, loadCorpus } from '../src/predictor/corpus.js';
import { score, spread } from '../src/predictor/evaluate.js';
import { drain, fitNetwork, pairwiseHinge } from '../src/predictor/fit-network.js';
import type { DetailedGraph } from '../src/predictor/graph-features.js';
import { freshWeights, REFERENCE, weightDims, type Weights } from '../src/predictor/network.js';
import { pretrainUnlabelled, type Unlabelled } from '../src/predictor/pretrain-unlabelled.js';
import { runNetwork } from '../src/predictor/run-network.js';
import { scoringModel } from '../src/predictor/scoring-network.js';
import { SOURCES } from '../src/predictor/sources.js';
import { numberIn, readTable } from '../src/predictor/tables.js';
import { graphsOfFolder, graphsOfTable } from '../src/predictor/unlabelled-graphs.js';
import { createRng, type Rng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { sharedPath } from '../test/shared-path.js';

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
  const sources = [
    graphsOfTable(join(tables, 'nb101-unlabelled.csv.gz'), 'nb101', most, rng.fork('nb101')),
    ...imagenetGraphs(most, rng.fork('graphs')),
  ];
  const all = [...known, ...sources.flatMap((s) => s.graphs)];
  const words = sources.map((s) => `${s.graphs.length} ${s.name}`).join(', ');
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
  for (const { name, kind, graphs: unlabelled } of starts) {
    const found: { readonly tau: number; readonly best: number }[] = [];
    for (let seed = 0; seed < seeds; seed++) {
      const own = rng.fork(`seed/${seed}`);
      const weights = freshWeights(weightDims(REFERENCE), own.fork('weights'));
      const common = { size: REFERENCE, batch: 32, runtime };
      const pretrained = await drain(
        pretrainUnlabelled({ ...common, kind, weights, graphs: unlabelled, epochs: passes, rng: own.fork(kind) }),
      );
      found.push(await judged(pretrained, own));
    }
    const [t, p] = [spread(found.map((f) => f.tau)), spread(found.map((f) => f.best))];
    console.log(
      `| ${name} | ${t.mean.toFixed(3)} ± ${t.std.toFixed(3)} | ${p.mean.toFixed(3)} ± ${p.std.toFixed(3)} |`,
    );
  }

  async function judged(weights: Weights, own: Rng): Promise<{ readonly tau: number; readonly best: number }> {
    const train = own.fork('split').sample(graphs.length, LABELLED);
    const fitted = await drain(
      fitNetwork({
        size: REFERENCE,
        weights,
        trained: () => true,
        objective: pairwiseHinge(
          (v) => v.base,
          (s) => labels[train[s]!]!,
          0.5,
        ),
        samples: train.length,
        graph: (s) => graphs[train[s]!]!,
        epochs,
        batch: 16,
        rate: 1e-3,
        optimizer: { kind: 'adamw', decay: 1e-6 },
        clip: 1,
        rng: own.fork('fit'),
        runtime,
      }),
    );
    const session = await runtime.load(scoringModel(REFERENCE, fitted));
    const said = (await runNetwork(session, graphs, ['base'])).map(([v]) => v![0]!);
    await session.release();
    const seen = new Set(train);
    const rest = graphs.flatMap((_, i) => (seen.has(i) ? [] : [i]));
    const [told, truth] = [rest.map((i) => said[i]!), rest.map((i) => labels[i]!)];
    return { tau: kendall(told, truth), best: score(told, truth).precision1 };
  }
}

/** Some of ../shared/graphs, and one random mutant of each. */
function imagenetGraphs(most: number, rng: Rng): ReturnType<typeof graphsOfFolder> {
  const scratch = mkdtempSync(join(tmpdir(), 'pare-graphs-'));
  const folder = join(scratch, 'graphs');
  try {
    mkdirSync(folder);
    execFileSync('tar', ['-xJf', sharedPath('graphs', 'graphs.tar.xz'), '-C', folder]);
    return graphsOfFolder(folder, most, rng, (base, own) =>
      randomMutants(base, { table: standardOps, count: 1, rng: own }),
    );
  } finally {
    rmSync(scratch, { recursive: true });
  }
}
