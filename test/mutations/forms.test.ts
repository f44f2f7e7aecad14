// One network in all the forms that exporters write: every mutation works on each of them, and cuts still obey their law behind it.
import { describe, expect, test } from 'vitest';
import { createFactorizer } from '../../search/mutations/factorize-conv.js';
import { standardMutations } from '../../search/mutations/index.js';
import { surgeryWith } from '../../search/replay.js';
import { PRUNE_CHANNELS } from '../../search/genome.js';
import { analyse } from '../../src/analysis/analyse.js';
import { float, graphBuilder, type AttributeValue } from '../../src/ir/builder.js';
import type { Model } from '../../src/ir/graph.js';
import { DataType } from '../../src/ir/tensor.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { encodeFloats } from '../../src/recovery/constants.js';
import { readFloats } from '../../src/ir/tensor.js';
import { createRng } from '../../src/rng.js';
import { expectLaw, randomDead } from '../analysis/prune-law.js';
import { describeShared, sharedPath } from '../shared.js';
import { contextOf, expectLaws } from './laws.js';

/** Stem, pool, residual block with Conv, BatchNormalization and Sigmoid, a depthwise Conv, global pool, Gemm and MatMul with Add. */
function network(opset: number, irVersion: number): Model {
  const rng = createRng('network');
  const b = graphBuilder({ opset, irVersion });
  const values = (n: number): Float32Array => Float32Array.from({ length: n }, () => 0.5 * rng.normal());
  const conv = (x: string, o: number, c: number, k: number, more: Readonly<Record<string, AttributeValue>>): string =>
    b.op('Conv', [x, b.floats(values(o * c * k * k), [o, c, k, k], 'weight'), b.floats(values(o))], {
      pads: Array.from({ length: 4 }, () => (k - 1) / 2),
      ...more,
    });
  const x = b.input('image', DataType.FLOAT, ['n', 3, 8, 8]);
  const stem = b.op('Relu', [conv(x, 8, 3, 5, {})]);
  const low = b.op('MaxPool', [stem], { kernel_shape: [2, 2], strides: [2, 2] });
  const inner = conv(low, 12, 8, 3, {});
  const stats = [values(12), values(12), values(12), values(12).map((v) => 0.2 + v * v)];
  const normal = b.op('BatchNormalization', [inner, ...stats.map((s) => b.floats(s))], { epsilon: float(1e-3) });
  const gated = conv(b.op('Mul', [normal, b.op('Sigmoid', [normal])]), 8, 12, 3, {});
  const sum = b.op('Relu', [b.op('Add', [b.op('Identity', [gated]), low])]);
  const deep = conv(sum, 8, 1, 3, { group: 8 });
  const flat = b.op('Flatten', [b.op('GlobalAveragePool', [deep])]);
  const hidden = b.op('Gemm', [flat, b.floats(values(128), [16, 8], 'w1'), b.floats(values(16))], { transB: 1 });
  const head = b.op('MatMul', [b.op('Relu', [hidden]), b.floats(values(160), [16, 10], 'w2')]);
  b.output(b.op('Add', [head, b.floats(values(10))]), DataType.FLOAT, ['n', 10]);
  return b.model();
}

function inConstantNodes(model: Model): Model {
  const { graph } = model;
  const made = [...graph.initializers.values()].map((t) => ({
    name: '',
    opType: 'Constant',
    domain: '',
    inputs: [],
    outputs: [t.name],
    attributes: new Map([['value', { name: 'value', kind: 'tensor' as const, value: t }]]),
  }));
  return { ...model, graph: { ...graph, initializers: new Map(), nodes: [...made, ...graph.nodes] } };
}

function asInputs(model: Model): Model {
  const { graph } = model;
  const declared = [...graph.initializers.values()].map((t) => ({
    name: t.name,
    type: { kind: 'tensor' as const, elemType: t.dataType, shape: t.dims },
  }));
  return { ...model, graph: { ...graph, inputs: [...graph.inputs, ...declared] } };
}

