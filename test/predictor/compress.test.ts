// Computation graphs: the rules of methods.md §1.1 on small networks, and the laws on real ones.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { float, graphBuilder, type GraphBuilder } from '../../src/ir/builder.js';
import type { Model } from '../../src/ir/graph.js';
import { DataType } from '../../src/ir/tensor.js';
import { parseModelText } from '../../src/ir/text.js';
import { readModel } from '../../src/onnx/read.js';
import { compress } from '../../src/predictor/compress.js';
import { graphBytes, nodeOf, type ComputationGraph } from '../../src/predictor/computation-graph.js';
import { VOCABULARY } from '../../src/predictor/vocabulary.js';
import { conformanceCases, unpackShared } from '../conformance.js';
import { sharedPath } from '../shared-path.js';
import { describeShared } from '../shared.js';

/** Reading this weight is a mistake. */
function weight(g: GraphBuilder, ...dims: number[]): string {
  const bytes = (): never => {
    throw new Error('a weight was read');
  };
  return g.constant({ name: 'w', dataType: DataType.FLOAT, dims, bytes });
}

function network(body: (g: GraphBuilder, x: string) => string, shape: readonly number[] = [1, 3, 32, 32]): Model {
  const g = graphBuilder();
  g.output(body(g, g.input('x', DataType.FLOAT, shape)));
  return g.model();
}

/** `Conv 3 32>32 32>32 k3,3 bias <- 0` for each node, in topological order. */
function lines(cg: ComputationGraph): string[] {
  const rank = new Map([...cg.order].map((v, i) => [v, i]));
  return Array.from(cg.order, (v) => {
    const { op, resolution, kernel, bias } = nodeOf(cg, v);
    const [h, h2, w, w2, c, c2] = resolution;
    const from = [...cg.sources].filter((_, e) => cg.targets[e] === v).map((u) => rank.get(u)!);
    const own = kernel === undefined ? '' : ` k${kernel.join(',')}${bias === true ? ' bias' : ''}`;
    return `${op} ${h}>${h2} ${w}>${w2} ${c}>${c2}${own} <- ${from.toSorted((a, b) => a - b).join(',')}`;
  });
}

