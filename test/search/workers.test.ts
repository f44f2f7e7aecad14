import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { standardOps } from '../../src/ops/index.js';
import { JobLost, openCrew, shared } from '../../src/runtime/crew.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { ahead } from '../../search/evaluator.js';
import { optimize, type OptimizeOptions } from '../../search/optimize.js';

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
  const example = (name: string): string => fileURLToPath(new URL(`../../examples/shapes/${name}`, import.meta.url));
  const settings = (out: string, changes: Partial<OptimizeOptions>): OptimizeOptions => ({
    model: example('shapes-resnet.onnx'),
    data: join(folder, 'calib.json'),
    out: join(folder, out),
    wishes: { flops: '50%' },
    evaluations: 7,
    seed: '3',
    table: standardOps,
    version: '0.0.0',
    effort: {
      calibration: { mode: 'reconstruct', images: 16, positions: 8 },
      final: { mode: 'reconstruct', images: 24, positions: 16 },
      calibrators: 2,
      learnImages: 40,
      scoreImages: 60,
      heldImages: 60,
      members: 3,
    },
    runtime: ortRuntime(),
    ...changes,
  });
  const contentOf = (out: string): Map<string, string> => {
    const root = join(folder, out);
    const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).sort();
    const files = names.filter((name) => name !== 'run.json' && statSync(join(root, name)).isFile());
    return new Map(files.map((name) => [name, readFileSync(join(root, name)).toString('latin1')]));
  };
  const run = async (options: OptimizeOptions): Promise<void> => {
    const steps = optimize(options);
    while ((await steps.next()).done !== true);
  };
  let expected: ReadonlyMap<string, string>;
  beforeAll(async () => {
    // The cast: our own manifest.
    const manifest = JSON.parse(readFileSync(example('calib.json'), 'utf8')) as { readonly files: readonly string[] };
    const files = manifest.files.map(example);
    writeFileSync(join(folder, 'calib.json'), JSON.stringify({ ...manifest, files, limit: 200 }));
    await run(settings('inline', {}));
    expected = contentOf('inline');
  }, 60_000);

  test.each([1, 2, 3])(
    'by %i workers gives the same bytes as in this process',
    async (workers) => {
      await run(settings(`by-${workers}`, { workers }));
      expect(contentOf(`by-${workers}`)).toEqual(expected);
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
    await run(settings('broken', { workers: 1, resume: true }));
    expect(contentOf('broken')).toEqual(expected);
  }, 60_000);
});
