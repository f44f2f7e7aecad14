import { describe, expect, test } from 'vitest';
import { analyse } from '../src/analysis/analyse.js';
import { pruneModel } from '../src/analysis/cut.js';
import { graphBuilder } from '../src/ir/builder.js';
import { checkModel } from '../src/ir/check.js';
import type { Model } from '../src/ir/graph.js';
import { DataType, readFloats, readNumbers, type Tensor } from '../src/ir/tensor.js';
import { standardOps } from '../src/ops/index.js';
import { withFloatWeights, withQuantizedWeights } from '../src/recovery/quantized-weights.js';
import { createRng, type Rng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { floatsOf, tensorOfNumbers, withSession } from '../src/runtime/runtime.js';

/** Two convolutions as a quantiser writes them: integers behind DequantizeLinear, activations through Q and DQ. */
function network(rng: Rng, perChannel: boolean): Model {
  const g = graphBuilder();
  const activation = (x: string): string => {
    const pair = [g.floats(0.05), g.constant(bytes('zero', DataType.UINT8, [], [128]))];
    return g.op('DequantizeLinear', [g.op('QuantizeLinear', [x, ...pair]), ...pair]);
  };
  const conv = (x: string, inputs: number, outputs: number): string => {
    const scales = Float32Array.from({ length: perChannel ? outputs : 1 }, () => 0.01 + 0.01 * rng.next());
    const dims = perChannel ? [outputs] : [];
    const axis = perChannel ? { axis: 0 } : {};
    const weights = Array.from({ length: outputs * inputs * 9 }, () => rng.int(255) - 127);
    // the largest integer occurs in every channel, as in files of real quantisers
    for (let o = 0; o < outputs; o++) weights[o * inputs * 9] = 127;
    const zeros = Array.from(scales, () => 0);
    const w = g.op(
      'DequantizeLinear',
      [
        g.constant(bytes('w', DataType.INT8, [outputs, inputs, 3, 3], weights)),
        g.floats(scales, dims),
        g.constant(bytes('wz', DataType.INT8, dims, zeros)),
      ],
      axis,
    );
    const b = g.op(
      'DequantizeLinear',
      [
        g.constant(
          bytes(
            'b',
            DataType.INT32,
            [outputs],
            Array.from({ length: outputs }, () => rng.int(2000) - 1000),
          ),
        ),
        g.floats(
          scales.map((s) => s * 0.05),
          dims,
        ),
        g.constant(bytes('bz', DataType.INT32, dims, zeros)),
      ],
      axis,
    );
    return g.op('Conv', [activation(x), w, b], { pads: [1, 1, 1, 1] });
  };
  const x = g.input('x', DataType.FLOAT, ['N', 3, 6, 6]);
  g.output(conv(g.op('Relu', [conv(x, 3, 8)]), 8, 5), DataType.FLOAT, ['N', 5, 6, 6]);
  return g.model();
}

function bytes(name: string, dataType: number, dims: readonly number[], values: readonly number[]): Tensor {
  const array =
    dataType === DataType.INT8
      ? Int8Array.from(values)
      : dataType === DataType.UINT8
        ? Uint8Array.from(values)
        : Int32Array.from(values);
  const data = new Uint8Array(array.buffer);
  return { name, dataType, dims, bytes: () => data };
}

async function run(model: Model): Promise<Float64Array> {
  const rng = createRng('input');
  const values = Float64Array.from({ length: 2 * 3 * 36 }, () => rng.normal());
  const feeds = new Map([['x', tensorOfNumbers(DataType.FLOAT, [2, 3, 6, 6], values)]]);
  const outputs = await withSession(ortRuntime(), model, { optimization: 'basic' }, (s) => s.run(feeds));
  return Float64Array.from(floatsOf([...outputs.values()][0]!));
}

/** Relative, in the Euclidean norm. */
function distance(actual: Float64Array, expected: Float64Array): number {
  const norm = (values: Float64Array): number => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0));
  return norm(actual.map((v, i) => v - expected[i]!)) / norm(expected);
}

