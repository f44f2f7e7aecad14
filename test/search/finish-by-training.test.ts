// `optimize` with training at the end, on the shipped example: the front gets better on samples that nobody trained on, the file says
// how it was made.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { OptimizeOptions } from '../../search/optimize.js';
import { withFoldedNorms } from '../../search/fold-norms.js';
import { openDataset } from '../../src/data/dataset.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatsOf, withSession } from '../../src/runtime/runtime.js';
import { runToEnd, smallEffort } from './open-search.js';

const example = (name: string): string => fileURLToPath(new URL(`../../examples/shapes/${name}`, import.meta.url));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-train-front-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const settings = (out: string, changes: Partial<OptimizeOptions> = {}): OptimizeOptions => ({
  model: example('shapes-resnet.onnx'),
  data: example('calib.json'),
  out: join(folder, out),
  wishes: { flops: '40%' },
  evaluations: 2,
  seed: '3',
  runtime: ortRuntime(),
  table: standardOps,
  version: '0.0.0',
  effort: {
    ...smallEffort,
    final: { mode: 'reconstruct', images: 48, positions: 16 },
    learnImages: 60,
    scoreImages: 200,
    heldImages: 500,
    members: 1,
  },
  training: { bound: { steps: 40 }, runtime: ortRuntime(), threads: 1 },
  ...changes,
});

test('the best member is distilled and better for it; its recipe is in the file', { timeout: 120_000 }, async () => {
  const lines: string[] = [];
  const { front } = await runToEnd(settings('a'), (report) => {
    lines.push(report.text ?? report.warning ?? '');
  });
  const member = front.candidates[0]!;
  const { trained, measured } = member;
  expect(trained?.steps).toBe(40);
  expect(lines.join('\n')).toMatch(/distilled: top1 [\d.]+ before, [\d.]+ after 40 steps/);
  expect(measured.value).toBeGreaterThan(trained!.before.value);
  const file = join(folder, 'a', member.file);
  const model = readModel(file);
  expect(JSON.parse(model.metadata.get('pare.recipe')!)).toEqual(member.genome);
  const training = JSON.parse(model.metadata.get('pare.training')!) as {
    readonly steps: number;
    readonly seed: string;
  };
  expect(training.steps).toBe(40);
  expect(training.seed).toMatch(/^3\/train\//);
  // without time the run ends with what was there before, and the same search found it
  const none = await runToEnd(
    settings('none', { training: { bound: { timeMs: 0 }, runtime: ortRuntime(), threads: 1 } }),
  );
  expect(none.front.candidates[0]!.measured).toEqual(trained!.before);
  expect(none.front.candidates[0]!.trained).toBeUndefined();
});

test('folded normalisations compute the same', async () => {
  const model = readModel(example('shapes-resnet.onnx'));
  const folded = withFoldedNorms(model, standardOps);
  expect(model.graph.nodes.some((n) => n.opType === 'BatchNormalization')).toBe(true);
  expect(folded.graph.nodes.some((n) => n.opType === 'BatchNormalization')).toBe(false);
  const outputs = async (m: typeof model): Promise<readonly number[]> =>
    withSession(ortRuntime(), m, {}, async (session) => {
      const { inputs } = openDataset(example('calib.json'), session.inputs).batch([0, 1, 2]);
      return [...(await session.run(inputs)).values()].flatMap((t) => [...floatsOf(t)]);
    });
  const [a, b] = [await outputs(model), await outputs(folded)];
  a.forEach((v, i) => expect(Math.abs(v - b[i]!)).toBeLessThan(1e-3));
});
