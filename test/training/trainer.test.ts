// The trainer on the shipped example (2 MMACs, 3,000 images of 16 x 16): it learns, distils, resumes bit by bit, stops at NaN.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { drain } from '../../src/drain.js';
import { augmented } from '../../src/data/augment.js';
import { openDataset, type Dataset } from '../../src/data/dataset.js';
import type { Model } from '../../src/ir/graph.js';
import { DataType, readFloats } from '../../src/ir/tensor.js';
import { evaluate } from '../../src/measure/evaluate.js';
import { heldOutPart } from '../../src/measure/held-out.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatData, floatsOf, withSession } from '../../src/runtime/runtime.js';
import { modelInputs } from '../../src/runtime/source.js';
import { openTeacher } from '../../src/training/feeding.js';
import type { Loss } from '../../src/training/loss.js';
import { reinitialized } from '../../src/training/reinit.js';
import { scheduleOf } from '../../src/training/schedule.js';
import { trainingStep } from '../../src/training/step.js';
import {
  train,
  type TrainOptions,
  type TrainReport,
  type TrainResult,
  type Watch,
} from '../../src/training/trainer.js';
import { pare } from '../pare-here.js';

const example = (name: string): string => fileURLToPath(new URL(`../../examples/shapes/${name}`, import.meta.url));

let folder: string;
let model: Model;
let data: Dataset;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-train-'));
  model = readModel(example('shapes-resnet.onnx'));
  data = openDataset(example('calib.json'), modelInputs(model));
});
afterAll(() => rmSync(folder, { recursive: true }));

const settings: TrainOptions = {
  table: standardOps,
  runtime: ortRuntime(),
  bound: { steps: 8 },
  batch: 32,
  optimizer: { kind: 'sgd', momentum: 0.9, decay: 1e-4 },
  rate: 0.05,
  schedule: scheduleOf('constant'),
  rng: createRng('test'),
  reportEvery: 1,
};

async function run(
  start: Model,
  options: TrainOptions,
  samples = data,
): Promise<TrainResult & { readonly reports: TrainReport[] }> {
  const reports: TrainReport[] = [];
  const result = await drain(train(start, samples, options), (report) => void reports.push(report));
  return { ...result, reports };
}

async function held(share: number): Promise<Pick<TrainOptions, 'heldOut'>> {
  const { runtime, rng } = settings;
  const heldOut = await heldOutPart(data, { runtime, rng, share, batch: 100 });
  return heldOut === undefined ? {} : { heldOut };
}

const bytesOf = (m: Model): string =>
  [...m.graph.initializers.values()].map((t) => `${t.name} ${Buffer.from(t.bytes!()).toString('base64')}`).join('\n');

async function accuracy(file: string): Promise<number> {
  return withSession(ortRuntime(), file, {}, async (session) => {
    const tests = openDataset(example('test.json'), session.inputs);
    return (await evaluate(session, tests)).value;
  });
}

test.each<TrainOptions['optimizer']>([
  { kind: 'sgd', momentum: 0.9, decay: 1e-4 },
  { kind: 'adam', decay: 1e-4 },
  { kind: 'adamw', decay: 0.01 },
])('fresh weights learn a few images by heart: %o', async (optimizer) => {
  const manifest = join(folder, 'few.json');
  const given = JSON.parse(readFileSync(example('calib.json'), 'utf8')) as object;
  writeFileSync(manifest, JSON.stringify({ ...given, files: [example('shapes-train.npz')], limit: 32 }));
  const few = openDataset(manifest, modelInputs(model));
  const fresh = reinitialized(model, createRng(1));
  const rate = optimizer.kind === 'sgd' ? 0.05 : 0.003;
  const { reports, ended } = await run(fresh, { ...settings, optimizer, rate, bound: { steps: 40 } }, few);
  const mean = (list: TrainReport[]): number => list.reduce((sum, r) => sum + r.loss, 0) / list.length;
  expect(ended).toBe('done');
  expect(reports.map((r) => r.step)).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));
  expect(mean(reports.slice(-8))).toBeLessThan(0.5 * mean(reports.slice(0, 8)));
});

