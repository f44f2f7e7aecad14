// Shapes of whole networks and of windows against onnxruntime, and how the engine binds, falls back and refuses.

import fc from 'fast-check';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { concreteShape, inferShapes } from '../../src/analysis/shapes.js';
import type { Shapes } from '../../src/analysis/shapes.js';
import type { FunctionDef, Model } from '../../src/ir/graph.js';
import { elementCount, int64Tensor } from '../../src/ir/tensor.js';
import { readModel } from '../../src/onnx/read.js';
import { encodeModel } from '../../src/onnx/write.js';
import { standardOps } from '../../src/ops/index.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatData, floatsOf, withSession } from '../../src/runtime/runtime.js';
import type { RuntimeTensor } from '../../src/runtime/runtime.js';
import { smallGraph, smallModel } from '../ops/small-model.js';
import { describeShared, sharedPath } from '../shared.js';

const runtime = ortRuntime();
afterAll(() => runtime.close());

/** Runs the model on zeros with every value as an output. */
async function everyValue(model: Model, shapes: Shapes): Promise<ReadonlyMap<string, RuntimeTensor>> {
  const names = new Set(model.graph.nodes.flatMap((n) => n.outputs).filter((name) => name !== ''));
  for (const o of model.graph.outputs) names.delete(o.name);
  const extra = [...names].map((name) => {
    const type = shapes.types.get(name);
    // the runtime insists on an element type; of the shape nothing is said
    return { name, type: { kind: 'tensor', elemType: type?.kind === 'tensor' ? type.elemType : 1 } } as const;
  });
  const graph = { ...model.graph, outputs: [...model.graph.outputs, ...extra] };
  const feeds = new Map<string, RuntimeTensor>();
  for (const v of model.graph.inputs) {
    if (model.graph.initializers.has(v.name)) continue;
    const dims = concreteShape(shapes, v.name)!;
    feeds.set(v.name, floatData(dims, new Float32Array(elementCount(dims))));
  }
  return withSession(runtime, encodeModel({ ...model, graph }), { optimization: 'disabled' }, (session) =>
    session.run(feeds),
  );
}

describeShared('real networks', ['models/INDEX.md'], () => {
  const files = [
    'cifar10-densenet-6-12-24',
    'cifar10-mobilenetv2-w0.5',
    'cifar10-resnet20-folded',
    'cifar10-resnet20',
    'cifar10-resnet56',
    'marabou-cifar10-large',
    'mlperf-tiny-resnet8-cifar10',
    'mnist-cntk',
    'ultraface-rfb-320',
    'vit-cifar10-ibp',
    'light/light_squeezenet',
    'light/light_shufflenet',
  ];
  test.each(files)(
    '%s: every value has the type, the dims and where known the contents that onnxruntime finds',
    async (file) => {
      const model = readModel(sharedPath('models', `${file}.onnx`));
      const bare = {
        ...model,
        graph: { ...model.graph, valueInfo: new Map(), outputs: model.graph.outputs.map(({ name }) => ({ name })) },
      };
      const shapes = inferShapes(bare, standardOps, { dynamic: 1 });
      const truth = await everyValue(model, shapes);
      expect(truth.size).toBeGreaterThan(10);
      for (const [name, t] of truth) {
        expect([name, shapes.types.get(name)]).toEqual([name, { kind: 'tensor', elemType: t.dataType, shape: t.dims }]);
        const contents = floatsOf(t);
        const elems = shapes.values.get(name)?.elems ?? [];
        const wrong = elems.filter(
          (e, k) => e !== undefined && Math.abs(e - contents[k]!) > 1e-4 * Math.max(1, Math.abs(e)),
        );
        expect([name, wrong]).toEqual([name, []]);
      }
    },
  );

  test('a batch that stays open is open in every activation, and nothing else is', () => {
    const model = readModel(join(sharedPath('models'), 'cifar10-resnet20.onnx'));
    const open = inferShapes(model, standardOps);
    const bound = inferShapes(model, standardOps, { inputs: new Map([['input', [7, 3, 32, 32]]]) });
    for (const [name, type] of bound.types) {
      const other = open.types.get(name);
      if (type.kind !== 'tensor' || other?.kind !== 'tensor' || type.shape === undefined) continue;
      expect(other.shape?.length).toBe(type.shape.length);
      type.shape.forEach((d, k) =>
        expect([name, [d, 'batch', undefined]]).toEqual([name, expect.arrayContaining([other.shape?.[k]])]),
      );
    }
    expect(concreteShape(bound, model.graph.outputs[0]!.name)).toEqual([7, 10]);
  });
});

