import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PareError } from '../../src/errors.js';
import type { Model, Node } from '../../src/ir/graph.js';
import { floatTensor, int64Tensor, readFloats } from '../../src/ir/tensor.js';
import { readModel } from '../../src/onnx/read.js';
import { writeModel } from '../../src/onnx/write.js';
import { standardOps } from '../../src/ops/index.js';
import { JobLost, openCrew, shared } from '../../src/runtime/crew.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { ahead } from '../../search/evaluator.js';
import { optimize, type OptimizeOptions } from '../../search/optimize.js';
import { contentOf, smallExample } from '../small-run.js';
import { runToEnd, smallEffort } from './open-search.js';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-workers-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a crew of threads', () => {
  /** Adds what it was opened with; ends itself, in some way, as often as a job says, counted in a file. Beats while it lives. */
  const entry = (): string => {
    const file = join(folder, 'entry.mjs');
    const built = (path: string): string => JSON.stringify(new URL(`../../dist/src/${path}`, import.meta.url).href);
    writeFileSync(
      file,
      `import { appendFileSync, existsSync, readFileSync } from 'node:fs';
      import { workerData } from 'node:worker_threads';
      import { PareError } from ${built('errors.js')};
      import { crewMember } from ${built('runtime/crew-member.js')};
      if (workerData.stillborn) process.exit(3);
      const beat = () => Atomics.add(workerData.seen, 1, 1);
      beat();
      setInterval(beat, 5);
      const never = () => new Promise(() => {});
      const end = {
        exit: () => process.exit(7),
        throw: () => { setImmediate(() => { throw new Error('thrown'); }); return never(); },
        reject: () => { void Promise.reject(new Error('rejected')); return never(); },
        fail: (seen) => {
          setImmediate(() => { Atomics.store(seen, 2, 1); Atomics.notify(seen, 2); throw new Error('late'); });
          return never();
        },
        hang: (seen) => { Atomics.store(seen, 2, 1); Atomics.notify(seen, 2); for (;;); },
      };
      export const work = crewMember((open) => {
        if (open.empty) throw new PareError('there is nothing to open');
        return async (job) => {
          if (job.note !== undefined) {
            const died = existsSync(job.note) ? readFileSync(job.note, 'utf8').length : 0;
            if (died < job.deaths) { appendFileSync(job.note, '.'); await end[job.how](); }
          }
          if (job.end !== undefined) await end[job.end](open.seen);
          if (job.fail) throw Object.assign(new Error('no room'), { code: 'ENOSPC' });
          if (job.refuse) throw new PareError('a job that cannot be done');
          Atomics.add(open.seen, 0, 1);
          return job.value + open.plus;
        };
      });`,
    );
    return file;
  };
  const opening = (plus = 0): { readonly plus: number; readonly seen: Int32Array } => ({
    plus,
    seen: shared(new Int32Array(3)),
  });
  const messageOf = (error: unknown): unknown => (error instanceof Error ? error.message : error);

  test('answers, each job its own; what threads are opened with is shared', async () => {
    const open = opening(100);
    const crew = openCrew({ entry: entry(), size: 3, open });
    try {
      const jobs = Array.from({ length: 20 }, (_, value) => crew.ask({ value }));
      expect(await Promise.all(jobs)).toEqual(Array.from({ length: 20 }, (_, value) => value + 100));
      expect(open.seen[0]).toBe(20);
      await expect(crew.ask({ fail: true })).rejects.toMatchObject({ code: 'ENOSPC', message: 'no room' });
      await expect(crew.ask({ refuse: true })).rejects.toEqual(new PareError('a job that cannot be done'));
    } finally {
      await crew.close();
    }
    await expect(crew.ask({ value: 1 })).rejects.toThrow('dismissed');
  });

  test('what keeps a thread from opening is the answer to each job', async () => {
    const crew = openCrew({ entry: entry(), size: 1, open: { ...opening(), empty: true } });
    try {
      for (const value of [1, 2]) {
        await expect(crew.ask({ value })).rejects.toEqual(new PareError('there is nothing to open'));
      }
    } finally {
      await crew.close();
    }
  });

  test.each([
    ['exit', 1, 'exited with code: 7'],
    ['exit', 2, 'exited with code: 7'],
    ['throw', 1, 'thrown'],
    ['throw', 2, 'thrown'],
    ['reject', 2, 'rejected'],
  ])(
    'a thread that dies (%s, %i threads) is replaced and its job tried again; the second death is the job’s fault',
    async (how, size, why) => {
      const crew = openCrew({ entry: entry(), size, open: opening() });
      const noted = (name: string): string => join(folder, `${name}-${how}-${size}`);
      try {
        const once = crew.ask({ value: 1, how, note: noted('once'), deaths: 1 });
        const twice = crew.ask({ value: 2, how, note: noted('twice'), deaths: 2 }).catch((error: unknown) => error);
        const others = Array.from({ length: 6 }, (_, value) => crew.ask({ value }));
        expect(await once).toBe(1);
        const lost = await twice;
        expect(lost).toBeInstanceOf(JobLost);
        expect(messageOf(lost)).toContain(why);
        expect(await Promise.all(others)).toEqual([0, 1, 2, 3, 4, 5]);
        expect(await crew.ask({ value: 9 })).toBe(9);
      } finally {
        await crew.close();
      }
    },
  );

  test('threads that end before they take a job are no reason to wait for ever', async () => {
    const crew = openCrew({ entry: entry(), size: 2, open: { ...opening(), stillborn: true } });
    const jobs = Array.from({ length: 4 }, (_, value) => crew.ask({ value }).catch(messageOf));
    for (const message of await Promise.all(jobs)) expect(message).toContain('no worker thread starts');
    await crew.close();
  });

  test.each([
    ['hang', 2],
    ['fail', 1],
  ])('closed, and once more, while its threads %s: all jobs reject, no thread is left', async (how, size) => {
    const open = opening();
    const crew = openCrew({ entry: entry(), size, open });
    await crew.ask({ value: 0 });
    const jobs = [...Array.from({ length: size }, () => ({ end: how })), { value: 1 }, { value: 2 }];
    const ended = jobs.map((job) => crew.ask(job).catch(messageOf));
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect(Atomics.wait(open.seen, 2, 0, 20_000)).not.toBe('timed-out');
    // the error is on its way to this thread, which looks at nothing meanwhile
    Atomics.wait(open.seen, 2, 1, 100);
    await Promise.all([crew.close(new Error('enough')), crew.close(new Error('enough again'))]);
    expect(await Promise.all(ended)).toEqual(jobs.map(() => 'enough'));
    await new Promise((resolve) => setTimeout(resolve, 300));
    const beats = open.seen[1];
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect([beats! > 0, open.seen[1]]).toEqual([true, beats]);
  });
});

