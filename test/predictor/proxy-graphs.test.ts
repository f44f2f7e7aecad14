// Zero-cost proxies through the gradient graphs in onnxruntime, against the float64 reference and closed forms (methods.md §4, 5.3).

import { fileURLToPath } from 'node:url';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { writeModel } from '../../src/onnx/write.js';
import { openDataset } from '../../src/data/dataset.js';
import { graphBuilder, type GraphBuilder } from '../../src/ir/builder.js';
import type { Model } from '../../src/ir/graph.js';
import { DataType, elementCount, floatTensor, readFloats } from '../../src/ir/tensor.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { blockOutputs } from '../../src/predictor/proxies/blocks.js';
import { graspOf } from '../../src/predictor/proxies/grasp.js';
import { forwardProxyNames, proxies, proxyNames } from '../../src/predictor/proxies/index.js';
import { jacov } from '../../src/predictor/proxies/jacov.js';
import { createProbe, withLoss, type ProbeBatch, type ProbeOptions } from '../../src/predictor/proxies/probe.js';
import { synflowOf } from '../../src/predictor/proxies/synflow.js';
import { createRng, type Rng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatData, floatsOf } from '../../src/runtime/runtime.js';
import { modelInputs } from '../../src/runtime/source.js';
import { createEmitter } from '../../src/training/emitter.js';
import { ref, type Ref } from '../reference/arrays.js';
import { interpret } from '../reference/interpreter.js';
import { pare } from '../pare-here.js';

const runtime = ortRuntime();
afterAll(() => runtime.close());
const options = (seed: string): ProbeOptions => ({
  table: standardOps,
  runtime,
  rng: createRng(seed),
  weights: 'inherited',
});

const normals = (rng: Rng, dims: readonly number[], scale = 1): Float32Array =>
  Float32Array.from({ length: elementCount(dims) }, () => scale * rng.normal());

/** Two convolutions around a shortcut, pooling, a dense layer: 3 classes. */
function smallNet(seed: string, bias: boolean): Model {
  const rng = createRng(seed);
  const b = graphBuilder();
  const w = (name: string, dims: readonly number[]): string => b.floats(normals(rng.fork(name), dims, 0.5), dims, name);
  const x = b.input('x', DataType.FLOAT, ['N', 2, 5, 5]);
  const stem = b.op('Relu', [
    b.op('Conv', [x, w('a', [4, 2, 3, 3]), ...(bias ? [w('ab', [4])] : [])], { pads: [1, 1, 1, 1] }),
  ]);
  const inner = b.op('Relu', [b.op('Conv', [stem, w('b', [4, 4, 1, 1])])]);
  const sum = b.op('Add', [stem, b.op('Conv', [inner, w('c', [4, 4, 3, 3])], { pads: [1, 1, 1, 1] })]);
  const pooled = b.op('Flatten', [b.op('GlobalAveragePool', [sum])]);
  b.output(b.op('Gemm', [pooled, w('d', [3, 4])], { transB: 1 }), DataType.FLOAT, ['N', 3]);
  return b.model();
}

const sumOf = (values: ArrayLike<number>): number => Array.from(values).reduce((a, b) => a + b, 0);

function batchOf(seed: string, dims: readonly number[], labels?: readonly number[]): ProbeBatch {
  const inputs = new Map([['x', floatData(dims, normals(createRng(seed), dims))]]);
  return labels === undefined ? { inputs } : { inputs, labels: Int32Array.from(labels) };
}

/** A value of the model in float64, with some values other than they are. */
function valueIn(model: Model, name: string, feeds: ReadonlyMap<string, Ref>): Float64Array {
  return interpret(model.graph, 17, feeds).get(name)!.data;
}

function changed(model: Model, name: string, change: (x: number, i: number) => number): Model {
  const t = model.graph.initializers.get(name)!;
  const initializers = new Map(model.graph.initializers).set(
    name,
    floatTensor(
      name,
      t.dims,
      readFloats(t).map((x, i) => change(x, i)),
    ),
  );
  return { ...model, graph: { ...model.graph, initializers } };
}

