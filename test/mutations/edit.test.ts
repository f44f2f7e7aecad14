// Edits keep node names unique: onnxruntime refuses two nodes of one name.
import { expect, it } from 'vitest';
import { editModel } from '../../search/mutations/edit.js';
import { graphBuilder } from '../../src/ir/builder.js';
import { DataType } from '../../src/ir/tensor.js';
import { ortRuntime } from '../../src/runtime/ort.js';

it('a node brought in twice under one name gets another one the second time, and the network still loads', async () => {
  const g = graphBuilder({ opset: 17 });
  const x = g.input('x', DataType.FLOAT, [2, 3]);
  g.output(g.op('Relu', [x], {}, { name: 'relu' }), DataType.FLOAT, [2, 3]);
  let model = g.model();
  for (let round = 0; round < 3; round++) {
    const edit = editModel(model);
    const node = model.graph.nodes[0]!;
    const inner = edit.fresh('inner');
    const before = { ...node, name: 'extra', inputs: ['x'], outputs: [inner] };
    edit.replace(0, [before, { ...node, inputs: [inner] }]);
    model = edit.model();
  }
  const names = model.graph.nodes.map((n) => n.name);
  expect(new Set(names).size).toBe(names.length);
  const runtime = ortRuntime();
  const session = await runtime.load(model);
  expect(session.outputs).toHaveLength(1);
  await session.release();
  await runtime.close();
});
