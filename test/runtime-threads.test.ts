import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PareError } from '../src/errors.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { floatData, floatsOf, withSession, type Runtime } from '../src/runtime/runtime.js';
import { threadRuntime } from '../src/runtime/threads.js';
import { describeShared, sharedPath } from './shared.js';

const resnet = sharedPath('models', 'cifar10-resnet20.onnx');

describeShared('onnxruntime on two threads', ['models'], () => {
  let threads: Runtime;
  beforeAll(() => {
    threads = threadRuntime(2);
  });
  afterAll(() => threads.close());

  const batch = (seed: number) =>
    new Map([
      [
        'input',
        floatData(
          [4, 3, 32, 32],
          Float32Array.from({ length: 4 * 3072 }, (_, i) => Math.sin(i * seed)),
        ),
      ],
    ]);

  test('many runs at once give what one thread gives, in order', async () => {
    const seeds = [1, 2, 3, 4, 5, 6, 7];
    const expected = await withSession(ortRuntime(), resnet, {}, async (session) => {
      const results: Float32Array[] = [];
      for (const s of seeds) results.push(floatsOf((await session.run(batch(s))).get('logits')!));
      return results;
    });
    const got = await withSession(threads, readFileSync(resnet), {}, (session) =>
      Promise.all(seeds.map(async (s) => floatsOf((await session.run(batch(s))).get('logits')!))),
    );
    expect(got).toEqual(expected);
  });

  test('sentences come through, and the threads go on working', async () => {
    await expect(threads.load(new Uint8Array(5))).rejects.toThrow(PareError);
    await withSession(threads, resnet, { label: 'ResNet-20' }, async (session) => {
      await expect(session.run(new Map())).rejects.toThrow(/^ResNet-20: onnxruntime cannot run it: .*missing/);
      expect((await session.run(batch(1), ['logits'])).size).toBe(1);
    });
  });

  test('after close, a run is refused instead of waiting for ever', async () => {
    const own = threadRuntime(1);
    const session = await own.load(resnet);
    await own.close();
    await expect(session.run(batch(1))).rejects.toThrow('closed');
  });
});

test('a number of threads that is none is a sentence', () => {
  expect(() => threadRuntime(0)).toThrow('0 threads: the number of threads must be a positive integer');
});