const window = fc.record({
  op: fc.constantFrom('Conv', 'MaxPool', 'AveragePool', 'LpPool', 'ConvTranspose'),
  size: fc.tuple(fc.integer({ min: 5, max: 11 }), fc.integer({ min: 5, max: 11 })),
  kernel: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
  strides: fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 })),
  dilations: fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 2 })),
  pads: fc.tuple(...Array.from({ length: 4 }, () => fc.integer({ min: 0, max: 1 }))),
  autoPad: fc.constantFrom('NOTSET', 'NOTSET', 'SAME_UPPER', 'SAME_LOWER', 'VALID'),
  ceil: fc.boolean(),
});

test('windows: convolutions and pools have the dims that onnxruntime gives them', async () => {
  await fc.assert(
    fc.asyncProperty(window, async (w) => {
      const pools = w.op.endsWith('Pool');
      // SAME padding with a kernel below its stride: onnxruntime refuses pools and leaves the specification in ConvTranspose
      fc.pre(w.op === 'Conv' || w.kernel.every((k, i) => k >= w.strides[i]!) || !w.autoPad.startsWith('SAME'));
      // the runtime wants pads below the kernel and, with auto_pad, no dilation
      const notset = w.autoPad === 'NOTSET';
      const pads = w.pads.map((p, k) => Math.min(p, w.kernel[k % 2]! - 1));
      const model = smallModel({
        opset: 22,
        inputs: { x: [1, 2, ...w.size] },
        weights: pools
          ? {}
          : {
              w: {
                name: 'w',
                dataType: 1,
                dims: [2, 2, ...w.kernel],
                bytes: () => new Uint8Array(16 * w.kernel[0] * w.kernel[1]),
              },
            },
        nodes: [
          [
            w.op,
            pools ? ['x'] : ['x', 'w'],
            ['y'],
            {
              kernel_shape: w.kernel,
              strides: w.strides,
              ...(notset ? { pads, dilations: w.dilations } : { auto_pad: w.autoPad }),
              ...(pools && notset ? { ceil_mode: Number(w.ceil) } : {}),
            },
          ],
        ],
        outputs: ['y'],
      });
      const shapes = inferShapes(model, standardOps);
      const truth = await everyValue({ ...model, graph: { ...model.graph, outputs: [] } }, shapes);
      expect(concreteShape(shapes, 'y')).toEqual(truth.get('y')!.dims);
    }),
    { numRuns: 150 },
  );
});

test('a contradiction is one sentence that names the node, what it has and what it wants', () => {
  const conv = smallModel({
    inputs: { x: [1, 64, 8, 8] },
    weights: { w: [32, 32, 3, 3] },
    nodes: [['Conv', ['x', 'w'], ['layer1.0.conv1']]],
    outputs: ['layer1.0.conv1'],
  });
  expect(() => inferShapes(conv, standardOps)).toThrow(
    'Conv "layer1.0.conv1": input has 64 channels but weight wants 32 (group 1)',
  );
  const add = smallModel({ inputs: { a: [2, 3], b: [4] }, nodes: [['Add', ['a', 'b'], ['s']]], outputs: ['s'] });
  expect(() => inferShapes(add, standardOps)).toThrow('Add "s": operands [2, 3] and [4] do not broadcast');
  const pool = smallModel({
    inputs: { x: [1, 2, 4, 4] },
    nodes: [['MaxPool', ['x'], ['p'], { kernel_shape: [2, 2], strides: [0, 1] }]],
    outputs: ['p'],
  });
  expect(() => inferShapes(pool, standardOps)).toThrow(
    'MaxPool "p": its output would have dims [1, 2, Infinity, 3]; its attributes do not fit its inputs',
  );
  const gemm = smallModel({
    inputs: { a: [1, 5] },
    weights: { w: [6, 7] },
    nodes: [['Gemm', ['a', 'w'], ['g']]],
    outputs: ['g'],
  });
  expect(() => inferShapes(gemm, standardOps)).toThrow('Gemm "g": input has 5 features but weight wants 6');
  expect(() => inferShapes(add, standardOps, { inputs: new Map([['c', [1]]]) })).toThrow(
    '"c" is not an input of the network: its inputs are "a", "b"',
  );
});

