// From a table of measured architectures to a task for the harness: the rows that have the label, each with its network (built by the
// space, or a file of a folder), its twins, its training recipe and its proxies. And what counts as having seen the label already.
import { existsSync, statSync } from 'node:fs';
import { isAbsolute, join, relative, resolve } from 'node:path';
import { PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import { readModel } from '../onnx/read.js';
import { compress } from './compress.js';
import type { ComputationGraph } from './computation-graph.js';
import type { Candidate, SeenLabel, Task } from './evaluate.js';
import { spaceOf } from './spaces/index.js';
import { numberIn, readTable, type Row, type Table } from './tables.js';

export interface TableSource {
  readonly table: string;
  readonly label: string;
  /** Name of the space whose encodings the table holds. */
  readonly space?: string;
  /** Or the folder of the ONNX files that its column `file` names. */
  readonly graphs?: string;
}

export interface LabelledTask {
  readonly task: Task;
  /** labels[i] of task.candidates[i]. */
  readonly labels: readonly number[];
}

const RECIPE = ['pretrain', 'distilled', 'selfsup', 'adv'];
const PROXIES =
  'epe_nas fisher flops grad_norm grasp jacov l2_norm nwot params plain snip synflow zen expressivity progressivity trainability complexity'.split(
    ' ',
  );

export function openTask(source: TableSource): LabelledTask {
  const { label } = source;
  if ((source.space === undefined) === (source.graphs === undefined)) {
    throw new PareError(
      'give either --space NAME (encodings in the table) or --graphs DIR (ONNX files named in its column "file")',
    );
  }
  const table = readTable(source.table);
  if (!table.columns.includes(label)) throw new PareError(noColumn(source.table, label, table));
  const rows = table.rows.filter((row) => numberIn(row, label) !== undefined);
  if (rows.length < 3) {
    throw new PareError(
      `${source.table}: the column "${label}" has ${rows.length} numbers, too few to judge a predictor; name another with --label`,
    );
  }
  const open =
    source.space === undefined ? fromFolder(source.graphs!, source.table, table) : fromSpace(source.space, label);
  const proxies = PROXIES.filter((p) => p !== label && table.columns.includes(p));
  const recipe = RECIPE.filter((c) => table.columns.includes(c));
  const sizes = new Map<string, Size>();
  const candidates = rows.map((row, i) => {
    const { key, group, model, cell } = open(row, i);
    const graphs = new Map<boolean, ComputationGraph>();
    const sizeOf = (): Size => {
      // a cell's cost is the sum of its operators' on all edges alike: one graph tells it for all orders of them
      const kind = cell === undefined ? key : cell.ops.toSorted((a, b) => a - b).join();
      let size = sizes.get(kind);
      if (size === undefined) {
        const { macs, extras } = candidate.graph();
        sizes.set(kind, (size = { macs, params: extras?.params.reduce((sum, p) => sum + p, 0) ?? 0 }));
      }
      return size;
    };
    const candidate: Candidate = {
      key,
      group,
      model,
      graph: (extended = false) => {
        let graph = graphs.get(extended);
        if (graph === undefined) graphs.set(extended, (graph = compress(model(), { extras: true, extended })));
        return graph;
      },
      macs: () => sizeOf().macs,
      params: () => sizeOf().params,
      recipe: new Map(recipe.map((c) => [c, row.get(c)!.trim()])),
      proxies: new Map(proxies.flatMap((p) => (numberIn(row, p) === undefined ? [] : [[p, numberIn(row, p)!]]))),
      ...(cell === undefined ? {} : { cell }),
    };
    return candidate;
  });
  return {
    task: { space: source.space, label, prior: declaredPrior(label), candidates },
    labels: rows.map((row) => numberIn(row, label)!),
  };
}

interface Size {
  readonly macs: number;
  readonly params: number;
}

type Opened = Pick<Candidate, 'key' | 'group' | 'model' | 'cell'>;

function fromSpace(name: string, label: string): (row: Row, i: number) => Opened {
  const space = spaceOf(name);
  const task = space.taskOf(label);
  return (row) => {
    const { key, twins, cell, build } = space.parse(row);
    return { key, group: twins, model: () => build({ task }), ...(cell === undefined ? {} : { cell }) };
  };
}

function fromFolder(folder: string, path: string, table: Table): (row: Row, i: number) => Opened {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new PareError(`--graphs ${folder}: there is no such folder`);
  }
  if (!table.columns.includes('file')) {
    throw new PareError(
      `${path}: with --graphs the table needs a column "file" that names the ONNX files; ${columns(table)}`,
    );
  }
  // rows that share a file share the network
  const models = new Map<string, () => Model>();
  return (row, i) => {
    const file = row.get('file')!.trim();
    const at = resolve(folder, file);
    const inside = relative(resolve(folder), at);
    if (file === '' || inside.startsWith('..') || isAbsolute(inside)) {
      throw new PareError(`${path}, row ${i + 1}: "${file}" names no file of ${folder}`);
    }
    if (!existsSync(at)) throw new PareError(`${path}, row ${i + 1}: there is no file ${join(folder, file)}`);
    let model = models.get(file);
    if (model === undefined) models.set(file, (model = () => readModel(at, { allowMissingData: true })));
    return { key: file, group: row.get('group')?.trim() || file, model };
  };
}

/** What is said of a label before any is seen, by its name alone: percent unless the name says otherwise. */
export function declaredPrior(label: string): { readonly mean: number; readonly deviation: number } {
  if (/negloss/i.test(label)) return { mean: -0.7, deviation: 0.1 };
  if (/ssim/i.test(label)) return { mean: 0.4, deviation: 0.1 };
  if (/pixacc/i.test(label)) return { mean: 94, deviation: 0.5 };
  if (/frac/i.test(label)) return { mean: 0.7, deviation: 0.1 };
  return { mean: 70, deviation: 10 };
}

/** The seen label that makes a figure on this task a leak, if any. */
export function leakOf(task: Pick<Task, 'space' | 'label'>, seen: readonly SeenLabel[]): SeenLabel | undefined {
  return seen.find(
    ({ space, column }) =>
      // one column name stands for one measurement wherever it was met, but for a folder of graphs nobody knows had coined before
      (column === task.label && (task.space !== undefined || space === 'graphs')) ||
      // NAS-Bench-201's accuracies on images are relatives of each other, whatever the epochs
      (space === 'nb201' && task.space === 'nb201' && onImages(column) && onImages(task.label)),
  );
}

function onImages(column: string): boolean {
  return /cifar|in16|imagenet/i.test(column);
}

function noColumn(path: string, label: string, table: Table): string {
  return `${path} has no column "${label}"; ${columns(table)}`;
}

function columns(table: Table): string {
  return `its columns are ${table.columns.join(', ')}`;
}