describe('gradients behind the proxies, against central differences in float64', () => {
  const model = smallNet('differences', true);
  const batch = batchOf('batch', [4, 2, 5, 5], [0, 1, 2, 1]);
  const probe = createProbe(model, batch, options('differences'));

  it('of the loss, by weights', async () => {
    const { layers, loss } = await probe.lossPass();
    const targets = await probe.targets();
    expect(targets.kind).toBe('labels');
    const { parts, loss: name } = withLoss(probe.network, targets);
    const feeds = new Map([
      ['x', ref([4, 2, 5, 5], floatsOf(batch.inputs.get('x')!))],
      ['targets', ref([4, 3], targets.values)],
    ]);
    const lossOf = (m: Model): number => valueIn(m, name, feeds)[0]!;
    const whole: Model = { ...probe.network.model, graph: parts.graph };
    expect(loss).toBeCloseTo(lossOf(whole), 5);
    const names = ['a', 'b', 'c', 'd'];
    expect(layers).toHaveLength(4);
    layers.forEach(({ gradient, weights }, l) => {
      const direction = normals(createRng(`direction ${l}`), [weights.length]);
      const h = 1e-3;
      const at = (s: number): number => lossOf(changed(whole, names[l]!, (x, i) => x + s * direction[i]!));
      const slope = (at(h) - at(-h)) / (2 * h);
      const along = gradient.reduce((sum, g, i) => sum + g * direction[i]!, 0);
      expect(Math.abs(along - slope)).toBeLessThan(1e-3 * Math.hypot(...gradient) * Math.hypot(...direction));
    });
  });

  it('of the loss by activations: what fisher sums', async () => {
    // scaling channel c of sample n by 1 + s changes the loss by s times the product
    const { layers } = await probe.lossPass();
    const { dims, values } = layers.at(-1)!.products;
    expect(dims).toEqual([4, 3]);
    const scores = valueIn(
      probe.network.model,
      probe.network.scores.name,
      new Map([['x', ref([4, 2, 5, 5], floatsOf(batch.inputs.get('x')!))]]),
    );
    const crossEntropy = (z: Float64Array): number =>
      [0, 1, 2, 1].reduce((sum, label, n) => {
        const row = z.slice(3 * n, 3 * n + 3);
        return sum + (Math.log(sumOf(row.map(Math.exp))) - row[label]!) / 4;
      }, 0);
    for (let i = 0; i < 12; i++) {
      const at = (s: number): number => crossEntropy(scores.map((z, k) => (k === i ? z * (1 + s) : z)));
      expect(values[i]).toBeCloseTo((at(1e-4) - at(-1e-4)) / 2e-4, 5);
    }
  });

  it('of the scores by the input: rows of the Jacobian', async () => {
    const { rows, columns, values } = await probe.jacobian();
    expect([rows, columns]).toEqual([4, 50]);
    const x = floatsOf(batch.inputs.get('x')!);
    for (const i of [3, 60, 111, 199]) {
      const at = (s: number): number => {
        const moved = Float64Array.from(x);
        moved[i] = moved[i]! + s;
        return sumOf(
          valueIn(probe.network.model, probe.network.scores.name, new Map([['x', ref([4, 2, 5, 5], moved)]])),
        );
      };
      expect(values[i]).toBeCloseTo((at(1e-4) - at(-1e-4)) / 2e-4, 4);
    }
    expect(await jacov.score(probe)).toBeLessThan(-4);
  });
});

it('grasp of a quadratic is minus the squared length of H w', async () => {
  const rng = createRng('quadratic');
  const [factor, w] = [normals(rng, [5, 3]), normals(rng, [3])];
  const b = graphBuilder();
  const x = b.input('x', DataType.FLOAT, ['N', 3]);
  b.output(b.op('MatMul', [x, b.floats(w, [3, 1], 'w')]), DataType.FLOAT, ['N', 1]);
  const probe = createProbe(b.model(), { inputs: new Map([['x', floatData([5, 3], factor)]]) }, options('grasp'));
  const { model, scores, dims } = probe.network;
  const m = createEmitter(model.graph, 'loss');
  const loss = m.emit('Mul', [
    m.emit('ReduceSum', [m.emit('Mul', [scores.name, scores.name])], { keepdims: 0 }),
    m.float(0.5),
  ]);
  const parts = { graph: m.extended(model.graph), opsets: model.opsets, functions: [] };
  const found = await graspOf(probe, { parts, loss, binding: { inputs: dims }, more: new Map() });
  const hessian = (i: number, j: number): number =>
    sumOf(Array.from({ length: 5 }, (_, k) => factor[k * 3 + i]! * factor[k * 3 + j]!));
  const hw = [0, 1, 2].map((i) => sumOf([0, 1, 2].map((j) => hessian(i, j) * w[j]!)));
  expect(found / -sumOf(hw.map((v) => v * v))).toBeCloseTo(1, 5);
});

