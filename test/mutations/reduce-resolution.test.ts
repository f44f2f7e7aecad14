import { describe, expect, test } from 'vitest';
import { reduceResolution } from '../../search/mutations/reduce-resolution.js';
import { analyse } from '../../src/analysis/analyse.js';
import { graphBuilder, type AttributeValue, type GraphBuilder } from '../../src/ir/builder.js';
import type { Model } from '../../src/ir/graph.js';
import { DataType } from '../../src/ir/tensor.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { createRng, type Rng } from '../../src/rng.js';
import { describeShared, sharedPath } from '../shared.js';
import { contextOf, expectLaws, models } from './laws.js';

const mutation = reduceResolution();

/** Networks with a global pool, or strides behind Convs. */
const some: Readonly<Record<string, number>> = {
  'cifar10-resnet20': 1,
  'cifar10-mobilenetv2-w0.5': 1,
  'cifar10-densenet-6-12-24': 1,
  'mlperf-tiny-resnet8-cifar10': 1,
};

describeShared('reduce-resolution on public networks', ['models'], () => {
  test.each(models)('%s', async (name) => {
    const analysis = analyse(readModel(sharedPath('models', `${name}.onnx`)), standardOps);
    const context = contextOf(analysis);
    const places = mutation.places!(context);
    expect(places.length).toBeGreaterThanOrEqual(some[name] ?? 0);
    for (const place of createRng(name).shuffle(places).slice(0, 2)) {
      const { model } = await expectLaws(mutation, place.params, context);
      expect(analyse(model, standardOps).cost.macs, 'the saving foretold').toBe(analysis.cost.macs - place.saving);
    }
  });
});

function conv(
  b: GraphBuilder,
  rng: Rng,
  x: string,
  [from, to, k]: readonly [number, number, number],
  more: Readonly<Record<string, AttributeValue>> = {},
): string {
  const w = b.floats(
    Float32Array.from({ length: from * to * k * k }, () => rng.normal()),
    [to, from, k, k],
  );
  return b.op('Conv', [x, w], { pads: [(k - 1) / 2, (k - 1) / 2, (k - 1) / 2, (k - 1) / 2], ...more });
}

type Tail = (b: GraphBuilder, x: string, rng: Rng) => string;

function chain(tail: Tail, lengths: readonly [number, number] = [8, 8]): Model {
  const rng = createRng(1);
  const b = graphBuilder();
  const x = b.input('x', DataType.FLOAT, ['n', 3, ...lengths]);
  const y = b.op('Relu', [conv(b, rng, x, [3, 4, 3])]);
  b.output(tail(b, y, rng), DataType.FLOAT);
  return b.model();
}

const tails: Readonly<Record<string, readonly [Tail, readonly string[]]>> = {
  'a Conv with a stride': [(b, x, rng) => conv(b, rng, x, [4, 5, 3], { strides: [2, 2] }), ['Conv', 'Relu', 'Conv']],
  'a pool of blocks': [
    (b, x) => b.op('MaxPool', [x], { kernel_shape: [2, 2], strides: [2, 2] }),
    ['Conv', 'Relu', 'Identity'],
  ],
  'a pool of windows that overlap': [
    (b, x) => b.op('AveragePool', [x], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }),
    ['Conv', 'Relu', 'AveragePool'],
  ],
};

describe('a stride earlier', () => {
  test.each(Object.entries(tails))('before %s', async (_, [tail, opTypes]) => {
    const context = contextOf(analyse(chain(tail), standardOps));
    const [place] = mutation.places!(context);
    const { model } = await expectLaws(mutation, place!.params, context);
    expect(model.graph.nodes.map((n) => n.opType)).toEqual(opTypes);
    expect(model.graph.nodes[0]!.attributes.get('strides')?.value).toEqual([2, 2]);
  });

  test('not where dims behind would change, a second use would see it, or a constant is one for each place', () => {
    const nothing = (model: Model): void => {
      expect(mutation.places!(contextOf(analyse(model, standardOps)))).toEqual([]);
    };
    // no padding: 9 -> 3 by a window of 3 in steps of 3, and 9 -> 3 by the stride, of which a window of 3 makes one
    nothing(chain((b, x) => b.op('MaxPool', [x], { kernel_shape: [2, 2], strides: [3, 3] }), [9, 9]));
    const pool = { kernel_shape: [2, 2], strides: [2, 2] };
    nothing(chain((b, x) => b.op('Concat', [b.op('MaxPool', [x], pool), b.op('AveragePool', [x], pool)], { axis: 1 })));
    nothing(chain((b, x) => b.op('MaxPool', [b.op('Add', [x, b.floats(new Float32Array(64), [8, 8])])], pool)));
  });
});

test('half the resolution: behind a shortcut, up to a pool over the whole plane; not with a dense head', async () => {
  const head =
    (dense: boolean): Tail =>
    (b, x, rng) => {
      const sum = b.op('Add', [x, conv(b, rng, x, [4, 4, 3])]);
      const all = dense ? sum : b.op('AveragePool', [sum], { kernel_shape: [8, 8] });
      const flat = b.op('Flatten', [all]);
      const n = dense ? 256 : 4;
      return b.op('Gemm', [
        flat,
        b.floats(
          Float32Array.from({ length: n * 2 }, () => rng.normal()),
          [n, 2],
        ),
      ]);
    };
  const context = contextOf(analyse(chain(head(false)), standardOps));
  const places = mutation.places!(context);
  expect(places.map((p) => p.params)).toEqual([{ kind: 'pool', value: 'Relu' }]);
  const { model } = await expectLaws(mutation, places[0]!.params, context);
  expect(model.graph.nodes.map((n) => n.opType)).toEqual(
    'Conv Relu AveragePool Conv Add GlobalAveragePool Flatten Gemm'.split(' '),
  );
  const dense = contextOf(analyse(chain(head(true)), standardOps));
  expect(mutation.places!(dense)).toEqual([]);
  expect(() => mutation.apply({ kind: 'pool', value: 'Relu' }, dense)).toThrow(/does not fit together behind/);
});
