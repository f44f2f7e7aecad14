// `pare prune`: a budget is kept, equal commands give equal files, and what cannot be done is one sentence.

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { analyse } from '../src/analysis/analyse.js';
import { readModel } from '../src/onnx/read.js';
import { standardOps } from '../src/ops/index.js';
import { describeShared, sharedPath } from './shared.js';
import { pare } from './pare-here.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-prune-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
describeShared('pare prune without data', ['models'], () => {
  const model = sharedPath('models', 'cifar10-resnet20.onnx');

  test('never above the budget and close below it; recipe inside; the same bytes again; says what is missing', async () => {
    const files = ['a.onnx', 'b.onnx'].map((f) => join(folder, f));
    for (const file of files) {
      const { code, text } = await pare('prune', model, '--flops', '60%', '-o', file);
      expect(text).toContain('without --data: channels chosen by their weights alone');
      expect(code).toBe(0);
    }
    const [a, b] = files.map((f) => readFileSync(f));
    expect(a!.equals(b!)).toBe(true);
    const made = readModel(files[0]!);
    const share = analyse(made, standardOps).cost.macs / analyse(readModel(model), standardOps).cost.macs;
    expect(share).toBeLessThanOrEqual(0.6);
    expect(share).toBeGreaterThan(0.59);
    expect(made.metadata.get('pare.recipe')).toContain('prune-channels');
  });

  test('--ignore leaves groups alone, --max-ratio holds, a budget out of reach is said', async () => {
    const file = join(folder, 'c.onnx');
    const { text } = await pare(
      'prune',
      model,
      '--flops',
      '1%',
      '--max-ratio',
      '0.5',
      '--ignore',
      'layer1*',
      '--json',
      '-o',
      file,
    );
    // the cast: this is the command's own JSON
    const result = JSON.parse(text) as { groups: Record<string, [number, number]>; notes: string[] };
    expect(result.notes.join(' ')).toContain('the budget cannot be reached');
    const groups = Object.entries(result.groups);
    expect(groups.length).toBeGreaterThan(3);
    for (const [id, [left, was]] of groups) {
      expect(left).toBeGreaterThanOrEqual(was / 2);
      expect(id).not.toMatch(/^layer1/);
    }
  });

  test.each([
    [['--flops', 'much'], '--flops much'],
    [['--flops', '50%', '--recover', 'bn'], '--recover bn needs samples'],
    [['--flops', '50%', '--criterion', 'obs'], '--criterion obs needs samples'],
    [['--flops', '50%', '--max-ratio', '2'], '--max-ratio must lie between 0 and 1'],
  ])('%j', async (args, sentence) => {
    const file = join(folder, 'never.onnx');
    const { code, text } = await pare('prune', model, ...args, '-o', file);
    expect(code).toBe(2);
    expect(text).toContain(sentence);
    expect(existsSync(file)).toBe(false);
  });
});
