// The architecture spaces against their tables, all rows: parameters and FLOPs (each table's own counter), the largest deviation,
// and how many graphs and computation graphs are built a second. `npm run bench -- spaces [NAME | graphs | all] [every Nth row]`.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readModel } from '../src/onnx/read.js';
import { compress } from '../src/predictor/compress.js';
import { spaceOf } from '../src/predictor/spaces/index.js';
import type { BuildOptions } from '../src/predictor/spaces/space.js';
import { numberIn, readTable, type Row } from '../src/predictor/tables.js';
import {
  accelFlops,
  countsOf,
  mrFlops,
  nb101Flops,
  nb201Flops,
  transnasFlops,
  type Counts,
} from '../test/predictor/spaces/counters.js';
import { VOCABULARY } from '../src/predictor/vocabulary.js';
import { unpackShared } from '../test/conformance.js';
import { sharedPath } from '../test/shared-path.js';

interface Comparison {
  readonly space: string;
  readonly file: string;
  /** Column, its unit and the digits behind the point that the table gives. */
  readonly params: readonly [column: string, unit: number, digits: number];
  readonly flops: readonly [column: string, unit: number, digits: number];
  readonly options: (row: Row) => BuildOptions;
  readonly counted: (counts: Counts, row: Row) => number;
}

/** NASLib's networks have the heads of all Taskonomy classes; the benchmark trained 75 and 47 of them. */
const ALL_CLASSES: Readonly<Record<string, number>> = { class_object: 100, class_scene: 63 };

function transnas(kind: 'micro' | 'macro'): Comparison {
  return {
    space: `transnas101-${kind}`,
    file: `transnas101-${kind}-sample-proxies.csv.gz`,
    params: ['params_m_model', 1e6, 6],
    flops: ['flops_m_model', 1e6, 6],
    options: (row) => {
      const task = row.get('task') ?? '';
      const classes = ALL_CLASSES[task];
      return classes === undefined ? { task } : { task, classes };
    },
    counted: (c, row) => transnasFlops(c, row.get('task') ?? ''),
  };
}

const COMPARISONS: readonly Comparison[] = [
  {
    space: 'nb201',
    file: 'nb201.csv.gz',
    params: ['params_m', 1e6, 3],
    flops: ['flops_m', 1e6, 2],
    options: () => ({ task: 'cifar100' }),
    counted: nb201Flops,
  },
  transnas('micro'),
  transnas('macro'),
  {
    space: 'nas-bench-mr',
    file: 'nas-bench-mr.csv',
    params: ['params_m', 1e6, 6],
    flops: ['flops_g', 1e9, 9],
    options: () => ({ task: 'cls-50-1000' }),
    counted: mrFlops,
  },
  {
    space: 'accel-nasbench',
    file: 'accel-nasbench.csv',
    params: ['params_m', 1e6, 6],
    flops: ['macs_m', 1e6, 6],
    options: () => ({}),
    counted: accelFlops,
  },
  {
    space: 'nas-bench-macro',
    file: 'nas-bench-macro.csv',
    params: ['params', 1, 0],
    flops: ['flops', 1, 0],
    options: () => ({}),
    counted: (c) => c.macs,
  },
  {
    space: 'nb101',
    file: 'nb101-500.csv',
    params: ['params', 1e6, 6],
    flops: ['flops', 1e6, 6],
    options: () => ({}),
    counted: nb101Flops,
  },
];

export async function run(args: string[]): Promise<void> {
  const [name, step = '1'] = args;
  const wanted = COMPARISONS.filter(
    (c) => name === undefined || name === 'all' || (name !== 'graphs' && c.space === spaceOf(name).name),
  );
  for (const comparison of wanted) compareAll(comparison, Number(step));
  if (name === undefined || name === 'all' || name === 'graphs') compressAll();
  await Promise.resolve();
}

