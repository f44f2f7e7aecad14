import { describe, expect, test } from 'vitest';
import { pruneModel } from '../../src/analysis/cut.js';
import { graphBuilder } from '../../src/ir/builder.js';
import { DataType } from '../../src/ir/tensor.js';
import { createRng } from '../../src/rng.js';
import { analysed, expectLaw, randomDead } from './prune-law.js';
import { buildNet, type Net } from './small-nets.js';

const F = DataType.FLOAT;

describe('what cannot be cut stays, and is named', () => {
  test('values and weights that a subgraph captures meet outside it what they meet inside', async () => {
    const net: Net = {
      name: 'If',
      groups: 1,
      build: (d) => {
        const shared = d.w(6, 4, 1, 1);
        const x = d.conv(d.image(3), 3, 4);
        const y = d.g.op('Conv', [x, shared]);
        const branch = (scale: number): ReturnType<typeof d.g.graph> => {
          const inner = graphBuilder();
          const graph = inner.graph();
          const node = { name: '', domain: '', attributes: new Map(), outputs: [`out${scale}`] };
          const nodes = [{ ...node, opType: 'Conv', inputs: [x, shared] }];
          return { ...graph, name: `branch${scale}`, nodes, outputs: [{ name: `out${scale}` }] };
        };
        const yes = d.g.constant({ name: 'yes', dataType: DataType.BOOL, dims: [], bytes: () => Uint8Array.of(1) });
        const chosen = d.g.op('If', [yes], { then_branch: branch(1), else_branch: branch(2) });
        const sum = d.g.op('Add', [y, chosen]);
        return d.conv(d.g.op('Relu', [d.conv(sum, 6, 8)]), 8, 2);
      },
    };
    const rng = createRng(1);
    const analysis = analysed(buildNet(net, rng));
    // both branches and the layer outside share one weight
    expect(analysis.groups.groups.filter((g) => g.size > 1).map((g) => g.size)).toEqual([4, 6, 8]);
    await expectLaw(analysis, randomDead(analysis, rng), rng);
  });

  test('an operator nobody knows', () => {
    const g = graphBuilder({ domains: { 'com.acme': 1 } });
    const x = g.input('x', F, [1, 3, 4, 4]);
    const w = (...dims: number[]): string => g.floats(new Float32Array(dims.reduce((a, b) => a * b, 1)), dims, 'w');
    const a = g.op('Conv', [x, w(5, 3, 1, 1)]);
    const b = g.op('Mystery', [a], {}, { domain: 'com.acme', name: 'magic' });
    g.output(b, F, [1, 5, 4, 4]);
    g.output(g.op('Conv', [g.op('Relu', [g.op('Conv', [x, w(7, 3, 1, 1)])]), w(2, 7, 1, 1)]), F);
    const { groups, frozen } = analysed(g.model()).groups;
    expect(groups.map((u) => u.size)).toEqual([7]);
    expect(frozen.map((f) => f.reason)).toContain('unknown operator at Mystery "magic"');
  });

  test('channels through Softmax, and two outputs of one layer', () => {
    const g = graphBuilder();
    const x = g.input('x', F, [1, 6]);
    const w = (...dims: number[]): string => g.floats(new Float32Array(dims.reduce((a, b) => a * b, 1)), dims, 'w');
    const hidden = g.op('Softmax', [g.op('MatMul', [x, w(6, 8)])], { axis: -1 }, { name: 'mix' });
    g.output(g.op('MatMul', [hidden, w(8, 2)]), F);
    const { groups, frozen } = analysed(g.model()).groups;
    expect(groups).toEqual([]);
    expect(frozen[0]).toEqual({ name: 'w', channels: 8, reason: 'Softmax over channels at Softmax "mix"' });
  });
});

// onnxruntime has no Add and Mul of opset 6: the dims alone are checked
test('operands laid along an axis, before opset 7, lose the same channels', () => {
  const net: Net = {
    name: 'axis',
    opset: 6,
    ir: 3,
    groups: 1,
    build: (d) => {
      const x = d.g.op('Conv', [d.image(3), d.w(8, 3, 3, 3)]);
      const y = d.g.op('Mul', [d.g.op('Add', [x, d.w(8)], { broadcast: 1, axis: 1 }), d.w(4, 4)], { broadcast: 1 });
      return d.g.op('Conv', [d.g.op('Relu', [y]), d.w(2, 8, 1, 1)]);
    },
  };
  const analysis = analysed(buildNet(net, createRng(2)));
  const [group] = analysis.groups.groups;
  const pruned = pruneModel(analysis, new Map([[group!.id, [0, 5, 7]]]));
  expect([...pruned.graph.initializers.values()].map((t) => t.dims)).toEqual([[5, 3, 3, 3], [5], [4, 4], [2, 5, 1, 1]]);
});
