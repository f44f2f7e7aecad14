import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDataset, type Dataset } from '../src/data/dataset.js';
import { checkData } from '../src/measure/check-data.js';
import { randomFeeds } from '../src/measure/feeds.js';
import { compareLatency, measureLatency } from '../src/measure/latency.js';
import { evaluate, recordOutputs, safeBatch } from '../src/measure/evaluate.js';
import { readModel } from '../src/onnx/read.js';
import { createRng } from '../src/rng.js';
import { modelInputs, modelOutputs, withFileOrBytes } from '../src/runtime/source.js';
import { argmax, divergence, inTop, softmax } from '../src/measure/outputs.js';
import { mean, median, pairedDifference, proportion, rootRatio } from '../src/measure/statistics.js';
import { DataType } from '../src/ir/tensor.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { floatData, type RuntimeTensor, type Session } from '../src/runtime/runtime.js';
import { threadRuntime } from '../src/runtime/threads.js';
import { cifarManifest, hasCifar, preparations } from './cifar.js';
import { npy, npz } from './npz.js';
import { describeShared, sharedPath } from './shared.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-measure-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('statistics', () => {
  test('known values', () => {
    // Wilson: 45 of 50 (checked by hand: centre (0.9 + 0.0384146) / 1.0768292)
    expect(proportion(45, 50).ci95[0]).toBeCloseTo(0.7864, 4);
    expect(proportion(45, 50).ci95[1]).toBeCloseTo(0.9565, 4);
    expect(proportion(0, 10).ci95[0]).toBe(0);
    expect(mean(Float64Array.of(1, 2, 3)).ci95[1]).toBeCloseTo(2 + 4.302653 / Math.sqrt(3), 5);
    // Student's t of 4 degrees of freedom: 2.776
    expect(mean(Float64Array.of(1, 2, 3, 4, 5)).ci95[1]).toBeCloseTo(3 + 2.776445 * Math.sqrt(0.5), 2);
    expect(pairedDifference(5, 15, 100).value).toBe(-0.1);
    expect(rootRatio(Float64Array.of(1, 3), Float64Array.of(10, 6)).value).toBe(0.5);
    expect(median([5, 1, 9]).value).toBe(5);
  });

  test('intervals hold their value, and swapping the two of a difference turns its sign', () => {
    const count = fc.integer({ min: 0, max: 50 });
    fc.assert(
      fc.property(count, count, count, (b, c, same) => {
        const n = b + c + same + 1;
        const p = proportion(b, n);
        expect(p.ci95[0]).toBeLessThanOrEqual(p.value);
        expect(p.ci95[1]).toBeGreaterThanOrEqual(p.value);
        const [d, e] = [pairedDifference(b, c, n), pairedDifference(c, b, n)];
        expect(d.value).toBeCloseTo(-e.value, 12);
        expect(d.ci95[0]).toBeCloseTo(-e.ci95[1], 12);
        const m = median(Array.from({ length: n }, (_, i) => (i * 7919) % 101));
        expect(m.ci95[0]).toBeLessThanOrEqual(m.value);
        expect(m.ci95[1]).toBeGreaterThanOrEqual(m.value);
      }),
    );
  });

  test('classes, top 5, softmax and divergence', () => {
    expect(argmax(Float32Array.of(1, 3, 3))).toBe(1);
    expect(argmax(Float32Array.of(1, Number.NaN, 3))).toBe(-1);
    expect(inTop(Float32Array.of(6, 5, 4, 3, 2, 1), 4, 5)).toBe(true);
    expect(inTop(Float32Array.of(6, 5, 4, 3, 2, 1), 5, 5)).toBe(false);
    expect([...softmax(Float32Array.of(1000, 1000))]).toEqual([0.5, 0.5]);
    expect(divergence([0.5, 0.5], [0.25, 0.75])).toBeCloseTo(0.5 * Math.log(2) + 0.5 * Math.log(2 / 3), 12);
  });
});

