// The graph around the rules: fan-out, nothing twice, nothing dead, old opsets, what is refused; and gradients of gradients.

import { afterAll, describe, expect, it } from 'vitest';
import { inferShapes, concreteShape } from '../../src/analysis/shapes.js';
import { graphBuilder, type GraphBuilder } from '../../src/ir/builder.js';
import type { Graph, Model, Node } from '../../src/ir/graph.js';
import { DataType, readFloats } from '../../src/ir/tensor.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { createRng, type Rng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatData, floatsOf, withSession, type RuntimeTensor } from '../../src/runtime/runtime.js';
import { createEmitter } from '../../src/training/emitter.js';
import { appendGradients, withoutGradient } from '../../src/training/gradient.js';
import { modernized } from '../../src/training/modernize.js';
import { ref, type Ref } from '../reference/arrays.js';
import { interpret } from '../reference/interpreter.js';
import { describeShared, sharedPath } from '../shared.js';
import { modelOf } from './gradient-law.js';

const runtime = ortRuntime();
afterAll(() => runtime.close());

const random = (rng: Rng, dims: readonly number[]): Float32Array =>
  Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => rng.normal());

function gradientsOf(build: (b: GraphBuilder, x: string) => string, dims: readonly number[]) {
  const b = graphBuilder();
  const loss = build(b, b.input('x', DataType.FLOAT, dims));
  const model = b.model();
  const made = appendGradients(model, standardOps, loss, ['x'], {});
  return { model, made, added: made.graph.nodes.slice(model.graph.nodes.length) };
}

const names = (nodes: readonly Node[]): string[] => nodes.map((n) => n.opType);

