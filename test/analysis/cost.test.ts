// What a network costs: by hand, by brute force, by the published figures of other people's networks and counters.

import fc from 'fast-check';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { ConventionName } from '../../src/analysis/conventions.js';
import { countCost } from '../../src/analysis/cost.js';
import type { Cost } from '../../src/analysis/cost.js';
import { inferShapes } from '../../src/analysis/shapes.js';
import type { Model } from '../../src/ir/graph.js';
import { int64Tensor } from '../../src/ir/tensor.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { unpackShared } from '../conformance.js';
import { smallGraph, smallModel } from '../ops/small-model.js';
import { describeShared, sharedPath } from '../shared.js';
import { graphRows } from './graph-rows.js';

function costOf(model: Model, convention?: ConventionName): Cost {
  return countCost(model, standardOps, inferShapes(model, standardOps, { dynamic: 1 }), convention);
}

const transposed = smallModel({
  inputs: { x: [1, 16, 32, 32] },
  weights: { w: [16, 8, 4, 4] },
  nodes: [['ConvTranspose', ['x', 'w'], ['y'], { strides: [2, 2], pads: [1, 1, 1, 1] }]],
  outputs: ['y'],
});
const attention = smallModel({
  inputs: { x: [64, 64] },
  weights: { w: [64, 64], b: [64] },
  nodes: [
    ['Gemm', ['x', 'w', 'b'], ['q']],
    ['Transpose', ['q'], ['k']],
    ['MatMul', ['q', 'k'], ['s']],
    ['Softmax', ['s'], ['p']],
    ['MatMul', ['p', 'q'], ['y']],
  ],
  outputs: ['y'],
});

test('by hand: a transposed convolution counts by its inputs, attention by both its products', () => {
  expect(costOf(transposed).macs).toBe(2_097_152);
  expect(costOf(attention).macs).toBe(786_432);
  expect(costOf(attention).flops).toBe(2 * 786_432);
});

// field.md, section 4: what the counters themselves print for these two graphs, in M
test.each([
  ['fvcore', 2.097, 0.7864],
  ['thop', 8.389, 0.262],
  ['ptflops', 2.097, 0.266],
] as const)('%s counts as the tool of that name does', (convention, upsampling, attending) => {
  expect(costOf(transposed, convention).macs / 1e6).toBeCloseTo(upsampling, 3);
  const softmax = convention === 'thop' ? 3 * 64 * 64 - 64 : 0; // as a module; the tool does not see the functional one
  expect((costOf(attention, convention).macs - softmax) / 1e6).toBeCloseTo(attending, 3);
});

test('a convolution costs one MAC per weight and position: counted one by one', () => {
  const arb = fc.record({
    size: fc.tuple(fc.integer({ min: 3, max: 9 }), fc.integer({ min: 3, max: 9 })),
    group: fc.integer({ min: 1, max: 3 }),
    inputs: fc.integer({ min: 1, max: 3 }),
    filters: fc.integer({ min: 1, max: 3 }),
    kernel: fc.integer({ min: 1, max: 3 }),
    stride: fc.integer({ min: 1, max: 3 }),
    batch: fc.integer({ min: 1, max: 2 }),
  });
  fc.assert(
    fc.property(arb, ({ size: [h, w], group, inputs, filters, kernel, stride, batch }) => {
      let expected = 0;
      for (let y = 0; y + kernel <= h; y += stride)
        for (let x = 0; x + kernel <= w; x += stride)
          for (let f = 0; f < filters * group; f++) expected += inputs * kernel * kernel * batch;
      const model = smallModel({
        inputs: { x: [batch, inputs * group, h, w] },
        weights: { w: [filters * group, inputs, kernel, kernel] },
        nodes: [['Conv', ['x', 'w'], ['y'], { strides: [stride, stride], group }]],
        outputs: ['y'],
      });
      expect(costOf(model).macs).toBe(expected);
    }),
  );
});

test('an If costs its larger branch, a Loop its body times a known trip count; an unknown one is named', () => {
  const branch = (times: number) =>
    smallGraph({
      inputs: {},
      nodes: Array.from({ length: times }, (_, i) => ['MatMul', ['x', 'w'], [`b${times}_${i}`]] as const),
      outputs: [`b${times}_0`],
    });
  const graph = (name: string, value: ReturnType<typeof branch>) => ({ name, kind: 'graph', value }) as const;
  const body = smallGraph({
    inputs: { i: [], go: [], v: [4, 8] },
    nodes: [
      ['Identity', ['go'], ['go2']],
      ['MatMul', ['v', 'w'], ['v2']],
    ],
    outputs: ['go2', 'v2'],
  });
  const inputs = { x: [4, 8], c: [], n: [] };
  const weights = { w: [8, 8], five: int64Tensor('five', [5], []) };
  const conditional = smallModel({
    inputs,
    weights,
    nodes: [
      [
        'If',
        ['c'],
        ['y'],
        { then_branch: graph('then_branch', branch(1)), else_branch: graph('else_branch', branch(3)) },
      ],
    ],
    outputs: ['y'],
  });
  expect(costOf(conditional).macs).toBe(3 * 4 * 8 * 8);
  const loop = (count: string) =>
    smallModel({
      inputs,
      weights,
      nodes: [['Loop', [count, '', 'x'], ['y'], { body: graph('body', body) }]],
      outputs: ['y'],
    });
  expect(costOf(loop('five')).macs).toBe(5 * 4 * 8 * 8);
  expect(costOf(loop('n')).uncounted).toEqual(['Loop "y": trip count is unknown']);
});

