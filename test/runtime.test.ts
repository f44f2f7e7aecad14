import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PareError } from '../src/errors.js';
import { parseModelText } from '../src/ir/text.js';
import { DataType } from '../src/ir/tensor.js';
import { ortRuntime } from '../src/runtime/ort.js';
import {
  constantTensor,
  floatData,
  floatsOf,
  runtimeTensor,
  tensorOfNumbers,
  withSession,
} from '../src/runtime/runtime.js';
import { describeShared, sharedPath } from './shared.js';

const resnet = sharedPath('models', 'cifar10-resnet20.onnx');

test('numbers survive the way into every type that can hold them', () => {
  const types = [DataType.FLOAT, DataType.DOUBLE, DataType.FLOAT16, DataType.BFLOAT16, DataType.INT8, DataType.INT16];
  const more = [DataType.INT32, DataType.INT64, DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.UINT64];
  fc.assert(
    fc.property(fc.constantFrom(...types, ...more), fc.array(fc.integer({ min: 0, max: 127 })), (type, values) => {
      expect(Array.from(floatsOf(tensorOfNumbers(type, [values.length], values)))).toEqual(values);
    }),
  );
});

test('halves and bfloat16 round to the nearest, integers clamp', () => {
  expect(Array.from(floatsOf(tensorOfNumbers(DataType.BFLOAT16, [3], [1.00390625, -3.14159, 1.01171875])))).toEqual([
    1, -3.140625, 1.015625,
  ]);
  expect(Array.from(floatsOf(tensorOfNumbers(DataType.FLOAT16, [2], [0.1, 70_000])))).toEqual([
    0.0999755859375,
    Infinity,
  ]);
  expect(Array.from(floatsOf(tensorOfNumbers(DataType.UINT8, [3], [-4, 2.7, 300])))).toEqual([0, 2, 255]);
  expect(Array.from(floatsOf(tensorOfNumbers(DataType.INT64, [2], [1e300, Number.NaN])))).toEqual([2 ** 63, 0]);
});

test('bytes that are no model: one sentence with onnxruntime’s reason', async () => {
  await expect(ortRuntime().load(new Uint8Array([1, 2, 3]))).rejects.toThrow(
    new PareError('the model: onnxruntime cannot load it: Failed to load model because protobuf parsing failed'),
  );
});

test.each([
  ['float16', DataType.FLOAT16, [1, 0, 2.5]],
  ['double', DataType.DOUBLE, [1, 0, 2.5]],
  ['int64', DataType.INT64, [1, 0, 2]],
  ['int8', DataType.INT8, [1, 0, 2]],
  ['uint16', DataType.UINT16, [1, 0, 2]],
  ['bool', DataType.BOOL, [1, 0, 1]],
] as const)('%s goes in and comes out', async (name, type, values) => {
  const model = parseModelText(`agraph (${name}[N] x) => (${name}[N] y, float[N] z)
    { y = Identity (x) z = Cast <to: int = 1> (x) }`);
  await withSession(ortRuntime(), model, {}, async (session) => {
    expect(session.inputs[0]).toEqual({ name: 'x', dataType: type, dims: ['N'] });
    const fed = tensorOfNumbers(type, [3], values);
    const results = await session.run(new Map([['x', fed]]));
    expect(results.get('y')).toEqual(fed);
    expect([...floatsOf(results.get('z')!)]).toEqual(values);
    // and as constants of a graph, there and back
    expect(runtimeTensor(constantTensor('c', fed))).toEqual(fed);
  });
});

test('strings go in and come out; bfloat16 inside is run, as an input refused by its name', async () => {
  const strings = parseModelText('agraph (string[2] x) => (string[2] y) { y = Identity (x) }');
  await withSession(ortRuntime(), strings, {}, async (session) => {
    const x = { dataType: DataType.STRING, dims: [2], data: ['pare', 'ähnlich'] };
    expect((await session.run(new Map([['x', x]]))).get('y')).toEqual(x);
    expect(runtimeTensor(constantTensor('c', x))).toEqual(x);
  });
  const inside = parseModelText(`agraph (float[2] x) => (float[2] y)
    { h = Cast <to: int = 16> (x) y = Cast <to: int = 1> (h) }`);
  await withSession(ortRuntime(), inside, {}, async (session) => {
    const y = (await session.run(new Map([['x', floatData([2], Float32Array.of(1.5, 1.01171875))]]))).get('y')!;
    expect([...floatsOf(y)]).toEqual([1.5, 1.015625]);
  });
  const outside = parseModelText('agraph (bfloat16[2] x) => (float[2] y) { y = Cast <to: int = 1> (x) }');
  await expect(ortRuntime().load(outside, { label: 'b.onnx' })).rejects.toThrow(
    /^b.onnx: onnxruntime cannot load it: Unsupported data type: 16/,
  );
});

describeShared('onnxruntime on a real network', ['models'], () => {
  test('runs by path and by bytes alike, twice alike, and says what its inputs are', async () => {
    const runtime = ortRuntime();
    const x = floatData(
      [2, 3, 32, 32],
      Float32Array.from({ length: 2 * 3072 }, (_, i) => Math.sin(i)),
    );
    const run = (source: string | Uint8Array) =>
      withSession(runtime, source, {}, async (session) => {
        expect(session.inputs).toEqual([{ name: 'input', dataType: 1, dims: ['batch', 3, 32, 32] }]);
        const y = (await session.run(new Map([['input', x]]))).get('logits')!;
        expect(y.dims).toEqual([2, 10]);
        return floatsOf(y);
      });
    const fromPath = await run(resnet);
    // a view into a larger buffer and shared memory must work, too
    const bytes = readFileSync(resnet);
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
    shared.set(bytes);
    expect(await run(bytes)).toEqual(fromPath);
    expect(await run(shared)).toEqual(fromPath);
    expect(new Set(fromPath).size).toBeGreaterThan(10);
  });

  test('a wrong shape, a wrong type, a wrong name and a missing input are sentences', async () => {
    await withSession(ortRuntime(), resnet, { label: 'ResNet-20' }, async (session) => {
      const attempt = (name: string, t: ReturnType<typeof floatData>) => session.run(new Map([[name, t]]));
      const small = floatData([1, 3, 30, 32], new Float32Array(2880));
      await expect(attempt('input', small)).rejects.toThrow(
        /^ResNet-20: onnxruntime cannot run it: .*Got: 30 Expected: 32/,
      );
      await expect(attempt('image', small)).rejects.toThrow('ResNet-20 has no input "image"; its inputs are input');
      await expect(attempt('input', floatData([1, 3, 32, 32], new Float32Array(7)))).rejects.toThrow(PareError);
      const double = tensorOfNumbers(DataType.DOUBLE, [1, 3, 32, 32], new Float64Array(3072));
      await expect(attempt('input', double)).rejects.toThrow(/expected: \(tensor\(float\)\)/);
      await expect(session.run(new Map())).rejects.toThrow(/'input' is missing/);
    });
  });

  test('a file that is not there is a sentence', async () => {
    await expect(ortRuntime().load('missing.onnx')).rejects.toThrow(
      /^"missing.onnx": onnxruntime cannot load it: .*exist/,
    );
  });
});