describe('the rules', () => {
  test('a residual network with a head', () => {
    const model = network((g, x) => {
      const stem = g.op('Conv', [x, weight(g, 8, 3, 3, 5)], { strides: [2, 2], pads: [1, 2, 1, 2] });
      const norm = g.op('BatchNormalization', [stem, ...[0, 1, 2, 3].map(() => weight(g, 8))]);
      const deep = g.op('Conv', [norm, weight(g, 8, 1, 3, 3)], { group: 8, pads: [1, 1, 1, 1] });
      const sum = g.op('Relu', [g.op('Add', [deep, norm])]);
      const pooled = g.op('GlobalAveragePool', [g.op('Dropout', [sum])]);
      return g.op('Gemm', [g.op('Flatten', [pooled]), weight(g, 10, 8), weight(g, 10)], { transB: 1 });
    });
    expect(lines(compress(model))).toEqual([
      'Input 32>32 32>32 3>3 <- ',
      'Conv 32>16 32>16 3>8 k3,5 <- 0',
      'BatchNorm 16>16 16>16 8>8 <- 1',
      'Depthwise 16>16 16>16 8>8 k3,3 <- 2',
      'Add 16>16 16>16 8>8 <- 2,3',
      'ReLU 16>16 16>16 8>8 <- 4',
      'Mean 16>1 16>1 8>8 <- 5',
      'MatMul 1>1 1>1 8>10 k0,0 bias <- 6',
    ]);
  });

  test('weighted nodes come first, and the order remembers the way', () => {
    const model = network((g, x) => g.op('Relu', [g.op('Conv', [g.op('Relu', [x]), weight(g, 4, 3, 1, 1)])]));
    const cg = compress(model);
    expect([cg.size, cg.weighted]).toEqual([4, 1]);
    expect(Array.from(cg.ops, (op) => VOCABULARY[op])).toEqual(['Conv', 'Input', 'ReLU', 'ReLU']);
    expect([...cg.order]).toEqual([1, 2, 0, 3]);
    expect([...cg.sources].map((u, e) => [u, cg.targets[e]])).toEqual([
      [2, 0],
      [1, 2],
      [0, 3],
    ]);
  });

  test('a sum with one number a channel is the bias; other sums with constants go', () => {
    const model = network((g, x) => {
      const y = g.op('Add', [g.op('Conv', [x, weight(g, 4, 3, 1, 1)]), weight(g, 4, 1, 1)]);
      const z = g.op('MatMul', [g.op('Add', [y, weight(g, 4, 32, 32)]), weight(g, 32, 16)]);
      return g.op('Div', [z, weight(g, 1)]);
    });
    expect(lines(compress(model))).toEqual([
      'Input 32>32 32>32 3>3 <- ',
      'Conv 32>32 32>32 3>4 k1,1 bias <- 0',
      'MatMul 4>4 32>32 32>16 k0,0 <- 1',
    ]);
  });

  test('gates written in small operators become one node', () => {
    const gates: Readonly<Record<string, (g: GraphBuilder, x: string) => string>> = {
      Swish: (g, x) => g.op('Mul', [x, g.op('Sigmoid', [x])]),
      HardSwish: (g, x) => {
        const clipped = g.op('Clip', [g.op('Add', [x, g.floats(3)]), g.floats(0), g.floats(6)]);
        return g.op('Div', [g.op('Mul', [clipped, x]), g.floats(6)]);
      },
      GeLU: (g, x) => {
        const erf = g.op('Add', [g.op('Erf', [g.op('Div', [x, g.floats(1.414)])]), g.floats(1)]);
        return g.op('Mul', [g.op('Mul', [x, erf]), g.floats(0.5)]);
      },
      GeLUTanh: (g, x) => {
        const inner = g.op('Add', [x, g.op('Mul', [g.op('Pow', [x, g.floats(3)]), g.floats(0.044)])]);
        const tanh = g.op('Add', [g.op('Tanh', [g.op('Mul', [inner, g.floats(0.79)])]), g.floats(1)]);
        return g.op('Mul', [g.op('Mul', [g.floats(0.5), x]), tanh]);
      },
    };
    for (const [name, gate] of Object.entries(gates)) {
      const expected = name.startsWith('GeLU') ? 'GeLU' : 'Swish';
      const cg = compress(network((g, x) => gate(g, g.op('Conv', [x, weight(g, 4, 3, 1, 1)]))));
      expect([name, ...lines(cg).slice(2)]).toEqual([name, `${expected} 32>32 32>32 4>4 <- 1`]);
    }
    // a gate of something else is a product
    const excitation = network((g, x) => g.op('Mul', [g.op('Sigmoid', [g.op('GlobalAveragePool', [x])]), x]));
    expect(lines(compress(excitation)).at(-1)).toBe('Mul 32>32 32>32 3>3 <- 0,2');
  });

  test('Clip by its bounds, a product with zero, names that hold a word of the vocabulary', () => {
    const ops = (model: Model): string[] => lines(compress(model)).map((line) => line.split(' ')[0]!);
    const clip = (min: number, max: number): Model =>
      network((g, x) => g.op('Clip', [x, g.floats(min), g.floats(max)]));
    expect(ops(clip(0, 6))).toEqual(['Input', 'ReLU6']);
    expect(ops(clip(-1, 1))).toEqual(['Input', 'other']);
    expect(ops(network((g, x) => g.op('Clip', [x, g.floats(0)])))).toEqual(['Input', 'ReLU']);
    expect(ops(network((g, x) => g.op('Mul', [x, g.floats(0)])))).toEqual(['Input', 'Zero']);
    expect(ops(network((g, x) => g.op('LeakyRelu', [x], { alpha: float(0.1) })))).toEqual(['Input', 'ReLU']);
    expect(ops(network((g, x) => g.op('Softmax', [x])))).toEqual(['Input', 'other']);
    expect(
      lines(
        compress(
          network((g, x) => g.op('Softmax', [x])),
          { extended: true },
        ),
      ).at(-1),
    ).toMatch(/^Reserved2 /);
  });

  test('what follows a product with zero is constant', () => {
    const branch = (g: GraphBuilder, x: string): string => {
      const zero = g.op('Mul', [x, g.floats(0)]);
      return g.op('Relu', [g.op('Conv', [zero, weight(g, 3, 3, 1, 1)])]);
    };
    expect(lines(compress(network((g, x) => g.op('Add', [g.op('Relu', [x]), branch(g, x)])))).slice(1)).toEqual([
      'ReLU 32>32 32>32 3>3 <- 0',
    ]);
    expect(lines(compress(network((g, x) => branch(g, x)))).slice(1)).toEqual(['Zero 32>32 32>32 3>3 <- 0']);
  });

  test('channels stay found through shuffles and heads', () => {
    const shuffle = network((g, x) => {
      const wide = g.op('Conv', [x, weight(g, 8, 3, 1, 1)]);
      const split = g.op('Reshape', [wide, g.ints([1, 2, 4, 32, 32])]);
      const turned = g.op('Transpose', [split], { perm: [0, 2, 1, 3, 4] });
      return g.op('Relu', [g.op('Reshape', [turned, g.ints([1, 8, 32, 32])])]);
    });
    expect(lines(compress(shuffle)).at(-1)).toBe('ReLU 32>32 32>32 8>8 <- 1');
    const tokens = network((g, x) => {
      const patches = g.op('Conv', [x, weight(g, 24, 3, 8, 8)], { strides: [8, 8] });
      const rows = g.op('Transpose', [g.op('Reshape', [patches, g.ints([1, 24, 16])])], { perm: [0, 2, 1] });
      return g.op('LayerNormalization', [rows, weight(g, 24)]);
    });
    expect(lines(compress(tokens)).slice(1)).toEqual(['Conv 32>4 32>4 3>24 k7,7 <- 0', 'other 16>16 1>1 24>24 <- 1']);
    expect(compress(tokens).clamped).toBe(1);
  });

  test('dead nodes are not there; a network without inputs gets one', () => {
    const dead = network((g, x) => {
      g.op('Conv', [x, weight(g, 4, 3, 3, 3)]);
      return g.op('Relu', [x]);
    });
    expect(lines(compress(dead))).toEqual(['Input 32>32 32>32 3>3 <- ', 'ReLU 32>32 32>32 3>3 <- 0']);
    const g = graphBuilder();
    g.output(g.op('Relu', [g.floats([1, 2])]));
    expect(lines(compress(g.model()))).toEqual(['Input 1>1 1>1 1>1 <- ']);
  });

  test('functions and branches are looked into', () => {
    const text = `<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
      main (float[1, 3, 8, 8] x, bool c, float[4, 3, 3, 3] w) => (float[1, 4, 6, 6] y) {
        a = local.twice (x)
        b = If (c) <
          then_branch = small () => (float[1, 4, 6, 6] o) { a = Conv (x, w)  o = Sigmoid (a) },
          else_branch = large () => (float[1, 4, 6, 6] o) { n = Relu (a)  m = Conv (n, w)  o = Tanh (m) }
        >
        y = If (c) <
          then_branch = deep () => (float[1, 4, 6, 6] o) { n = Sigmoid (b)  o = Relu (n) },
          else_branch = flat () => (float[1, 4, 6, 6] o) { o = Identity (b) }
        >
      }
      <domain: "local", opset_import: ["" : 17]>
      twice (p) => (q) { n = Tanh (p)  q = Mul (n, p) }`;
    expect(lines(compress(parseModelText(text))).map((line) => line.replace(/ \d.*(?=<-)/, ' '))).toEqual([
      'Input <- ',
      'Input <- ',
      'Tanh <- 0',
      'Mul <- 0,2',
      'ReLU <- 3',
      'Conv <- 1,4',
      'Tanh <- 5',
      'Sigmoid <- 6',
      'ReLU <- 7',
    ]);
  });

  test('extras: groups, strides, MACs, parameters, position', () => {
    const model = network((g, x) => {
      const y = g.op('Conv', [x, weight(g, 8, 3, 3, 3), weight(g, 8)], { strides: [2, 2], pads: [1, 1, 1, 1] });
      return g.op('Conv', [y, weight(g, 8, 4, 1, 1)], { group: 2 });
    });
    const cg = compress(model, { extras: true });
    const extras = cg.extras!;
    expect([...extras.groups]).toEqual([1, 2, 1]);
    expect([...extras.strides]).toEqual([2, 1, 1]);
    expect([...extras.macs]).toEqual([256 * 27 * 8, 256 * 32, 0]);
    expect([...extras.params]).toEqual([224, 32, 0]);
    expect([...extras.positions]).toEqual([0.5, 1, 0]);
    expect(cg.macs).toBe(256 * (27 * 8 + 32));
    expect(compress(model)).not.toHaveProperty('extras');
  });
});

