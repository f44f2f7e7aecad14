// Damaged files, thousands of them: `npm run bench -- fuzz [mutants=20000] [seed=0]`. Each goes through read, count, groups and prune (a
// manifest through the reader of data, wrong exports through the look at plug-ins) in a reused process with a deadline of 10 s, 1 GB of
// memory and permission to write below one folder. A mutant that makes Pare say something new is damaged further.
import { execFileSync, fork, type ChildProcess } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readModel } from '../src/onnx/read.js';
import { writeModel } from '../src/onnx/write.js';
import { createRng, type Rng } from '../src/rng.js';
import { conformanceCases } from '../test/conformance.js';
import { projectRoot, sharedPath } from '../test/shared-path.js';
import type { FuzzJob, FuzzReport } from './support/fuzz-child.js';
import { mutate, mutateJson, sampleOf, type Sample } from './support/mutants.js';

/** Of processor time; and of the clock, for what waits for something. */
const DEADLINE_MS = 10_000;
const PATIENCE_MS = 180_000;
const MAX_BYTES = 1e9;
/** Mutants kept as seeds of further ones. */
const MAX_CORPUS = 400;

interface Outcome {
  readonly report?: FuzzReport;
  readonly broken?: 'crash' | 'hang' | 'memory';
  readonly ms: number;
}

export async function run([count = '20000', seed = '0']: readonly string[]): Promise<void> {
  const wanted = Number(count);
  const folder = mkdtempSync(join(tmpdir(), 'pare-fuzz-'));
  const [inside, out, finds] = ['in', 'out', 'finds'].map((name) => join(folder, name)) as [string, string, string];
  for (const path of [inside, out, finds]) mkdirSync(path);
  const network = join(projectRoot, 'examples', 'shapes', 'shapes-resnet.onnx');
  const samples = prepare(inside, network);
  console.log(
    `${samples.models.length} files: ${samples.models.map((s) => `${s.name} (${s.bytes.length} bytes)`).join(', ')}`,
  );
  const before = listing(inside);
  const child = fuzzChild(out, network);
  const started = performance.now();
  const tally = new Map<string, number>();
  const add = (what: string): void => void tally.set(what, (tally.get(what) ?? 0) + 1);
  const corpus: Sample[] = [];
  const signatures = new Set<string>();
  const slow: { readonly ms: number; readonly what: string }[] = [];
  let found = 0;
  let peak = 0;
  const root = createRng(`fuzz/${seed}`);

  for (let i = 0; i < wanted; i++) {
    const rng = root.fork(String(i));
    const made = draw(rng, samples, corpus, inside);
    if (made.bytes !== undefined) writeFileSync(made.job.path, made.bytes);
    const { report, broken, ms } = await child.work({ ...made.job, id: i + 1, seed: rng.path });
    peak = Math.max(peak, child.peakBytes());
    slow.push({ ms, what: `${i}: ${made.from}` });
    if (slow.length > 40) slow.sort((a, b) => b.ms - a.ms).splice(5);
    const defect = broken ?? report?.defect;
    add(
      broken ??
        (defect === undefined
          ? `${made.job.kind}: ${Object.values(report!.said).some((s) => s !== '') ? 'sentence' : 'fine'}`
          : 'defect'),
    );
    if (defect !== undefined) {
      found++;
      const name = `${String(found).padStart(3, '0')}-${i}-${basename(made.from).replace(/[^A-Za-z0-9.-]/g, '_')}`;
      if (made.bytes !== undefined) writeFileSync(join(finds, name), made.bytes);
      writeFileSync(join(finds, `${name}.txt`), `${made.from}\n${defect}\n${JSON.stringify(report?.said)}\n`);
      if (found <= 50)
        console.log(`FOUND ${join(finds, name)}: ${defect.split('\n').slice(0, 3).join(' | ').slice(0, 400)}`);
    } else if (made.job.kind === 'model' && made.bytes !== undefined && made.bytes.length < 60_000) {
      const signature = Object.entries(report!.said)
        .map(([s, text]) => `${s}:${plain(text)}`)
        .join('|');
      if (!signatures.has(signature)) {
        signatures.add(signature);
        if (corpus.length < MAX_CORPUS) corpus.push(sampleOf(made.from, made.bytes));
        else corpus[rng.int(MAX_CORPUS)] = sampleOf(made.from, made.bytes);
      }
    }
    if ((i + 1) % 1000 === 0) {
      const seconds = (performance.now() - started) / 1000;
      console.log(`${i + 1} mutants, ${seconds.toFixed(0)} s, ${signatures.size} different answers, ${found} finds`);
    }
  }
  child.close();
  const strays = listing(inside).filter((name) => !before.includes(name) && !name.startsWith('mutant'));
  const written = listing(out);
  console.log('');
  for (const [what, n] of [...tally].toSorted(([a], [b]) => (a < b ? -1 : 1))) console.log(`${what.padEnd(20)} ${n}`);
  const zero = (name: string): number => tally.get(name) ?? 0;
  console.log(
    `mutants ${wanted}, seed ${seed}, ${((performance.now() - started) / 1000).toFixed(0)} s, ${signatures.size} different answers`,
  );
  console.log(
    `crashes ${zero('crash')}, hangs ${zero('hang')}, beyond 1 GB ${zero('memory')}, other defects ${zero('defect')}, files outside --out ${strays.length}, left in --out ${written.length}`,
  );
  console.log(
    `peak resident memory ${(peak / 1e6).toFixed(0)} MB; slowest: ${slow
      .sort((a, b) => b.ms - a.ms)
      .slice(0, 3)
      .map((s) => `${(s.ms / 1000).toFixed(1)} s (${s.what})`)
      .join(', ')}`,
  );
  if (found > 0 || strays.length > 0) {
    console.log(`finds are in ${finds}`);
    process.exitCode = 1;
  } else rmSync(folder, { recursive: true });
}