test('an interrupted run goes on as if undisturbed, bit by bit; another run is refused', async () => {
  const options: TrainOptions = {
    ...settings,
    augment: { flip: true, crop: 1, cutout: 4 },
    ...(await held(0.02)),
    step: { clip: 1, average: 0.9 },
    schedule: scheduleOf('one-cycle'),
  };
  const whole = await run(model, options);
  expect(bytesOf(whole.model)).toBe(bytesOf((await run(model, options)).model));
  const place = { folder: join(folder, 'run'), every: 3 };
  const killed = train(model, data, { ...options, checkpoint: place });
  // after five steps: the checkpoint is that of step 3
  for (let i = 0; i < 5; i++) await killed.next();
  await killed.return(whole);
  expect(existsSync(join(place.folder, 'training.checkpoint'))).toBe(true);
  const resumed = await run(model, { ...options, checkpoint: place });
  expect(resumed.reports[0]!.step).toBe(4);
  expect(bytesOf(resumed.model)).toBe(bytesOf(whole.model));
  expect(resumed.heldOut).toEqual(whole.heldOut);
  await expect(run(model, { ...options, batch: 16, checkpoint: place })).rejects.toThrow(
    /belongs to another run \(batch was 32, is 16\): delete it or name another folder/,
  );
});

test('of several rates a trial finds the one that does not ruin the network; the run goes on with it, resumed or not', async () => {
  const options: TrainOptions = { ...settings, bound: { steps: 60 }, batch: 16, ...(await held(0.02)) };
  const alone = await run(model, { ...options, rate: 1e-3 });
  const chosen = await run(model, { ...options, rate: [30, 3, 1e-3, 1e-7] });
  expect(chosen.reports.at(-1)!.rate).toBe(1e-3);
  expect(bytesOf(chosen.model)).toBe(bytesOf(alone.model));
  const place = { folder: join(folder, 'tried'), every: 20 };
  const killed = train(model, data, { ...options, rate: [30, 1e-3], checkpoint: place });
  for (let i = 0; i < 25; i++) await killed.next();
  await killed.return(alone);
  const resumed = await run(model, { ...options, rate: [30, 1e-3], checkpoint: place });
  expect(resumed.reports[0]!.step).toBe(21);
  expect(bytesOf(resumed.model)).toBe(bytesOf(alone.model));
});

test('a run bounded in time is repeated by its pace', async () => {
  const options: TrainOptions = { ...settings, batch: 16, schedule: scheduleOf('cosine'), augment: { flip: true } };
  const timed = await run(model, { ...options, bound: { timeMs: 1500 } });
  expect(timed.pace!.length).toBeGreaterThan(0);
  expect(timed.pace!.every((step, i, all) => i === 0 || step >= all[i - 1]!)).toBe(true);
  const again = await run(model, { ...options, bound: { steps: timed.steps, pace: timed.pace! } });
  expect(bytesOf(again.model)).toBe(bytesOf(timed.model));
});

test('a teacher beside labels, and values inside that are to be like its own', async () => {
  const inner = model.graph.nodes.find((n) => n.opType === 'Relu')!.outputs[0]!;
  const fresh = reinitialized(model, createRng(3));
  const taught: TrainOptions = { ...settings, teacher: model, reportEvery: 1, bound: { steps: 3 } };
  const first = async (more: Partial<TrainOptions>): Promise<number> =>
    (await run(fresh, { ...taught, ...more })).reports[0]!.loss;
  const distill = await first({});
  const labels: Loss = { kind: 'cross-entropy' };
  const { teacher: _, ...untaught } = taught;
  const entropy = (await run(fresh, { ...untaught, loss: labels })).reports[0]!.loss;
  const like: Loss = { kind: 'mse', relative: true };
  const terms = { name: 'labels', loss: labels, weight: 0.25 };
  const both = await first({ step: { weight: 0.75, also: [terms] } });
  expect(both).toBeCloseTo(0.75 * distill + 0.25 * entropy, 4);
  const inside = await first({ step: { weight: 0, also: [{ name: inner, value: inner, loss: like, weight: 1 }] } });
  expect(inside).toBeGreaterThan(0.01);
  // the teacher itself is like itself
  const same = await run(model, {
    ...taught,
    step: { weight: 0, also: [{ name: inner, value: inner, loss: like, weight: 1 }], batchNorm: 'frozen' },
  });
  expect(same.reports[0]!.loss).toBeLessThan(1e-6);
  await expect(first({ step: { also: [{ name: 'x', value: 'nowhere', loss: like, weight: 1 }] } })).rejects.toThrow(
    /value "nowhere"/,
  );
});

