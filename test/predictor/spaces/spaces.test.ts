// Every space without its table: onnxruntime runs its networks with every head, wrong encodings end in one sentence.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compress } from '../../../src/predictor/compress.js';
import { SPACES, spaceOf } from '../../../src/predictor/spaces/index.js';
import type { Architecture } from '../../../src/predictor/spaces/space.js';
import { readsBack, runs } from './laws.js';

function architecture(space: string, cells: Readonly<Record<string, string>>): Architecture {
  return spaceOf(space).parse(new Map(Object.entries(cells)));
}

describe('TransNAS-Bench-101', () => {
  const micro = (text: string): Architecture => architecture('transnas101-micro', { arch_str: text });
  const macro = (text: string): Architecture => architecture('transnas101-macro', { arch_str: text });
  const small = { inputShape: [3, 64, 64] } as const;

  test('micro runs with every head', async () => {
    // a narrow base keeps the decoders the only large part
    const a = micro('8-4141-1_32_120');
    expect(await runs(a, { ...small, task: 'class_object' })).toEqual([2, 75]);
    expect(await runs(a, { ...small, task: 'class_scene' })).toEqual([2, 47]);
    expect(await runs(a, { ...small, task: 'room_layout' })).toEqual([2, 9]);
    expect(await runs(a, { inputShape: [27, 32, 32], task: 'jigsaw' })).toEqual([2, 1000]);
    expect(await runs(a, { ...small, task: 'segmentsemantic' })).toEqual([2, 17, 64, 64]);
    expect(await runs(a, { ...small, task: 'autoencoder' })).toEqual([2, 3, 64, 64]);
    expect(await runs(micro('8-4141-0_00_010'), small)).toEqual([2, 75]);
  });

  test('macro runs, whatever its decoder must double', async () => {
    expect(await runs(macro('8-1243-basic'), { ...small, task: 'segmentsemantic' })).toEqual([2, 17, 64, 64]);
    expect(await runs(macro('8-1111-basic'), { ...small, task: 'autoencoder' })).toEqual([2, 3, 64, 64]);
  });

  test('twins: what a zero feeds does not count, a skip over a halving does', () => {
    expect(micro('64-41414-0_00_202').twins).toBe(micro('64-41414-0_00_212').twins);
    expect(micro('64-41414-0_00_202').twins).toBe(micro('64-41414-0_03_232').twins.replaceAll('3', '0'));
    expect(micro('64-41414-1_00_010').twins).not.toBe(micro('64-41414-0_00_000').twins);
    expect(micro('64-41414-2_01_001').twins).toBe(micro('64-41414-2_00_010').twins);
  });

  test('op_indices and labels', () => {
    const a = architecture('transnas101-micro', { op_indices: '(1, 3, 2, 1, 2, 0)' });
    expect(a.key).toBe('64-41414-1_32_120');
    expect(architecture('transnas101-macro', { op_indices: '(1, 1, 1, 1, 2, 3)' }).key).toBe('64-111123-basic');
    const space = spaceOf('transnas101-macro');
    expect(space.taskOf('valfinal_segmentsemantic_pixacc_pct')).toBe('segmentsemantic');
    expect(space.taskOf('valfinal_room_layout_negloss')).toBe('room_layout');
  });

  test('sentences', () => {
    expect(() => micro('64-41414-4_00_000')).toThrow('write 64-41414-a_bc_def, letters 0 to 3');
    expect(() => macro('64-15-basic')).toThrow('write 64-CODE-basic, digits 1 to 4, one a module');
    expect(() => macro('8-33333-basic').build({ task: 'segmentsemantic' })).toThrow(
      /at most 6 times, this network needs 7/,
    );
  });
});

describe('NAS-Bench-MR', () => {
  const code = '8_16_1_1_8_2_2_1_8_16_1_1_2_2_16_8_8_1_2_2_2_1_8_8_8_8_24';

  test('runs as classifier and with one answer a pixel', async () => {
    const a = architecture('nas-bench-mr', { code });
    readsBack(spaceOf('nas-bench-mr'), a);
    expect(await runs(a, { inputShape: [3, 64, 64] })).toEqual([2, 50]);
    expect(await runs(a, { task: 'seg-4x', inputShape: [3, 64, 96] })).toEqual([2, 19, 16, 24]);
    const space = spaceOf('nas-bench-mr');
    expect(['seg-4x.mIoU', 'cls-10c.top1', 'video.top1', 'acc'].map((label) => space.taskOf(label))).toEqual([
      'seg-4x',
      'cls-10c',
      'video',
      'cls-50-1000',
    ]);
  });

  test('sentences', () => {
    expect(() => architecture('nas-bench-mr', { code: '1_2_3' })).toThrow('it has 3 numbers; a code has 27');
    expect(() => architecture('nas-bench-mr', { code }).build({ inputShape: [3, 100, 64] })).toThrow('multiples of 32');
  });
});

