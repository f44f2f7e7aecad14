// A model larger than the memory it may take: 3 GB of weights beside it, made here and deleted at the end. `pare count`, `pare prune` of
// one group and `pare verify` each run in a process of their own whose peak is read from /proc; then a model above 2 GiB without
// external data is written, which must put its weights beside it by itself.
// usage: npm run bench -- large-model [gigabytes=3 [folder=the system's temporary one]]
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  openSync,
  readSync,
  writeSync,
  closeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { graphBuilder } from '../src/ir/builder.js';
import type { Model } from '../src/ir/graph.js';
import { DataType, elementCount, type Tensor } from '../src/ir/tensor.js';
import { readModel } from '../src/onnx/read.js';
import { writeModel } from '../src/onnx/write.js';

const program = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const WIDTH = 2048;
const HIDDEN = 16_384;
const VOCABULARY = 65_536;
const LIMIT = 1.2e9;

export async function run(args: string[]): Promise<void> {
  const gigabytes = Number(args[0] ?? 3);
  const folder = mkdtempSync(join(args[1] ?? tmpdir(), 'pare-large-'));
  try {
    const blocks = Math.max(2, Math.ceil((gigabytes * 1e9 - 4 * VOCABULARY * WIDTH) / (8 * WIDTH * HIDDEN)));
    const [path, cut] = [join(folder, 'large.onnx'), join(folder, 'cut.onnx')];
    writeModel(network(blocks), path, { external: 'always' });
    console.log(
      `${blocks} blocks and a table, ${gigabyte(statSync(`${path}.data`).size)} of weights beside ${statSync(path).size} bytes`,
    );
    const others = Array.from({ length: blocks - 1 }, (_, i) => `--ignore=up${i + 1}*`);
    await pare(['count', path]);
    await pare(['prune', path, '--flops=97%', '-o', cut, ...others]);
    console.log(`written: ${gigabyte(statSync(`${cut}.data`).size)} beside ${statSync(cut).size} bytes`);
    await pare(['verify', path, cut]);
    // A single changed bit of an untouched tensor must be found.
    flipBit(`${cut}.data`, statSync(`${cut}.data`).size - 100_000);
    await pare(['verify', path, cut], 2);
    for (const file of [cut, `${cut}.data`, path, `${path}.data`]) rmSync(file);
    selfExternal(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Tokens, a table, residual blocks of two matrices: y = x + relu(x U) D. Weights are made when they are written. */
function network(blocks: number): Model {
  const g = graphBuilder();
  const tokens = g.input('tokens', DataType.INT64, [1, 8]);
  let x = g.op('Gather', [g.constant(noise('table', [VOCABULARY, WIDTH], 0)), tokens], { axis: 0 });
  for (let i = 0; i < blocks; i++) {
    const up = g.op('MatMul', [x, g.constant(noise(`up${i}`, [WIDTH, HIDDEN], 2 * i + 1))]);
    const down = g.op('MatMul', [g.op('Relu', [up]), g.constant(noise(`down${i}`, [HIDDEN, WIDTH], 2 * i + 2))]);
    x = g.op('Add', [x, down]);
  }
  g.output(g.op('Identity', [x], {}, { outputs: ['y'] }), DataType.FLOAT, [1, 8, WIDTH]);
  return g.model();
}

/** Different numbers between -0.02 and 0.02 for each seed. */
function noise(name: string, dims: readonly number[], seed: number): Tensor {
  const count = elementCount(dims);
  const bytes = (): Uint8Array => {
    const values = new Float32Array(count);
    let state = 2 * seed + 1;
    for (let i = 0; i < count; i++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
      values[i] = state * (0.02 / 2 ** 31);
    }
    return new Uint8Array(values.buffer);
  };
  return { name, dataType: DataType.FLOAT, dims, bytes };
}

/** Runs the command line and prints what it says, its time and its peak of memory that belongs to no file. */
async function pare(args: readonly string[], wanted = 0): Promise<void> {
  const started = performance.now();
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  child.stdout.on('data', (part: Buffer) => (text += part.toString()));
  child.stderr.on('data', (part: Buffer) => (text += part.toString()));
  let [whole, ofFiles, anonymous] = [0, 0, 0];
  const watch = setInterval(() => {
    const status = statusOf(child.pid);
    whole = Math.max(whole, status('VmHWM'));
    ofFiles = status('RssFile') || ofFiles;
    anonymous = Math.max(anonymous, status('RssAnon') + status('RssShmem'));
  }, 20);
  const code = await new Promise<number | null>((resolve) => child.on('exit', resolve));
  clearInterval(watch);
  const peak = Math.max(anonymous, whole - ofFiles);
  const lines = text
    .trim()
    .split('\n')
    .filter((line) => line !== '');
  console.log(
    `pare ${args[0]}: ${((performance.now() - started) / 1000).toFixed(1)} s, peak ${gigabyte(peak)} of heap and anonymous memory (${peak <= LIMIT ? 'within' : 'ABOVE'} ${gigabyte(LIMIT)}), ${gigabyte(whole)} with files`,
  );
  console.log(
    lines
      .slice(0, 14)
      .map((line) => `  ${line.slice(0, 180)}`)
      .join('\n'),
  );
  if (code !== wanted || peak > LIMIT) process.exitCode = 1;
  if (code !== wanted) console.log(`  EXIT CODE ${code}, not ${wanted}`);
}

/** Bytes by the names of /proc/PID/status; 0 when it has ended. */
function statusOf(pid: number | undefined): (name: string) => number {
  let text = '';
  try {
    text = readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    // it has ended
  }
  return (name) => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0);
}

function flipBit(path: string, at: number): void {
  const file = openSync(path, 'r+');
  const byte = new Uint8Array(1);
  readSync(file, byte, 0, 1, at);
  byte[0] = byte[0]! ^ 1;
  writeSync(file, byte, 0, 1, at);
  closeSync(file);
}

/** Nine weights of 256 MiB: more than a protobuf file holds. */
function selfExternal(folder: string): void {
  const path = join(folder, 'own.onnx');
  const g = graphBuilder();
  let x = g.input('x', DataType.FLOAT, [1, 8192]);
  for (let i = 0; i < 9; i++) {
    const bytes = (): Uint8Array => new Uint8Array(2 ** 28).fill(i);
    x = g.op('MatMul', [x, g.constant({ name: `w${i}`, dataType: DataType.FLOAT, dims: [8192, 8192], bytes })]);
  }
  g.output(x, DataType.FLOAT, [1, 8192]);
  const written = writeModel(g.model(), path);
  const again = readModel(path).graph.initializers.get('w8')?.bytes?.();
  const right = written.length === 2 && existsSync(`${path}.data`) && again?.[2 ** 28 - 1] === 8;
  console.log(
    `a model of 2.4 GB without external data: ${right ? 'written with its weights beside it, and read back' : 'WRONG'}`,
  );
  if (!right) process.exitCode = 1;
}

function gigabyte(bytes: number): string {
  return `${(bytes / 1e9).toFixed(2)} GB`;
}