it('grasp is minus the change of half the squared gradient as the weights grow', async () => {
  const model = smallNet('grasp', false);
  const batch = batchOf('grasp batch', [4, 2, 5, 5], [2, 1, 0, 1]);
  const grown = (s: number): Model =>
    ['a', 'b', 'c', 'd'].reduce((m, name) => changed(m, name, (x) => x * (1 + s)), model);
  const half = async (s: number): Promise<number> => {
    const { layers } = await createProbe(grown(s), batch, options('grasp')).lossPass();
    return layers.reduce((sum, { gradient }) => sum + gradient.reduce((q, g) => q + (g * g) / 2, 0), 0);
  };
  const { grasp } = await proxies(model, batch, { ...options('grasp'), names: ['grasp'] });
  const h = 1e-2;
  expect(grasp! / (((await half(-h)) - (await half(h))) / (2 * h))).toBeCloseTo(1, 2);
});

describe('synflow', () => {
  const one = batchOf('synflow', [1, 2, 5, 5]);
  it('of a chain without biases: every layer sums to the flow itself', async () => {
    const rng = createRng('chain');
    const b = graphBuilder();
    let value = b.input('x', DataType.FLOAT, ['N', 2, 5, 5]);
    [
      [6, 2],
      [4, 6],
      [8, 4],
    ].forEach((dims, i) => {
      value = b.op(
        'Relu',
        [b.op('Conv', [value, b.floats(normals(rng, [...dims, 3, 3], 3), [...dims, 3, 3], `w${i}`)])],
        {},
      );
      if (i === 0) value = b.op('Pad', [value, b.ints([0, 0, 2, 2, 0, 0, 2, 2])]);
    });
    b.output(value, DataType.FLOAT, ['N', 8, 3, 3]);
    const { logScore, logFlow, logLayers } = await synflowOf(createProbe(b.model(), one, options('chain')));
    expect(logLayers).toHaveLength(3);
    for (const own of logLayers) expect(own).toBeCloseTo(logFlow, 5);
    expect(logScore).toBeCloseTo(logFlow + Math.log(3), 5);
  });

  it('with shortcuts: a layer sums to what the flow gains when it is doubled', async () => {
    const model = smallNet('synflow', false);
    const { logFlow, logLayers, logScore } = await synflowOf(createProbe(model, one, options('synflow')));
    const names = ['a', 'b', 'c', 'd'];
    const absolute = names.reduce((m, name) => changed(m, name, Math.abs), model);
    const flow = (m: Model): number =>
      sumOf(valueIn(m, m.graph.outputs[0]!.name, new Map([['x', ref([1, 2, 5, 5], new Float64Array(50).fill(1))]])));
    const base = flow(absolute);
    expect(logFlow).toBeCloseTo(Math.log(base), 5);
    const own = names.map((name) => flow(changed(absolute, name, (x) => 2 * x)) - base);
    logLayers.forEach((x, l) => expect(x).toBeCloseTo(Math.log(own[l]!), 5));
    expect(logScore).toBeCloseTo(Math.log(sumOf(own)), 5);
  });

  it('does not leave the range of float32 in a deep network', async () => {
    const rng = createRng('deep');
    const b = graphBuilder();
    let value = b.input('x', DataType.FLOAT, ['N', 2, 5, 5]);
    value = b.op('Conv', [value, b.floats(normals(rng, [8, 2, 1, 1]), [8, 2, 1, 1])]);
    for (let i = 0; i < 60; i++) {
      const through = b.op('Conv', [b.op('Relu', [value]), b.floats(normals(rng, [8, 8, 3, 3], 5), [8, 8, 3, 3])], {
        pads: [1, 1, 1, 1],
      });
      value = i % 2 === 0 ? b.op('Add', [value, through]) : b.op('AveragePool', [through], { kernel_shape: [1, 1] });
    }
    b.output(b.op('GlobalAveragePool', [value]), DataType.FLOAT, ['N', 8, 1, 1]);
    const { logScore, logFlow } = await synflowOf(createProbe(b.model(), one, options('deep')));
    // gains of about 200 a layer: e^300
    expect(logFlow).toBeGreaterThan(250);
    expect(logScore).toBeGreaterThan(logFlow);
    expect(logScore).toBeLessThan(logFlow + Math.log(61));
  });
});

