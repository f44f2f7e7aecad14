// The largest cut that loses little: `pare optimize --min-accuracy -POINTS --time MINUTESm` by the agreement with the original on calibration
// images, whose labels are not read. What the exported files lose is measured on the test images, which no part of the run sees.
// usage: npm run bench -- largest-cut [resnet56 | mobilenetv2 | ...] [points (0.5)] [minutes (30)] [option of pare optimize ...]
import { readFileSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { cifarTask, type Task } from './support/cifar.js';
import { optimize, percent, showMeasure, type FrontMember } from './support/front.js';

export async function run(args: string[]): Promise<void> {
  const [name, points = '0.5', minutes = '30', ...options] = args;
  for (const network of name === undefined ? ['resnet56', 'mobilenetv2'] : [name]) {
    const asked = ['--min-accuracy', `-${points}`, '--time', `${minutes}m`, '--seed', '1', ...options];
    const { front, seconds, out } = optimize(withoutLabels(cifarTask(network)), asked);
    console.log(
      `${network}, ${asked.join(' ')}: ${seconds.toFixed(0)} s, ${out}; original on test ${showMeasure(front.original.test)}`,
    );
    const share = (m: FrontMember): number => m.macs / front.original.macs;
    const members = front.candidates.toSorted((a, b) => share(a) - share(b));
    const kept = members.find((m) => loss(m) <= Number(points) / 100);
    const own = members.find((m) => m.measured.value >= 1 - Number(points) / 100);
    console.log('| FLOPs cut | agreement with the original, held out | test [95 %] | |\n|---|---|---|---|');
    for (const m of members) {
      const words = [
        m === own ? "the run's own answer" : '',
        m === kept ? 'the largest that the test images confirm' : '',
      ];
      console.log(
        `| ${percent(1 - share(m))} % | ${percent(m.measured.value)} % (n ${m.measured.n}) | ${showMeasure(m.test)} | ${words.filter((w) => w !== '').join('; ')} |`,
      );
    }
  }
  await Promise.resolve();
}

/** Lost on the test images, a fraction. */
function loss(m: FrontMember): number {
  return -(m.test?.difference?.value ?? Number.NaN);
}

/** The same images; how well a candidate does is how often it agrees with the original. */
function withoutLabels(task: Task): Task {
  const data = task.data.replace(/\.json$/, '-unlabelled.json');
  const manifest = z.record(z.string(), z.unknown()).parse(JSON.parse(readFileSync(task.data, 'utf8')));
  writeFileSync(data, JSON.stringify({ ...manifest, metric: 'agreement' }));
  return { ...task, data };
}
