// What newcomers get wrong: every mistake is one sentence that names the thing, exit code 2, and leaves no file behind. The commands
// that open threads need the build, which `npm test` makes first.
import { cpSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pare } from './pare-here.js';
import { projectRoot } from './shared.js';

const folder = mkdtempSync(join(tmpdir(), 'pare-mistakes-'));
const at = (name: string): string => join(folder, name);
let there: readonly string[];

beforeAll(() => {
  cpSync(join(projectRoot, 'examples', 'shapes'), folder, { recursive: true });
  writeFileSync(at('cut-short.onnx'), readFileSync(at('shapes-resnet.onnx')).subarray(0, 5000));
  writeFileSync(at('empty.onnx'), '');
  writeFileSync(at('a-file'), '');
  // the cast: our own manifest
  const manifest = JSON.parse(readFileSync(at('calib.json'), 'utf8')) as object;
  writeFileSync(at('wrong-field.json'), JSON.stringify({ ...manifest, colour: 'red' }));
  writeFileSync(at('no-file.json'), JSON.stringify({ ...manifest, files: ['absent.npz'] }));
  const uint32 = (...values: number[]): Buffer => {
    const bytes = Buffer.alloc(4 * values.length);
    values.forEach((v, i) => bytes.writeUInt32BE(v, 4 * i));
    return bytes;
  };
  const images = Buffer.from({ length: 20 * 3 * 16 * 16, 0: 7 });
  writeFileSync(at('images-idx'), Buffer.concat([Buffer.from([0, 0, 8, 4]), uint32(20, 3, 16, 16), images]));
  const labels = Buffer.from(Array.from({ length: 20 }, (_, i) => (i === 5 ? 77 : i % 10)));
  writeFileSync(at('labels-idx'), Buffer.concat([Buffer.from([0, 0, 8, 1]), uint32(20), labels]));
  writeFileSync(at('wrong-label.json'), JSON.stringify({ format: 'idx', files: ['images-idx', 'labels-idx'] }));
  there = readdirSync(folder).toSorted();
});
afterAll(() => rmSync(folder, { recursive: true }));

const model = at('shapes-resnet.onnx');
const data = ['--data', at('calib.json')];
const out = ['--out', at('out')];
const half = ['--flops', '50%'];
const file = ['-o', at('small.onnx')];

describe.skipIf(!existsSync(join(projectRoot, 'dist', 'src')))('one sentence, exit code 2, nothing written', () => {
  test.each<readonly [readonly string[], string]>([
    [['count', at('none.onnx')], 'there is no such file'],
    [['groups', folder], 'is a folder; give the .onnx file'],
    [['count', at('cut-short.onnx')], 'is cut short or damaged'],
    [['count', at('empty.onnx')], 'empty.onnx is empty (0 bytes)'],
    [['optimize', model, '--flops', '0', ...data, ...out], '--flops 0: give a share of the original such as 50%'],
    [['optimize', model, '--flops', '150%', ...data, ...out], '--flops 150%: is more than the original has'],
    [['optimize', model, '--memory', 'much', ...data, ...out], '--memory much: give a share'],
    [['optimize', model, '--min-accuracy', '150%', ...data, ...out], '--min-accuracy 150%: give an accuracy'],
    [['optimize', model, ...data, ...out], 'a budget is missing: give --flops 50%'],
    [['optimize', model, ...half, ...data, '--out', at('a-file')], 'is a file, and a run needs a folder'],
    [['optimize', model, ...half, ...data, '--out', at('a-file/out')], 'a part of this path is a file'],
    [['optimize', model, ...half, '--data', at('none.json'), ...out], 'none.json": there is no such file'],
    [['optimize', model, ...half, '--data', at('wrong-field.json'), ...out], 'unknown key "colour"; known are format'],
    [['optimize', model, ...half, '--data', at('no-file.json'), ...out], 'there is no file "absent.npz"'],
    [['optimize', model, ...half, '--data', at('wrong-label.json'), ...out], 'labels go from 0 to 77'],
    // before the search, not after it
    [['optimize', model, ...half, ...data, '--test', at('none.json'), ...out], 'none.json": there is no such file'],
    [['optimize', model, ...half, ...data, '--test', at('wrong-label.json'), ...out], 'labels go from 0 to 77'],
    [['optimize', model, '--flop', '50%', ...data, ...out], 'unknown option or argument flop'],
    [['optimise', model], 'did you mean "optimize"?'],
    [['measure', model, '--data', at('wrong-label.json')], 'a label is 77, but the network has 10 classes'],
    [['prune', model, '--flops', '150%', ...file], '--flops 150%: is more than the original has'],
    [['prune', model, ...half, '-o', at('a-file/small.onnx')], 'is a file, not a folder'],
    [['prune', model, ...half, '-o', at('absent/small.onnx')], 'there is no folder'],
    [['train', model, ...data, '--steps', '1', '-o', folder], 'is a folder; give the name of a file'],
    [
      ['train', model, '--data', at('wrong-label.json'), '--steps', '1', ...file],
      'label 77, and the network has 10 classes',
    ],
    [['verify', model, at('none.onnx')], 'there is no such file'],
    [['compare', folder, '--data', at('test.json')], 'holds no finished run'],
  ])('pare %j', async (args, sentence) => {
    const { code, out: printed, err } = await pare(...args);
    expect([code, printed]).toEqual([2, '']);
    const last = err.split('\n').at(-1);
    expect(last).toMatch(/^pare: /);
    expect(last).toContain(sentence);
    expect(readdirSync(folder).toSorted()).toEqual(there);
  });
});
