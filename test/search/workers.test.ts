import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
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
  /** Adds what it was opened with; ends itself as often as a job says, counted in a file. */
  const entry = (): string => {
    const file = join(folder, 'entry.mjs');
    const member = new URL('../../dist/src/runtime/crew-member.js', import.meta.url).href;
    writeFileSync(
      file,
      `import { parentPort } from 'node:worker_threads';
      import { appendFileSync, existsSync, readFileSync } from 'node:fs';
      import { serveCrew } from ${JSON.stringify(member)};
      serveCrew(parentPort, (open) => async (job) => {
        if (job.note !== undefined) {
          const died = existsSync(job.note) ? readFileSync(job.note, 'utf8').length : 0;
          if (died < job.deaths) { appendFileSync(job.note, '.'); process.exit(7); }
        }
        if (job.fail) throw Object.assign(new Error('no room'), { code: 'ENOSPC' });
        open.seen[0]++;
        return job.value + open.plus;
      });`,
    );
    return file;
  };

  test('answers, each job its own; what threads are opened with is shared', async () => {
    const seen = shared(new Int32Array(1));
    const crew = openCrew({ entry: entry(), size: 3, open: { plus: 100, seen } });
    try {
      const jobs = Array.from({ length: 20 }, (_, value) => crew.ask({ value }));
      expect(await Promise.all(jobs)).toEqual(Array.from({ length: 20 }, (_, value) => value + 100));
      expect(seen[0]).toBeGreaterThan(0);
      await expect(crew.ask({ fail: true })).rejects.toMatchObject({ code: 'ENOSPC', message: 'no room' });
    } finally {
      await crew.close();
    }
    await expect(crew.ask({ value: 1 })).rejects.toThrow('dismissed');
  });

  test('a thread that dies is replaced and its job tried again; the second death is the job’s fault', async () => {
    const crew = openCrew({ entry: entry(), size: 2, open: { plus: 0, seen: shared(new Int32Array(1)) } });
    try {
      const once = crew.ask({ value: 1, note: join(folder, 'once'), deaths: 1 });
      const twice = crew.ask({ value: 2, note: join(folder, 'twice'), deaths: 2 }).catch((error: unknown) => error);
      const others = Array.from({ length: 6 }, (_, value) => crew.ask({ value }));
      expect(await once).toBe(1);
      expect(await twice).toBeInstanceOf(JobLost);
      expect(await Promise.all(others)).toEqual([0, 1, 2, 3, 4, 5]);
    } finally {
      await crew.close();
    }
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
