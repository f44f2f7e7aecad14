// ResNet-56 on CIFAR-10 without gradient training: `pare optimize` to 50, 75 and 33 % of the MACs; onnxsim beside it.
// usage: npm run bench -- resnet56 [percent ...]

import { cifarTask } from './support/cifar.js';
import { onnxsimFloor, optimize, percent, printFront } from './support/front.js';

export async function run(args: string[]): Promise<void> {
  const budgets = args.length > 0 ? args : ['50', '75', '33'];
  const task = cifarTask('resnet56');
  for (const budget of budgets) {
    const result = optimize(task, ['--flops', `${budget}%`, '--seed', '1', '--members', '3']);
    printFront(`resnet56 at ${budget} % MACs`, result);
  }
  const peer = onnxsimFloor(task, [0.25, 0.5]);
  for (const row of peer) console.log(`${row.tool}: ${percent(1 / row.ratio)} % MACs, top-1 ${row.top1.toFixed(2)} %`);
  await Promise.resolve();
}
