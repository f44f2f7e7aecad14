import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ALL_CLASSES,
  OPERATOR_CLASSES,
  degrees,
  maxOpsCrossing,
  maxOpsOnPath,
  minPathLength,
  opCounts,
  operatorGraph,
  type OperatorClass,
  type OperatorGraph,
} from '../../src/predictor/graf.js';
import type { Graph, Node } from '../../src/ir/graph.js';
import { floatTensor } from '../../src/ir/tensor.js';

const bit = (name: OperatorClass): number => 1 << OPERATOR_CLASSES.indexOf(name);
const node = (opType: string, inputs: string[], output: string): Node => ({
  name: output,
  opType,
  domain: '',
  inputs,
  outputs: [output],
  attributes: new Map(),
});
const weight = (name: string, dims: number[]) =>
  floatTensor(name, dims, new Float32Array(dims.reduce((a, b) => a * b)));
const graphOf = (nodes: Node[], weights: ReturnType<typeof weight>[], outputs: string[]): Graph => ({
  name: 'g',
  nodes,
  initializers: new Map(weights.map((w) => [w.name, w])),
  sparseInitializers: new Map(),
  inputs: [{ name: 'x' }],
  outputs: outputs.map((name) => ({ name })),
  valueInfo: new Map(),
});

/** NAS-Bench-201's cell (four states, six edges) with operators on nodes: an operator node per edge, states as merges. */
const random: fc.Arbitrary<OperatorGraph> = fc
  .record({ n: fc.integer({ min: 1, max: 9 }), bits: fc.infiniteStream(fc.nat(9)) })
  .map(({ n, bits }) => {
    const next = (): number => bits.next().value as number; // an infinite stream: never done
    const classes = [-1, ...Array.from({ length: n }, () => next() % 8), -1];
    const successors = classes.map((_, v) =>
      classes.map((_c, w) => w).filter((w) => w > v && (w === v + 1 || next() < 3)),
    );
    return { classes: Int8Array.from(classes), successors, nodes: [] };
  });

test('a residual block: movement, constants and biases vanish, the shortcut is seen', () => {
  const g = operatorGraph(
    graphOf(
      [
        node('Constant', [], 'c'),
        node('Conv', ['x', 'w1'], 'a'),
        node('Add', ['a', 'bias'], 'a2'),
        node('Relu', ['a2'], 'b'),
        node('Transpose', ['b'], 'b2'),
        node('Conv', ['b2', 'w2'], 'd'),
        node('Shape', ['d'], 's'),
        node('Add', ['d', 'x'], 'e'),
        node('Flatten', ['e'], 'f'),
        node('Gemm', ['f', 'w3'], 'y'),
      ],
      [weight('w1', [4, 4, 3, 3]), weight('w2', [4, 4, 1, 1]), weight('w3', [4, 2]), weight('bias', [4, 1, 1])],
      ['y'],
    ),
  );
  const names = [...g.classes].slice(1, -1).map((c) => OPERATOR_CLASSES[c]);
  expect(names).toEqual(['conv', 'activation', 'pointwise', 'merge', 'pointwise']);
  expect(opCounts(g)).toEqual([1, 2, 0, 0, 1, 0, 1, 0]);
  expect(minPathLength(g, 0)).toBe(3); // source - merge - pointwise - sink
  expect(minPathLength(g, bit('merge'))).toBe(-1);
  expect(minPathLength(g, bit('conv'))).toBe(3);
  expect(maxOpsOnPath(g, ALL_CLASSES)).toBe(5);
  expect(maxOpsOnPath(g, bit('merge') | bit('pointwise'))).toBe(2);
  expect(maxOpsCrossing(g, bit('pointwise'))).toBe(2);
  expect(degrees(g, ALL_CLASSES)).toMatchObject({ output: 2, input: 1 });
});

describe('laws of methods.md §3.4', () => {
  test('banning more never shortens, allowing more never shortens the longest, degrees add up', () => {
    fc.assert(
      fc.property(random, fc.nat(255), fc.nat(255), (g, a, b) => {
        const shorter = minPathLength(g, a & b);
        const longer = minPathLength(g, a);
        expect(longer === -1 || (shorter !== -1 && shorter <= longer)).toBe(true);
        expect(maxOpsOnPath(g, a & b)).toBeLessThanOrEqual(maxOpsOnPath(g, a));
        expect(maxOpsCrossing(g, a & b)).toBeLessThanOrEqual(maxOpsCrossing(g, a));
        expect(maxOpsOnPath(g, a)).toBeLessThanOrEqual(maxOpsCrossing(g, a));
        const whole = degrees(g, a);
        const parts = OPERATOR_CLASSES.map((_, c) => degrees(g, a & (1 << c)));
        expect(whole.input).toBe(parts.reduce((s, p) => s + p.input, 0));
        expect(whole.output).toBe(parts.reduce((s, p) => s + p.output, 0));
        expect(whole.average).toBeCloseTo(
          parts.reduce((s, p) => s + p.average, 0),
          9,
        );
      }),
    );
  });

  test('shortest and longest agree with a walk over all paths', () => {
    fc.assert(
      fc.property(random, fc.nat(255), (g, set) => {
        const paths: number[][] = [];
        const walk = (path: number[]): void => {
          const at = path.at(-1)!;
          if (at === g.classes.length - 1) paths.push(path);
          else for (const w of g.successors[at]!) walk([...path, w]);
        };
        walk([0]);
        const inside = (c: number): boolean => c < 0 || ((set >> c) & 1) === 1;
        const clean = paths.filter((p) => p.every((v) => inside(g.classes[v]!)));
        const free = paths.filter((p) => p.every((v) => g.classes[v]! < 0 || !inside(g.classes[v]!)));
        expect(maxOpsOnPath(g, set)).toBe(Math.max(-1, ...clean.map((p) => p.length - 2)));
        expect(minPathLength(g, set)).toBe(free.length === 0 ? -1 : Math.min(...free.map((p) => p.length - 1)));
        expect(maxOpsCrossing(g, set)).toBe(
          Math.max(...paths.map((p) => p.filter((v) => g.classes[v]! >= 0 && inside(g.classes[v]!)).length)),
        );
      }),
    );
  });
});