describe('gradient graphs', () => {
  it('sum where a value fans out, each operand once', () => {
    const { model, made, added } = gradientsOf(
      (b, x) => b.op('ReduceSum', [b.op('Mul', [x, x])], { keepdims: 0 }),
      [3],
    );
    expect(names(added).filter((n) => n === 'Sum')).toHaveLength(1);
    const values = interpret(made.graph, 17, new Map([['x', ref([3], [1, -2, 3])]]));
    expect([...values.get(made.of.get('x')!)!.data]).toEqual([2, -4, 6]);
    expect(model.graph.nodes).toHaveLength(2);
  });

  it('compute nothing twice, and take what the forward pass has', () => {
    const { added } = gradientsOf(
      (b, x) => {
        const y = b.op('Exp', [x]);
        const twice = b.op('Add', [b.op('Tanh', [y]), b.op('Tanh', [y])]);
        return b.op('ReduceSum', [twice], { keepdims: 0 });
      },
      [4],
    );
    const keys = added.map((n) => `${n.opType} ${n.inputs.join(' ')} ${JSON.stringify([...n.attributes])}`);
    expect(new Set(keys).size).toBe(keys.length);
    // the derivative of Exp is its own output
    expect(names(added)).not.toContain('Exp');
  });

  it('hold no node that the gradients asked for do not need', () => {
    const { made, added } = gradientsOf(
      (b, x) => {
        const w = b.floats([1, 2, 3, 4], [2, 2]);
        b.op('Conv', [b.op('Reshape', [x, b.ints([1, 1, 2, 2])]), b.floats([1], [1, 1, 1, 1])]);
        return b.op('ReduceSum', [b.op('Softplus', [b.op('MatMul', [x, w])])], { keepdims: 0 });
      },
      [2, 2],
    );
    const used = new Set([...made.of.values(), ...added.flatMap((n) => n.inputs)]);
    expect(added.filter((n) => !n.outputs.some((o) => used.has(o)))).toEqual([]);
    const constants = [...made.graph.initializers.keys()].filter((n) => n.startsWith('grad/'));
    expect(constants.filter((n) => !used.has(n))).toEqual([]);
    expect(names(added)).not.toContain('Conv');
  });

  it('say nothing of what the loss does not depend on, and pass no gradient through integers', () => {
    const { made } = gradientsOf(
      (b, x) => {
        const index = b.op('ArgMax', [x], { axis: 0, keepdims: 0 });
        const picked = b.op('Gather', [b.floats([1, 2, 3]), index]);
        return b.op('ReduceSum', [picked], { keepdims: 0 });
      },
      [3],
    );
    expect(made.of.size).toBe(0);
  });

  it('give weights behind Constant nodes a gradient', () => {
    const b = graphBuilder();
    const x = b.input('x', DataType.FLOAT, [2]);
    const value = { name: '', dataType: DataType.FLOAT, dims: [2], bytes: () => new Uint8Array(8) };
    const w = b.op('Constant', [], { value });
    const loss = b.op('ReduceSum', [b.op('Mul', [x, w])], { keepdims: 0 });
    const made = appendGradients(b.model(), standardOps, loss, [w], {});
    const values = interpret(made.graph, 17, new Map([['x', ref([2], [5, 7])]]));
    expect([...values.get(made.of.get(w)!)!.data]).toEqual([5, 7]);
  });

  it('refuse If by name, unless nothing inside is asked for', () => {
    const branch = (scale: number): Graph => {
      const inner = graphBuilder();
      inner.output(inner.floats([scale, scale], [2], `inner${scale}`));
      return inner.graph();
    };
    const build = (capture: boolean) => {
      const b = graphBuilder();
      const x = b.input('x', DataType.FLOAT, [2]);
      const condition = b.input('c', DataType.BOOL, []);
      const through: Graph = {
        ...branch(1),
        nodes: [{ name: 'n', opType: 'Neg', domain: '', inputs: ['x'], outputs: ['neg'], attributes: new Map() }],
        outputs: [{ name: 'neg', type: { kind: 'tensor', elemType: 1, shape: [2] } }],
      };
      const y = b.op(
        'If',
        [condition],
        { then_branch: capture ? through : branch(2), else_branch: branch(3) },
        { name: 'choice' },
      );
      const loss = b.op('ReduceSum', [b.op('Mul', [x, y])], { keepdims: 0 });
      return appendGradients(b.model(), standardOps, loss, ['x'], {});
    };
    expect(() => build(true)).toThrow(/If "choice": gradients do not flow through the graphs inside If/);
    expect(build(false).of.get('x')).toBeDefined();
  });

  it('list the nodes without a rule, which frozen weights avoid', () => {
    const b = graphBuilder();
    const x = b.input('x', DataType.FLOAT, [2, 2]);
    const w = b.floats([1, 2], [2]);
    const loss = b.op('ReduceSum', [b.op('Mul', [b.op('Det', [x]), w])], { keepdims: 0 });
    expect(names(withoutGradient(b.model(), standardOps, loss, ['x'], {}))).toEqual(['Det']);
    expect(withoutGradient(b.model(), standardOps, loss, [w], {})).toEqual([]);
    expect(appendGradients(b.model(), standardOps, loss, [w], {}).of.has(w)).toBe(true);
  });
});