test('outputs of the teacher are kept by sample, where samples stay as they are', async () => {
  const { inputs } = data.batch([5, 9]);
  const dims = new Map([...inputs].map(([name, t]) => [name, t.dims]));
  const step = trainingStep(model, standardOps, dims, { loss: { kind: 'distill' }, optimizer: settings.optimizer });
  const teacher = await openTeacher(model, model.graph.outputs[0]!.name, step, settings.runtime, 1);
  const [seen] = [...(await teacher.run(inputs, [5, 9])).values()];
  const other = data.batch([1, 2]).inputs;
  const [turned] = [...(await teacher.run(other, [9, 5])).values()];
  expect([...turned!]).toEqual([...seen!.slice(10), ...seen!.slice(0, 10)]);
  const [asked] = [...(await teacher.run(other)).values()];
  expect([...asked!]).not.toEqual([...turned!]);
  await teacher.end();
});

test('frozen statistics and frozen weights stay, the others move', async () => {
  const { model: made } = await run(model, {
    ...settings,
    bound: { steps: 2 },
    step: { batchNorm: 'frozen', frozen: (name) => name.startsWith('head') },
  });
  for (const [name, before] of model.graph.initializers) {
    if (before.dataType !== DataType.FLOAT) continue;
    const same = Buffer.from(before.bytes!()).equals(Buffer.from(made.graph.initializers.get(name)!.bytes!()));
    expect([name, same]).toEqual([name, /mean|variance|^head/.test(name)]);
  }
});