describe('Accel-NASBench', () => {
  const lists = { e: '[1, 4, 6, 1, 4, 6, 1]', k: '[3, 5, 3, 5, 3, 5, 3]', l: '[1, 2, 1, 2, 1, 2, 1]' };

  test('runs with and without squeezes', async () => {
    const a = architecture('accel-nasbench', { ...lists, se: '[1, 0, 1, 0, True, 0, False]' });
    readsBack(spaceOf('accel-nasbench'), a);
    expect(await runs(a, { inputShape: [3, 64, 64] })).toEqual([2, 1000]);
  });

  test('EfficientNet-B0 has 5,288,548 parameters, 386 M MACs and one Swish for each activation', () => {
    const b0 = { e: '[1, 6, 6, 6, 6, 6, 6]', k: '[3, 3, 5, 3, 5, 5, 3]', l: '[1, 2, 2, 3, 3, 4, 1]' };
    const cg = compress(architecture('accel-nasbench', { ...b0, se: '[1, 1, 1, 1, 1, 1, 1]' }).build(), {
      extras: true,
    });
    // timm, torchvision: 5,288,548 with the statistics' count left out
    const norms = cg.extras!.params.filter((_, v) => cg.ops[v] === 5).reduce((a, b) => a + b, 0) / 2;
    expect(cg.extras!.params.reduce((a, b) => a + b, 0) - norms).toBe(5_288_548);
    expect(Math.round(cg.macs / 1e6)).toBe(386);
    expect(cg.ops.filter((op) => op === 16).length).toBe(1 + 1 + 15 * 2 + 1 + 16);
  });

  test('sentences', () => {
    expect(() => architecture('accel-nasbench', lists)).toThrow('the table has no "se"');
    expect(() => architecture('accel-nasbench', { ...lists, se: '[1, 0]' })).toThrow(
      'se = "[1, 0]" is no list of seven',
    );
  });
});

describe('NAS-Bench-Macro', () => {
  test('runs; identities within a stage make twins', async () => {
    const a = architecture('nas-bench-macro', { arch: '01200210' });
    readsBack(spaceOf('nas-bench-macro'), a);
    expect(await runs(a)).toEqual([2, 10]);
    expect(a.twins).toBe(architecture('nas-bench-macro', { arch: '01200201' }).twins);
    expect(a.twins).not.toBe(architecture('nas-bench-macro', { arch: '01200120' }).twins);
    expect(() => architecture('nas-bench-macro', { arch: '120' })).toThrow('eight digits 0 to 2, leading zeros too');
  });
});

describe('NAS-Bench-101', () => {
  const ops = '["input", "conv3x3-bn-relu", "maxpool3x3", "conv1x1-bn-relu", "output"]';
  const cell = (matrix: string): Architecture => architecture('nb101', { matrix, ops });

  test('runs, truncating where channels do not divide', async () => {
    // three vertices feed the output of 128 channels: 43, 43 and 42
    const a = cell('[[0,1,1,1,1],[0,0,1,1,1],[0,0,0,1,1],[0,0,0,0,1],[0,0,0,0,0]]');
    expect(await runs(a, { inputShape: [3, 16, 16] })).toEqual([2, 10]);
  });

  test('law: renaming vertices gives a twin, and dangling ones do not count', () => {
    const names = ['conv3x3-bn-relu', 'conv1x1-bn-relu', 'maxpool3x3'];
    const inner = fc.array(fc.constantFrom(...names), { minLength: 5, maxLength: 5 });
    const edges = fc.array(fc.boolean(), { minLength: 21, maxLength: 21 });
    fc.assert(
      fc.property(inner, edges, fc.integer(), (list, bits, seed) => {
        const all = ['input', ...list, 'output'];
        let at = 0;
        const matrix = all.map((_, u) => all.map((__, v) => (v > u && bits[at++]! ? 1 : 0)));
        matrix[0]![6] = 1;
        const text = (m: number[][], o: string[]): Architecture =>
          architecture('nb101', { matrix: JSON.stringify(m), ops: JSON.stringify(o) });
        const first = text(matrix, all);
        // another topological order: always the free vertex that the seed picks
        const left = new Set(all.keys());
        const order: number[] = [];
        let s = Math.abs(seed);
        while (left.size > 0) {
          const free = [...left].filter(
            (v) => ![...left].some((u) => matrix[u]![v] === 1) && (v < 6 || left.size === 1),
          );
          const next = free.includes(0) ? 0 : free[s % free.length]!;
          s = (s * 31 + 7) % 1009;
          order.push(next);
          left.delete(next);
        }
        const again = text(
          order.map((u) => order.map((v) => matrix[u]![v]!)),
          order.map((v) => all[v]!),
        );
        expect(again.twins).toBe(first.twins);
      }),
    );
    const dangling = cell('[[0,1,0,1,0],[0,0,0,0,1],[0,0,0,0,0],[0,0,0,0,0],[0,0,0,0,0]]');
    const plain = architecture('nb101', { tuple: '(0,1,0,0,0,1,0,0,0, 0, 4, 1)' });
    expect(dangling.twins).toBe(plain.twins);
  });

  test('sentences', () => {
    expect(() => cell('[[0,0,0,0,0],[0,0,1,1,1],[0,0,0,1,1],[0,0,0,0,1],[0,0,0,0,0]]')).toThrow('no way leads from');
    expect(() => cell('[[0,1,0,0,0],[0,0,1,1,1],[0,1,0,1,1],[0,0,0,0,1],[0,0,0,0,0]]')).toThrow('goes backwards');
    expect(() => architecture('nb101', { tuple: '(0, 1, 2)' })).toThrow('its numbers make no square matrix');
    expect(() => architecture('nb101', { arch: 'x' })).toThrow('from the column tuple, or from matrix and ops');
  });
});

test('spaces are found by their usual names', () => {
  for (const space of SPACES) expect(spaceOf(space.name.toUpperCase().replaceAll('-', '_'))).toBe(space);
  expect(spaceOf('NAS-Bench-201').name).toBe('nb201');
  expect(spaceOf('transnas-micro').name).toBe('transnas101-micro');
});
