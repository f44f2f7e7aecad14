// The process in which damaged files are read, counted, grouped and pruned: every command as users give it, in this process. It may write
// below its output folder only (Node's permission model); what goes wrong otherwise than by one sentence is told to bench/fuzz.ts.
import fs, { rmSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { runCommandLine } from '../../src/cli/command-line.js';
import { openDataset } from '../../src/data/dataset.js';
import { PareError } from '../../src/errors.js';
import { checkModel } from '../../src/ir/check.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { asModel } from '../../src/plugin/model-shape.js';
import { outlineOf } from '../../src/plugin/plugin.js';
import { createRng } from '../../src/rng.js';
import { modelInputs } from '../../src/runtime/source.js';
import { wrongExports } from './mutants.js';

export interface FuzzJob {
  readonly id: number;
  readonly kind: 'model' | 'manifest' | 'plugin';
  readonly path: string;
  readonly seed: string;
}

export interface FuzzReport {
  readonly id: number;
  /** What each stage said: '' where it went well. */
  readonly said: Readonly<Record<string, string>>;
  /** What is wrong; absent where nothing is. */
  readonly defect?: string;
}

const [, , out, network] = process.argv as readonly (string | undefined)[];
if (out === undefined || network === undefined || process.send === undefined) {
  throw new Error('bench/support/fuzz-child.ts is the entry of a child process of bench/fuzz.ts');
}
// the permission model knows no folder for it, and nothing here has to survive a power cut
fs.fsyncSync = () => undefined;
syncBuiltinESMExports();
const inputs = modelInputs(readModel(network));

process.on('message', (message) => {
  // the cast: bench/fuzz.ts sends nothing but jobs
  void work(message as FuzzJob).then((report) => process.send?.(report));
});
process.on('disconnect', () => process.exit(0));
process.send({ id: 0, said: {} } satisfies FuzzReport);

async function work(job: FuzzJob): Promise<FuzzReport> {
  const said: Record<string, string> = {};
  const defects: string[] = [];
  const stage = async (name: string, act: () => unknown): Promise<boolean> => {
    try {
      await act();
      said[name] = '';
      return true;
    } catch (error) {
      const known = error instanceof Error ? error : new Error(String(error));
      said[name] = known.message;
      if (!(error instanceof PareError)) defects.push(`${name}: ${known.stack ?? known.message}`);
      else if (!isSentence(known.message)) defects.push(`${name}: no clear sentence: ${known.message.slice(0, 300)}`);
      return false;
    }
  };
  const command = async (name: string, ...args: string[]): Promise<boolean> => {
    const { code, err, thrown } = await run([name, job.path, ...args, '--json', '--stack']);
    said[name] = code === 0 ? '' : err.join('\n');
    if (code !== 0 && code !== 2) defects.push(`${name}: exit code ${code}: ${thrown ?? err.join('\n')}`);
    // with --stack the sentence comes first
    else if (code === 2 && !(err[0]?.startsWith('pare: ') === true && isSentence(err[0]))) {
      defects.push(`${name}: no clear sentence: ${err.join('\n').slice(0, 300)}`);
    }
    return code === 0;
  };
  switch (job.kind) {
    case 'model': {
      const readable = await stage('read', () =>
        checkModel(readModel(job.path, { allowMissingData: true }), { placeholders: true }),
      );
      const counted = await command('count');
      // a file that cannot be read is refused in the same place by all of them
      if (!readable && !counted) break;
      await command('groups');
      const file = join(out!, 'pruned.onnx');
      const pruned = await command('prune', '--flops', '70%', '-o', file);
      if (pruned) await stage('again', () => checkModel(readModel(file)));
      rmSync(file, { force: true });
      rmSync(`${file}.data`, { force: true });
      break;
    }
    case 'manifest':
      await stage('manifest', async () => {
        const data = openDataset(job.path, inputs);
        data.batch([0, data.size - 1]);
        await data.fingerprint();
      });
      break;
    case 'plugin':
      await stage('plugin', () => {
        const rng = createRng(job.seed);
        const clause = outlineOf(wrongExports(rng), standardOps);
        if (typeof clause === 'string' && !isSentence(clause)) throw new Error(`no clear clause: ${clause}`);
        asModel(wrongExports(rng), () => false);
      });
  }
  return { id: job.id, said, ...(defects.length === 0 ? {} : { defect: defects.join('\n') }) };
}

function isSentence(text: string): boolean {
  return text.length > 0 && text.length < 2000 && !text.includes('\n') && !/undefined|\[object|NaN/.test(text);
}

async function run(args: readonly string[]): Promise<{ code: number; err: string[]; thrown?: string }> {
  const err: string[] = [];
  const { log, error } = console;
  console.log = () => undefined;
  console.error = (text: unknown) => void err.push(String(text));
  try {
    return { code: await runCommandLine(args), err };
  } catch (thrown) {
    return { code: -1, err, thrown: String(thrown) };
  } finally {
    console.log = log;
    console.error = error;
  }
}
