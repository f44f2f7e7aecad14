import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { kendall } from '../../src/predictor/correlation.js';
import { cellGraph } from '../../src/predictor/gcn-method.js';
import {
  fitGcn,
  gradientOf,
  normalisedAdjacency,
  prepare,
  spread,
  start,
  type FeatureGraph,
} from '../../src/predictor/gcn.js';
import { searchSegments } from '../../src/predictor/segments-search.js';
import { readTable } from '../../src/predictor/tables.js';
import { createRng, type Rng } from '../../src/rng.js';
import { describeShared, sharedPath } from '../shared.js';

const randomGraph = (rng: Rng, size = 6, width = 4): FeatureGraph => ({
  size,
  features: Float64Array.from({ length: size * width }, () => rng.normal()),
  edges: Array.from({ length: size }, () => [rng.int(size), rng.int(size)] as const),
});

describe('the network', () => {
  test('the normalised adjacency is symmetric and its spectral radius is 1', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 12 }), (seed, size) => {
        const rng = createRng(seed);
        const s = normalisedAdjacency(size, randomGraph(rng, size).edges);
        const x = Float64Array.from({ length: size }, () => rng.normal());
        const y = Float64Array.from({ length: size }, () => rng.normal());
        const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, v, i) => sum + v * b[i]!, 0);
        expect(dot(spread(s, x, 1), y)).toBeCloseTo(dot(x, spread(s, y, 1)), 9);
        expect(Math.abs(dot(spread(s, x, 1), x))).toBeLessThanOrEqual(dot(x, x) + 1e-9);
      }),
    );
  });

  test('equal features on a regular graph: constant, whatever its size', () => {
    const ring = (size: number): FeatureGraph => ({
      size,
      features: new Float64Array(size * 2).fill(0.7),
      edges: Array.from({ length: size }, (_, v) => [v, (v + 1) % size] as const),
    });
    const gcn = fitGcn([ring(4), ring(5)], [1, 2], { rng: createRng(1), width: 4, epochs: 3 });
    expect(gcn.predict(ring(9))).toBeCloseTo(gcn.predict(ring(6)), 9);
  });

  test('gradient by finite differences', () => {
    const rng = createRng('gradient');
    const shape = { inputs: 4, width: 3 };
    const graph = prepare(randomGraph(rng), 4);
    const parameters = start(shape, rng);
    const gradient = new Float64Array(parameters.length);
    gradientOf(graph, 0.3, shape, parameters, gradient, 1);
    parameters.forEach((value, k) => {
      const loss = (moved: number): number => {
        const other = Float64Array.from(parameters);
        other[k] = value + moved;
        return gradientOf(graph, 0.3, shape, other, new Float64Array(parameters.length), 1);
      };
      const slope = (loss(1e-6) - loss(-1e-6)) / 2e-6;
      expect(Math.abs(slope - gradient[k]!)).toBeLessThan(1e-4 * (1 + Math.abs(slope)));
    });
  });

  test('learns sixteen graphs by heart; the numbering of nodes does not matter', () => {
    const rng = createRng('heart');
    const graphs = Array.from({ length: 16 }, () => randomGraph(rng));
    const targets = graphs.map(() => rng.normal());
    const gcn = fitGcn(graphs, targets, { rng, width: 32, epochs: 400 });
    graphs.forEach((g, i) => expect(Math.abs(gcn.predict(g) - targets[i]!)).toBeLessThan(0.2));
    const { features, edges, size } = graphs[0]!;
    const turned = Float64Array.from(
      { length: size * 4 },
      (_, k) => features[(size - 1 - Math.floor(k / 4)) * 4 + (k % 4)]!,
    );
    const swapped = edges.map(([a, b]) => [size - 1 - a, size - 1 - b] as const);
    expect(gcn.predict({ size, features: turned, edges: swapped })).toBeCloseTo(gcn.predict(graphs[0]!), 9);
  });
});

describeShared('noisy evaluations of NAS-Bench-201', ['tables/nb201.csv.gz'], () => {
  test('what the network says is closer to the truth than what it learnt from', () => {
    const rng = createRng('denoise');
    const table = readTable(sharedPath('tables', 'nb201.csv.gz')).rows.filter((r) => r.get('graf_valid_net') === '1');
    const drawn = rng.sample(table.length, 700).map((i) => table[i]!);
    const truth = drawn.map((r) => Number(r.get('naslib_cifar10valid_val200')));
    const graphs = drawn.map((r) => cellGraph({ ops: r.get('op_indices')!.match(/\d/g)!.map(Number), kinds: 5 }));
    const noisy = truth.map((y) => y + 5 * rng.normal());
    const gcn = fitGcn(graphs.slice(0, 500), noisy.slice(0, 500), { rng, width: 24, epochs: 30 });
    const said = graphs.map((g) => gcn.predict(g));
    expect(kendall(said.slice(0, 500), truth.slice(0, 500))).toBeGreaterThan(
      kendall(noisy.slice(0, 500), truth.slice(0, 500)) + 0.1,
    );
    expect(kendall(said.slice(500), truth.slice(500))).toBeGreaterThan(
      kendall(noisy.slice(500), truth.slice(500)) + 0.1,
    );
  });
});

describe('search by segments', () => {
  const segments = [
    [0, 1, 2],
    [0, 1, 2],
    [0, 1, 2],
  ];

  test('finds the optimum of a separable space with any beam', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer(), { minLength: 9, maxLength: 9 }),
        fc.integer({ min: 1, max: 6 }),
        (gains, beam) => {
          const score = (chosen: readonly number[]): number => chosen.reduce((s, c, k) => s + gains[3 * k + c]!, 0);
          const best = segments.reduce((s, _, k) => s + Math.max(...gains.slice(3 * k, 3 * k + 3)), 0);
          expect(score(searchSegments(segments, score, beam))).toBe(best);
        },
      ),
    );
  });

  test('a beginning that looks second best needs a beam', () => {
    // 1 alone is worse than 0, but 1 followed by 2 beats everything
    const score = (c: readonly number[]): number =>
      c[0] === 1 && c[1] === 2 ? 10 : c[0] === 0 ? 2 : c[0] === 1 ? 1 : 0;
    expect(searchSegments(segments, score, 1).slice(0, 2)).not.toEqual([1, 2]);
    expect(searchSegments(segments, score, 6).slice(0, 2)).toEqual([1, 2]);
  });
});
