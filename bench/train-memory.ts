// Peak memory of a ResNet-56 step at batch 128, ours and PyTorch's, each in a process of its own: what it grows by over the process that
// has loaded network and images. `npm run bench -- train-memory [BATCH [STEPS]]`.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { standardOps } from '../src/ops/index.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { startTraining, trainingStep } from '../src/training/step.js';
import { oneHot, workload } from './support/torch.js';

interface Peak {
  readonly before: number;
  readonly peak: number;
}

export async function run(args: string[]): Promise<void> {
  const batch = Number(args[0] ?? 128);
  const rounds = Number(args[1] ?? 3);
  if (args[2] === 'alone') {
    console.log(JSON.stringify(await ourPeak(batch, rounds)));
    return;
  }
  const main = fileURLToPath(new URL('main.js', import.meta.url));
  const output = execFileSync(process.execPath, [main, 'train-memory', String(batch), String(rounds), 'alone'], {
    encoding: 'utf8',
  });
  // the cast: the line printed above
  const ours = JSON.parse(output.trim().split('\n').at(-1)!) as Peak;
  const theirs = workload('resnet56', batch, 2).torch({ what: 'memory', threads: 2, rounds, rate: 0.01 });
  const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  const text = ({ before, peak }: Peak): string => `${mib(peak)} (${mib(peak - before)} above what was loaded)`;
  console.log(`ResNet-56, batch ${batch}, ${rounds} steps, peak resident memory: Pare ${text(ours)}`);
  if (theirs === undefined) return;
  const peak = { before: theirs.before!, peak: theirs.peak! };
  console.log(`PyTorch ${text(peak)}`);
  const ratio = ours.peak / peak.peak;
  const grown = (ours.peak - ours.before) / (peak.peak - peak.before);
  console.log(
    `ratio of peaks ${ratio.toFixed(2)} (at most 1.5: ${ratio <= 1.5 ? 'reached' : 'MISSED'}), of growth ${grown.toFixed(2)}`,
  );
}

async function ourPeak(batch: number, rounds: number): Promise<Peak> {
  const load = workload('resnet56', batch, 2);
  const step = trainingStep(load.model, standardOps, new Map([[load.input, load.dims]]), {
    loss: { kind: 'cross-entropy' },
    optimizer: { kind: 'sgd', momentum: 0.9, decay: 0 },
  });
  // kilobytes
  const before = 1024 * process.resourceUsage().maxRSS;
  const training = await startTraining(step, ortRuntime(), 2);
  for (let k = 0; k < rounds; k++) {
    const { images, labels } = load.batches[k % load.batches.length]!;
    const inputs = new Map([[load.input, images]]);
    await training.run({ inputs, targets: oneHot(labels, step.targetDims.at(-1)!), rate: 0.01, step: k });
  }
  const peak = 1024 * process.resourceUsage().maxRSS;
  await training.end();
  return { before, peak };
}