interface Samples {
  readonly models: readonly Sample[];
  readonly manifests: readonly { readonly name: string; readonly json: unknown; readonly data: readonly string[] }[];
}

/** Twelve networks: exporters, control flow, sequences, external data, light ones with weights that are computed; and manifests. */
function prepare(inside: string, network: string): Samples {
  const cases = conformanceCases();
  const ofCase = (name: string): Sample => {
    const found = cases.find((c) => c.name === `node/${name}`);
    if (found === undefined) throw new Error(`there is no conformance case ${name}`);
    return sampleOf(name, found.modelBytes());
  };
  const shared = (...parts: string[]): Sample => sampleOf(parts.at(-1)!, readFileSync(sharedPath('models', ...parts)));
  const external = join(inside, 'external.onnx');
  writeModel(readModel(network), external, { external: 'always' });
  symlinkSync('/etc/passwd', join(inside, 'link-to-file'));
  symlinkSync('/etc', join(inside, 'link-to-folder'));
  if (process.platform !== 'win32') execFileSync('mkfifo', [join(inside, 'pipe')]);
  const shapes = join(projectRoot, 'examples', 'shapes');
  for (const name of ['shapes-test.npz', 'calib.json']) copyFileSync(join(shapes, name), join(inside, name));
  copyFileSync(sharedPath('models', 'inputs', 'face8.jpg'), join(inside, 'face.jpg'));
  writeFileSync(join(inside, 'batch.bin'), new Uint8Array(3073 * 4).fill(1));
  writeFileSync(
    join(inside, 'images-idx3-ubyte'),
    Buffer.concat([Buffer.from([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 4]), new Uint8Array(32)]),
  );
  const pixels = { layout: 'NCHW', scale: 0.0078, mean: [1, 1, 1], std: [1, 1, 1] };
  return {
    models: [
      shared('mnist-cntk.onnx'),
      shared('mlperf-tiny-resnet8-cifar10.onnx'),
      shared('vit-cifar10-ibp.onnx'),
      shared('light', 'light_zfnet512.onnx'),
      shared('light', 'light_squeezenet.onnx'),
      shared('light', 'light_shufflenet.onnx'),
      sampleOf('shapes-resnet.onnx', readFileSync(network)),
      sampleOf('external.onnx', readFileSync(external)),
      ofCase('test_loop16_seq_none'),
      ofCase('test_if_seq'),
      ofCase('test_scan9_sum'),
      ofCase('test_sequence_map_add_2_sequences_expanded'),
    ],
    manifests: [
      {
        name: 'npz',
        json: { format: 'npz', files: ['shapes-test.npz'], ...pixels, metric: 'top1' },
        data: ['shapes-test.npz'],
      },
      {
        name: 'images',
        json: { format: 'images', files: ['face.jpg'], resize: [32, 32], ...pixels },
        data: ['face.jpg'],
      },
      {
        name: 'cifar',
        json: { format: 'cifar10-binary', files: ['batch.bin'], limit: 2, ...pixels },
        data: ['batch.bin'],
      },
      { name: 'idx', json: { format: 'idx', files: ['images-idx3-ubyte'] }, data: ['images-idx3-ubyte'] },
    ],
  };
}

interface Drawn {
  readonly from: string;
  readonly job: Pick<FuzzJob, 'kind' | 'path'>;
  readonly bytes?: Uint8Array;
}

