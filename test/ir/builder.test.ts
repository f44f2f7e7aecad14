import { expect, test } from 'vitest';
import { extendModel, float, floats, graphBuilder, toAttribute } from '../../src/ir/builder.js';
import { checkModel } from '../../src/ir/check.js';
import { DataType, floatTensor } from '../../src/ir/tensor.js';
import { printNode } from '../../src/ir/text.js';
import { parseModel } from '../../src/onnx/read.js';
import { encodeModel } from '../../src/onnx/write.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatData, floatsOf, withSession } from '../../src/runtime/runtime.js';
import { PareError } from '../../src/errors.js';
import type { Model } from '../../src/ir/graph.js';

/** y = LeakyRelu(x * w + 1, 0.5), then negated if its first element is above 2. */
function example(): Model {
  const g = graphBuilder({ name: 'example' });
  const x = g.input('x', DataType.FLOAT, [1, 2]);
  const product = g.op('MatMul', [x, g.constant(floatTensor('w', [2, 2], Float32Array.of(1, 0, 0, 2)))]);
  const y = g.op('LeakyRelu', [g.op('Add', [product, g.floats(1)])], { alpha: float(0.5) }, { name: 'act' });
  const first = g.op('Squeeze', [g.op('Slice', [y, g.ints([0, 0]), g.ints([1, 1])])]);
  const branch = (op: string): ReturnType<typeof g.graph> => {
    const body = extendModel({ ...graphBuilder({ name: op }).model() });
    const node = { name: '', opType: op, domain: '', inputs: [y], outputs: [`${op}_out`], attributes: new Map() };
    return { ...body.graph(), nodes: [node], outputs: [{ name: `${op}_out`, type: { kind: 'tensor', elemType: 1 } }] };
  };
  const z = g.op('If', [g.op('Greater', [first, g.floats(2)])], {
    then_branch: branch('Neg'),
    else_branch: branch('Identity'),
  });
  g.output(z, DataType.FLOAT, [1, 2]);
  return g.model();
}

async function run(model: Model, values: readonly number[], output?: string): Promise<number[]> {
  const feeds = new Map([['x', floatData([1, 2], Float32Array.from(values))]]);
  return withSession(ortRuntime(), encodeModel(model), {}, async (session) => {
    const found = await session.run(feeds, output === undefined ? undefined : [output]);
    return [...floatsOf([...found.values()][0]!)];
  });
}

test('a graph made in code runs in onnxruntime', async () => {
  const model = example();
  checkModel(model, { data: true });
  checkModel(parseModel(encodeModel(model)), { data: true });
  expect(await run(model, [0, -2])).toEqual([1, -1.5]);
  expect(await run(model, [2, 0])).toEqual([-3, -1]);
});

test('a probe is added to a model, which stays as it was', async () => {
  const model = parseModel(encodeModel(example()));
  const before = model.graph.outputs.length;
  const g = extendModel(model);
  const probe = g.op('ReduceSum', ['act', g.ints([1])], { keepdims: false }, { outputs: ['probe'] });
  g.output(probe);
  g.output(probe);
  const probed = g.model();
  checkModel(probed, { data: true });
  expect(probed.graph.outputs.length).toBe(before + 1);
  expect(model.graph.outputs.length).toBe(before);
  expect(await run(probed, [0, -2], 'probe')).toEqual([-0.5]);
});

test('names are unique, and equal stems cost no more than different ones', () => {
  const g = graphBuilder();
  let x = g.input('Relu', DataType.FLOAT, [1]);
  for (let i = 0; i < 50_000; i++) x = g.op('Relu', [x]);
  expect(x).toBe('Relu_50000');
  const again = extendModel(g.model());
  expect(again.op('Relu', [x])).toBe('Relu_50001');
  checkModel({ ...g.model(), graph: { ...g.graph(), outputs: [{ name: x }] } });
});

test('attributes follow one rule', () => {
  const g = graphBuilder();
  const x = g.input('x', DataType.FLOAT);
  g.op(
    'Op',
    [x, ''],
    { a: 1, b: [1, 2], c: float(1), d: floats([1, 2]), e: 's', f: ['s', 't'], h: true, i: undefined, j: [] },
    { domain: 'me' },
  );
  expect(printNode(g.graph().nodes[0]!)).toBe(
    '["Op"] Op = me.Op <a = 1, b: ints = [1, 2], c: float = 1.0, d: floats = [1.0, 2.0], e = "s", f: strings = ["s", "t"], h = 1, j: ints = []> (x, "")',
  );
  expect(() => toAttribute('alpha', 0.1, 'Elu')).toThrow(
    new PareError('Elu: alpha = 0.1 is not whole, so say float(0.1)'),
  );
});