describe('evaluate', () => {
  /** A session that is a function of its one input: for shapes that no shared network has. */
  const pretend = (f: (x: RuntimeTensor) => Record<string, RuntimeTensor>): Session => ({
    inputs: [{ name: 'x', dataType: DataType.FLOAT, dims: ['N', 2] }],
    outputs: [],
    run: (feeds) => Promise.resolve(new Map(Object.entries(f(feeds.get('x')!)))),
    release: () => Promise.resolve(),
  });
  const identity = pretend((x) => ({ y: x }));
  const data = (arrays: Record<string, Uint8Array>, manifest: object = {}): Dataset => {
    writeFileSync(join(folder, 'd.npz'), npz(arrays));
    writeFileSync(join(folder, 'd.json'), JSON.stringify({ format: 'npz', files: ['d.npz'], ...manifest }));
    return openDataset(join(folder, 'd.json'), identity.inputs);
  };
  const x = npy([4, 2], Float32Array.of(1, 2, 4, 3, 0, 1, 9, 1));

  test('top-1 against labels, and a reference that differs in one sample', async () => {
    const d = data({ x, y: npy([4], Int32Array.of(1, 0, 0, 0)) });
    const swap = pretend((t) => ({
      y: floatData(
        t.dims,
        (t.data as Float32Array).map((v) => (v === 9 ? -v : v)),
      ),
    }));
    const e = await evaluate(identity, d, { reference: swap, batch: 3 });
    expect([e.metric, e.value, e.n, e.nonFinite]).toEqual(['top1', 0.75, 4, 0]);
    expect(e.versus?.reference?.value).toBe(0.5);
    expect(e.versus?.difference?.value).toBe(0.25);
    expect(e.versus?.agreement?.value).toBe(0.75);
    // |9 - -9|^2 = 324 over the sum of squares 1 + 4 + 16 + 9 + 0 + 1 + 81 + 1
    expect(e.versus?.relativeError.value).toBeCloseTo(Math.sqrt(324 / 113), 12);
  });

  test('targets: mse and mae; without labels: agreement, and a sentence when there is nothing to compare with', async () => {
    const y = npy([4, 2], Float32Array.of(1, 2, 4, 3, 0, 2, 9, 4));
    expect((await evaluate(identity, data({ x, y }))).value).toBe((0.5 + 4.5) / 4);
    const mae = await evaluate(identity, data({ x, y }, { metric: 'mae' }));
    expect([mae.value, mae.higherIsBetter]).toEqual([(0.5 + 1.5) / 4, false]);
    const bare = data({ x });
    await expect(evaluate(identity, bare)).rejects.toThrow(/have no labels: give a reference network/);
    const same = await evaluate(identity, bare, { reference: identity });
    expect([same.metric, same.value, same.versus?.kl?.value]).toEqual(['agreement', 1, 0]);
  });

  test('labels and outputs that do not fit are sentences', async () => {
    const labels = (v: number) => data({ x, y: npy([4], Int32Array.of(1, 0, v, 0)) });
    await expect(evaluate(identity, labels(2))).rejects.toThrow('a label is 2, but the network has 2 classes (0 to 1)');
    const cube = pretend((t) => ({ y: floatData([t.dims[0]!, 2, 3], new Float32Array(t.dims[0]! * 6)) }));
    await expect(evaluate(cube, labels(1))).rejects.toThrow(
      /wants one vector of class scores a sample, but output "y" of shape/,
    );
    const named = data({ x, y: npy([4], Int32Array.of(1, 0, 1, 0)) }, { output: 'z' });
    await expect(evaluate(identity, named)).rejects.toThrow('the network has no output "z"; it has y');
  });

  test('outputs that are not finite are counted and wrong', async () => {
    const nan = pretend((t) => ({
      y: floatData(
        t.dims,
        (t.data as Float32Array).map((v) => (v === 9 ? Number.NaN : v)),
      ),
    }));
    const d = data({ x, y: npy([4], Int32Array.of(1, 0, 1, 0)) });
    const e = await evaluate(nan, d, { reference: identity });
    expect([e.value, e.nonFinite, e.versus?.agreement?.value]).toEqual([0.75, 1, 0.75]);
  });

  test('a graph that mixes its samples, or keeps a 1 inside, runs one sample at a time', async () => {
    const d = data({ x, y: npy([4], Int32Array.of(1, 0, 1, 0)) });
    const all = [0, 1, 2, 3];
    expect(await safeBatch(identity, d, all, 32)).toBe(32);
    const flat = pretend((t) => ({ y: floatData([1, t.data.length], t.data as Float32Array) }));
    expect(await safeBatch(flat, d, all, 32)).toBe(1);
    const mixing = pretend((t) => ({
      y: floatData(
        t.dims,
        (t.data as Float32Array).map((v) => v + (t.dims[0]! > 1 ? 1 : 0)),
      ),
    }));
    expect(await safeBatch(mixing, d, all, 32)).toBe(1);
    expect((await evaluate(flat, d)).value).toBe(1);
  });
});

