import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  drawFlow,
  flowSurrogate,
  operatorVectors,
  standardizedSurrogates,
  type FlowGraph,
} from '../../src/predictor/fgp.js';
import { createRng } from '../../src/rng.js';

const graphOf = (size: number, edges: readonly (readonly [number, number])[]): FlowGraph => ({
  size,
  sources: Int32Array.from(edges, ([a]) => a),
  targets: Int32Array.from(edges, ([, b]) => b),
  order: Int32Array.from({ length: size }, (_, i) => i),
});

// a diamond with a skip
const diamond = graphOf(4, [
  [0, 1],
  [0, 2],
  [1, 3],
  [2, 3],
  [0, 3],
]);

describe('the flow surrogate', () => {
  it('counts paths where messages are not mixed', () => {
    const start = Float64Array.of(0.3, 0.7);
    const plain = { start, mixing: new Float64Array(8) };
    const z = (alpha: number): number[] => [...flowSurrogate(diamond, new Float64Array(8), { ...plain, alpha })];
    expect(z(0.5)).toEqual([0.3, 0.7]);
    z(1).forEach((v, i) => expect(v).toBeCloseTo(9 * start[i]!, 12));
  });

  it('follows the golden of methods.md §2.4', () => {
    const vectors = Float64Array.of(0.1, 0, 0, 0, 0.2, 0, 0, 0, 0.3, 0.1, 0.1, 0.1);
    const mixing = Float64Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1, 0.5, 0, 0, 0, 0.5, 0, 0, 0, 0.5);
    const z = flowSurrogate(diamond, vectors, { start: Float64Array.of(1, 2, 3), mixing, alpha: 0.5 });
    [3.659375, 7.340625, 10.9640625].forEach((v, i) => expect(z[i]).toBeCloseTo(v, 12));
  });

  it('does not see how nodes are numbered, and sees operators on paths', () => {
    const constants = drawFlow({ k: 5, features: 4, sigma: 1 }, createRng('flow'));
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 3, max: 12 }), (seed, size) => {
        const rng = createRng(seed);
        const ops = Array.from({ length: size }, () => rng.int(4));
        const edges = new Map<string, readonly [number, number]>();
        for (let v = 1; v < size; v++) for (const u of [v - 1, rng.int(v)]) edges.set(`${u} ${v}`, [u, v]);
        const surrogate = (names: readonly number[], kinds: readonly number[]): Float64Array => {
          const pairs = [...edges.values()].map(([a, b]) => [names[a]!, names[b]!] as const);
          const features = new Float64Array(size * 4);
          names.forEach((n, v) => (features[n * 4 + kinds[v]!] = 1));
          const g = { ...graphOf(size, pairs), order: Int32Array.from(names) };
          return flowSurrogate(g, operatorVectors(constants, features, size), constants, 'mean');
        };
        const own = Array.from({ length: size }, (_, i) => i);
        const z = surrogate(own, ops);
        surrogate(rng.shuffle(own), ops).forEach((v, i) => expect(v).toBeCloseTo(z[i]!, 9));
        const changed = ops.with(size - 1, (ops[size - 1]! + 1) % 4);
        expect([...surrogate(own, changed)]).not.toEqual([...z]);
      }),
      { numRuns: 50 },
    );
  });

  it('has no constant coordinates once standardised', () => {
    const rows = [
      [1, 5, 2],
      [1, 7, 4],
      [1, 9, 9],
    ].map((r) => Float64Array.from(r));
    const z = standardizedSurrogates(rows);
    expect(z[0]).toHaveLength(2);
    expect(z.reduce((sum, r) => sum + r[0]!, 0)).toBeCloseTo(0, 12);
    expect(z.reduce((sum, r) => sum + r[1]! ** 2, 0) / 3).toBeCloseTo(1, 12);
  });
});
