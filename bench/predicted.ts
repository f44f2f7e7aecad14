// Predicted against measured on fresh candidates over 30 to 100 % of the MACs: `pare optimize` on a shared network, then `pare compare`
// on its test images. Both after a least-squares refit, compare names its effort. Wanted on ResNet-56 with 50 candidates: Spearman at
// least 0.8, mean absolute error at most 3 points.
// usage: npm run bench -- predicted [resnet56 | example | ... | folder of a finished run of ResNet-56] [fresh (50)] [test images (all)]
import { existsSync } from 'node:fs';
import { networks } from './support/cifar.js';
import { optimize, printFront } from './support/front.js';
import { pare } from './support/pare.js';
import { taskOf } from './support/workshop.js';

export async function run(args: string[]): Promise<void> {
  const [what = 'resnet56', fresh = '50', samples] = args;
  const finished = existsSync(what);
  if (!finished && what !== 'example' && networks[what] === undefined) {
    throw new Error(`"${what}" is neither a folder nor one of example, ${Object.keys(networks).join(', ')}`);
  }
  const task = taskOf(finished ? 'resnet56' : what);
  let folder = what;
  if (!finished) {
    const result = optimize(task, ['--flops', '50%', '--seed', '1', '--members', '3']);
    printFront(what, result);
    folder = result.out;
  }
  const limit = samples === undefined ? [] : ['--samples', samples];
  // The network is named: run.json of an older folder may point to manifests of another scratch folder.
  const options = ['--data', task.test, '--calibration', task.data, '--model', task.model, ...limit];
  console.log(pare(['compare', folder, ...options, '--fresh', fresh, '--range', '30%-100%']));
}