/** FLOAT16 throughout. */
function half(model: Model): Model {
  const { graph } = model;
  const typed = <T extends { readonly name: string }>(v: T): T & { type: Model['graph']['inputs'][number]['type'] } => {
    const info = [...graph.inputs, ...graph.outputs].find((w) => w.name === v.name)?.type;
    return { ...v, type: info?.kind === 'tensor' ? { ...info, elemType: DataType.FLOAT16 } : info };
  };
  const initializers = new Map(
    [...graph.initializers].map(([name, t]) => [
      name,
      t.dataType === 1 ? encodeFloats(name, DataType.FLOAT16, t.dims, readFloats(t)) : t,
    ]),
  );
  return {
    ...model,
    graph: { ...graph, initializers, inputs: graph.inputs.map(typed), outputs: graph.outputs.map(typed) },
  };
}

const forms: Readonly<Record<string, () => Model>> = {
  'initializers, opset 17': () => network(17, 8),
  'opset 8, IR 3, initializers that are inputs': () => asInputs(network(8, 3)),
  'opset 9, IR 4, initializers that are inputs': () => asInputs(network(9, 4)),
  'weights in Constant nodes, opset 13': () => inConstantNodes(network(13, 7)),
  'weights in Constant nodes, IR 3': () => inConstantNodes(network(9, 3)),
  float16: () => half(network(17, 8)),
};

const mutations = standardMutations(surgeryWith(standardOps)).filter((m) => m.name !== PRUNE_CHANNELS);

describe.each(Object.entries(forms))('%s', (form, build) => {
  test('every mutation', async () => {
    const context = contextOf(analyse(build(), standardOps));
    const rng = createRng(form);
    const none: string[] = [];
    for (const mutation of mutations) {
      const params = mutation.propose(context, rng.fork(mutation.name));
      if (params === undefined) none.push(mutation.name);
      // half precision: a thousandth a layer
      else
        await expectLaws(
          mutation,
          params,
          context,
          form === 'float16' && mutation.law === 'exact' ? { tolerance: 0.02 } : {},
        );
    }
    // constants that are inputs may be overridden: they are not folded; activations are swapped in FLOAT only
    const idle = ['fold-constants', ...(form === 'float16' ? ['swap-activation'] : [])];
    expect(none.filter((n) => !idle.includes(n))).toEqual([]);
  });

  test('constants that are replaced leave no trace', () => {
    const context = contextOf(analyse(build(), standardOps));
    const { mutation, sites } = createFactorizer();
    const all = sites(context).filter((s, i, list) => list.findIndex((t) => t.weight === s.weight) === i);
    const params = all.map(({ weight, kind, ranks }) => ({ weight, kind, rank: ranks[0]! }));
    const made = mutation.apply(mutation.join!(params), context);
    const { graph } = made;
    const names = [
      ...graph.initializers.keys(),
      ...graph.inputs.map((v) => v.name),
      ...graph.nodes.flatMap((n) => n.outputs),
    ];
    expect(all.length).toBeGreaterThanOrEqual(5);
    // factors are not factorised again, and nothing else was left
    expect(sites(contextOf(analyse(made, standardOps)))).toEqual([]);
    for (const { weight } of all) expect(names).not.toContain(weight);
    for (const { weight } of all) expect(names).toContain(`${weight}.first`);
  });
});

describeShared('pruned equals masked behind factors', ['models'], () => {
  test.each(['cifar10-resnet20', 'cifar10-mobilenetv2-w0.5', 'vit-cifar10-ibp'])('%s', async (name) => {
    const { mutation, sites } = createFactorizer();
    const context = contextOf(analyse(readModel(sharedPath('models', `${name}.onnx`)), standardOps));
    const first = new Map(sites(context).map((s) => [s.weight, s]));
    const params = [...first.values()].map(({ weight, kind, ranks }) => ({ weight, kind, rank: ranks.at(-1)! }));
    const analysis = analyse(mutation.apply(mutation.join!(params), context), standardOps);
    // a group for each rank, which can be cut like any other
    expect(analysis.groups.groups.length).toBeGreaterThan(context.analysis.groups.groups.length);
    const rng = createRng(name);
    await expectLaw(analysis, randomDead(analysis, rng), rng);
  });
});
