import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, expect, test } from 'vitest';
import { evaluate } from '../../src/predictor/evaluate.js';
import { METHODS } from '../../src/predictor/evaluate-methods.js';
import { leakOf, openTask } from '../../src/predictor/evaluate-table.js';
import { spaceOf } from '../../src/predictor/spaces/index.js';
import { writeModel } from '../../src/onnx/write.js';
import { createRng } from '../../src/rng.js';

const folder = mkdtempSync(join(tmpdir(), 'pare-evaluate-'));
afterAll(() => rmSync(folder, { recursive: true }));
const write = (name: string, data: string | Uint8Array): string => {
  const path = join(folder, name);
  writeFileSync(path, data);
  return path;
};

const rng = createRng('evaluate-table');
const cells = Array.from({ length: 60 }, () => Array.from({ length: 6 }, () => rng.int(5)));
const rows = cells.map((c, i) => `"(${c.join(', ')})",${c.filter((o) => o === 2).length + i / 1000},${i % 9}`);
const text = ['op_indices,acc,cifar10_test200_pct', ...rows, '"(0, 0, 0, 0, 0, 0)",,4'].join('\n');

test('a table of encodings, packed or not: rows without the label are left out, twins share a group', async () => {
  const plain = openTask({ table: write('t.csv', text), space: 'nb201', label: 'acc' });
  const packed = openTask({ table: write('t.csv.gz', gzipSync(text)), space: 'nb201', label: 'acc' });
  expect(plain.labels).toHaveLength(60);
  expect(packed.labels).toEqual(plain.labels);
  expect(plain.task.candidates.map((c) => c.cell?.ops)).toEqual(cells);
  const same = spaceOf('nb201').parse(new Map([['op_indices', `(${cells[3]!.join(', ')})`]]));
  expect(plain.task.candidates[3]).toMatchObject({ key: same.key, group: same.twins });
  const method = await METHODS.get('graf')!({});
  const figures = await evaluate(method, plain.task, plain.labels, { samples: 30, seeds: 3 });
  expect(figures.spearman.mean).toBeGreaterThan(0.8);
  expect(await evaluate(method, plain.task, plain.labels, { samples: 30, seeds: 3 })).toEqual(figures);
});

test('why: what the features did adds up to the prediction, and the counted operator did most', async () => {
  const { task, labels } = openTask({ table: write('t.csv', text), space: 'nb201', label: 'acc' });
  const train = task.candidates.slice(0, 40).map((candidate, i) => ({ candidate, label: labels[i]! }));
  const fitted = await (await METHODS.get('graf')!({})).fit(train, task, rng);
  const asked = task.candidates[50]!;
  const { base, effects } = fitted.explain!(asked);
  const [said] = await fitted.predict([asked]);
  expect(base + effects.reduce((s, e) => s + e.effect, 0)).toBeCloseTo(said!.mean, 9);
  // the count of operator 2, or a column that says the same in other words
  const tests = task.candidates.slice(40);
  const counted = tests.filter((c) => fitted.explain!(c).effects[0]!.feature.endsWith(':2'));
  expect(counted.length).toBeGreaterThan(tests.length / 2);
});

test('a folder of ONNX files without weights, with recipes that decide the label', async () => {
  const lines = ['file,group,pretrain,distilled,acc'];
  cells.slice(0, 12).forEach((cell, i) => {
    const model = spaceOf('nb201')
      .parse(new Map([['op_indices', `(${cell.join(', ')})`]]))
      .build({ weights: rng });
    writeModel(model, join(folder, `${i}.onnx`));
    for (const [pretrain, gain] of [
      ['in1k', 0],
      ['in21k', 10],
    ])
      lines.push(`${i}.onnx,g${i},${pretrain},0,${60 + Number(gain)}`);
  });
  const { task, labels } = openTask({ table: write('g.csv', lines.join('\n')), graphs: folder, label: 'acc' });
  expect(task.candidates).toHaveLength(24);
  expect(task.candidates[0]!.group).toBe(task.candidates[1]!.group);
  expect(task.candidates[0]!.graph().macs).toBeGreaterThan(1e6);
  const method = await METHODS.get('graf')!({});
  const figures = await evaluate(method, task, labels, { samples: 12, seeds: 1 });
  expect(figures.mae.mean).toBeLessThan(2.5);
  const flops = await evaluate(await METHODS.get('flops')!({}), task, labels, { samples: 0, seeds: 3 });
  expect(flops).toMatchObject({ samples: 0, seeds: 3, n: 24 });
});

test('what is wrong is a sentence that names it', () => {
  const table = write('t.csv', text);
  expect(() => openTask({ table, space: 'nb201', label: 'top1' })).toThrow(
    /no column "top1"; its columns are op_indices, acc/,
  );
  expect(() => openTask({ table, space: 'nb2001', label: 'acc' })).toThrow(/no architecture space "nb2001"/);
  expect(() => openTask({ table, label: 'acc' })).toThrow(/either --space NAME .* or --graphs DIR/);
  expect(() => openTask({ table, graphs: folder, label: 'acc' })).toThrow(/needs a column "file"/);
  expect(() => openTask({ table, graphs: join(folder, 'none'), label: 'acc' })).toThrow(/no such folder/);
  expect(() => openTask({ table: join(folder, 'none.csv'), space: 'nb201', label: 'acc' })).toThrow(/none\.csv/);
  expect(() => openTask({ table, space: 'nb201', label: 'op_indices' })).toThrow(/0 numbers/);
  const lost = write('l.csv', 'file,acc\na.onnx,1\n../b.onnx,2\nc.onnx,3');
  expect(() => openTask({ table: lost, graphs: folder, label: 'acc' })).toThrow(/row 1: there is no file/);
});

test('a label that was seen is a leak, and so are its relatives on the same images', () => {
  const seen = [
    { space: 'nb201', column: 'hp12_cifar10_val' },
    { space: 'transnas101-micro', column: 'valfinal_jigsaw_top1_pct' },
  ];
  const task = (space: string | undefined, label: string) => ({ space, label });
  expect(leakOf(task('nb201', 'cifar10_test200_pct'), seen)).toEqual(seen[0]);
  expect(leakOf(task('nb201', 'nb360_ninapro_acc_pct'), seen)).toBeUndefined();
  expect(leakOf(task('transnas101-micro', 'valfinal_jigsaw_top1_pct'), seen)).toEqual(seen[1]);
  // the same task on another space of the same benchmark
  expect(leakOf(task('transnas101-macro', 'valfinal_jigsaw_top1_pct'), seen)).toEqual(seen[1]);
  expect(leakOf(task('nb101', 'cifar10_val108_pct'), seen)).toBeUndefined();
  // a folder of graphs may call a label of its own by any name
  expect(leakOf(task(undefined, 'hp12_cifar10_val'), seen)).toBeUndefined();
});
