// Real speed in onnxruntime, 1 thread, batch 1 and 32, alternating with the original: (a) the most accurate ResNet-56 candidate at 50 %
// of the MACs; (b) the fastest front member at 50 % or less found with --latency. usage: npm run bench -- latency [RUN-OF-a [RUN-OF-b]]

import { join } from 'node:path';
import { compareLatency } from '../src/measure/latency.js';
import { mostAccurate, readRun, type FrontReport } from '../src/report/run.js';
import { cifarTask } from './support/cifar.js';
import { optimize, percent } from './support/front.js';

type Member = FrontReport['candidates'][number];

export async function run(args: string[]): Promise<void> {
  const task = cifarTask('resnet56');
  const common = ['--flops', '50%', '--seed', '1'];
  const accurate = args[0] ?? optimize(task, [...common, '--members', '3']).out;
  const best = mostAccurate(readRun(accurate).front);
  if (best !== undefined) await show('(a) most accurate', task.model, accurate, best);
  const fast = args[1] ?? optimize(task, [...common, '--latency', '58%', '--members', '4']).out;
  const speeds: { readonly member: Member; readonly speed: number }[] = [];
  for (const member of readRun(fast).front.candidates) {
    speeds.push({ member, speed: await show('(b) with --latency', task.model, fast, member) });
  }
  const fastest = speeds.toSorted((a, b) => b.speed - a.speed)[0];
  if (fastest !== undefined) console.log(`fastest: ${fastest.member.file}, ${fastest.speed.toFixed(2)} x at batch 1`);
}

/** Prints both batch sizes; returns the speed-up at batch 1. */
async function show(label: string, original: string, folder: string, member: Member): Promise<number> {
  const path = join(folder, member.file);
  const text: string[] = [];
  let first = 0;
  for (const batch of [1, 32]) {
    const { speedup } = await compareLatency(original, path, { batch, rounds: 60, maxMs: 30_000 });
    if (batch === 1) first = speedup.value;
    text.push(
      `batch ${batch}: ${speedup.value.toFixed(2)} x [${speedup.ci95[0].toFixed(2)}, ${speedup.ci95[1].toFixed(2)}]`,
    );
  }
  const { original: base } = readRun(folder).front;
  const test =
    member.test === undefined
      ? ''
      : `, test ${percent(member.test.value)} % (original ${percent(base.test?.value ?? Number.NaN)})`;
  console.log(`${label}: ${member.file}, ${percent(member.macs / base.macs)} % MACs, ${text.join(', ')}${test}`);
  return first;
}