describe('AZ-NAS through a network', () => {
  const c = 16;
  const dims = [16, c, 64, 64];
  /** A stem that passes noise on, then one block. */
  const withBlock = (block: (b: GraphBuilder, x: string) => string): Model => {
    const b = graphBuilder();
    const eye = Float32Array.from({ length: c * c }, (_, i) => (i % (c + 1) === 0 ? 1 : 0));
    const stem = b.op('Conv', [b.input('x', DataType.FLOAT, ['N', c, 64, 64]), b.floats(eye, [c, c, 1, 1], 'stem')]);
    b.output(block(b, stem), DataType.FLOAT, ['N', c, 'h', 'w']);
    return b.model();
  };
  /** Orthogonal, by a product of reflections. */
  const orthogonal = (scale: number): Float32Array => {
    let q = Array.from({ length: c }, (_, i) => Array.from({ length: c }, (_u, j) => (i === j ? scale : 0)));
    const rng = createRng('orthogonal');
    for (let k = 0; k < c; k++) {
      const v = Array.from({ length: c }, () => rng.normal());
      const length2 = sumOf(v.map((x) => x * x));
      q = q.map((row) => {
        const along = (2 * sumOf(row.map((x, j) => x * v[j]!))) / length2;
        return row.map((x, j) => x - along * v[j]!);
      });
    }
    return Float32Array.from(q.flat());
  };
  const score = async (model: Model): Promise<Readonly<Record<string, number>>> =>
    proxies(
      model,
      { inputs: new Map([['x', floatData(dims, new Float32Array(elementCount(dims)))]]) },
      {
        ...options('az'),
        names: ['az_trainability', 'az_expressivity', 'az_progressivity'],
      },
    );

  it('an orthogonal 1x1 convolution carries gradients well, twice it less, a copy not at all', async () => {
    const conv = (scale: number): Model =>
      withBlock((b, x) => b.op('Conv', [x, b.floats(orthogonal(scale), [c, c, 1, 1])]));
    const plain = await score(conv(1));
    // sigma 1 and 2 within 5 %
    expect(plain['az_trainability']).toBeGreaterThan(-0.0025);
    expect((await score(conv(2)))['az_trainability']).toBeCloseTo(-0.544, 1);
    // white noise through an orthogonal map is white noise: ln c a block, and nothing gained
    expect(plain['az_expressivity']! / (2 * Math.log(c))).toBeCloseTo(1, 3);
    expect(Math.abs(plain['az_progressivity']!)).toBeLessThan(1e-3);
    const copy = Float32Array.from({ length: c * c }, (_, i) => (i % (c + 1) === 0 ? 1 : 0));
    expect((await score(withBlock((b, x) => b.op('Conv', [x, b.floats(copy, [c, c, 1, 1])]))))['az_trainability']).toBe(
      -Infinity,
    );
  });

  it('a block that halves the resolution is compared with four input channels for one', async () => {
    // each output position copies the first of its four: A is [4 c, c] with the identity on top
    const model = withBlock((b, x) => b.op('Conv', [x, b.floats(orthogonal(1), [c, c, 1, 1])], { strides: [2, 2] }));
    expect((await score(model))['az_trainability']).toBeGreaterThan(-0.02);
  });
});