describe.each([true, false])('weights kept as integers, a scale per channel: %s', (perChannel) => {
  const model = network(createRng(3), perChannel);
  const { model: plain, quantized } = withFloatWeights(model);

  test('come out as floats that compute the same', async () => {
    checkModel(plain);
    expect(quantized.size).toBe(4);
    expect(plain.graph.nodes.filter((n) => n.opType === 'DequantizeLinear')).toHaveLength(2);
    // integer kernels round an activation the other way now and then
    expect(distance(await run(plain), await run(model))).toBeLessThan(0.02);
  });

  test('go back to the same integers and scales when nothing was refitted', () => {
    const { model: again, left } = withQuantizedWeights(plain, quantized);
    checkModel(again);
    expect(left).toEqual([]);
    const [before, after] = [stored(model), stored(again)];
    expect(after.map((s) => s.integers)).toEqual(before.map((s) => s.integers));
    after.forEach(({ scales }, i) => scales.forEach((v, k) => expect(v).toBeCloseTo(before[i]!.scales[k]!, 7)));
  });

  test('of a pruned network are integers again, within half a step of its floats', async () => {
    const analysis = analyse(plain, standardOps);
    const group = analysis.groups.groups.find((g) => g.size === 8)!;
    const pruned = pruneModel(analysis, new Map([[group.id, [1, 4, 6]]]));
    const { model: small } = withQuantizedWeights(pruned, quantized);
    checkModel(small);
    expect(stored(small).map((s) => s.integers.length)).toEqual([5 * 27, 5, 5 * 5 * 9, 5]);
    for (const { integers, floats, scales } of stored(small, pruned)) {
      const inner = integers.length / scales.length;
      integers.forEach((q, i) => {
        const step = scales[Math.floor(i / inner)]!;
        expect(Math.abs(q * step - floats[i]!)).toBeLessThanOrEqual(0.501 * step);
      });
    }
    expect(distance(await run(small), await run(pruned))).toBeLessThan(0.02);
  });

  test('leave factors that a mutation made as floats, and say so', () => {
    const made = { ...plain.graph.initializers.get([...quantized.keys()][0]!)!, name: 'factor' };
    const nodes = plain.graph.nodes.map((n) =>
      n.inputs[1] === [...quantized.keys()][0] ? { ...n, inputs: [n.inputs[0]!, 'factor', ...n.inputs.slice(2)] } : n,
    );
    const initializers = new Map([...plain.graph.initializers, ['factor', made] as const]);
    const { left } = withQuantizedWeights({ ...plain, graph: { ...plain.graph, nodes, initializers } }, quantized);
    expect(left).toContain('factor');
  });
});

test('a network of floats is handed through', () => {
  const { model } = withFloatWeights(network(createRng(1), true));
  const again = withFloatWeights(model);
  expect(again.model).toBe(model);
  expect(withQuantizedWeights(model, again.quantized).model).toBe(model);
});

/** Integers behind each weight and bias, in the order of their use, with scales and the floats that they stand for. */
function stored(
  model: Model,
  floats: Model = withFloatWeights(model).model,
): { integers: number[]; scales: number[]; floats: number[] }[] {
  const { initializers, nodes } = model.graph;
  return nodes
    .filter((n) => n.opType === 'Conv')
    .flatMap((n) => n.inputs.slice(1))
    .map((name) => {
      const node = nodes.find((n) => n.outputs[0] === name)!;
      expect(node.opType).toBe('DequantizeLinear');
      return {
        integers: Array.from(readNumbers(initializers.get(node.inputs[0]!)!)),
        scales: Array.from(readFloats(initializers.get(node.inputs[1]!)!)),
        floats: Array.from(readFloats(floats.graph.initializers.get(name)!)),
      };
    });
}
