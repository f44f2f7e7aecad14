// Gradient graphs: the law is central differences of the loss itself, run in onnxruntime.
import { afterAll, describe, expect, it } from 'vitest';
import type { Graph, Model } from '../../src/ir/graph.js';
import { DataType, floatTensor } from '../../src/ir/tensor.js';
import { standardOps } from '../../src/ops/index.js';
import { encodeModel } from '../../src/onnx/write.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import type { RuntimeTensor } from '../../src/runtime/runtime.js';
import { appendGradients, createEmitter } from '../../src/training/gradient.js';

const runtime = ortRuntime();
afterAll(() => runtime.close());

const rng = createRng('gradient-test');
const empty: Graph = {
  name: 'g',
  nodes: [],
  initializers: new Map(),
  sparseInitializers: new Map(),
  inputs: [],
  outputs: [],
  valueInfo: new Map(),
};
const OPSETS = new Map([['', 17]]);
type Emit = ReturnType<typeof createEmitter>;

function values(dims: readonly number[], stream: string): Float32Array {
  const r = rng.fork(stream);
  return Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => r.normal());
}

/** Gradient graph and central differences of sum(f(inputs) * weights) for every input. */
async function compare(
  shapes: readonly (readonly number[])[],
  build: (e: Emit, names: readonly string[]) => string,
  outShape: readonly number[],
): Promise<number> {
  const names = shapes.map((_, i) => `x${i}`);
  const info = (name: string, shape: readonly number[]) => ({
    name,
    type: { kind: 'tensor' as const, elemType: DataType.FLOAT, shape },
  });
  const base: Graph = {
    ...empty,
    inputs: names.map((n, i) => info(n, shapes[i]!)),
    initializers: new Map([['probe', floatTensor('probe', outShape, values(outShape, 'probe'))]]),
  };
  const e = createEmitter(base, 'f');
  const loss = e.emit('ReduceSum', [e.emit('Mul', [build(e, names), 'probe'])], { keepdims: 0 });
  const graph = e.extended(base);
  const gradients = appendGradients({ graph, opsets: OPSETS }, standardOps, loss, names, {});
  const outputs = [info(loss, []), ...names.map((n, i) => info(gradients.of.get(n)!, shapes[i]!))];
  const model: Model = {
    irVersion: 8,
    opsets: OPSETS,
    producerName: '',
    producerVersion: '',
    metadata: new Map(),
    functions: [],
    graph: { ...gradients.graph, outputs },
  };
  const session = await runtime.load(encodeModel(model));
  const feeds = new Map<string, RuntimeTensor>(
    names.map((n, i) => [n, { dataType: DataType.FLOAT, dims: shapes[i]!, data: values(shapes[i]!, `${n}`) }]),
  );
  const run = async (f: ReadonlyMap<string, RuntimeTensor>) => session.run(f);
  const result = await run(feeds);
  let worst = 0;
  for (const [i, name] of names.entries()) {
    const gradient = result.get(gradients.of.get(name)!)!.data as Float32Array;
    expect(gradient.length).toBe(shapes[i]!.reduce((a, b) => a * b, 1));
    const direction = values(shapes[i]!, `direction/${name}`);
    const step = 1e-2;
    const moved = async (sign: number): Promise<number> => {
      const old = feeds.get(name)!;
      const data = (old.data as Float32Array).map((v, k) => v + sign * step * direction[k]!);
      return Number((await run(new Map([...feeds, [name, { ...old, data }]]))).get(loss)!.data[0]);
    };
    const numeric = ((await moved(1)) - (await moved(-1))) / (2 * step);
    const exact = gradient.reduce((sum, v, k) => sum + v * direction[k]!, 0);
    const scale = Math.sqrt(gradient.reduce((s, v) => s + v * v, 0) * direction.reduce((s, v) => s + v * v, 0));
    worst = Math.max(worst, Math.abs(numeric - exact) / scale);
  }
  await session.release();
  return worst;
}