function compareAll(comparison: Comparison, step: number): void {
  const space = spaceOf(comparison.space);
  const rows = readTable(sharedPath('tables', comparison.file)).rows.filter((_, i) => i % step === 0);
  const params = tally(comparison.params);
  const flops = tally(comparison.flops);
  // the twins' figures: what a table that was joined by isomorphism class may hold instead of a row's own
  const byTwins = new Map<string, Set<string>>();
  const misses: { readonly twins: string; readonly wanted: string }[] = [];
  for (const row of rows) {
    const architecture = space.parse(row);
    const counts = countsOf(architecture.build(comparison.options(row)));
    const same = params.add(row, counts.params);
    const own = comparison.counted(counts, row);
    const [column, unit, digits] = comparison.flops;
    const wanted = numberIn(row, column)?.toFixed(digits) ?? '';
    const known = byTwins.get(architecture.twins) ?? new Set<string>();
    byTwins.set(architecture.twins, known.add((own / unit).toFixed(digits)));
    if (!flops.add(row, own) || !same) misses.push({ twins: architecture.twins, wanted });
  }
  console.log(`${space.name}: ${rows.length} rows of ${comparison.file}`);
  console.log(`  ${params.say()}`);
  console.log(`  ${flops.say()}`);
  if (misses.length > 0) {
    const twins = misses.filter((m) => byTwins.get(m.twins)?.has(m.wanted)).length;
    console.log(`  of ${misses.length} rows that differ, ${twins} carry the figure of an isomorphic twin`);
  }
  const sample = rows.filter((_, i) => i % Math.max(1, Math.floor(rows.length / 300)) === 0);
  // once to warm up
  for (const row of sample) compress(space.parse(row).build(comparison.options(row)));
  const start = process.cpuUsage();
  const models = sample.map((row) => space.parse(row).build(comparison.options(row)));
  const building = seconds(process.cpuUsage(start));
  for (const model of models) compress(model);
  const all = seconds(process.cpuUsage(start));
  const rate = (s: number): string => (sample.length / s).toFixed(0);
  console.log(`  ${rate(building)} networks a second of processor time, ${rate(all)} with their computation graphs`);
}

/** Every graph of ../shared/graphs, none of which has weights. */
function compressAll(): void {
  const folder = unpackShared('graphs', 'graphs.tar.xz');
  const files = readdirSync(folder).filter((file) => file.endsWith('.onnx'));
  const classes = new Map<string, number>();
  let nodes = 0;
  let clamped = 0;
  const start = process.cpuUsage();
  for (const file of files) {
    const graph = compress(readModel(join(folder, file)));
    nodes += graph.size;
    if (graph.clamped > 0) clamped++;
    for (const op of graph.ops) classes.set(VOCABULARY[op]!, (classes.get(VOCABULARY[op]!) ?? 0) + 1);
  }
  const rate = files.length / seconds(process.cpuUsage(start));
  console.log(`graphs: ${files.length} files, ${nodes} nodes, ${clamped} graphs with kernels beyond 7`);
  console.log(`  ${rate.toFixed(0)} read and compressed a second of processor time`);
  const list = [...classes].toSorted((a, b) => b[1] - a[1]).map(([name, n]) => `${name} ${n}`);
  console.log(`  ${list.join(', ')}`);
}

function seconds({ user, system }: NodeJS.CpuUsage): number {
  return (user + system) / 1e6;
}

interface Tally {
  add(row: Row, own: number): boolean;
  say(): string;
}

/** Counts rows whose figure, rounded as the table rounds, is the table's. */
function tally([column, unit, digits]: readonly [string, number, number]): Tally {
  let equal = 0;
  let all = 0;
  let worst = 0;
  return {
    add(row, own) {
      const theirs = numberIn(row, column);
      if (theirs === undefined) return true;
      all++;
      const same = (own / unit).toFixed(digits) === theirs.toFixed(digits);
      if (same) equal++;
      worst = Math.max(worst, Math.abs(own / unit / theirs - 1));
      return same;
    },
    say: () => `${column}: ${equal} of ${all} equal to the last digit; largest deviation ${(100 * worst).toFixed(4)} %`,
  };
}
