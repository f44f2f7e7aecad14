// Criteria from gradients: gates against central differences, curvature against the gradients of single samples, closed forms, and
// the command that uses them.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it, test } from 'vitest';
import { analyse } from '../src/analysis/analyse.js';
import type { Dataset } from '../src/data/dataset.js';
import { graphBuilder } from '../src/ir/builder.js';
import type { Model } from '../src/ir/graph.js';
import { DataType, elementCount, floatTensor, readFloats } from '../src/ir/tensor.js';
import { standardOps } from '../src/ops/index.js';
import { createProbe } from '../src/predictor/proxies/probe.js';
import { gradientCriterionNames, posteriorDeviation, signalToNoise } from '../src/recovery/importance-gradient.js';
import { criteria } from '../src/recovery/importance.js';
import { learnSensitivity } from '../src/recovery/sensitivity.js';
import { createRng, type Rng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { floatData } from '../src/runtime/runtime.js';
import { ref } from './reference/arrays.js';
import { interpret } from './reference/interpreter.js';
import { pare } from './pare-here.js';

const runtime = ortRuntime();
afterAll(() => runtime.close());

const normals = (rng: Rng, dims: readonly number[], scale = 1): Float32Array =>
  Float32Array.from({ length: elementCount(dims) }, () => scale * rng.normal());

/** A shortcut over two convolutions, pooling, a dense layer of 3 classes. */
function net(): Model {
  const rng = createRng('sensitivity');
  const b = graphBuilder();
  const w = (name: string, dims: readonly number[]): string => b.floats(normals(rng.fork(name), dims, 0.5), dims, name);
  const pads = { pads: [1, 1, 1, 1] };
  const stem = b.op('Relu', [b.op('Conv', [b.input('x', DataType.FLOAT, ['N', 2, 5, 5]), w('a', [4, 2, 3, 3])], pads)]);
  const inner = b.op('Relu', [b.op('Conv', [stem, w('b', [5, 4, 1, 1]), w('bias', [5])])]);
  const sum = b.op('Relu', [b.op('Add', [stem, b.op('Conv', [inner, w('c', [4, 5, 3, 3])], pads)])]);
  b.output(
    b.op('Gemm', [b.op('Flatten', [b.op('GlobalAveragePool', [sum])]), w('d', [3, 4])], { transB: 1 }),
    DataType.FLOAT,
    ['N', 3],
  );
  return b.model();
}

const size = 6;
const images = normals(createRng('images'), [size, 2, 5, 5]);
const classes = Int32Array.of(0, 2, 1, 1, 0, 2);

/** The images as a data set. */
function data(labels: boolean): Dataset {
  const own = (indices: readonly number[]): Float32Array =>
    Float32Array.from(indices.flatMap((i) => [...images.subarray(50 * i, 50 * i + 50)]));
  const made: Dataset = {
    name: 'images',
    format: 'npz',
    size,
    hasTargets: false,
    metric: labels ? 'top1' : undefined,
    ...(labels ? { labels: classes } : {}),
    preprocessing: {},
    batch: (indices) => ({
      inputs: new Map([['x', floatData([indices.length, 2, 5, 5], own(indices))]]),
      ...(labels ? { labels: Int32Array.from(indices, (i) => classes[i]!) } : {}),
    }),
    with: () => made,
    fingerprint: async () => 'images',
  };
  return made;
}

const changed = (model: Model, name: string, change: (x: number, i: number) => number): Model => {
  const t = model.graph.initializers.get(name)!;
  const values = readFloats(t).map((x, i) => change(x, i));
  return {
    ...model,
    graph: {
      ...model.graph,
      initializers: new Map(model.graph.initializers).set(name, floatTensor(name, t.dims, values)),
    },
  };
};

function lossOf(model: Model, sample: number): number {
  const x = ref([1, 2, 5, 5], images.subarray(50 * sample, 50 * sample + 50));
  const z = interpret(model.graph, 17, new Map([['x', x]])).get(model.graph.outputs[0]!.name)!.data;
  return Math.log(z.reduce((sum, v) => sum + Math.exp(v), 0)) - z[classes[sample]!]!;
}

describe('with labels', () => {
  const model = net();
  const base = analyse(model, standardOps);
  const dataset = data(true);

  it('a gate is the slope of the loss as all that consumes the unit is scaled', async () => {
    const found = await learnSensitivity(base, { runtime, rng: createRng(1), of: 'gates', dataset });
    expect([found.targets, found.samples]).toEqual(['labels', size]);
    // the inner group is consumed by c (its axis 1)
    const group = base.groups.groups.find((g) => g.id.startsWith('b'))!;
    const { magnitude, square } = found.gate(group.id)!;
    for (let unit = 0; unit < 5; unit++) {
      const slopes = Array.from({ length: size }, (_, n) => {
        const at = (s: number): number =>
          lossOf(
            changed(model, 'c', (x, i) => (Math.floor(i / 9) % 5 === unit ? x * (1 + s) : x)),
            n,
          );
        return (at(1e-3) - at(-1e-3)) / 2e-3;
      });
      expect(magnitude[unit]).toBeCloseTo(slopes.reduce((a, s) => a + Math.abs(s), 0) / size, 4);
      expect(square[unit]).toBeCloseTo(slopes.reduce((a, s) => a + s * s, 0) / size, 4);
    }
    // the stem's channels are consumed by b and, after the sum, by d
    const stem = base.groups.groups.find((g) => g.id.startsWith('a'))!;
    const slope = (unit: number, n: number): number => {
      const at = (s: number): number =>
        lossOf(
          changed(
            changed(model, 'b', (x, i) => (i % 4 === unit ? x * (1 + s) : x)),
            'd',
            (x, i) => (i % 4 === unit ? x * (1 + s) : x),
          ),
          n,
        );
      return (at(1e-3) - at(-1e-3)) / 2e-3;
    };
    for (let unit = 0; unit < 4; unit++) {
      const mean = Array.from({ length: size }, (_, n) => Math.abs(slope(unit, n))).reduce((a, s) => a + s, 0) / size;
      expect(found.gate(stem.id)!.magnitude[unit]).toBeCloseTo(mean, 4);
    }
    expect(found.curvature('a')).toBeUndefined();
  });

  it('of a dead unit it is what the loss changes by as the unit comes back', async () => {
    const group = base.groups.groups.find((g) => g.id.startsWith('b'))!;
    const dead = new Map([[group.id, [2]]]);
    const found = await learnSensitivity(base, { runtime, rng: createRng(1), of: 'gates', dataset, dead });
    for (const unit of [2, 3]) {
      const slopes = Array.from({ length: size }, (_, n) => {
        const scale = (u: number, s: number): number => (u === unit ? s : 0) + (u === 2 ? 0 : 1);
        const at = (s: number): number =>
          lossOf(
            changed(model, 'c', (x, i) => x * scale(Math.floor(i / 9) % 5, s)),
            n,
          );
        return (at(1e-3) - at(-1e-3)) / 2e-3;
      });
      expect(found.gate(group.id)!.magnitude[unit]).toBeCloseTo(slopes.reduce((a, s) => a + Math.abs(s), 0) / size, 4);
    }
  });

  it('curvature is the mean square of the gradients of single samples', async () => {
    const found = await learnSensitivity(base, { runtime, rng: createRng(1), of: 'curvature', dataset });
    const options = { table: standardOps, runtime, rng: createRng(2), weights: 'inherited' } as const;
    const squares = new Float64Array(36);
    for (let n = 0; n < size; n++) {
      const batch = dataset.batch([n]);
      const { layers } = await createProbe(model, { inputs: batch.inputs, labels: batch.labels! }, options).lossPass();
      layers[0]!.gradient.forEach((g, i) => (squares[i % 36] = squares[i % 36]! + (i < 36 ? (g * g) / size : 0)));
    }
    squares.forEach((h, i) => expect(found.curvature('a')![i]).toBeCloseTo(h, 6));
    // and what the criteria make of it: out of b, into c
    const group = base.groups.groups.find((g) => g.id.startsWith('b'))!;
    const context = { analysis: base, group, rng: createRng(3), sensitivity: found };
    const [wb, wc] = [readFloats(model.graph.initializers.get('b')!), readFloats(model.graph.initializers.get('c')!)];
    const [hb, hc] = [found.curvature('b')!, found.curvature('c')!];
    const ratios: number[] = [];
    expect(criteria.snr(context)!.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
    for (let unit = 0; unit < 5; unit++) {
      const pairs = [
        ...[0, 1, 2, 3].map((k) => [wb[unit * 4 + k]!, hb[unit * 4 + k]!] as const),
        ...[...wc.keys()].filter((i) => Math.floor(i / 9) % 5 === unit).map((i) => [wc[i]!, hc[i]!] as const),
      ];
      expect(criteria.obdc(context)![unit]).toBeCloseTo(
        pairs.reduce((s, [w, h]) => s + (w * w * h) / 2, 0),
        9,
      );
      const snr = pairs.reduce((s, [w, h]) => s + Math.abs(w) * Math.sqrt(size * h + 1), 0);
      const [first] = ratios.length === 0 ? [snr] : ratios;
      ratios.push(snr);
      expect(criteria.snr(context)![unit]! / criteria.snr(context)![0]!).toBeCloseTo(snr / first!, 9);
    }
  });
});

it('without labels, curvature is the diagonal of the Gauss-Newton matrix: of a linear layer, the mean square of its input', async () => {
  const b = graphBuilder();
  const x = b.op('Flatten', [b.input('x', DataType.FLOAT, ['N', 2, 5, 5])]);
  const rng = createRng('linear');
  const hidden = b.op('MatMul', [x, b.floats(normals(rng, [50, 4]), [50, 4], 'w')]);
  b.output(b.op('MatMul', [hidden, b.floats(normals(rng, [4, 3]), [4, 3], 'v')]), DataType.FLOAT, ['N', 3]);
  const model = b.model();
  const found = await learnSensitivity(analyse(model, standardOps), {
    runtime,
    rng: createRng(1),
    of: 'curvature',
    dataset: data(false),
  });
  expect(found.targets).toBe('own outputs');
  const inputs = interpret(model.graph, 17, new Map([['x', ref([size, 2, 5, 5], images)]])).get(hidden)!.data;
  for (let j = 0; j < 4; j++) {
    const mean = Array.from({ length: size }, (_, n) => inputs[n * 4 + j]! ** 2).reduce((a, s) => a + s, 0) / size;
    for (let k = 0; k < 3; k++) expect(found.curvature('v')![j * 3 + k]! / mean).toBeCloseTo(1, 4);
  }
});

test('signal to noise', () => {
  // mean 0.5, deviation softplus(0) = ln 2
  expect(signalToNoise(0.5, Math.log(2))).toBeCloseTo(0.721348, 6);
  expect(signalToNoise(-3, posteriorDeviation(0, 100))).toBe(3);
  expect(posteriorDeviation(0.24, 100)).toBeCloseTo(0.2, 12);
});

test.each(gradientCriterionNames)('pare prune --criterion %s', async (criterion) => {
  const example = (name: string): string => fileURLToPath(new URL(`../examples/shapes/${name}`, import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), 'pare-sensitivity-'));
  const model = example('shapes-resnet.onnx');
  const out = join(folder, 'small.onnx');
  const args = ['prune', model, '--flops', '70%', '--criterion', criterion, '-o', out];
  const samples = ['--data', example('calib.json')];
  const without = await pare(...args);
  expect(without.code).toBe(2);
  expect(without.err).toContain(`--criterion ${criterion} needs samples`);
  const once = await pare(...args, ...samples, '--regrow', '0.3');
  expect(once.code).toBe(2);
  expect(once.err).toContain('--regrow works between steps');
  const more = criterion === 'taylor' ? ['--steps', '2', '--regrow', '0.3'] : [];
  const made = await pare(...args, ...more, ...samples, '--images', '12', '--recover', 'none');
  rmSync(folder, { recursive: true });
  expect(made.code).toBe(0);
  expect(made.out).toContain(`"${criterion}" by gradients of 12 samples; the loss: cross-entropy with the labels`);
  expect(made.out).toMatch(/MACs +.*\((6[89]|70)/);
});
