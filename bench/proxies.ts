// Zero-cost proxies on NAS-Bench-201 cells of the public table: fresh networks from our own space, one CIFAR-10 batch of 64, tau
// against the measured accuracy beside the published one (methods.md §4), and against the table's own values.
//   npm run bench -- proxies [number of cells, 200] [names, comma-separated] [FILE that keeps values, to go on from]

import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { openDataset } from '../src/data/dataset.js';
import { standardOps } from '../src/ops/index.js';
import { kendall, spearman } from '../src/predictor/correlation.js';
import { proxies, proxyNames } from '../src/predictor/proxies/index.js';
import { nb201 } from '../src/predictor/spaces/nb201.js';
import { numberIn, readTable } from '../src/predictor/tables.js';
import { createRng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { modelInputs } from '../src/runtime/source.js';
import { aggregateRanks } from '../src/predictor/rank-aggregation.js';
import { sharedPath } from '../test/shared-path.js';
import { cifarTask } from './support/cifar.js';

/** Tau on all 9,445 cells, and the four that the issue asks for. */
const PUBLISHED: Readonly<Record<string, number>> = {
  jacov: 0.6316,
  nwot: 0.6025,
  epe_nas: 0.5895,
  params: 0.5678,
  synflow: 0.5361,
  l2_norm: 0.5271,
  flops: 0.5188,
  snip: 0.3997,
  grad_norm: 0.3991,
  fisher: 0.3599,
  grasp: 0.3401,
  zen: 0.0961,
  plain: -0.2442,
};
const ASKED = ['jacov', 'snip', 'synflow', 'grasp'];
// the one that the published figures are of
const LABEL = 'naslib_cifar10valid_val200';

export async function run(args: string[]): Promise<void> {
  const count = Number(args[0] ?? 200);
  const names = args[1]?.split(',') ?? proxyNames;
  const file = args[2];
  const accuracy = new Map(
    readTable(sharedPath('tables', 'nb201.csv.gz')).rows.map((row) => [
      row.get('op_indices') ?? '',
      numberIn(row, LABEL) ?? NaN,
    ]),
  );
  const { rows } = readTable(sharedPath('tables', 'nb201-proxies-cifar10.csv.gz'));
  const known = rows.map((row) => ({ row, score: accuracy.get(row.get('op_indices') ?? '') ?? NaN }));
  const whole = (name: string): number =>
    kendall(
      known.map((k) => numberIn(k.row, name) ?? NaN),
      known.map((k) => k.score),
    );
  const rng = createRng('bench/proxies');
  const chosen = rng.sample(known.length, count).map((i) => known[i]!);

  const runtime = ortRuntime();
  const first = nb201.parse(chosen[0]!.row).build();
  const data = openDataset(cifarTask('mobilenetv2').data, modelInputs(first));
  const batch = data.batch(rng.fork('batch').sample(data.size, 64));
  const found = kept(file).slice(0, count);
  const before = found.length;
  const started = performance.now();
  for (const [i, { row }] of chosen.entries()) {
    if (i < before) continue;
    const model = nb201.parse(row).build({ weights: rng.fork('unused') });
    const own = { table: standardOps, runtime, rng: rng.fork(`cell/${i}`), names };
    const values = await proxies(model, batch, { ...own, explain: (name, why) => console.log(`${name}: ${why}`) });
    found.push(values);
    // text, for numbers that JSON does not have
    const texts = Object.fromEntries(Object.entries(values).map(([name, x]) => [name, String(x)]));
    if (file !== undefined) appendFileSync(file, `${JSON.stringify(texts)}\n`);
    if ((i + 1) % 20 === 0) {
      const seconds = (performance.now() - started) / 1000;
      console.error(`${i + 1} cells, ${(seconds / (i + 1 - before)).toFixed(1)} s each`);
    }
  }

  const scores = chosen.map((c) => c.score);
  console.log(
    `${count} of ${known.length} cells, label ${LABEL}; tau against it: published (all cells), the table's values`,
  );
  console.log("on these cells, ours; then the rank correlation (Spearman) of ours with the table's values");
  console.log(`${'proxy'.padEnd(18)}published   all   table    ours    with table`);
  let failed = 0;
  for (const name of names) {
    const ours = found.map((f) => f[name]!);
    const tau = kendall(ours, scores);
    const published = PUBLISHED[name];
    const theirs = chosen.map((c) => numberIn(c.row, name) ?? NaN);
    const figures =
      published === undefined
        ? ['-', '-', '-', tau.toFixed(3), '-']
        : [
            published.toFixed(3),
            whole(name).toFixed(3),
            kendall(theirs, scores).toFixed(3),
            tau.toFixed(3),
            spearman(ours, theirs).toFixed(3),
          ];
    const within =
      published !== undefined && Math.sign(tau) === Math.sign(published) && Math.abs(tau - published) <= 0.15;
    const verdict = published === undefined ? '' : within ? 'within 0.15' : 'NOT within 0.15';
    if (ASKED.includes(name) && !within) failed++;
    const asked = ASKED.includes(name) ? ' (asked)' : '';
    console.log(`${name.padEnd(18)}${figures.map((f) => f.padStart(7)).join(' ')}   ${verdict}${asked}`);
  }
  const az = ['az_expressivity', 'az_progressivity', 'az_trainability', 'az_complexity'];
  if (az.every((name) => names.includes(name))) {
    const s = aggregateRanks(az.map((name) => found.map((f) => (Number.isNaN(f[name]!) ? -Infinity : f[name]!))));
    console.log(
      `AZ-NAS, ranks aggregated: tau ${kendall(s, scores).toFixed(3)} (published on all 15,625 cells: 0.741)`,
    );
  }
  if (failed > 0) process.exitCode = 1;
}

/** Cell by cell, as an earlier run left them. */
function kept(file: string | undefined): Readonly<Record<string, number>>[] {
  if (file === undefined || !existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  // The cast: lines that this bench wrote.
  return lines.map((line) => {
    const texts = JSON.parse(line) as Readonly<Record<string, string>>;
    return Object.fromEntries(Object.entries(texts).map(([name, x]) => [name, Number(x)]));
  });
}