test('what cannot be counted is named, with the reason', () => {
  const model = smallModel({
    inputs: { x: ['batch', 8] },
    weights: { w: [8, 8] },
    nodes: [
      ['com.acme:Foo', ['x'], ['z']],
      ['MatMul', ['z', 'w'], ['y']],
    ],
    outputs: ['y'],
  });
  expect(costOf(model).uncounted).toEqual(['Foo "z": unknown operator', 'MatMul "y": dims are unknown']);
  expect(inferShapes(model, standardOps).unknown).toContain('com.acme:Foo');
});

test('peak memory: the widest pair of neighbours in a chain, in bytes', () => {
  const chain = smallModel({
    inputs: { x: [10] },
    weights: { big: [1000, 1] },
    nodes: [
      ['Relu', ['x'], ['a']],
      ['Mul', ['a', 'big'], ['b']],
      ['ReduceSum', ['b'], ['c']],
    ],
    outputs: ['c'],
  });
  expect(costOf(chain).peakMemoryBytes).toBe(4 * (10 + 10_000));
});

describeShared('models of other people', ['models/INDEX.md'], () => {
  test('MACs and params are those of the index, without a weight being read', () => {
    const index = readFileSync(sharedPath('models', 'INDEX.md'), 'utf8');
    const published = [...index.matchAll(/^\*\*(\S+\.onnx)\*\*[\s\S]*?params (\d+), MACs (\d+)/gm)];
    expect(published).toHaveLength(10);
    for (const [, file = '', params, macs] of published) {
      const model = readModel(sharedPath('models', file));
      const cost = costOf(model);
      expect([file, cost.params, cost.macs, cost.uncounted]).toEqual([file, Number(params), Number(macs), []]);
    }
  });

  test('a batch of three costs three times one, in networks that read the batch from their input', () => {
    let open = 0;
    for (const file of readdirSync(sharedPath('models')).filter((f) => f.endsWith('.onnx'))) {
      const model = readModel(sharedPath('models', file));
      const input = model.graph.inputs.find((v) => !model.graph.initializers.has(v.name))!;
      const shape = input.type?.kind === 'tensor' ? input.type.shape : undefined;
      // the others are fixed to one image, with the 1 in their Reshape targets
      if (shape === undefined || typeof shape[0] === 'number') continue;
      open++;
      const dims = [3, ...shape.slice(1).map(Number)];
      const shapes = inferShapes(model, standardOps, { inputs: new Map([[input.name, dims]]) });
      const three = countCost(model, standardOps, shapes);
      expect([file, three.macs, three.params]).toEqual([file, 3 * costOf(model).macs, costOf(model).params]);
    }
    expect(open).toBe(8);
  });

  test('the light models are counted too: AlexNet to VGG-19', () => {
    const folder = sharedPath('models', 'light');
    for (const file of readdirSync(folder).filter((f) => f.endsWith('.onnx'))) {
      const cost = costOf(readModel(join(folder, file)));
      expect([file, cost.uncounted]).toEqual([file, []]);
      expect(cost.macs).toBeGreaterThan(1e8);
    }
  });
});

describeShared('graphs without weights', ['graphs/graphs.tar.xz'], () => {
  test('every 40th: macs equal to the last digit, and how they split; nothing unknown', () => {
    const folder = unpackShared('graphs', 'graphs.tar.xz');
    const rows = graphRows(readFileSync(sharedPath('graphs', 'graphs.csv'), 'utf8')).filter((_, i) => i % 40 === 7);
    expect(rows.length).toBeGreaterThan(20);
    for (const row of rows) {
      const model = readModel(join(folder, row.file));
      const cost = costOf(model);
      const sum = (kinds: readonly string[]): number =>
        cost.nodes.reduce((s, n) => s + (kinds.includes(n.kind) ? n.macs : 0), 0);
      expect([row.file, cost.macs, cost.uncounted]).toEqual([row.file, row.macs, []]);
      const split = [sum(['conv']), sum(['depthwise']), sum(['linear', 'recurrent']), sum(['attention'])];
      expect(split).toEqual([row.macsConv, row.macsDepthwise, row.macsLinear, row.macsAttention]);
    }
  });

  test('shapes alone say what the files say of every activation', () => {
    const folder = unpackShared('graphs', 'graphs.tar.xz');
    for (const file of readdirSync(folder).filter((_, i) => i % 60 === 3)) {
      const model = readModel(join(folder, file));
      const bare = { ...model, graph: { ...model.graph, valueInfo: new Map() } };
      const { types } = inferShapes(bare, standardOps);
      // small constants that the file keeps without data leave some values open: never wrong, so never different
      const known = [...model.graph.valueInfo].filter(([name]) => types.has(name));
      expect(known.length).toBeGreaterThan(20);
      for (const [name, info] of known) expect([file, name, types.get(name)]).toEqual([file, name, info.type]);
    }
  });
});