test('ahead gives results in order, holds its limit, and starts nothing more when told so', async () => {
  let running = 0;
  let most = 0;
  let begun = 0;
  const act = async (ms: number): Promise<number> => {
    begun++;
    most = Math.max(most, ++running);
    await new Promise((resolve) => setTimeout(resolve, ms));
    running--;
    return ms;
  };
  const read: number[] = [];
  for await (const { result } of ahead([30, 1, 20, 2, 1], 2, act)) read.push(await result);
  expect([read, most]).toEqual([[30, 1, 20, 2, 1], 2]);
  begun = 0;
  const some: number[] = [];
  for await (const { result } of ahead([5, 1, 1, 1], 3, act, (pending) => some.length + pending < 2)) {
    some.push(await result);
  }
  expect([some, begun, running]).toEqual([[5, 1], 2, 0]);
});

describe('a run on the shipped example', () => {
  const settings = (out: string, changes: Partial<OptimizeOptions>): OptimizeOptions => ({
    model: join(folder, 'net.onnx'),
    data: join(folder, 'calib.json'),
    out: join(folder, out),
    wishes: { flops: '50%' },
    evaluations: 7,
    seed: '3',
    table: standardOps,
    version: '0.0.0',
    effort: {
      ...smallEffort,
      calibration: { mode: 'reconstruct', images: 16, positions: 8 },
      calibrators: 2,
      members: 3,
    },
    runtime: ortRuntime(),
    ...changes,
  });
  const content = (out: string): Map<string, string> => contentOf(join(folder, out));
  let expected: ReadonlyMap<string, string>;
  beforeAll(async () => {
    smallExample(folder, { calib: 200 });
    await runToEnd(settings('inline', {}));
    expected = content('inline');
  }, 60_000);

  test.each([1, 2, 3])(
    'by %i workers gives the same bytes as in this process',
    async (workers) => {
      await runToEnd(settings(`by-${workers}`, { workers }));
      expect(content(`by-${workers}`)).toEqual(expected);
    },
    60_000,
  );

  test('broken off with three workers and resumed with one: the same bytes', async () => {
    const ended = new AbortController();
    const steps = optimize(settings('broken', { workers: 3, signal: ended.signal }));
    const broken = async (): Promise<void> => {
      for (let step = await steps.next(); step.done !== true; step = await steps.next()) {
        if (step.value.stage === 'seeds') ended.abort(new Error('enough'));
      }
    };
    await expect(broken()).rejects.toThrow('enough');
    await runToEnd(settings('broken', { workers: 1, resume: true }));
    expect(content('broken')).toEqual(expected);
  }, 60_000);

  test('workers see the network as it was prepared: a weight that is sliced out of a larger one', async () => {
    const model = join(folder, 'sliced.onnx');
    writeModel(withSlicedWeight(readModel(join(folder, 'net.onnx'))), model);
    await runToEnd(settings('sliced', { model, evaluations: 3 }));
    await runToEnd(settings('sliced-by-2', { model, evaluations: 3, workers: 2 }));
    expect(content('sliced-by-2')).toEqual(content('sliced'));
  }, 60_000);
});

/** The weights of the second convolution come from a tensor with one output channel more. */
function withSlicedWeight(model: Model): Model {
  const { graph } = model;
  const conv = graph.nodes.filter((n) => n.opType === 'Conv')[1]!;
  const name = conv.inputs[1]!;
  const weight = graph.initializers.get(name)!;
  const [outputs, ...rest] = weight.dims;
  const size = rest.reduce((a, b) => a * b, 1);
  const larger = new Float32Array((outputs! + 1) * size);
  larger.set(readFloats(weight));
  const initializers = new Map(graph.initializers);
  initializers.delete(name);
  initializers.set('larger', floatTensor('larger', [outputs! + 1, ...rest], larger));
  for (const [key, value] of [
    ['from', 0],
    ['to', outputs!],
    ['axis', 0],
  ] as const) {
    initializers.set(key, int64Tensor(key, [value]));
  }
  const slice: Node = {
    name: 'slice',
    opType: 'Slice',
    domain: '',
    inputs: ['larger', 'from', 'to', 'axis'],
    outputs: [name],
    attributes: new Map(),
  };
  return { ...model, graph: { ...graph, nodes: [slice, ...graph.nodes], initializers } };
}
