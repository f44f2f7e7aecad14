// `optimize` with training at the end, on the shipped example: the front gets better on samples that nobody trained on, the file says
// how it was made.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { watchOver } from '../../search/early-stop.js';
import { finish } from '../../search/finish.js';
import { finishByTraining } from '../../search/finish-by-training.js';
import { withFoldedNorms } from '../../search/fold-norms.js';
import type { Refitted } from '../../search/front.js';
import { genomeOf, type Genome } from '../../search/genome.js';
import type { OptimizeOptions } from '../../search/optimize.js';
import { surgeryWith } from '../../search/replay.js';
import { openWorkshop, type Workshop } from '../../search/workshop.js';
import { drain } from '../../src/drain.js';
import { openDataset } from '../../src/data/dataset.js';
import { recordOutputs } from '../../src/measure/evaluate.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatsOf, withSession, type Runtime } from '../../src/runtime/runtime.js';
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

async function opened(runtime: Runtime): Promise<Workshop> {
  const opening = openWorkshop({
    model: example('shapes-resnet.onnx'),
    data: example('calib.json'),
    runtime,
    table: standardOps,
    seed: '3',
    plan: { ...smallEffort, learnImages: 60, scoreImages: 100, heldImages: 500 },
    ignore: () => false,
    roundTo: 1,
    maxRatio: 1,
    mutations: [],
  });
  return drain(opening);
}

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

test('a member that can only get worse is given up and its time goes to the next; a promising one is not', async () => {
  const runtime = ortRuntime();
  const workshop = await opened(runtime);
  const { session, dataset, context, replayer } = workshop;
  const out = join(folder, 'given-up');
  mkdirSync(join(out, 'candidates'), { recursive: true });
  const held = await recordOutputs(session, dataset, { indices: workshop.heldIndices.slice(0, 200) });
  const recipe = { sourceSha256: '', version: '0.0.0' };
  const without = (share: number): Genome => {
    const { groups } = replayer.base.groups;
    return genomeOf([], new Map(groups.map((g) => [g.id, Array.from({ length: share * g.size }, (_, i) => i)])));
  };
  const refitted: Refitted[] = [];
  // the original itself, which nothing makes more like the original, and what gets better with every step
  for (const [name, genome] of [
    ['01-same', []],
    ['02-smaller', without(0.25)],
    ['03-small', without(0.5)],
  ] as const) {
    const { macs } = surgeryWith(standardOps).count(replayer.replay(genome));
    const effort = { mode: 'reconstruct', images: 48, positions: 16 } as const;
    const done = await finish({ genome, macs }, name, { out, table: standardOps, context, effort, held, recipe });
    const member = { ...done, predicted: { mean: 0, deviation: 0 }, searched: 0, violation: 0, genome };
    refitted.push({ member, objectives: [-done.measured.value, macs] });
  }
  const options = { workshop, table: standardOps, out, recipe, held, test: undefined, sign: -1 };
  const plan = { bound: { steps: 40 }, runtime, threads: 1 };
  const lines: string[] = [];
  const steps = finishByTraining(refitted, plan, options);
  let next = await steps.next();
  for (; next.done !== true; next = await steps.next()) lines.push(next.value.text ?? next.value.warning ?? '');
  const [same, ...others] = next.value.map((r) => r.member);
  expect(lines.join('\n')).toMatch(
    /01-same\.onnx stays untrained: given up after \d+ steps, since it would end no better than it began/,
  );
  expect(same!.givenUp!.steps).toBeLessThan(40);
  expect(same!.measured).toEqual(refitted[0]!.member.measured);
  // the first of these was watched too, for the other one waits
  expect(others.map((m) => [m.givenUp, m.trained?.steps])).toEqual([
    [undefined, 40],
    [undefined, 40],
  ]);
  // and a run that gets better must still get better than one that is to be beaten
  const seen = [0.8, 0.7, 0.75, 0.82, 0.84].map((value) => ({ likeness: value }));
  const watched = { dataset, runtime, threads: 1, reference: held };
  expect(watchOver(watched).hopeless(seen)).toBeUndefined();
  expect(watchOver(watched).hopeless(seen.slice(0, 3))).toBeUndefined();
  const toBeat = { name: '02-smaller.onnx', gain: 1.1 };
  expect(watchOver({ ...watched, toBeat }).hopeless(seen)).toBe(
    'since it would end no better than 02-smaller.onnx: likeness to the original 0.8400, 0.8800 needed',
  );
  await workshop.close();
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
