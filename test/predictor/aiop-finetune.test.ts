import { describe, expect, it } from 'vitest';
import { readFloats } from '../../src/ir/tensor.js';
import type { ComputationGraph } from '../../src/predictor/computation-graph.js';
import { compress } from '../../src/predictor/compress.js';
import { finetune, movesIn, type FinetuneMode } from '../../src/predictor/finetune.js';
import { drain } from '../../src/drain.js';
import { drawLatents, fitSharedHead, populationOf, pseudoAccuracy } from '../../src/predictor/latent-sampling.js';
import { freshWeights, weightDims } from '../../src/predictor/network.js';
import { nb201 } from '../../src/predictor/spaces/nb201.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';

const runtime = ortRuntime();
const size = { width: 32, layers: 2 };

function cells(count: number): { readonly graph: ComputationGraph; readonly label: number }[] {
  const rng = createRng('cells');
  return Array.from({ length: count }, () => {
    const ops = Array.from({ length: 6 }, () => rng.int(5));
    const row = new Map([['op_indices', `(${ops.join(', ')})`]]);
    return { graph: compress(nb201.parse(row).build()), label: 60 + 5 * ops.filter((o) => o === 2).length };
  });
}

describe('fine-tuning', () => {
  const samples = cells(6);
  const weights = freshWeights(weightDims(size, 2), createRng('weights'));
  const run = (mode: FinetuneMode) =>
    drain(finetune({ size, weights, mode, samples, epochs: 5, rate: 1e-2, batch: 2, rng: createRng('fit'), runtime }));

  it.each([0, 1, 2, 3, 'rescale'] as const)('mode %s moves what it says, and nothing else', async (mode) => {
    const tuned = await run(mode);
    // scales are folded into the last layer
    const moves = mode === 'rescale' ? (name: string) => /adapter\d+\/head4/.test(name) : movesIn(mode);
    const moved = [...weights].filter(([name, t]) => {
      const now = readFloats(tuned.weights.get(name)!);
      return readFloats(t).some((v, i) => v !== now[i]);
    });
    expect(moved.map(([name]) => name).filter((name) => !moves(name))).toEqual([]);
    expect(moved.length).toBeGreaterThan(2);
    expect([...tuned.weights.keys()].sort()).toEqual([...weights.keys()].sort());
  });

  it('says labels in their unit', async () => {
    const tuned = await run(2);
    const said = await tuned.predict(samples.map((s) => s.graph));
    const error = said.reduce((sum, v, i) => sum + Math.abs(v - samples[i]!.label) / said.length, 0);
    const mean = samples.reduce((sum, s) => sum + s.label / samples.length, 0);
    const floor = samples.reduce((sum, s) => sum + Math.abs(s.label - mean) / samples.length, 0);
    expect(error).toBeLessThan(floor);
  });
});

describe('latent sampling', () => {
  it('gives one variant back as it is', () => {
    const data = Float32Array.of(1, 2, 3, 4);
    const population = populationOf([{ width: 2, data }]);
    expect([...drawLatents(population, createRng(0)).data]).toEqual([...data]);
  });

  it('has the mean and variance of two', () => {
    const [a, b] = [3, 7];
    const width = 1;
    const population = populationOf([a, b].map((v) => ({ width, data: new Float32Array(100_000).fill(v) })));
    const { data } = drawLatents(population, createRng('draws'));
    const mean = data.reduce((sum, v) => sum + v, 0) / data.length;
    const variance = data.reduce((sum, v) => sum + (v - mean) ** 2, 0) / data.length;
    expect(mean / ((a + b) / 2)).toBeCloseTo(1, 2);
    expect(Math.abs(variance / ((a - b) ** 2 / 2) - 1)).toBeLessThan(0.02);
  });

  it('ranks variants by how much of the classes is left in them', () => {
    const rng = createRng('variants');
    const [samples, width] = [200, 4];
    const classes = Array.from({ length: samples }, (_, s) => s % 3);
    const variant = (noise: number) => ({
      width,
      data: Float32Array.from(
        { length: samples * width },
        (_, i) => (i % width === classes[Math.floor(i / width)] ? 2 : 0) + noise * rng.normal(),
      ),
    });
    const variants = [0.2, 0.8, 1.6, 4].map((noise) => variant(noise));
    const head = fitSharedHead(populationOf(variants), classes, { count: 3, draws: 4, rng });
    const said = variants.map((v) => pseudoAccuracy(head, v, classes));
    expect(said[0]).toBeGreaterThan(0.9);
    expect(said.toSorted((x, y) => y - x)).toEqual(said);
    expect(() => populationOf([])).toThrow('at least one variant');
  });
});