function draw(rng: Rng, { models, manifests }: Samples, corpus: readonly Sample[], inside: string): Drawn {
  const dice = rng.next();
  if (dice < 0.03) return { from: 'exports', job: { kind: 'plugin', path: '' } };
  if (dice < 0.15) {
    const manifest = rng.pick(manifests);
    const path = join(inside, 'mutant.json');
    if (rng.next() < 0.4) {
      // the manifest as it was, beside damaged data
      const data = rng.pick(manifest.data);
      const damaged = `mutant-${data}`;
      writeFileSync(join(inside, damaged), mutate(sampleOf(data, readFileSync(join(inside, data))), rng));
      const json = { ...(manifest.json as object), files: [damaged] };
      return {
        from: `${manifest.name}: ${data}`,
        job: { kind: 'manifest', path },
        bytes: Buffer.from(JSON.stringify(json)),
      };
    }
    let json = manifest.json;
    for (let i = 1 + rng.int(3); i > 0; i--) json = mutateJson(json, rng);
    const text = textOf(json);
    const bytes = rng.next() < 0.05 ? Buffer.from(text).subarray(0, rng.int(text.length + 1)) : Buffer.from(text);
    return { from: `manifest ${manifest.name}`, job: { kind: 'manifest', path }, bytes };
  }
  const path = join(inside, 'mutant.onnx');
  const kept = corpus.length > 0 && rng.next() < 0.35;
  const sample = kept ? rng.pick(corpus) : lightly(models, rng);
  return { from: sample.name, job: { kind: 'model', path }, bytes: mutate(sample, rng) };
}

/** Large files take longer: they come less often. */
function lightly(models: readonly Sample[], rng: Rng): Sample {
  const weights = models.map((m) => 1 / (1 + m.bytes.length / 100_000));
  let at = rng.next() * weights.reduce((a, b) => a + b, 0);
  return models.find((_, i) => (at -= weights[i]!) <= 0) ?? models[0]!;
}

/** JSON.stringify recurses: what is too deep for it is written by hand. */
function textOf(json: unknown): string {
  try {
    return JSON.stringify(json) ?? '';
  } catch {
    return `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  }
}

/** What was said, without names and numbers. */
function plain(text: string): string {
  return text
    .replace(/"[^"]*"/g, '""')
    .replace(/\d+/g, '0')
    .slice(0, 120);
}

function listing(folder: string): string[] {
  return readdirSync(folder).toSorted();
}

interface FuzzChild {
  work(job: FuzzJob): Promise<Outcome>;
  peakBytes(): number;
  close(): void;
}

/** One process for many jobs; a new one after it was stopped or ended. */
function fuzzChild(out: string, network: string): FuzzChild {
  const entry = fileURLToPath(new URL('./support/fuzz-child.js', import.meta.url));
  if (!existsSync(entry)) throw new Error(`${entry} is missing: run "npm run build" first`);
  const permission = process.allowedNodeEnvironmentFlags.has('--permission')
    ? '--permission'
    : '--experimental-permission';
  let child: ChildProcess | undefined;
  let peak = 0;
  const start = async (): Promise<ChildProcess> => {
    const fresh = fork(entry, [out, network], {
      execArgv: [
        '--max-old-space-size=900',
        permission,
        '--allow-fs-read=*',
        `--allow-fs-write=${out}/*`,
        '--no-warnings',
      ],
      cwd: out,
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    await new Promise<void>((resolve, reject) => {
      fresh.once('message', () => resolve());
      fresh.once('exit', (code) => reject(new Error(`the process of the fuzzer cannot start (${code})`)));
    });
    fresh.removeAllListeners('exit');
    return fresh;
  };

  return {
    async work(job) {
      child ??= await start();
      const running = child;
      const started = performance.now();
      return new Promise<Outcome>((resolve) => {
        let verdict: Outcome['broken'];
        const end = (why: Outcome['broken']): void => {
          verdict ??= why;
          running.kill('SIGKILL');
        };
        // what the process itself has used: a busy machine makes everything slow
        const begun = cpuMs(running.pid);
        const deadline = setTimeout(() => end('hang'), PATIENCE_MS);
        const watch = setInterval(() => {
          if (cpuMs(running.pid) - begun > DEADLINE_MS) end('hang');
          const bytes = residentBytes(running.pid);
          peak = Math.max(peak, bytes);
          if (bytes > MAX_BYTES) end('memory');
        }, 20);
        const settle = (outcome: Omit<Outcome, 'ms'>): void => {
          clearTimeout(deadline);
          clearInterval(watch);
          running.removeAllListeners('message');
          running.removeAllListeners('exit');
          resolve({ ...outcome, ms: performance.now() - started });
        };
        // the cast: fuzz-child.ts sends nothing but reports
        running.on('message', (message) => settle({ report: message as FuzzReport }));
        running.on('exit', () => {
          child = undefined;
          settle({ broken: verdict ?? 'crash' });
        });
        running.send(job);
      });
    },
    peakBytes: () => peak,
    close: () => void child?.kill('SIGKILL'),
  };
}

/** User and system time; 0 where the system does not tell. */
function cpuMs(pid: number | undefined): number {
  try {
    // after the name in parentheses; ticks of 10 ms
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    return 10 * (Number(fields[11]) + Number(fields[12]));
  } catch {
    return 0;
  }
}

function residentBytes(pid: number | undefined): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * 4096;
  } catch {
    return 0; // it has ended, or the system does not tell
  }
}