describeShared('real networks', ['models', 'images'], () => {
  const thousand = Array.from({ length: 1000 }, (_, i) => i);
  const open = async (file: string, manifest: string) => {
    const session = await ortRuntime().load(sharedPath('models', file));
    return { session, dataset: openDataset(manifest, session.inputs) };
  };

  // counts of right answers among the first 1,000 shared test images, measured once with onnxruntime 1.30; on all 5,000 the
  // same code gives the accuracies of models/INDEX.md
  test.skipIf(!hasCifar()).each([
    ['cifar10-resnet20.onnx', 'resnet', 925],
    ['mlperf-tiny-resnet8-cifar10.onnx', 'raw', 883],
    ['marabou-cifar10-large.onnx', 'plain', 763],
    ['vit-cifar10-ibp.onnx', 'densenet', 626],
  ] as const)('%s', async (file, prep, right) => {
    const { session, dataset } = await open(file, cifarManifest(folder, ['cifar10-test.bin'], preparations[prep]));
    const e = await evaluate(session, dataset, { indices: thousand });
    await session.release();
    expect(Math.round(e.value * 1000)).toBe(right);
  });

  test('MNIST from gzipped IDX files, a network with a fixed batch of 1', async () => {
    const files = ['images-idx3', 'labels-idx1'].map((f) => sharedPath('images', `mnist-t10k-${f}-ubyte.gz`));
    writeFileSync(join(folder, 'mnist.json'), JSON.stringify({ format: 'idx', files }));
    const { session, dataset } = await open('mnist-cntk.onnx', join(folder, 'mnist.json'));
    expect([dataset.size, dataset.fixedBatch]).toEqual([10_000, 1]);
    const e = await evaluate(session, dataset, { indices: thousand });
    expect(Math.round(e.value * 1000)).toBe(987);
    await session.release();
  });

  test.skipIf(!hasCifar())(
    'two threads give the same bits as one, and recorded outputs the same as a live reference',
    async () => {
      const path = cifarManifest(folder, ['cifar10-test.bin'], preparations.resnet);
      const indices = thousand.slice(0, 200);
      const one = await open('cifar10-resnet20.onnx', path);
      const other = (await open('cifar10-resnet20-folded.onnx', path)).session;
      const live = await evaluate(one.session, one.dataset, { indices, reference: other });
      expect(live.versus?.relativeError.value).toBeLessThan(1e-5);
      expect(live.versus?.relativeError.value).toBeGreaterThan(0);
      expect(live.versus?.agreement?.value).toBe(1);
      const threads = threadRuntime(2);
      const session = await threads.load(sharedPath('models', 'cifar10-resnet20.onnx'));
      const reference = await recordOutputs(other, one.dataset, { indices });
      expect(await evaluate(session, one.dataset, { indices, reference, concurrency: 2 })).toEqual(live);
      await Promise.all([session.release(), one.session.release(), other.release()]);
      await threads.close();
    },
  );

  test('a face detector without labels: relative error over both outputs, 0 against itself', async () => {
    const prep = { scale: 1, mean: 127, std: 128, resize: [240, 320] };
    const content = { format: 'images', files: [sharedPath('models', 'inputs')], ...prep };
    writeFileSync(join(folder, 'faces.json'), JSON.stringify(content));
    const { session, dataset } = await open('ultraface-rfb-320.onnx', join(folder, 'faces.json'));
    const e = await evaluate(session, dataset, { reference: session });
    expect([e.metric, e.n, e.value]).toEqual(['relative-error', 4, 0]);
    expect([...(e.versus?.outputs.keys() ?? [])]).toEqual(['scores', 'boxes']);
    // a face stands out: some anchor of every photo is a face with more than 90 %
    for (let i = 0; i < 4; i++) {
      const scores = (await session.run(dataset.batch([i]).inputs)).get('scores')!.data as Float32Array;
      expect(Math.max(...scores.filter((_, j) => j % 2 === 1))).toBeGreaterThan(0.9);
    }
    await session.release();
  });

  test.skipIf(!hasCifar()).each([
    ['cifar10-resnet20.onnx', 'resnet', /^$/],
    ['mlperf-tiny-resnet8-cifar10.onnx', 'raw', /^$/],
    ['vit-cifar10-ibp.onnx', 'densenet', /^$/],
    [
      'mlperf-tiny-resnet8-cifar10.onnx',
      'plain',
      /right for \d+ % of 64 samples, and for \d+ % with "scale": 1 \(values 0..255\); mend/,
    ],
    ['cifar10-resnet20.onnx', 'raw', /and for \d+ % with .*\(ImageNet\); mend the manifest/],
    ['marabou-cifar10-large.onnx', 'densenet', /with "scale": 0.00392156862745098 \(1\/255\) without "mean" and "std"/],
  ] as const)('data check of %s prepared as %s', async (file, prep, expected) => {
    const { session, dataset } = await open(file, cifarManifest(folder, ['cifar10-test.bin'], preparations[prep]));
    const findings = await checkData(session, dataset);
    await session.release();
    expect(findings.join('\n')).toMatch(expected);
  });

  test('data check: few samples, broken and blank ones, labels that do not fit', async () => {
    const session = await ortRuntime().load(sharedPath('models', 'mlperf-tiny-resnet8-cifar10.onnx'));
    const rng = createRng('noise');
    const pixels = Float32Array.from({ length: 40 * 3072 }, () => rng.int(256));
    const at = (name: string, labels: (i: number) => number): Dataset => {
      const y = Int32Array.from({ length: 40 }, (_, i) => labels(i));
      writeFileSync(join(folder, name), npz({ x: npy([40, 32, 32, 3], pixels), y: npy([40], y) }));
      return openDataset(join(folder, name), session.inputs);
    };
    await expect(
      checkData(
        session,
        at('one.npz', (i) => 1 + (i % 10)),
      ),
    ).rejects.toThrow(
      /labels go from 1 to 10, but the network has 10 classes, 0 to 9; they seem to count from 1: subtract 1/,
    );
    pixels.fill(0, 0, 3072);
    pixels[5000] = Number.NaN;
    const findings = await checkData(
      session,
      at('few.npz', () => 3),
    );
    const text = findings.join('\n');
    expect(text).toMatch(/1 of 40 samples hold values that are not finite/);
    expect(text).toMatch(/1 of 40 samples hold one value everywhere/);
    expect(text).toMatch(/only 40 samples: an accuracy measured on them is good to \d+ points at best/);
    expect(text).toMatch(/every sample has label 3/);
    await session.release();
  });

  test('latency: what was asked is said, and a network against itself is about as fast', async () => {
    const path = sharedPath('models', 'marabou-cifar10-large.onnx');
    const one = await measureLatency(path, { batch: 4, rounds: 5, threads: 2 });
    expect([one.batch, one.threads]).toEqual([4, 2]);
    expect(one.median).toBeGreaterThan(0);
    expect(one.p90).toBeGreaterThanOrEqual(one.median);
    const same = await compareLatency(path, path, { rounds: 7 });
    expect(same.speedup.value).toBeGreaterThan(0.5);
    expect(same.speedup.value).toBeLessThan(2);
    expect(same.candidate.batch).toBe(1);
  });

  test('made-up inputs follow the declared shapes; an open dimension without a value is a sentence', () => {
    const meta = [{ name: 'ids', dataType: DataType.INT64, dims: ['N', 'length'] }];
    expect(() => randomFeeds(meta, createRng(1))).toThrow(
      '"ids" [N, length] leaves dimension 1 open: give it with --input ids:1x224',
    );
    const feeds = randomFeeds(meta, createRng(1), { batch: 3, dims: new Map([['ids', [2, 5]]]) });
    expect(feeds.get('ids')!.dims).toEqual([2, 5]);
    expect(randomFeeds(meta, createRng(1), { batch: 3, dynamic: 4 }).get('ids')!.dims).toEqual([3, 4]);
  });

  test('a model in memory runs, inside one file and with external data alike, and lists what a session lists', async () => {
    const model = readModel(sharedPath('models', 'mnist-cntk.onnx'));
    const x = randomFeeds(modelInputs(model), createRng('mnist'));
    const run = async (source: Uint8Array | string) => {
      const session = await ortRuntime().load(source);
      expect([session.inputs, session.outputs]).toEqual([modelInputs(model), modelOutputs(model)]);
      const y = [...(await session.run(x)).values()][0]!.data;
      await session.release();
      return y;
    };
    const inline = await withFileOrBytes(model, run);
    expect(await withFileOrBytes(model, run, 0)).toEqual(inline);
  });
});
