// What the criteria of `pare prune` keep of the shipped example network: 70 % of its FLOPs without recovery, 50 % with it; one cut
// against several steps, and steps with regrowth (CGP, methods.md §7). Accuracy on the example's test images.
//   npm run bench -- criteria [MODEL CALIBRATION TEST]

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openDataset } from '../src/data/dataset.js';
import { evaluate } from '../src/measure/evaluate.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { withSession } from '../src/runtime/runtime.js';
import { percent } from './support/front.js';
import { pare } from './support/pare.js';

const example = (name: string): string => fileURLToPath(new URL(`../../examples/shapes/${name}`, import.meta.url));

const ROWS: readonly (readonly [string, readonly string[]])[] = [
  ...['obs', 'taylor', 'fisher', 'obdc', 'snr', 'wanda', 'l2', 'l1', 'bn', 'random'].map(
    (name) => [name, ['--criterion', name]] as const,
  ),
  ...['taylor', 'fisher'].flatMap((name) => [
    [`${name}, 5 steps`, ['--criterion', name, '--steps', '5']] as const,
    [`${name}, 5 steps, regrowth 0.3`, ['--criterion', name, '--steps', '5', '--regrow', '0.3']] as const,
  ]),
];

export async function run(args: string[]): Promise<void> {
  const [model = example('shapes-resnet.onnx'), calibration = example('calib.json'), test = example('test.json')] =
    args;
  const folder = mkdtempSync(join(tmpdir(), 'pare-criteria-'));
  const columns = [
    { flops: '70%', recover: 'none' },
    { flops: '50%', recover: 'reconstruct' },
  ];
  const runtime = ortRuntime();
  console.log(['criterion'.padEnd(30), ...columns.map((c) => `${c.flops} ${c.recover}`.padStart(18))].join(''));
  for (const [name, options] of ROWS) {
    const cells: string[] = [];
    for (const { flops, recover } of columns) {
      const file = join(folder, 'cut.onnx');
      const own = [...options, '--recover', recover, '--images', '300', '-o', file];
      pare(['prune', model, '--data', calibration, '--flops', flops, ...own]);
      const found = await withSession(runtime, file, {}, (session) =>
        evaluate(session, openDataset(test, session.inputs)),
      );
      cells.push(`${percent(found.value)} %`);
    }
    console.log([name.padEnd(30), ...cells.map((c) => c.padStart(18))].join(''));
  }
  await runtime.close();
  rmSync(folder, { recursive: true });
}
