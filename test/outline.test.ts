// Outlines: the same model but for large tensor data; costs, shapes and structure are equal, damaged files end as before.

import fc from 'fast-check';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { countCost } from '../src/analysis/cost.js';
import { inferShapes } from '../src/analysis/shapes.js';
import { PareError } from '../src/errors.js';
import type { Model } from '../src/ir/graph.js';
import { byteLength, DataType, hasData } from '../src/ir/tensor.js';
import type { Tensor } from '../src/ir/tensor.js';
import { readOutline } from '../src/onnx/outline.js';
import { parseModel, readModel } from '../src/onnx/read.js';
import { encodeModel } from '../src/onnx/write.js';
import { standardOps } from '../src/ops/index.js';
import { smallGraph, smallModel } from './ops/small-model.js';
import { describeShared, sharedPath } from './shared.js';

const folder = mkdtempSync(join(tmpdir(), 'pare-outline-'));
afterAll(() => rmSync(folder, { recursive: true }));

function tensor(rows: number, columns: number): Tensor {
  const bytes = new Uint8Array(rows * columns * 4).fill(1);
  return { name: '', dataType: DataType.FLOAT, dims: [rows, columns], bytes: () => bytes };
}

/** Weights as initializer, in a Constant node and inside the branches of an If; `rows` decides what is large. */
function modelOf(rows: number): Model {
  const value = { name: 'value', kind: 'tensor', value: tensor(rows, 512) } as const;
  const branch = (name: string) =>
    ({
      name,
      kind: 'graph',
      value: smallGraph({
        inputs: {},
        weights: { [`${name}_w`]: tensor(512, rows) },
        nodes: [['MatMul', ['x', `${name}_w`], [`${name}_y`]]],
        outputs: [`${name}_y`],
      }),
    }) as const;
  return smallModel({
    inputs: { x: [4, 512], c: [] },
    weights: { big: tensor(rows, 512), last: tensor(512, 10), filler: tensor(2048, 512) },
    nodes: [
      ['If', ['c'], ['a'], { then_branch: branch('then_branch'), else_branch: branch('else_branch') }],
      ['Constant', [], ['k'], { value }],
      ['Add', ['k', 'big'], ['w']],
      ['MatMul', ['a', 'w'], ['b']],
      ['MatMul', ['b', 'last'], ['y']],
    ],
    outputs: ['y'],
  });
}

function save(bytes: Uint8Array): string {
  const path = join(folder, 'model.onnx');
  writeFileSync(path, bytes);
  return path;
}

function errorOf(run: () => void): unknown {
  try {
    run();
    return undefined;
  } catch (error) {
    return error;
  }
}

test('costs and shapes are those of the whole model, at any size around the limit; large data are placeholders', () => {
  fc.assert(
    fc.property(fc.constantFrom(8, 319, 320, 321, 900), (rows) => {
      const path = save(encodeModel(modelOf(rows)));
      const whole = readModel(path);
      const outlined = readOutline(path);
      const shapes = inferShapes(whole, standardOps);
      const outlinedShapes = inferShapes(outlined, standardOps);
      expect(outlinedShapes.types).toEqual(shapes.types);
      expect(countCost(outlined, standardOps, outlinedShapes)).toEqual(countCost(whole, standardOps, shapes));
      for (const t of outlined.graph.initializers.values()) {
        expect([t.name, hasData(t)]).toEqual([t.name, byteLength(t.dataType, t.dims) <= 655_360]);
      }
    }),
    { numRuns: 10 },
  );
});

test('what stays is equal byte for byte: an outline is the model with some raw data taken out', () => {
  const path = save(encodeModel(modelOf(900)));
  const outlined = encodeModel(readOutline(path));
  expect(outlined.length).toBeLessThan(readFileSync(path).length / 10);
  expect(parseModel(outlined).graph.nodes.map((n) => n.outputs)).toEqual(
    modelOf(900).graph.nodes.map((n) => n.outputs),
  );
});

test('a damaged file ends in one sentence, whichever byte is wrong', () => {
  const good = encodeModel(modelOf(400));
  const place = fc.oneof(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: good.length - 1 }));
  fc.assert(
    fc.property(place, fc.integer({ min: 0, max: 255 }), fc.boolean(), (at, byte, cut) => {
      const bytes = cut ? good.slice(0, at) : Uint8Array.from(good);
      if (!cut) bytes[at] = byte;
      expect(errorOf(() => readOutline(save(bytes)))).toSatisfy((e) => e === undefined || e instanceof PareError);
    }),
    { numRuns: 60 },
  );
  expect(() => readOutline(join(folder, 'absent.onnx'))).toThrow(/absent\.onnx: there is no such file/);
});

describeShared('models of other people', ['models/light'], () => {
  test('small files are read whole', () => {
    const path = sharedPath('models', 'cifar10-resnet56.onnx');
    for (const t of readOutline(path).graph.initializers.values()) expect(hasData(t)).toBe(true);
  });
});
