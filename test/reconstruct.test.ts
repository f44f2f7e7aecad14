// Least squares on networks: a refit of a whole network reproduces it; a duplicate channel costs nothing.

import { expect, test } from 'vitest';
import { readModel } from '../src/onnx/read.js';
import { reconstruct } from '../src/recovery/least-squares.js';
import type { Feeds } from '../src/recovery/walk.js';
import { createRng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { floatData, floatsOf, withSession } from '../src/runtime/runtime.js';
import type { Model } from '../src/ir/graph.js';
import { describeShared, sharedPath } from './shared.js';

function noise(seed: string, dims: readonly number[], batches: number): Feeds[] {
  const rng = createRng(seed);
  const size = dims.reduce((a, b) => a * b, 1);
  return Array.from({ length: batches }, () => {
    const data = Float32Array.from({ length: size }, () => rng.normal());
    return new Map([['input', floatData(dims, data)]]);
  });
}

async function outputs(model: Model, feeds: readonly Feeds[]): Promise<Float32Array[]> {
  return withSession(ortRuntime(), model, {}, async (session) => {
    const all: Float32Array[] = [];
    for (const f of feeds) all.push(floatsOf([...(await session.run(f)).values()][0]!));
    return all;
  });
}

describeShared('reconstruction of public networks', ['models'], () => {
  for (const name of ['cifar10-resnet20', 'cifar10-mobilenetv2-w0.5', 'vit-cifar10-ibp']) {
    test(`${name}: refitting every layer of the unpruned network changes its outputs by less than 1e-3`, async () => {
      const model = readModel(sharedPath('models', `${name}.onnx`));
      const feeds = noise(name, [8, 3, 32, 32], 2);
      const run = reconstruct(model, model, feeds, {
        runtime: ortRuntime(),
        rng: createRng(1),
        all: true,
        positions: 16,
      });
      let layers = 0;
      let step = await run.next();
      for (; step.done !== true; step = await run.next()) {
        layers++;
        expect(step.value.before).toBeLessThan(1e-4);
        expect(step.value.after).toBeLessThanOrEqual(step.value.before + 1e-6);
      }
      expect(layers).toBeGreaterThan(10);
      const refitted = step.value;
      const other = noise('other', [4, 3, 32, 32], 1);
      const [a] = await outputs(model, other);
      const [b] = await outputs(refitted, other);
      const scale = Math.max(...a!.map(Math.abs));
      a!.forEach((v, i) => expect(Math.abs(v - b![i]!) / scale).toBeLessThan(1e-3));
    });
  }
});
