// Every other classifier at 70 and 50 % of its MACs, beside onnxsim at equal or more MACs. usage: npm run bench -- networks [name ...]

import { cifarTask } from './support/cifar.js';
import { onnxsimFloor, optimize, peerAt, printFront } from './support/front.js';

const ALL = ['resnet20', 'resnet8', 'mobilenetv2', 'densenet', 'vit'];

export async function run(args: string[]): Promise<void> {
  for (const name of args.length > 0 ? args : ALL) {
    const task = cifarTask(name);
    const peer = onnxsimFloor(task, [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5]);
    for (const budget of [70, 50]) {
      const result = optimize(task, ['--flops', `${budget}%`, '--seed', '1', '--members', '3']);
      const best = printFront(`${name} at ${budget} % MACs`, result);
      if (best === undefined) continue;
      const rival = peerAt(peer, best.macs);
      const ours = 100 * (best.test?.value ?? Number.NaN);
      if (rival === undefined) console.log(`  onnxsim: nothing at ${best.macs} MACs or more`);
      else {
        const ratio = (rival.macs / best.macs).toFixed(2);
        console.log(
          `  ${rival.tool} with ${ratio} x our MACs: ${rival.top1.toFixed(2)} %; ours ${(ours - rival.top1).toFixed(2)} points above`,
        );
      }
    }
  }
  await Promise.resolve();
}
