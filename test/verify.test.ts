import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { runCommandLine } from '../src/cli/command-line.js';
import type { Model } from '../src/ir/graph.js';
import { floatTensor } from '../src/ir/tensor.js';
import { parseModelText } from '../src/ir/text.js';
import { verifyModels, type VerifyOptions } from '../src/measure/verify.js';
import { readModel } from '../src/onnx/read.js';
import { withRecipe, writeModel } from '../src/onnx/write.js';
import { standardOps } from '../src/ops/index.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { describeShared, sharedPath } from './shared.js';

const path = (name: string): string => sharedPath('models', name);

describeShared('verifying a candidate against its original', ['models'], () => {
  let original: Model;
  let sha256: string;
  let folder: string;
  beforeAll(() => {
    original = readModel(path('cifar10-resnet20.onnx'));
    sha256 = createHash('sha256')
      .update(readFileSync(path('cifar10-resnet20.onnx')))
      .digest('hex');
    folder = mkdtempSync(join(tmpdir(), 'pare-verify-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const verify = (candidate: Model, more: Partial<VerifyOptions> = {}) =>
    verifyModels(original, candidate, { runtime: ortRuntime(), table: standardOps, ...more });
  const failures = async (candidate: Model, more: Partial<VerifyOptions> = {}) =>
    (await verify(candidate, more)).checks.filter((c) => !c.ok).map((c) => [c.name, c.detail]);
  const withWeight = (name: string, change: (v: number) => number): Model => {
    const t = original.graph.initializers.get(name)!;
    const raw = t.bytes!().slice();
    const changed = floatTensor(name, t.dims, new Float32Array(raw.buffer).map(change));
    const initializers = new Map(original.graph.initializers).set(name, changed);
    return { ...original, graph: { ...original.graph, initializers } };
  };

  test('the same network exported with its BatchNormalization folded passes, with a difference of rounding', async () => {
    const result = await verify(readModel(path('cifar10-resnet20-folded.onnx')));
    expect(result).toMatchObject({ ok: true, macs: { original: 40_551_040, candidate: 40_551_040 }, uncounted: [] });
    expect(result.params).toEqual({ original: 271_100, candidate: 269_036 });
    const error = result.relativeError!.get('logits')!;
    expect(error).toBeGreaterThan(0);
    expect(error).toBeLessThan(1e-5);
  });

  test('a scaled weight shows in the difference; one that is not finite fails', async () => {
    const scaled = await verify(withWeight('linear.weight', (v) => 2 * v));
    expect(scaled.ok).toBe(true);
    expect(scaled.relativeError!.get('logits')).toBeGreaterThan(0.5);
    expect(await failures(withWeight('linear.weight', () => Number.NaN))).toEqual([
      ['finite', "2 outputs are not finite where the original's are"],
    ]);
  });

  test('what breaks the graph, the interface or the run is named', async () => {
    const { graph } = original;
    const unordered = { ...original, graph: { ...graph, nodes: graph.nodes.toReversed() } };
    expect((await failures(unordered)).map(([name]) => name)).toContain('graph');
    const renamed = {
      ...original,
      graph: { ...graph, name: 'other', outputs: [{ ...graph.outputs[0]!, name: 'input' }] },
    };
    expect(await failures(renamed)).toContainEqual(['interface', 'outputs are "input" instead of "logits"']);
    const initializers = new Map(graph.initializers);
    const short = floatTensor('linear.weight', [10, 63], new Float32Array(630));
    const misfit = { ...original, graph: { ...graph, initializers: initializers.set('linear.weight', short) } };
    expect(await failures(misfit)).toEqual([['graph', expect.stringMatching(/linear/)]]);
    expect((await failures(readModel(path('cifar10-resnet56.onnx')))).map(([name]) => name)).toEqual(['macs']);
  });

  test('the recipe is read back, and another original than it names fails', async () => {
    const recipe = { genome: '[{"kind":"none"}]', sourceSha256: sha256, seed: '7', version: '1.2.3' };
    const made = withRecipe(original, recipe);
    const file = join(folder, 'made.onnx');
    writeModel(made, file);
    const result = await verify(readModel(file), { originalSha256: sha256 });
    expect(result).toMatchObject({ ok: true, recipe });
    expect(await failures(readModel(file), { originalSha256: 'other' })).toEqual([
      ['source', 'its recipe names another original'],
    ]);
  });

  test('on the command line: exit code 0, or 2 with the check that fails; groups list what can be pruned', async () => {
    const out: string[] = [];
    const err: string[] = [];
    vi.spyOn(console, 'log').mockImplementation((text: string) => void out.push(text));
    vi.spyOn(console, 'error').mockImplementation((text: string) => void err.push(text));
    const [a, b, c] = ['cifar10-resnet20', 'cifar10-resnet20-folded', 'mnist-cntk'].map((name) => path(`${name}.onnx`));
    const codes = [await runCommandLine(['verify', a!, b!, '--json']), await runCommandLine(['verify', a!, c!])];
    codes.push(await runCommandLine(['groups', a!, '--json']), await runCommandLine(['groups', a!]));
    vi.restoreAllMocks();
    expect(codes).toEqual([0, 2, 0, 0]);
    expect(JSON.parse(out[0]!)).toMatchObject({ ok: true, relativeError: { logits: expect.any(Number) as number } });
    expect(err.join()).toMatch(
      /^pare: ".*mnist-cntk.onnx" fails the check "interface": inputs are "Input3" instead of "input"$/,
    );
    const listed = JSON.parse(out[2]!) as {
      groups: { id: string; size: number; macsShare: number }[];
      frozen: object[];
    };
    // nine blocks' inner channels and three stages of the residual stream
    expect(listed.groups).toHaveLength(12);
    expect(listed.groups.find((g) => g.id.startsWith('layer3.1.conv1'))).toMatchObject({ size: 64 });
    expect(listed.frozen).toContainEqual(expect.objectContaining({ channels: 10 }));
    expect(out[3]).toContain('why not:');
  });
});

test('outputs whose length depends on the data may differ in it; open dims are made up', async () => {
  const model = (threshold: number): Model =>
    parseModelText(`<ir_version: 8, opset_import: ["" : 17]>
      g (float[N,2,H] x) => (int64[2,K] found, float[N,2,H] y)
        <float limit = {${threshold}}, int64[1] axes = {1}> {
        y = Relu (x)
        all = ReduceMax <axes = [2], keepdims = 0> (y)
        big = Greater (all, limit)
        found = NonZero (big)
      }`);
  const options = { runtime: ortRuntime(), table: standardOps };
  const same = await verifyModels(model(0.5), model(3), options);
  expect(same.checks.filter((c) => !c.ok)).toEqual([]);
  expect(same.checks.find((c) => c.name === 'runs')?.detail).toContain('other open dims made 64');
});