describe('gradient graphs agree with central differences', () => {
  const cases: [
    string,
    readonly (readonly number[])[],
    (e: Emit, n: readonly string[]) => string,
    readonly number[],
  ][] = [
    [
      'Conv 3x3, stride 2, bias',
      [[2, 3, 7, 6], [4, 3, 3, 3], [4]],
      (e, n) => e.emit('Conv', n, { pads: [1, 1, 1, 1], strides: [2, 2] }),
      [2, 4, 4, 3],
    ],
    [
      'Conv dilated',
      [
        [2, 3, 9, 9],
        [4, 3, 3, 3],
      ],
      (e, n) => e.emit('Conv', n, { pads: [2, 1, 0, 1], dilations: [2, 2] }),
      [2, 4, 7, 7],
    ],
    [
      'Conv grouped',
      [
        [2, 4, 6, 6],
        [6, 2, 3, 3],
      ],
      (e, n) => e.emit('Conv', n, { group: 2, pads: [1, 1, 1, 1] }),
      [2, 6, 6, 6],
    ],
    [
      'Conv depthwise',
      [
        [2, 4, 6, 6],
        [8, 1, 3, 3],
      ],
      (e, n) => e.emit('Conv', n, { group: 4, strides: [2, 2] }),
      [2, 8, 2, 2],
    ],
    [
      'Conv auto_pad',
      [
        [1, 2, 7, 7],
        [3, 2, 3, 3],
      ],
      (e, n) => e.emit('Conv', n, { auto_pad: 'SAME_UPPER', strides: [2, 2] }),
      [1, 3, 4, 4],
    ],
    [
      'Conv 1-D',
      [
        [2, 3, 11],
        [5, 3, 4],
      ],
      (e, n) => e.emit('Conv', n, { strides: [3], pads: [2, 1] }),
      [2, 5, 4],
    ],
    [
      'Gemm transB',
      [[3, 4], [5, 4], [5]],
      (e, n) => e.emit('Gemm', n, { transB: 1, alpha: { float: 0.5 }, beta: { float: 2 } }),
      [3, 5],
    ],
    [
      'Gemm transA',
      [
        [4, 3],
        [4, 5],
      ],
      (e, n) => e.emit('Gemm', n, { transA: 1 }),
      [3, 5],
    ],
    [
      'MatMul batched, broadcast',
      [
        [2, 1, 3, 4],
        [5, 4, 6],
      ],
      (e, n) => e.emit('MatMul', n),
      [2, 5, 3, 6],
    ],
    ['MatMul vector', [[4], [4, 3]], (e, n) => e.emit('MatMul', n), [3]],
    [
      'Add Mul Div Sub broadcast',
      [[2, 3, 4], [3, 1], [4]],
      (e, n) =>
        e.emit('Sub', [e.emit('Mul', [n[0]!, n[1]!]), e.emit('Div', [e.emit('Exp', [n[2]!]), e.emit('Exp', [n[1]!])])]),
      [2, 3, 4],
    ],
    ['Softmax', [[3, 5]], (e, n) => e.emit('Softmax', n, { axis: 1 }), [3, 5]],
    ['LogSoftmax', [[3, 5]], (e, n) => e.emit('LogSoftmax', n, { axis: -1 }), [3, 5]],
    ['GlobalAveragePool', [[2, 3, 4, 5]], (e, n) => e.emit('GlobalAveragePool', n), [2, 3, 1, 1]],
    ['ReduceMean', [[2, 3, 4]], (e, n) => e.emit('ReduceMean', n, { axes: [1], keepdims: 0 }), [2, 4]],
    ['Sigmoid Tanh', [[2, 3]], (e, n) => e.emit('Sigmoid', [e.emit('Tanh', n)]), [2, 3]],
    [
      'BatchNormalization, batch statistics',
      [[4, 3, 5, 5], [3], [3]],
      (e, n) => e.emitAll('BatchNormalization', [...n, e.float(0, [3]), e.float(1, [3])], 3, { training_mode: 1 })[0]!,
      [4, 3, 5, 5],
    ],
    [
      'BatchNormalization, running statistics',
      [[4, 3, 5, 5], [3], [3]],
      (e, n) => e.emit('BatchNormalization', [...n, e.float(0.5, [3]), e.float(2, [3])]),
      [4, 3, 5, 5],
    ],
  ];
  it.each(cases)('%s', async (_, shapes, build, outShape) => {
    expect(await compare(shapes, build, outShape)).toBeLessThan(3e-3);
  });

  it('names an operator without a rule', () => {
    const base: Graph = { ...empty, inputs: [{ name: 'x', type: { kind: 'tensor', elemType: 1, shape: [4] } }] };
    const e = createEmitter(base, 'f');
    const loss = e.emit('ReduceMax', [e.emit('Det', [e.emit('Reshape', ['x', e.ints([2, 2])])])]);
    expect(() => appendGradients({ graph: e.extended(base), opsets: OPSETS }, standardOps, loss, ['x'], {})).toThrow(
      /^Det .* has no gradient rule/,
    );
  });
});