test('what the file declares fills what the rules leave open, but not once inputs have other sizes', () => {
  const model = smallModel({
    inputs: { x: ['n', 8] },
    nodes: [
      ['com.acme:Foo', ['x'], ['z']],
      ['Relu', ['z'], ['y']],
    ],
    outputs: ['y'],
  });
  const type = { kind: 'tensor', elemType: 1, shape: ['n', 4] } as const;
  const declared = { ...model, graph: { ...model.graph, valueInfo: new Map([['z', { name: 'z', type }]]) } };
  expect(concreteShape(inferShapes(declared, standardOps, { dynamic: 3 }), 'y')).toEqual([3, 4]);
  const resized = inferShapes(declared, standardOps, { inputs: new Map([['x', [3, 9]]]) });
  expect(concreteShape(resized, 'y')).toBeUndefined();
  expect(resized.unknown).toEqual(['com.acme:Foo']);
});

test('a symbol of the file takes the length that its input gets; one that gets two lengths stays open', () => {
  const model = smallModel({
    inputs: { x: ['n', 8], z: ['n', 2] },
    nodes: [['com.acme:Foo', ['x', 'z'], ['y']]],
    outputs: ['y'],
  });
  const type = { kind: 'tensor', elemType: 1, shape: ['n', 4] } as const;
  const declared = { ...model, graph: { ...model.graph, outputs: [{ name: 'y', type }] } };
  const shapeFor = (x: number, z: number) => {
    const inputs = new Map([
      ['x', [x, 8]],
      ['z', [z, 2]],
    ]);
    return inferShapes(declared, standardOps, { inputs }).types.get('y');
  };
  expect(shapeFor(5, 5)).toEqual({ ...type, shape: [5, 4] });
  expect(shapeFor(5, 6)).toEqual({ ...type, shape: [undefined, 4] });
});

test('a function of the model is inferred through its body, its attributes filled in', () => {
  const { graph, ...rest } = smallModel({
    inputs: { x: [2, 3, 4] },
    nodes: [['acme:Mean', ['x'], ['y'], { over: [1] }]],
    outputs: ['y'],
  });
  const body = smallGraph({
    inputs: {},
    nodes: [['ReduceMean', ['v'], ['m'], { axes: { name: 'axes', kind: 'ref', value: 'over' } }]],
    outputs: [],
  });
  const mean: FunctionDef = {
    name: 'Mean',
    domain: 'acme',
    overload: '',
    inputs: ['v'],
    outputs: ['m'],
    attributes: ['over'],
    attributeDefaults: new Map(),
    nodes: body.nodes,
    opsets: new Map([['', 13]]),
  };
  const shapes = inferShapes({ ...rest, graph, functions: [mean] }, standardOps);
  expect(concreteShape(shapes, 'y')).toEqual([2, 1, 4]);
  expect(shapes.unknown).toEqual([]);
  const endless = { ...mean, nodes: graph.nodes };
  expect(() => inferShapes({ ...rest, graph, functions: [endless] }, standardOps)).toThrow(
    'function "acme:Mean" calls itself, which ONNX forbids: no shape can be told',
  );
});

test('a subgraph sees the outer values; an initializer that is an input too counts as constant', () => {
  const inner = smallGraph({ inputs: {}, nodes: [['Reshape', ['x', 'target'], ['r']]], outputs: ['r'] });
  const branch = (name: string) => ({ name, kind: 'graph', value: inner }) as const;
  const model = smallModel({
    inputs: { x: [2, 6], c: [], target: [2] },
    weights: { target: int64Tensor('target', [3, 4]) },
    nodes: [['If', ['c'], ['y'], { then_branch: branch('then_branch'), else_branch: branch('else_branch') }]],
    outputs: ['y'],
  });
  expect(concreteShape(inferShapes(model, standardOps), 'y')).toEqual([3, 4]);
});
