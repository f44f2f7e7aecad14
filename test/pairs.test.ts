// Factor pairs: what `composed` says is what the network computes, whatever the window; ranks and channels cut behind factors are
// refitted exactly where an exact answer exists; groups keep their identity behind factors.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createFitness } from '../search/fitness.js';
import { createFactorizer, factorKinds } from '../search/mutations/factorize-conv.js';
import { pruneChannels } from '../search/mutations/prune-channels.js';
import { createReplayer, surgeryWith } from '../search/replay.js';
import { graphBuilder } from '../src/ir/builder.js';
import type { Model } from '../src/ir/graph.js';
import { DataType, floatTensor } from '../src/ir/tensor.js';
import { indexGraph } from '../src/ir/walk.js';
import { readModel } from '../src/onnx/read.js';
import { standardOps } from '../src/ops/index.js';
import { withConstants } from '../src/recovery/constants.js';
import { knowledgeOf, learn } from '../src/recovery/knowledge.js';
import { constantReader, findLayers } from '../src/recovery/layers.js';
import { composed, findPairs } from '../src/recovery/pairs.js';
import { drain } from '../src/drain.js';
import type { Feeds } from '../src/recovery/walk.js';
import { createRng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { floatData, floatsOf, withSession } from '../src/runtime/runtime.js';
import { describeShared, sharedPath } from './shared.js';

const runtime = ortRuntime();
const surgery = surgeryWith(standardOps);

/** x [N, 6, 9, 8] -> Conv 3 x 3 -> Relu -> Conv 1 x 1. */
function network(seed: string, stride: readonly number[], pad: number): Model {
  const rng = createRng(seed);
  const normals = (n: number): Float32Array => Float32Array.from({ length: n }, () => rng.normal());
  const g = graphBuilder();
  const x = g.input('x', DataType.FLOAT, ['N', 6, 9, 8]);
  const w = g.constant(floatTensor('w', [8, 6, 3, 3], normals(8 * 54)));
  const b = g.constant(floatTensor('b', [8], normals(8)));
  const v = g.constant(floatTensor('v', [3, 8, 1, 1], normals(24)));
  const y = g.op(
    'Conv',
    [x, w, b],
    { strides: stride, pads: [pad, pad, pad, pad], kernel_shape: [3, 3] },
    { outputs: ['y'] },
  );
  g.output(g.op('Conv', [g.op('Relu', [y]), v], {}, { outputs: ['z'] }), DataType.FLOAT);
  return g.model();
}

function images(seed: string, batches = 2): Feeds[] {
  return Array.from({ length: batches }, (_, i) => {
    const rng = createRng(`${seed}/${i}`);
    const data = Float32Array.from({ length: 40 * 6 * 72 }, () => rng.normal());
    return new Map([['x', floatData([40, 6, 9, 8], data)]]);
  });
}

async function outputs(model: Model, feeds: readonly Feeds[]): Promise<Float32Array[]> {
  return withSession(runtime, model, {}, async (session) => {
    const all: Float32Array[] = [];
    for (const f of feeds) all.push(floatsOf((await session.run(f)).get('z')!));
    return all;
  });
}

function distance(a: readonly Float32Array[], b: readonly Float32Array[]): number {
  let [difference, size] = [0, 0];
  a.forEach((x, i) => x.forEach((v, k) => ((difference += (v - b[i]![k]!) ** 2), (size += v * v))));
  return Math.sqrt(difference / size);
}

describe('pairs', () => {
  test('one layer with the composed weights computes what both factors compute', async () => {
    const kinds = factorKinds.filter((k) => k !== 'depthwise');
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...kinds),
        fc.constantFrom([1, 1], [2, 1], [2, 2]),
        fc.integer({ min: 0, max: 1 }),
        async (kind, stride, pad) => {
          const base = surgery.analyse(network(`${kind}/${stride.join()}`, stride, pad));
          const { mutation } = createFactorizer();
          const context = { analysis: base, ignore: () => false, roundTo: 1, maxRatio: 1 };
          const edited = mutation.apply({ weight: 'w', kind, rank: 3 }, context);
          const layers = findLayers(edited.graph);
          const origins = new Map(findLayers(base.model.graph).map((l) => [l.output, l]));
          const pair = findPairs(origins, edited.graph, layers, indexGraph(edited.graph)).get('y');
          expect(pair).toBeDefined();
          const { weights, bias } = composed(pair!, constantReader(edited.graph));
          const one = withConstants(
            base.model,
            new Map([
              ['w', Float32Array.from(weights)],
              ['b', Float32Array.from(bias)],
            ]),
          );
          const feeds = images('composed', 1);
          expect(distance(await outputs(edited, feeds), await outputs(one, feeds))).toBeLessThan(1e-5);
        },
      ),
      { numRuns: 12 },
    );
  });

  test('ranks cut behind a factor: the closed form gives what a factor of that rank gives', async () => {
    const base = surgery.analyse(network('ranks', [1, 1], 1));
    const feeds = images('learn');
    const data = await drain(learn(base, feeds, { runtime, rng: createRng('learn') }));
    const knowledge = knowledgeOf(base, data);
    const { mutation } = createFactorizer();
    const rules = { ignore: (): boolean => false, roundTo: 1, maxRatio: 1, knowledge };
    const replayer = createReplayer(base, { surgery, mutations: [pruneChannels(surgery), mutation], ...rules });
    const edit = (rank: number): { mutation: string; params: { weight: string; kind: string; rank: number } } => ({
      mutation: mutation.name,
      params: { weight: 'w', kind: 'spatial', rank },
    });
    const wide = replayer.structure([edit(9)]);
    const dead = new Map([['w.first:0', [5, 6, 7, 8]]]);
    const cut = knowledge.quickRefit(surgery.prune(wide, dead), dead, wide.groups);
    const narrow = replayer.structure([edit(5)]).model;
    expect(distance(await outputs(narrow, feeds), await outputs(cut, feeds))).toBeLessThan(1e-3);
  });
});

describeShared('groups behind factors', ['models'], () => {
  test('every group of the base is found again, also where one value carries several', () => {
    const base = surgery.analyse(readModel(sharedPath('models', 'cifar10-resnet56.onnx')));
    const { mutation } = createFactorizer();
    const rules = { ignore: (): boolean => false, roundTo: 1, maxRatio: 1 };
    const replayer = createReplayer(base, { surgery, mutations: [pruneChannels(surgery), mutation], ...rules });
    const fitness = createFitness(replayer);
    const weights = ['layer1.8.conv2.weight', 'layer2.0.conv2.weight', 'layer3.0.conv2.weight'];
    const params = mutation.join!(weights.map((weight) => ({ weight, kind: 'spatial', rank: 4 })));
    const { groups } = fitness.landscape([{ mutation: mutation.name, params }]);
    const origins = new Set(groups.map((g) => g.origin));
    expect(base.groups.groups.map((g) => g.id).filter((id) => !origins.has(id))).toEqual([]);
    expect(groups.length).toBe(base.groups.groups.length + weights.length);
  });
});
