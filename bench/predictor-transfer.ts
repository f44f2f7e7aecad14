// AIO-P on tasks and spaces that it has not seen: `npm run bench -- predictor-transfer TABLES [--predictor FILE] [--nb201 FILE] [--accel FILE]
// [--macro FILE] [--pool 0] [--seeds 5] [--only WORD]`. The files are pretrained without that space; rows without their file are left out.
import { parseArgs } from 'node:util';
import { join } from 'node:path';
import { existsSync } from 'node:fs';
import { aiopMethod } from '../src/predictor/aiop.js';
import { evaluate, type Method } from '../src/predictor/evaluate.js';
import { leakOf, openTask } from '../src/predictor/evaluate-table.js';
import { flopsMethod } from '../src/predictor/flops-method.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { createRng } from '../src/rng.js';

interface Row {
  readonly space: string;
  readonly table: string;
  readonly label: string;
  readonly samples: readonly number[];
  /** Which of the files judges it; the shipped one by default. */
  readonly file?: 'nb201' | 'accel' | 'macro';
}

const ROWS: readonly Row[] = [
  { space: 'nb101', table: 'nb101-500.csv', label: 'cifar10_val108_pct', samples: [0, 20] },
  micro('valfinal_segmentsemantic_pixacc_pct'),
  micro('valfinal_room_layout_negloss'),
  macro('valfinal_segmentsemantic_pixacc_pct'),
  macro('valfinal_room_layout_negloss'),
  { space: 'nas-bench-mr', table: 'nas-bench-mr.csv', label: 'video.top1', samples: [0, 20] },
  { space: 'nb201', table: 'nb201.csv.gz', label: 'nb360_ninapro_acc_pct', samples: [0, 20] },
  { space: 'accel-nasbench', table: 'accel-nasbench.csv', label: 'val_top1_pct', samples: [0, 20], file: 'accel' },
  { space: 'nas-bench-macro', table: 'nas-bench-macro.csv', label: 'mean_acc_pct', samples: [0, 20], file: 'macro' },
  { space: 'nb201', table: 'nb201.csv.gz', label: 'cifar10_test200_pct', samples: [0, 20, 128], file: 'nb201' },
];

function micro(label: string): Row {
  return { space: 'transnas101-micro', table: 'transnas101-micro.csv', label, samples: [0, 20] };
}

function macro(label: string): Row {
  return { space: 'transnas101-macro', table: 'transnas101-macro.csv', label, samples: [0, 20] };
}

export async function run(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      predictor: { type: 'string' },
      nb201: { type: 'string' },
      accel: { type: 'string' },
      macro: { type: 'string' },
      only: { type: 'string' },
      pool: { type: 'string', default: '0' },
      seeds: { type: 'string', default: '5' },
    },
  });
  const [tables = '../shared/tables'] = positionals;
  const runtime = ortRuntime();
  console.log('space, label, method: samples, Spearman mean ± std, MAE mean ± std, test rows');
  for (const row of ROWS) {
    const file = row.file === undefined ? values.predictor : values[row.file];
    if (values.only !== undefined && !`${row.space} ${row.label}`.includes(values.only)) continue;
    if (row.file !== undefined && (file === undefined || !existsSync(file))) continue;
    const opened = openTask({ table: join(tables, row.table), space: row.space, label: row.label });
    const { task, labels } = thinned(opened, Number(values.pool));
    const aiop = aiopMethod({ runtime, ...(file === undefined ? {} : { file }) });
    const leak = aiop.seen === undefined ? undefined : leakOf(task, aiop.seen);
    if (leak !== undefined) throw new Error(`${row.label}: the predictor has seen ${leak.space} ${leak.column}`);
    for (const samples of row.samples) {
      for (const method of [flopsMethod, aiop] satisfies readonly Method[]) {
        const f = await evaluate(method, task, labels, { samples, seeds: Number(values.seeds) });
        const s = (v: { readonly mean: number; readonly std: number }): string =>
          `${v.mean.toFixed(3)} ± ${v.std.toFixed(3)}`;
        console.log(`${row.space}, ${row.label}, ${method.name}: ${samples}, ${s(f.spearman)}, ${s(f.mae)}, ${f.n}`);
      }
    }
  }
}

/** A random part of the table, for quick looks. */
function thinned(opened: ReturnType<typeof openTask>, count: number): ReturnType<typeof openTask> {
  const { task, labels } = opened;
  if (count === 0 || count >= labels.length) return opened;
  const kept = createRng('pool').sample(labels.length, count);
  return {
    task: { ...task, candidates: kept.map((i) => task.candidates[i]!) },
    labels: kept.map((i) => labels[i]!),
  };
}
