import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatBytes, formatCount, formatTable } from '../src/cli/format.js';
import { cifarManifest, hasCifar, preparations } from './cifar.js';
import { describeShared, sharedPath } from './shared.js';
import { builtProgram } from './small-run.js';
import { pare } from './pare-here.js';

// `npm test` builds first

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-cli-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
describe('what is wrong with the arguments is one sentence and exit code 2', () => {
  test.each([
    [[], 'a command is missing'],
    [['foo'], 'there is no command "foo"'],
    [['cuont', 'a.onnx'], 'did you mean "count"?'],
    [['count'], 'an argument is missing'],
    [['count', 'a.onnx', '--bogus'], 'unknown option or argument bogus'],
    [['count', 'a.onnx', 'b.onnx'], 'unknown option or argument b.onnx'],
    [['count', 'none.onnx'], '"none.onnx": there is no such file'],
    [['count', '.'], '"." is a folder'],
    [['count', 'package.json'], 'is not a valid ONNX file'],
    [['count', 'a.onnx', '--convention', 'foo'], 'Choices: "mac"'],
    [['measure', 'a.onnx'], '--data is missing'],
    [['measure', 'a.onnx', '--data', 'd.json', '--threads', '0'], '--threads must be a whole number of at least 1'],
  ])('%j', async (args, sentence) => {
    const { code, out, err } = await pare(...args);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(sentence);
    expect(err).toMatch(/^pare: [^\n]+$/);
  });

  test('every command has help with an example', async () => {
    const { out } = await pare('--help');
    const commands = [...out.matchAll(/^ {2}pare ([\w-]+)/gm)].map((m) => m[1]!);
    expect(commands).toContain('count');
    for (const command of commands) {
      const help = await pare(command, '--help');
      expect([command, help.code, help.out.includes('Examples:'), help.out.includes('--json')]).toEqual([
        command,
        0,
        true,
        true,
      ]);
    }
  });

  test('the version', async () => {
    expect(await pare('--version')).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^\d+\.\d+\.\d+$/) as string,
      err: '',
    });
  });
});

describe('text', () => {
  test('numbers with units and aligned columns', () => {
    expect([formatCount(9999), formatCount(125_485_696), formatBytes(2048)]).toEqual(['9999', '125.49 M', '2.00 KiB']);
    expect(
      formatTable(
        ['a', 'n'],
        [
          ['long', '1'],
          ['b', '22'],
        ],
        ['n'],
      ),
    ).toBe('a      n\n----  --\nlong   1\nb     22');
  });
});

describeShared('on real networks', ['models', 'images'], () => {
  const model = (name: string): string => sharedPath('models', name);

  test('count: totals, convention, dims', async () => {
    const { code, out } = await pare('count', model('cifar10-resnet20.onnx'), '--json');
    const cost = JSON.parse(out) as {
      macs: number;
      flops: number;
      params: number;
      nodes: object[];
      uncounted: string[];
    };
    expect([code, cost.macs, cost.flops, cost.params, cost.uncounted]).toEqual([
      0,
      40_551_040,
      81_102_080,
      271_100,
      [],
    ]);
    expect(cost.nodes.length).toBeGreaterThan(50);
    const text = await pare('count', model('cifar10-resnet20.onnx'), '--input', 'input:2x3x32x32');
    expect(text.out).toContain('MACs         81.10 M (81102080), convention "mac"');
    expect((await pare('count', model('cifar10-resnet20.onnx'), '--input', 'x:1x3')).err).toContain(
      'inputs are "input"',
    );
    const wrong = await pare('count', model('cifar10-resnet20.onnx'), '--input', 'input:1x3x30x32');
    expect(wrong.err).toContain('the network declares "input" as [batch, 3, 32, 32]');
  });

  test.skipIf(!hasCifar())(
    'measure: accuracy, reference, latency; without labels a reference is asked for',
    async () => {
      const data = cifarManifest(folder, ['cifar10-test.bin'], { ...preparations.resnet, limit: 200 });
      const args = ['measure', model('cifar10-resnet20-folded.onnx'), '--data', data];
      const { code, out, err } = await pare(...args, '--reference', model('cifar10-resnet20.onnx'), '--json');
      expect([code, err]).toEqual([0, '']);
      const result = JSON.parse(out) as Record<string, unknown>;
      expect(result).toMatchObject({
        metric: 'top1',
        n: 200,
        agreement: { value: 1 },
        difference: { value: 0 },
        findings: [],
      });
      expect(result['latencyMs']).toMatchObject({ threads: 1, batch: 1 });
      const bare = await pare(...args, '--no-latency');
      expect(bare.out).toMatch(/^top1 +9\d\.\d\d % \[.*n = 200/);
      const faces = join(folder, 'faces.json');
      writeFileSync(faces, JSON.stringify({ format: 'images', files: [model('inputs')], mean: 127, std: 128 }));
      const detector = ['measure', model('ultraface-rfb-320.onnx'), '--data', faces, '--no-latency'];
      expect(await pare(...detector)).toMatchObject({ code: 2, err: expect.stringContaining('--reference') as string });
      const self = await pare(...detector, '--reference', model('ultraface-rfb-320.onnx'), '--json');
      expect(JSON.parse(self.out)).toMatchObject({ metric: 'relative-error', value: 0, n: 4 });
      expect(self.err).toContain('only 4 samples');
    },
  );

  test.skipIf(!existsSync(builtProgram))(
    'the built program: exit code, output through a pipe, and onnxruntime missing',
    () => {
      const run = (node: string[], ...args: string[]) =>
        spawnSync(process.execPath, [...node, builtProgram, ...args], { encoding: 'utf8' });
      const counted = run([], 'count', model('cifar10-resnet56.onnx'), '--json');
      expect([counted.status, counted.stderr]).toEqual([0, '']);
      expect(JSON.parse(counted.stdout)).toMatchObject({ macs: 125_485_696 });
      expect(run([], 'count', 'none.onnx')).toMatchObject({
        status: 2,
        stderr: 'pare: "none.onnx": there is no such file\n',
      });
      // a hook of Node's own module loader that finds every package but onnxruntime-node
      const hook = `export function resolve(s, c, n) { if (s === "onnxruntime-node") throw new Error("not installed"); return n(s, c); }`;
      const url = (code: string): string => `data:text/javascript,${encodeURIComponent(code)}`;
      const register = `import { register } from "node:module"; register(${JSON.stringify(url(hook))});`;
      const without = ['--import', url(register)];
      const verified = run(without, 'verify', model('mnist-cntk.onnx'), model('mnist-cntk.onnx'));
      expect(verified.status).toBe(2);
      expect(verified.stderr).toMatch(
        /^pare: onnxruntime-node cannot be loaded on \S+ \(not installed\); install it again with/,
      );
      expect(run(without, 'count', model('mnist-cntk.onnx')).status).toBe(0);
    },
  );
});