describe('a whole network', () => {
  const example = (name: string): string => fileURLToPath(new URL(`../../examples/shapes/${name}`, import.meta.url));
  const model = readModel(example('shapes-resnet.onnx'));
  const data = openDataset(example('calib.json'), modelInputs(model));
  const batch = data.batch(Array.from({ length: 32 }, (_, i) => i));

  it('has all seventeen, the same for the same seed, fresh or inherited', async () => {
    for (const weights of ['fresh', 'inherited'] as const) {
      const own = { table: standardOps, runtime, weights };
      const first = await proxies(model, batch, { ...own, rng: createRng(3) });
      expect(Object.keys(first)).toEqual([...proxyNames]);
      expect(Object.values(first).every((x) => Number.isFinite(x))).toBe(true);
      expect(await proxies(model, batch, { ...own, rng: createRng(3) })).toEqual(first);
    }
    expect(proxyNames).toHaveLength(17);
  });

  it('fresh ones do not depend on the trained weights where labels are given', async () => {
    const other = changed(model, [...model.graph.initializers.keys()][0]!, (x) => x + 0.3);
    const names = proxyNames.filter((n) => !forwardProxyNames.includes(n));
    const own = { table: standardOps, runtime, rng: createRng(4), names };
    expect(await proxies(other, batch, own)).toEqual(await proxies(model, batch, own));
  });

  it('aims at its own classes without labels', async () => {
    const probe = createProbe(model, { inputs: batch.inputs }, { table: standardOps, runtime, rng: createRng(5) });
    const targets = await probe.targets();
    expect(targets.kind).toBe('own classes');
    expect(sumOf(targets.values)).toBe(32);
  });

  it('its blocks end where one value is alive: the stem and the residual sums', () => {
    const { network } = createProbe(model, batch, { table: standardOps, runtime, rng: createRng(6) });
    const found = blockOutputs(network);
    const sums = model.graph.nodes.filter((n) => n.opType === 'Add').length;
    expect(found).toHaveLength(sums + 1);
  });

  it('says why a proxy makes no sense of a network', async () => {
    const b = graphBuilder();
    const x = b.input('x', DataType.FLOAT, ['N', 4]);
    b.output(b.op('MatMul', [x, b.floats([1, 2, 3, 4], [4, 1])]), DataType.FLOAT, ['N', 1]);
    const reasons = new Map<string, string>();
    const found = await proxies(b.model(), batchOf('dense', [3, 4]), {
      ...options('none'),
      names: ['nwot', 'epe_nas'],
      explain: (name, reason) => reasons.set(name, reason),
    });
    expect(found).toEqual({ nwot: NaN, epe_nas: NaN });
    expect(reasons.get('nwot')).toContain('has none');
    expect(reasons.get('epe_nas')).toContain('no class scores');
    await expect(proxies(b.model(), batch, { ...options('none'), names: ['zenith'] })).rejects.toThrow(
      'there is no proxy "zenith"',
    );
  });
});

describe('pare proxies', () => {
  const example = (name: string): string => fileURLToPath(new URL(`../../examples/shapes/${name}`, import.meta.url));
  const own = [example('shapes-resnet.onnx'), '--data', example('calib.json'), '--batch', '16'];

  it('prints numbers, as JSON too, the same for the same seed', async () => {
    const some = ['--only', 'nwot', '--only', 'jacov', '--only', 'params'];
    const json = await pare('proxies', ...own, ...some, '--json');
    expect(json.code).toBe(0);
    const made: unknown = JSON.parse(json.text);
    expect(made).toMatchObject({
      weights: 'fresh',
      samples: 16,
      targets: 'labels',
      proxies: { params: 73978 },
      reasons: {},
    });
    expect(JSON.parse((await pare('proxies', ...own, ...some, '--json')).text)).toEqual(made);
    const text = await pare('proxies', ...own, '--only', 'l2_norm', '--weights', 'inherited');
    expect(text.text).toMatch(/the weights of the file.*\n.*\n.*\n.*\nl2_norm +67\.4/);
  });

  it('opens a batch of one that nothing depends on', async () => {
    const model = readModel(example('shapes-resnet.onnx'));
    const inputs = model.graph.inputs.map((v) => ({
      ...v,
      type: { kind: 'tensor', elemType: DataType.FLOAT, shape: [1, 3, 16, 16] } as const,
    }));
    const folder = mkdtempSync(join(tmpdir(), 'pare-proxies-'));
    const path = join(folder, 'one.onnx');
    writeModel({ ...model, graph: { ...model.graph, inputs } }, path);
    const fixed = await pare('proxies', path, ...own.slice(1), '--only', 'jacov', '--json');
    rmSync(folder, { recursive: true });
    expect(JSON.parse(fixed.text)).toMatchObject({ samples: 16 });
    expect(JSON.parse(fixed.text)).toMatchObject(
      // the file's name aside
      {
        proxies: (JSON.parse((await pare('proxies', ...own, '--only', 'jacov', '--json')).text) as { proxies: object })
          .proxies,
      },
    );
  });
});
