// One suite for both runtimes: ONNX's own cases of the operators that TensorFlow.js covers, and networks and training steps beside
// onnxruntime.
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDataset } from '../src/data/dataset.js';
import { PareError } from '../src/errors.js';
import { DataType } from '../src/ir/tensor.js';
import { readModel } from '../src/onnx/read.js';
import { standardOps } from '../src/ops/index.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { floatsOf, runtimeTensor, withSession, type Runtime, type RuntimeTensor } from '../src/runtime/runtime.js';
import { tfjsRuntime } from '../src/runtime/tfjs.js';
import { startTraining, trainingStep } from '../src/training/step.js';
import { conformanceCases, type ConformanceCase } from './conformance.js';
import { describeShared } from './shared.js';

const example = (name: string): string => fileURLToPath(new URL(`../examples/shapes/${name}`, import.meta.url));
const covered = new Set<number>([DataType.FLOAT, DataType.INT32, DataType.INT64, DataType.BOOL]);

/** 'right', 'refused', or what is wrong. */
async function verdict(runtime: Runtime, given: ConformanceCase): Promise<string> {
  const model = given.model();
  try {
    for (const set of given.sets) {
      const results = await withSession(runtime, model, { label: given.name }, (session) =>
        session.run(new Map([...set.inputs()].map(([name, v]) => [name, tensorIn(v)]))),
      );
      for (const [name, v] of set.outputs()) {
        const [expected, got] = [tensorIn(v), results.get(name)];
        if (got === undefined) return `${name} is missing`;
        if (got.dims.join() !== expected.dims.join())
          return `${name} is [${got.dims.join()}], not [${expected.dims.join()}]`;
        const worst = farthest(floatsOf(expected), floatsOf(got));
        if (!(worst <= 1)) return `${name} is off by ${worst} tolerances`;
      }
    }
    return 'right';
  } catch (error) {
    if (error instanceof PareError) return `refused: ${error.message}`;
    throw error;
  }
}

function tensorIn(value: {
  readonly kind: string;
  readonly tensor?: Parameters<typeof runtimeTensor>[0];
}): RuntimeTensor {
  if (value.tensor === undefined) throw new PareError(`a ${value.kind} is no tensor`);
  if (!covered.has(value.tensor.dataType)) throw new PareError(`data type ${value.tensor.dataType}`);
  return runtimeTensor(value.tensor);
}

/** In units of the tolerance: 1e-3 of the value, as ONNX's own runner has it, 1e-5 at least. */
function farthest(a: Float32Array, b: Float32Array): number {
  return a.reduce((worst, v, i) => {
    const w = b[i]!;
    if (v === w || (Number.isNaN(v) && Number.isNaN(w))) return worst;
    return Math.max(worst, Math.abs(v - w) / (1e-5 + 1e-3 * Math.abs(v)));
  }, 0);
}

describe.each(['cpu', 'wasm'] as const)('tfjs (%s)', (backend) => {
  let tfjs: Runtime;
  const ort = ortRuntime();
  beforeAll(async () => {
    tfjs = await tfjsRuntime([backend]);
  });
  afterAll(() => Promise.all([tfjs.close(), ort.close()]));

  test('says which backend runs, names what it does not cover', async () => {
    expect(tfjs.name).toBe(`tfjs (${backend})`);
    const loaded = (path: string): Promise<unknown> =>
      withSession(tfjs, path, { label: 'it' }, () => Promise.resolve());
    await loaded(example('shapes-resnet.onnx'));
    const model = readModel(example('shapes-resnet.onnx'));
    const nodes = model.graph.nodes.map((n, i) => (i === 0 ? { ...n, opType: 'Einsum' } : n));
    await expect(
      withSession(tfjs, { ...model, graph: { ...model.graph, nodes } }, { label: 'it' }, () => Promise.resolve()),
    ).rejects.toThrow('it: TensorFlow.js does not cover Einsum here; use the onnxruntime runtime');
  });

  test('a network gives what onnxruntime gives', async () => {
    const outputs = (runtime: Runtime): Promise<Float32Array[]> =>
      withSession(runtime, example('shapes-resnet.onnx'), {}, async (session) => {
        const { inputs } = openDataset(example('calib.json'), session.inputs).batch([0, 1, 2]);
        return [...(await session.run(inputs)).values()].map(floatsOf);
      });
    const [a, b] = [await outputs(ort), await outputs(tfjs)];
    a.forEach((values, i) => expect(farthest(values, b[i]!)).toBeLessThan(10));
  });

  test('a whole training step gives the same loss, weights and statistics', async () => {
    const model = readModel(example('shapes-resnet.onnx'));
    const data = openDataset(
      example('calib.json'),
      [...model.graph.inputs].map((v) => ({ name: v.name, dataType: 1, dims: ['', 3, 16, 16] })),
    );
    const { inputs, labels } = data.batch([0, 1, 2, 3]);
    const dims = new Map([...inputs].map(([name, t]) => [name, t.dims]));
    const step = trainingStep(model, standardOps, dims, {
      loss: { kind: 'cross-entropy' },
      optimizer: { kind: 'sgd', momentum: 0.9, decay: 1e-4 },
    });
    const targets = new Float32Array(step.targetDims.reduce((a, b) => a * b, 1));
    labels!.forEach((label, i) => {
      targets[i * step.targetDims[1]! + label] = 1;
    });
    const after = async (runtime: Runtime) => {
      const training = await startTraining(step, runtime, 1);
      const { loss } = await training.run({ inputs, targets, rate: 0.01, step: 0 });
      const state = training.state();
      await training.end();
      return { loss, state };
    };
    const [a, b] = [await after(ort), await after(tfjs)];
    expect(b.loss).toBeCloseTo(a.loss, 4);
    for (const [name, t] of a.state) {
      const [x, y] = [floatsOf(t), floatsOf(b.state.get(name)!)];
      const size = Math.sqrt(x.reduce((s, v) => s + v * v, 0));
      const off = Math.sqrt(x.reduce((s, v, i) => s + (v - y[i]!) ** 2, 0));
      expect([name, off <= 1e-3 * size + 1e-5]).toEqual([name, true]);
    }
  });
});

describeShared('conformance cases, both runtimes', ['onnx-node-tests.tar.xz'], () => {
  test('what TensorFlow.js covers is right, and right in onnxruntime too', { timeout: 240_000 }, async () => {
    const tfjs = await tfjsRuntime(['cpu']);
    const ort = ortRuntime();
    const found: { readonly name: string; readonly tfjs: string }[] = [];
    for (const given of conformanceCases()) {
      found.push({ name: given.name, tfjs: await verdict(tfjs, given) });
    }
    const wrong = found.filter((f) => f.tfjs !== 'right' && !f.tfjs.startsWith('refused'));
    expect(wrong).toEqual([]);
    const right = new Set(found.filter((f) => f.tfjs === 'right').map((f) => f.name));
    // only ever goes up
    expect(right.size).toBeGreaterThanOrEqual(526);
    const cases = conformanceCases().filter((c) => right.has(c.name));
    const differing: string[] = [];
    for (const given of cases) {
      const seen = await verdict(ort, given);
      if (seen !== 'right' && !seen.startsWith('refused')) differing.push(`${given.name}: ${seen}`);
    }
    expect(differing).toEqual([]);
  });
});