test('a loss that is no number ends the run with step, cause and the last good weights', async () => {
  const { model: made, ended, cause } = await run(model, { ...settings, rate: 1e30 });
  expect(ended).toBe('diverged');
  expect(cause).toMatch(/^training broke down at step \d: the loss is not a number; .*too high: lower it \(--rate/);
  const floats = [...made.graph.initializers.values()].filter((t) => t.dataType === DataType.FLOAT);
  expect(floats.filter((t) => !readFloats(t).every(Number.isFinite))).toEqual([]);
});

test('a stop is heard between steps, and patience ends what gets no better', async () => {
  const stop = AbortSignal.abort();
  expect(await run(model, { ...settings, signal: stop })).toMatchObject({ ended: 'stopped', steps: 0 });
  const still = { ...settings, rate: 1e-9, batch: 1500, ...(await held(0.3)), patience: 2, bound: { epochs: 9 } };
  expect(await run(model, { ...still, step: { batchNorm: 'frozen' } })).toMatchObject({ ended: 'early', steps: 2 });
});

test('a run that is watched is given up where the watcher says so, resumed or not', async () => {
  const watching = (most: number): { readonly watch: Watch; readonly looked: number[] } => {
    const looked: number[] = [];
    const look: Watch['look'] = (now, seen) => {
      const [first] = step.weights.keys();
      looked.push(seen.length);
      return Promise.resolve({ sum: readFloats(now.graph.initializers.get(first!)!).reduce((a, b) => a + b, 0) });
    };
    const hopeless: Watch['hopeless'] = (seen) =>
      seen.length > most ? seen.map((s) => s['sum']).join(' ') : undefined;
    return { watch: { looks: 4, look, hopeless }, looked };
  };
  const dims = new Map([...data.batch([0]).inputs].map(([name, t]) => [name, t.dims]));
  const step = trainingStep(model, standardOps, dims, { loss: { kind: 'distill' }, optimizer: settings.optimizer });
  const options: TrainOptions = { ...settings, bound: { steps: 9 } };
  const patient = watching(Infinity);
  const done = await run(model, { ...options, watch: patient.watch });
  // before the first step, and after 1/4, 1/2 and 3/4 of nine
  expect(patient.looked).toEqual([0, 1, 2, 3]);
  expect(done.ended).toBe('done');
  expect(bytesOf(done.model)).toBe(bytesOf((await run(model, options)).model));

  const strict = await run(model, { ...options, watch: watching(2).watch });
  expect(strict).toMatchObject({ ended: 'given-up', steps: 5 });
  const place = { folder: join(folder, 'watched'), every: 3 };
  const killed = train(model, data, { ...options, watch: watching(2).watch, checkpoint: place });
  for (let i = 0; i < 4; i++) await killed.next();
  await killed.return(strict);
  const resumed = watching(2);
  const again = await run(model, { ...options, watch: resumed.watch, checkpoint: place });
  expect(resumed.looked).toEqual([2]);
  expect([again.steps, again.cause, bytesOf(again.model)]).toEqual([5, strict.cause, bytesOf(strict.model)]);
  // and what was given up is not gone on with
  const third = await run(model, { ...options, watch: watching(2).watch, checkpoint: place });
  expect(third).toMatchObject({ ended: 'given-up', steps: 5, cause: strict.cause });
});

test('augmentation: seeded, keeps what it shows, leaves other inputs alone', () => {
  const image = floatData([1, 1, 2, 3], Float32Array.of(1, 2, 3, 4, 5, 6));
  const one = (how: Parameters<typeof augmented>[2], seed: number): string =>
    [...floatsOf(augmented(new Map([['x', image]]), 'NCHW', how, createRng(seed)).get('x')!)].join();
  const seen = new Set(Array.from({ length: 20 }, (_, seed) => one({ flip: true }, seed)));
  expect(seen).toEqual(new Set(['1,2,3,4,5,6', '3,2,1,6,5,4']));
  expect(one({ crop: 1 }, 3)).toBe(one({ crop: 1 }, 3));
  const shifted = new Set(Array.from({ length: 60 }, (_, seed) => one({ crop: 1 }, seed)));
  expect(shifted.size).toBe(9);
  expect(shifted).toContain('1,1,2,4,4,5');
  for (let seed = 0; seed < 10; seed++)
    expect(
      one({ cutout: 1 }, seed)
        .split(',')
        .filter((v) => v === '0'),
    ).toHaveLength(1);
});

test('pare train: a pruned network distilled without labels beats itself; mistakes are sentences', async () => {
  const [pruned, trained] = ['pruned.onnx', 'trained.onnx'].map((f) => join(folder, f)) as [string, string];
  const calib = example('calib.json');
  expect((await pare('prune', example('shapes-resnet.onnx'), '--flops', '70%', '-o', pruned)).code).toBe(0);
  const teach = ['--data', calib, '--teacher', example('shapes-resnet.onnx'), '-o', trained];
  const { code, text } = await pare('train', pruned, ...teach, '--epochs', '1');
  expect(text).toMatch(/^step 10, epoch 0\.\d+, loss [\d.]+, \d+ samples\/s, \d+ s left$/m);
  expect(code).toBe(0);
  const [before, after] = [await accuracy(pruned), await accuracy(trained)];
  expect(after).toBeGreaterThan(before);
  expect(await pare('train', pruned, ...teach, '--time', 'soon')).toMatchObject({
    code: 2,
    text: 'pare: --time soon: write a duration such as 90s, 30m or 2h',
  });
  expect((await pare('train', pruned, ...teach, '--rate', '1e38', '--steps', '5')).text).toMatch(
    /pare: training broke down at step \d.*; the last good weights are in /,
  );
});
