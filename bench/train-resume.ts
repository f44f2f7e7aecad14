// A run that is killed (kill -9) in the middle and started again gives the same weights, bit by bit, as one that was left alone: ResNet-20,
// `pare train` as users run it, one thread. `npm run bench -- train-resume [STEPS]`.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { cifarTask } from './support/cifar.js';
import { pare } from './support/pare.js';
import { builtProgram } from '../test/small-run.js';

export async function run(args: string[]): Promise<void> {
  const steps = args[0] ?? '12';
  const task = cifarTask('resnet20');
  const folder = mkdtempSync(join(tmpdir(), 'pare-resume-'));
  const command = (name: string): string[] => {
    const [out, checkpoint] = [join(folder, `${name}.onnx`), join(folder, name)];
    const fixed = [
      '--steps',
      steps,
      '--batch',
      '32',
      '--threads',
      '1',
      '--held-out',
      '0',
      '--every',
      '2',
      '--augment',
      'flip,crop=4',
    ];
    return ['train', task.model, '--data', task.data, ...fixed, '--checkpoint', checkpoint, '-o', out];
  };
  const kept = join(folder, 'killed', 'training.checkpoint');
  const child = spawn(process.execPath, [builtProgram, ...command('killed')], { stdio: 'ignore' });
  const ended = new Promise((resolve) => {
    child.once('exit', resolve);
  });
  while (!existsSync(kept) && child.exitCode === null) await wait(20);
  child.kill('SIGKILL');
  await ended;
  // the cast: the first line of a checkpoint is its header
  const header = JSON.parse(readFileSync(kept).toString('utf8').split('\n', 1)[0]!) as {
    readonly progress: { readonly step: number };
  };
  console.log(`killed after the checkpoint of step ${header.progress.step} of ${steps}`);
  pare(command('killed'));
  pare(command('whole'));
  const [a, b] = ['killed', 'whole'].map((name) =>
    createHash('sha256')
      .update(readFileSync(join(folder, `${name}.onnx`)))
      .digest('hex'),
  );
  console.log(`killed and resumed ${a}\nundisturbed        ${b}\n${a === b ? 'the same, bit by bit' : 'DIFFERENT'}`);
}
