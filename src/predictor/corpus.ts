// The training corpus: rows of the tables as computation graphs, features and labels. Isomorphic twins count once; the head of each
// network is drawn among the tasks of its space, so that what is learnt of a body does not hang on one head.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { PareError } from '../errors.js';
import type { Rng } from '../rng.js';
import { compress } from './compress.js';
import { graphFeatures, type DetailedGraph } from './graph-features.js';
import type { Source } from './sources.js';
import { spaceOf } from './spaces/index.js';
import { numberIn, readTable, type Row, type Table } from './tables.js';

export interface CorpusRow {
  readonly space: string;
  /** Whose head the network has. */
  readonly task: string;
  readonly graph: DetailedGraph;
  readonly features: Float32Array;
  /** By the corpus' labels; NaN where there is none. */
  readonly labels: Float32Array;
}

export interface CorpusLabel {
  readonly space: string;
  readonly column: string;
}

export interface Corpus {
  readonly labels: readonly CorpusLabel[];
  readonly rows: readonly CorpusRow[];
}

export interface CorpusOptions {
  /** Folder of the tables. */
  readonly tables: string;
  readonly sources: readonly Source[];
  /** Rows of a space at most. */
  readonly perSpace: number;
  readonly rng: Rng;
  readonly signal?: AbortSignal;
}

/** One report a space. */
export async function* loadCorpus(
  options: CorpusOptions,
): AsyncGenerator<{ space: string; rows: number }, Corpus, void> {
  const { sources } = options;
  if (sources.length === 0) throw new PareError('nothing is left to train on: every space or label was excluded');
  const labels = sources.flatMap(({ space, labels: columns }) => columns.map((column) => ({ space, column })));
  const rows: CorpusRow[] = [];
  for (const source of sources) {
    const before = rows.length;
    for (const row of sourceRows(source, labels, options)) {
      options.signal?.throwIfAborted();
      rows.push(row);
    }
    yield await Promise.resolve({ space: source.space, rows: rows.length - before });
  }
  return { labels, rows };
}

function* sourceRows(source: Source, labels: readonly CorpusLabel[], options: CorpusOptions): Iterable<CorpusRow> {
  const table = readTable(tablePath(options.tables, source.table));
  const rng = options.rng.fork(source.space);
  const missing = source.labels.find((column) => !table.columns.includes(column));
  if (missing !== undefined) {
    throw new PareError(`the table ${source.table} has no column "${missing}", which the predictor learns from`);
  }
  for (const { row, task, graph } of drawnNetworks(table, source.space, options.perSpace, rng)) {
    yield {
      space: source.space,
      task,
      graph,
      features: graphFeatures(graph),
      labels: Float32Array.from(labels, (l) => (l.space === source.space ? (numberIn(row, l.column) ?? NaN) : NaN)),
    };
  }
}

export interface DrawnNetwork {
  readonly row: Row;
  /** Whose head the network has. */
  readonly task: string;
  readonly graph: DetailedGraph;
}

/** At most so many random rows of a table of encodings, as networks of a space, each with the head of a random task; isomorphic twins count once. */
export function* drawnNetworks(table: Table, spaceName: string, most: number, rng: Rng): Iterable<DrawnNetwork> {
  const space = spaceOf(spaceName);
  const twins = new Set<string>();
  for (const row of rng.fork('rows').shuffle(table.rows)) {
    if (twins.size >= most) return;
    const architecture = space.parse(row);
    if (twins.has(architecture.twins)) continue;
    twins.add(architecture.twins);
    const task = rng.fork(`task/${architecture.key}`).pick(space.tasks);
    yield { row, task, graph: detailed(compress(architecture.build({ task }), { extras: true })) };
  }
}

/** What was asked to be compressed with extras has them. */
export function detailed(graph: ReturnType<typeof compress>): DetailedGraph {
  const { extras } = graph;
  if (extras === undefined) throw new Error('the graph was compressed without extras');
  return { ...graph, extras };
}

function tablePath(folder: string, table: string): string {
  for (const ending of ['.csv.gz', '.csv']) {
    const path = join(folder, table + ending);
    if (existsSync(path)) return path;
  }
  throw new PareError(
    `there is no table ${table}.csv or ${table}.csv.gz in ${folder}: give the folder with --tables, or leave the space out with --exclude-space`,
  );
}