describe('a gradient of a gradient', () => {
  it('is the Hessian times a vector, on a small convolutional network', async () => {
    const rng = createRng('hessian');
    const b = graphBuilder();
    const x = b.input('x', DataType.FLOAT, [2, 3, 6, 6]);
    const weights = [
      b.input('w0', DataType.FLOAT, [8, 3, 3, 3]),
      b.input('w1', DataType.FLOAT, [8, 8, 3, 3]),
      b.input('w2', DataType.FLOAT, [8, 1, 3, 3]),
      b.input('w3', DataType.FLOAT, [8, 5]),
    ] as const;
    const ones = (n: number): string => b.floats(new Float32Array(n).fill(1), [n]);
    const scale = ones(8);
    const bias = b.floats(new Float32Array(8), [8]);
    // inputs, not constants: onnxruntime writes the running averages over inputs 3 and 4 when nobody reads them, and merges equal
    // constants, so that scale and bias would be written over too
    const mean = b.input('mean', DataType.FLOAT, [8]);
    const variance = b.input('variance', DataType.FLOAT, [8]);
    const first = b.op('Tanh', [b.op('Conv', [x, weights[0]], { pads: [1, 1, 1, 1] })]);
    const normal = b.ops('BatchNormalization', [first, scale, bias, mean, variance], 3, { training_mode: 1 })[0]!;
    const second = b.op('Softplus', [b.op('Conv', [normal, weights[1]], { strides: [2, 2], pads: [1, 1, 1, 1] })]);
    const deep = b.op('Sigmoid', [b.op('Conv', [second, weights[2]], { group: 8, pads: [1, 1, 1, 1] })]);
    const pooled = b.op('Flatten', [b.op('GlobalAveragePool', [deep])]);
    const log = b.op('LogSoftmax', [b.op('MatMul', [pooled, weights[3]])]);
    const loss = b.op('Neg', [
      b.op('ReduceSum', [b.op('Mul', [log, b.floats(random(rng, [2, 5]), [2, 5])])], { keepdims: 0 }),
    ]);
    const model = b.model();
    const once = appendGradients(model, standardOps, loss, weights, {});
    const e = createEmitter(once.graph, 'product');
    const vectors = new Map(
      model.graph.inputs
        .filter((v) => v.name !== 'x')
        .map((v) => [v.name, ref(dimsOf(v.type), random(rng.fork(v.name), dimsOf(v.type)))]),
    );
    const terms = weights.map((w) => {
      const v = vectors.get(w)!;
      return e.emit('ReduceSum', [e.emit('Mul', [once.of.get(w)!, e.float([...v.data], v.dims)])], { keepdims: 0 });
    });
    const along = e.emit('Sum', terms);
    const withProduct = { graph: e.extended(once.graph), opsets: once.opsets };
    const twice = appendGradients(withProduct, standardOps, along, weights, {});
    const feeds = new Map<string, Ref>(
      model.graph.inputs.map((v) => [
        v.name,
        ref(
          dimsOf(v.type),
          random(rng.fork(`at/${v.name}`), dimsOf(v.type)).map((n) => n * 0.5),
        ),
      ]),
    );
    const values = interpret(twice.graph, 17, feeds);
    const step = 1e-5;
    const moved = (sign: number): ReadonlyMap<string, Ref> => {
      const there = new Map(feeds);
      for (const w of weights) {
        const at = feeds.get(w)!;
        there.set(
          w,
          ref(
            at.dims,
            at.data.map((n, k) => n + sign * step * vectors.get(w)!.data[k]!),
          ),
        );
      }
      return interpret(once.graph, 17, there);
    };
    const [above, below] = [moved(1), moved(-1)];
    const results = await withSession(
      runtime,
      modelOf(
        twice,
        weights.map((w) => twice.of.get(w)!),
      ),
      {},
      (session) =>
        session.run(new Map([...feeds].map(([name, v]) => [name, floatData(v.dims, Float32Array.from(v.data))]))),
    );
    for (const w of weights) {
      const gradient = once.of.get(w)!;
      const [high, low] = [above.get(gradient)!.data, below.get(gradient)!.data];
      const numeric = high.map((v, k) => (v - low[k]!) / (2 * step));
      const product = values.get(twice.of.get(w)!)!.data;
      expect(relative(product, numeric)).toBeLessThan(1e-4);
      expect(relative(floatsOf(results.get(twice.of.get(w)!)!), product)).toBeLessThan(1e-3);
    }
  });
});

function dimsOf(type: Graph['inputs'][number]['type']): number[] {
  return type?.kind === 'tensor' ? (type.shape ?? []).map(Number) : [];
}

/** Length of the difference over the length of the second. */
function relative(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0;
  let whole = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    whole += b[i]! ** 2;
  }
  return Math.sqrt(difference / whole);
}