function laws(cg: ComputationGraph): void {
  const rank = new Int32Array(cg.size);
  cg.order.forEach((v, i) => (rank[v] = i));
  expect(new Set(cg.order).size).toBe(cg.size);
  for (let e = 0; e < cg.sources.length; e++) expect(rank[cg.sources[e]!]!).toBeLessThan(rank[cg.targets[e]!]!);
  expect(Math.min(...cg.resolutions)).toBeGreaterThan(0);
  expect(Math.max(0, ...cg.kernels)).toBeLessThanOrEqual(7);
  // every node lies on a way from an Input, and one without successors is an end
  const fed = new Set(cg.targets);
  for (let v = 0; v < cg.size; v++) expect(fed.has(v) || VOCABULARY[cg.ops[v]!] === 'Input').toBe(true);
}

describeShared('on real networks without weights', ['graphs'], () => {
  test('laws, and equal bytes for equal files', () => {
    const folder = unpackShared('graphs', 'graphs.tar.xz');
    const csv = readFileSync(sharedPath('graphs', 'graphs.csv'), 'utf8');
    const files = [...new Set(csv.match(/[^,\s]+\.onnx/g))].filter((_, i) => i % 60 === 7);
    expect(files.length).toBeGreaterThan(10);
    for (const file of files) {
      const cg = compress(readModel(join(folder, file)), { extras: true });
      laws(cg);
      const again = compress(readModel(join(folder, file)), { extras: true });
      expect([file, Buffer.compare(graphBytes(cg), graphBytes(again))]).toEqual([file, 0]);
    }
  });
});

describeShared('on every operator', ['onnx-node-tests.tar.xz'], () => {
  test('no legal model is refused', () => {
    for (const c of conformanceCases()) expect(compress(c.model()).size).toBeGreaterThan(0);
  });
});
