import { describe, expect, test } from 'vitest';
import type { Json } from '../../search/genome.js';
import type { Place } from '../../search/mutations/mutation.js';
import { removeBlock } from '../../search/mutations/remove-block.js';
import { analyse } from '../../src/analysis/analyse.js';
import { graphBuilder, type GraphBuilder } from '../../src/ir/builder.js';
import type { Model } from '../../src/ir/graph.js';
import { DataType } from '../../src/ir/tensor.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { createRng, type Rng } from '../../src/rng.js';
import { describeShared, sharedPath } from '../shared.js';
import { contextOf, distance, expectLaws, models } from './laws.js';

const mutation = removeBlock();

/** Blocks that can go, by what must be there at least. */
const least: Readonly<Record<string, number>> = {
  'cifar10-resnet20': 9,
  'cifar10-mobilenetv2-w0.5': 10,
  'vit-cifar10-ibp': 6,
  'mlperf-tiny-resnet8-cifar10': 3,
};

describeShared('remove-block on public networks', ['models'], () => {
  test.each(models)('%s', async (name) => {
    const analysis = analyse(readModel(sharedPath('models', `${name}.onnx`)), standardOps);
    const context = contextOf(analysis);
    const places = mutation.places!(context);
    expect(new Set(places.map((p) => p.site)).size).toBeGreaterThanOrEqual(least[name] ?? 0);
    const rng = createRng(name);
    for (const place of rng.shuffle(places).slice(0, 3)) {
      const { model } = await expectLaws(mutation, place.params, context);
      expect(analyse(model, standardOps).cost.macs, 'the saving foretold').toBe(analysis.cost.macs - place.saving);
    }
    if (places.length < 2) return;
    const sites = new Map(rng.shuffle(places).map((p) => [p.site, p.params]));
    await expectLaws(mutation, mutation.join!([...sites.values()]), context);
  });
});

function conv(b: GraphBuilder, rng: Rng, x: string, from: number, to: number, name: string): string {
  const w = b.floats(
    Float32Array.from({ length: from * to * 9 }, () => rng.normal()),
    [to, from, 3, 3],
    `${name}.w`,
  );
  return b.op('Conv', [x, w], { pads: [1, 1, 1, 1] }, { name });
}

function block(rng: Rng, activated: boolean): { model: Model; places: readonly Place[] } {
  const b = graphBuilder();
  let x = conv(b, rng, b.input('in', DataType.FLOAT, ['n', 3, 6, 6]), 3, 4, 'stem');
  if (activated) x = b.op('Relu', [x], {}, { outputs: ['x'] });
  const f = conv(b, rng, b.op('Relu', [conv(b, rng, x, 4, 8, 'a')]), 8, 4, 'b');
  const y = b.op('Relu', [b.op('Add', [f, x], {}, { outputs: ['sum'] })], {}, { outputs: ['y'] });
  b.output(b.op('GlobalAveragePool', [conv(b, rng, y, 4, 5, 'c')]), DataType.FLOAT, ['n', 5, 1, 1]);
  const model = b.model();
  return { model, places: mutation.places!(contextOf(analyse(model, standardOps))) };
}

describe('activations', () => {
  test('behind the sum: goes when the shortcut has been through it, and stays otherwise', () => {
    for (const activated of [true, false]) {
      const { model, places } = block(createRng(1), activated);
      const shortcut = places.filter((p) => ['sum', 'y'].includes(p.site)).map((p) => p.params);
      expect(shortcut).toEqual([activated ? { from: 'x', to: 'y' } : { from: 'stem', to: 'sum' }]);
      const made = mutation.apply(shortcut[0]!, contextOf(analyse(model, standardOps)));
      expect(made.graph.nodes.map((n) => n.opType)).toEqual(['Conv', 'Relu', 'Conv', 'GlobalAveragePool']);
    }
  });

  test('a branch that gives zeros can go without a trace', async () => {
    const { model } = block(createRng(2), true);
    const zero = model.graph.initializers.get('b.w')!;
    const bytes = new Uint8Array(4 * 4 * 8 * 9);
    const initializers = new Map([...model.graph.initializers, ['b.w', { ...zero, bytes: () => bytes }]]);
    const quiet = { ...model, graph: { ...model.graph, initializers } };
    const { before, after } = await expectLaws(
      mutation,
      { from: 'x', to: 'y' },
      contextOf(analyse(quiet, standardOps)),
    );
    expect(distance(before, after)).toBeLessThan(1e-6);
  });
});

test('what cannot be bypassed is refused by name', () => {
  const { model } = block(createRng(3), true);
  const context = contextOf(analyse(model, standardOps));
  const refused = (params: Json, words: RegExp): void => expect(() => mutation.apply(params, context)).toThrow(words);
  refused({ from: 'in', to: 'y' }, /"in" cannot stand for "y"/);
  refused({ from: 'x' }, /parameters must be/);
  expect(mutation.places!({ ...context, ignore: (n) => n === 'a' }).filter((p) => p.site === 'y')).toEqual([]);
});
