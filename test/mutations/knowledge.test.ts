// What calibration data do for mutations of single layers, on the shipped example: the errors they foretell are the ones measured behind
// the layer, bias and normalisation included, and weights initialised on data lose less than weights that are merely near.
import { beforeAll, describe, expect, test } from 'vitest';
import { join } from 'node:path';
import { createFactorizer } from '../../search/mutations/factorize-conv.js';
import { groupConv } from '../../search/mutations/group-conv.js';
import type { MutationContext, Place } from '../../search/mutations/mutation.js';
import { shrinkKernel } from '../../search/mutations/shrink-kernel.js';
import { analyse } from '../../src/analysis/analyse.js';
import { chunksOf } from '../../src/data/batches.js';
import { openDataset } from '../../src/data/dataset.js';
import type { Model } from '../../src/ir/graph.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { knowledgeOf, learn, type Knowledge } from '../../src/recovery/knowledge.js';
import { findLayers } from '../../src/recovery/layers.js';
import { drain } from '../../src/drain.js';
import type { Feeds } from '../../src/recovery/walk.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatsOf, withSession } from '../../src/runtime/runtime.js';
import { projectRoot } from '../shared.js';
import { contextOf } from './laws.js';

const folder = join(projectRoot, 'examples', 'shapes');
const analysis = analyse(readModel(join(folder, 'shapes-resnet.onnx')), standardOps);
const runtime = ortRuntime();
let feeds: Feeds[] = [];
let knowledge: Knowledge;

beforeAll(async () => {
  const inputs = await withSession(runtime, analysis.model, {}, (s) => Promise.resolve(s.inputs));
  const data = openDataset(join(folder, 'calib.json'), inputs);
  const indices = Array.from({ length: 128 }, (_, i) => i * 20);
  feeds = chunksOf(data, indices, 32).map((c) => data.batch(c.indices).inputs);
  const learnt = await drain(learn(analysis, feeds, { runtime, rng: createRng(1), positions: 1000 }));
  knowledge = knowledgeOf(analysis, learnt);
});

/** Values of one name for all feeds, by channel (axis 1 of four, or the last). */
async function valuesOf(model: Model, name: string): Promise<Float32Array[]> {
  const seen = { ...model, graph: { ...model.graph, outputs: [...model.graph.outputs, { name }] } };
  return withSession(runtime, seen, {}, async (session) => {
    const all: Float32Array[] = [];
    for (const f of feeds) all.push(floatsOf((await session.run(f)).get(name)!));
    return all;
  });
}

/** Share of the variance of a layer's output that the changed network misses. */
async function missed(changed: Model, output: string, channels: number): Promise<number> {
  const [before, after] = [await valuesOf(analysis.model, output), await valuesOf(changed, output)];
  const plane = before[0]!.length / 32 / channels;
  const mean = new Float64Array(channels);
  let n = 0;
  const each = (visit: (c: number, a: number, b: number) => void): void => {
    before.forEach((batch, k) => batch.forEach((a, i) => visit(Math.floor(i / plane) % channels, a, after[k]![i]!)));
  };
  each((c, a) => {
    mean[c] = mean[c]! + a;
    n++;
  });
  let [lost, total] = [0, 0];
  each((c, a, b) => {
    lost += (a - b) ** 2;
    total += (a - mean[c]! / (n / channels)) ** 2;
  });
  return lost / total;
}

const factorizer = createFactorizer();

describe.each([factorizer.mutation, shrinkKernel(), groupConv()])('$name', (mutation) => {
  test('errors foretold are errors measured, and less than without data', async () => {
    const context = contextOf(analysis, { roundTo: 1, knowledge });
    const without: MutationContext = contextOf(analysis, { roundTo: 1 });
    const rng = createRng(mutation.name);
    const places = mutation.places!(context);
    const sites = [...new Set(places.map((p) => p.site))];
    let [better, compared] = [0, 0];
    for (const site of rng.shuffle(sites).slice(0, 5)) {
      const layer = findLayers(analysis.model.graph).find((l) => l.weight === site)!;
      const place: Place = rng.pick(places.filter((p) => p.site === site));
      const foretold = place.error!() / knowledge.importance(layer.output);
      const measured = await missed(mutation.apply(place.params, context), layer.output, layer.outputs);
      expect(
        Math.abs(measured - foretold),
        `${JSON.stringify(place.params)}: ${measured} and ${foretold}`,
      ).toBeLessThan(0.02 + 0.1 * foretold);
      const plain = await missed(mutation.apply(place.params, without), layer.output, layer.outputs);
      compared++;
      if (measured <= plain * 1.02 + 1e-4) better++;
    }
    expect(compared).toBeGreaterThan(2);
    expect(better).toBe(compared);
  });
});