describeShared('gradients of whole networks', ['models'], () => {
  // opsets 8, 9, 9, 9, 13 and 17; softmax, slices, resizing pads and batch normalisation in their old forms
  it.each([
    'mnist-cntk',
    'marabou-cifar10-large',
    'vit-cifar10-ibp',
    'ultraface-rfb-320',
    'mlperf-tiny-resnet8-cifar10',
    'cifar10-resnet20',
  ])('%s: the loss moves as the gradient says', async (name) => {
    const model = readModel(sharedPath('models', `${name}.onnx`));
    const worst = await alongGradient(model, createRng(name));
    expect(worst).toBeLessThan(2e-2);
  });
});

/** (loss(w + h g) - loss(w - h g)) / 2h against |g|^2, over all weights at once; in float32, so along the gradient itself. */
async function alongGradient(model: Model, rng: Rng): Promise<number> {
  const modern: Model = { ...model, ...modernized(model) };
  const shapes = inferShapes(modern, standardOps, { dynamic: 1 });
  const output = modern.graph.outputs[0]!.name;
  const dims = concreteShape(shapes, output)!;
  const e = createEmitter(modern.graph, 'loss', modern.opsets.get('') ?? 17);
  const probe = e.float([...random(rng.fork('probe'), dims)], dims);
  const loss = e.emit('ReduceSum', [e.emit('Mul', [output, probe])], { keepdims: 0 });
  const weights = [...modern.graph.initializers.values()].filter(
    (t) => t.dataType === DataType.FLOAT && t.dims.length > 0,
  );
  const inputs = modern.graph.inputs.filter((v) => !modern.graph.initializers.has(v.name));
  const bound = new Map(inputs.map((v) => [v.name, concreteShape(shapes, v.name)!]));
  const made = appendGradients(
    { ...modern, graph: e.extended(modern.graph) },
    standardOps,
    loss,
    weights.map((t) => t.name),
    { inputs: bound },
  );
  const fed = weights.filter((t) => made.of.has(t.name));
  const graph: Graph = {
    ...made.graph,
    initializers: new Map([...made.graph.initializers].filter(([n]) => !fed.some((t) => t.name === n))),
    inputs: [
      ...inputs.map((v) => ({
        name: v.name,
        type: { kind: 'tensor' as const, elemType: DataType.FLOAT, shape: bound.get(v.name)! },
      })),
      ...fed.map((t) => ({ name: t.name, type: { kind: 'tensor' as const, elemType: DataType.FLOAT, shape: t.dims } })),
    ],
    valueInfo: new Map(),
    outputs: [],
  };
  const all = modelOf({ ...made, graph }, [...new Set(made.of.values())]);
  const outputs = [output, ...all.graph.outputs.map((o) => o.name)].map((n) => ({ name: n }));
  const complete: Model = { ...modern, opsets: made.opsets, graph: { ...all.graph, outputs } };
  return withSession(runtime, complete, {}, async (session) => {
    const feeds = new Map<string, RuntimeTensor>([
      ...[...bound].map(([n, d]) => [n, floatData(d, random(rng.fork(n), d))] as const),
      ...fed.map((t) => [t.name, floatData(t.dims, readFloats(t))] as const),
    ]);
    const here = await session.run(feeds);
    const gradient = new Map(fed.map((t) => [t.name, floatsOf(here.get(made.of.get(t.name)!)!)]));
    let square = 0;
    for (const g of gradient.values()) for (const v of g) square += v * v;
    const weightsNow = random(rng.fork('probe'), dims);
    const at = async (step: number): Promise<Float32Array> => {
      const there = new Map(feeds);
      for (const t of fed) {
        const g = gradient.get(t.name)!;
        there.set(
          t.name,
          floatData(
            t.dims,
            readFloats(t).map((v, k) => v + step * g[k]!),
          ),
        );
      }
      return floatsOf((await session.run(there, [output])).get(output)!);
    };
    // a loss that moves by a thousandth of the output's size
    const size = Math.hypot(...floatsOf(here.get(output)!).slice(0, 1000)) + 1e-3;
    const step = (1e-3 * size) / square;
    const [above, below] = [await at(step), await at(-step)];
    const difference = above.reduce((sum, v, i) => sum + weightsNow[i]! * (v - below[i]!), 0);
    return Math.abs(difference / (2 * step) / square - 1);
  });
}
