import { afterEach, expect, test } from 'vitest';
import { PareError } from '../src/errors.js';
import { parseModelText } from '../src/ir/text.js';
import { isolatedRuntime, type IsolatedOptions } from '../src/runtime/isolated.js';
import { floatData, type Runtime } from '../src/runtime/runtime.js';

const runtimes: Runtime[] = [];
afterEach(() => Promise.all(runtimes.splice(0).map((r) => r.close())));
const isolated = (options: IsolatedOptions = {}): Runtime => {
  const runtime = isolatedRuntime(options);
  runtimes.push(runtime);
  return runtime;
};
const doubled = parseModelText('agraph (float[2] x) => (float[2] y) { y = Add (x, x) }');
const x = new Map([['x', floatData([2], Float32Array.of(1, 2))]]);

test('runs in another process, and sentences come through', async () => {
  const runtime = isolated();
  const session = await runtime.load(doubled, { label: 'd.onnx' });
  expect([session.inputs[0]?.name, [...(await session.run(x)).get('y')!.data]]).toEqual(['x', [2, 4]]);
  await expect(session.run(new Map())).rejects.toThrow(/^d.onnx: onnxruntime cannot run it: .*missing/);
  await expect(runtime.load(new Uint8Array(4))).rejects.toThrow(PareError);
  await session.release();
});

test('a run without end is stopped, and the runtime goes on with what is loaded after that', async () => {
  const runtime = isolated({ deadlineMs: 1500 });
  const endless = parseModelText(`agraph (float[2] x) => (float[2] y) <int64 trips = {1000000000000}, bool go = {1}> {
    y = Loop <body = inner (int64 i, bool c, float[2] a) => (bool d, float[2] b) { d = Identity (c) b = Sin (a) }> (trips, go, x)
  }`);
  const session = await runtime.load(endless, { label: 'e.onnx' });
  await expect(session.run(x)).rejects.toThrow('e.onnx: running it took longer than 1500 ms and was stopped');
  await expect(session.run(x)).rejects.toThrow('e.onnx: the process that ran it has ended');
  await session.release();
  const next = await runtime.load(doubled);
  expect([...(await next.run(x)).get('y')!.data]).toEqual([2, 4]);
});

test.runIf(process.platform === 'linux')('memory without bound is stopped', async () => {
  const runtime = isolated({ maxBytes: 600 * 2 ** 20, deadlineMs: 20_000 });
  const big = parseModelText(`agraph (float[2] x) => (float[N] y) <int64[1] n = {400000000}> {
    s = ReduceSum (x) y = Expand (s, n)
  }`);
  const session = await runtime.load(big, { label: 'b.onnx' });
  await expect(session.run(x, ['y'])).rejects.toThrow('b.onnx: running it took more than 600 MiB and was stopped');
});
