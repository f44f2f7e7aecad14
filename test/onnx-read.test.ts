import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { attrInts } from '../src/ir/graph.js';
import { elementCount, hasData, readNumbers, type Tensor } from '../src/ir/tensor.js';
import { parseModel, readModel, type Value } from '../src/onnx/read.js';
import { conformanceCases, unpackShared } from './conformance.js';
import { describeShared, sharedPath } from './shared.js';

describeShared('conformance cases', ['onnx-node-tests.tar.xz'], () => {
  test('every model and every expected value is read', () => {
    const cases = conformanceCases();
    expect(cases.length).toBe(1910);
    const tensors: Tensor[] = [];
    const visit = (v: Value): void => {
      if (v.kind === 'sequence') for (const inner of v.values) visit(inner);
      else if (v.kind === 'tensor') tensors.push(v.tensor);
      else if (v.value !== undefined) visit(v.value);
    };
    for (const c of cases) {
      expect(c.model().graph.outputs.length).toBeGreaterThan(0);
      for (const set of c.sets) for (const value of [...set.inputs().values(), ...set.outputs().values()]) visit(value);
    }
    expect(tensors.filter((t) => !hasData(t))).toEqual([]);
    // complex numbers and 8-bit floats are not read as numbers
    const numeric = tensors.filter((t) => t.strings === undefined && t.dataType < 14);
    expect(numeric.filter((t) => readNumbers(t).length !== elementCount(t.dims))).toEqual([]);
    expect(tensors.length).toBeGreaterThan(6000);
  });
});

describeShared('shared models', ['models'], () => {
  test('are read with their weights as views on the file', () => {
    const bytes = readFileSync(sharedPath('models', 'cifar10-resnet20.onnx'));
    const model = parseModel(bytes);
    for (const t of model.graph.initializers.values()) {
      expect(t.bytes!().buffer).toBe(bytes.buffer);
    }
    const conv = model.graph.nodes.find((n) => n.opType === 'Conv')!;
    expect(attrInts(conv, 'kernel_shape')).toEqual([3, 3]);
  });

  test('all can be read', () => {
    for (const folder of [sharedPath('models'), sharedPath('models', 'light')]) {
      for (const file of readdirSync(folder).filter((f) => f.endsWith('.onnx'))) {
        expect(readModel(join(folder, file)).graph.nodes.length).toBeGreaterThan(5);
      }
    }
  });
});

describeShared('graphs without weights', ['graphs/graphs.tar.xz'], () => {
  test('have placeholders', () => {
    const folder = unpackShared('graphs', 'graphs.tar.xz');
    const file = readdirSync(folder, { recursive: true, encoding: 'utf8' }).find((f) => f.includes('resnet50'))!;
    const model = readModel(join(folder, file));
    const weights = [...model.graph.initializers.values()].filter((t) => t.name.startsWith('w'));
    expect(weights.length).toBeGreaterThan(50);
    expect(weights.every((t) => !hasData(t))).toBe(true);
  });
});
