// NAS-Bench-201 against its table: isomorphism classes of all rows, parameters and MACs, and onnxruntime.
import { describe, expect, test } from 'vitest';
import { compress } from '../../../src/predictor/compress.js';
import { nodeOf } from '../../../src/predictor/computation-graph.js';
import { spaceOf } from '../../../src/predictor/spaces/index.js';
import { nb201 } from '../../../src/predictor/spaces/nb201.js';
import { readFloats } from '../../../src/ir/tensor.js';
import { createRng } from '../../../src/rng.js';
import { numberIn } from '../../../src/predictor/tables.js';
import { describeShared } from '../../shared.js';
import { countsOf, nb201Flops } from './counters.js';
import { readsBack, runs, tableRows } from './laws.js';

const best = '|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|';
const row = (text: string): ReadonlyMap<string, string> => new Map([['arch_str', text]]);

describe('the space', () => {
  test('both encodings name one architecture', () => {
    const a = spaceOf('nb201').parse(row(best));
    const b = nb201.parse(new Map([['op_indices', '(2, 2, 0, 2, 2, 2)']]));
    expect([b.key, b.twins]).toEqual([a.key, a.twins]);
    expect(a.key).toBe(best);
    readsBack(nb201, a);
  });

  test('known counts', () => {
    const counts = countsOf(nb201.parse(row(best)).build());
    // by hand: stem, two reductions, five 3x3 convolutions in each of 15 cells, head with its biases
    expect(nb201Flops(counts)).toBe(442_368 + 7_340_032 + 5 * 15 * 9 * 262_144 + 650);
    const norms = 2 * 5 * 5 * (16 + 32 + 64);
    const cells = 5 * 5 * 9 * (16 ** 2 + 32 ** 2 + 64 ** 2) + norms;
    const reductions = 9 * (16 * 32 + 32 ** 2 + 32 * 64 + 64 ** 2) + 16 * 32 + 32 * 64 + 4 * (32 + 64);
    expect(counts.params).toBe(27 * 16 + 32 + cells + reductions + 128 + 650);
  });

  test('runs in onnxruntime, whatever the cell and the task', async () => {
    for (const text of ['(2, 2, 0, 2, 2, 2)', '(4, 3, 1, 0, 0, 1)', '(1, 1, 1, 1, 1, 1)', '(1, 2, 1, 3, 1, 4)']) {
      expect(await runs(nb201.parse(new Map([['op_indices', text]])))).toEqual([2, 10]);
    }
    const a = nb201.parse(row(best));
    const weights = createRng('weights');
    const [one, two] = [a.build({ weights }), a.build({ weights })].map((m) => m.graph.initializers.get('conv.weight'));
    expect([...readFloats(one!)]).toEqual([...readFloats(two!)]);
    expect(await runs(a, { weights })).toEqual([2, 10]);
    expect(await runs(a, { task: 'ninapro' })).toEqual([2, 18]);
    expect(await runs(a, { inputShape: [3, 16, 16], classes: 7 })).toEqual([2, 7]);
  });

  test('a constant network ends in Zero', () => {
    const cg = compress(nb201.parse(row('|none~0|+|none~0|none~1|+|none~0|none~1|none~2|')).build());
    expect(Array.from(cg.order, (v) => nodeOf(cg, v).op)).toEqual(['Input', 'Conv', 'BatchNorm', 'Zero']);
  });

  test('labels name their tasks', () => {
    expect(nb201.taskOf('cifar10_test200_pct')).toBe('cifar10');
    expect(nb201.taskOf('naslib_cifar100_val200')).toBe('cifar100');
    expect(nb201.taskOf('hp12_in16_val')).toBe('imagenet16');
    expect(nb201.taskOf('nb360_ninapro_acc_pct')).toBe('ninapro');
  });

  test('sentences', () => {
    expect(() => nb201.parse(row('|max_pool~0|+|none~0|none~1|+|none~0|none~1|none~2|'))).toThrow(
      '"max_pool" in |max_pool~0|+|none~0|none~1|+|none~0|none~1|none~2| is no operator of the space',
    );
    expect(() => nb201.parse(row('(1, 2, 5, 0, 0, 0)'))).toThrow('is no architecture: write');
    expect(() => nb201.parse(row('(1, 2)'))).toThrow('is no architecture: write');
    expect(() => nb201.parse(new Map([['cell', 'x']]))).toThrow('column arch_str or op_indices, but the table has the');
    expect(() => nb201.parse(row(best)).build({ task: 'svhn' })).toThrow('has no task "svhn": choose one of cifar10');
    expect(() => spaceOf('nb999')).toThrow('there is no architecture space "nb999": choose one of nb201');
  });
});

describeShared('against the table', ['tables/nb201.csv.gz'], () => {
  test('isomorphism classes of all rows; keys read back', () => {
    const rows = tableRows('nb201.csv.gz');
    expect(rows.length).toBe(15_625);
    const wrong = rows.filter((r) => {
      const a = nb201.parse(r);
      return a.twins !== r.get('unique_str') || a.key !== r.get('arch_str');
    });
    expect(wrong).toEqual([]);
  });

  test('parameters and MACs to the last digit of the table, which are those with 100 classes', () => {
    // 150 of the 15,625 rows carry the count of an isomorphic twin: `npm run bench -- spaces` checks every row
    const rows = tableRows('nb201.csv.gz').filter((_, i) => i % 211 === 5);
    expect(rows.length).toBeGreaterThan(70);
    for (const r of rows) {
      const counts = countsOf(nb201.parse(r).build({ task: 'cifar100' }));
      expect((counts.params / 1e6).toFixed(3)).toBe(numberIn(r, 'params_m')!.toFixed(3));
      expect((nb201Flops(counts) / 1e6).toFixed(2)).toBe(numberIn(r, 'flops_m')!.toFixed(2));
    }
  });
});
