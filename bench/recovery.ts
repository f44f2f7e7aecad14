// Recovery without training on a public network: accuracy after each step. Arguments: model (resnet20), images (1000), and the
// share of each stage's inner channels that stays (0.5, or 0.25/0.5/0.75 for three stages).
//   npm run bench -- recovery resnet56 1000 0.25/0.5/0.75

import { performance } from 'node:perf_hooks';
import { analyse } from '../src/analysis/analyse.js';
import { pruneModel } from '../src/analysis/cut.js';
import type { Analysis } from '../src/analysis/analyse.js';
import type { Model } from '../src/ir/graph.js';
import { readModel } from '../src/onnx/read.js';
import { standardOps } from '../src/ops/index.js';
import { openCifar } from '../src/data/cifar.js';
import { knowledgeOf, learn } from '../src/recovery/knowledge.js';
import { reconstruct } from '../src/recovery/least-squares.js';
import type { Feeds } from '../src/recovery/walk.js';
import { createRng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { floatData, floatsOf, withSession } from '../src/runtime/runtime.js';
import { sharedPath } from '../test/shared-path.js';

export async function run(args: string[]): Promise<void> {
  const [name = 'resnet20', images = '1000', shares = '0.5', tests = '5000'] = args;
  const model = readModel(sharedPath('models', `cifar10-${name}.onnx`));
  const base = analyse(model, standardOps);
  const runtime = ortRuntime();
  const train = cifar('/tmp/data/cifar10-train-1.bin', Number(images));
  const test = cifar('/tmp/data/cifar10-test.bin', Number(tests));
  console.log(`${name}: ${(base.cost.macs / 1e6).toFixed(2)} MMACs, ${(await accuracy(model, test)).toFixed(2)} %`);
  const rng = createRng(1);
  let clock = performance.now();
  const lap = (): string => {
    const seconds = (performance.now() - clock) / 1000;
    clock = performance.now();
    return `${seconds.toFixed(1)} s`;
  };
  const data = await last(learn(base, train.feeds, { runtime, rng: rng.fork('learn') }));
  const knowledge = knowledgeOf(base, data);
  console.log(`learnt ${data.grams.size} Gram matrices and ${data.removals.size} orders in ${lap()}`);
  const dead = new Map<string, readonly number[]>();
  const sizes = [...new Set(base.groups.groups.map((g) => g.size))].sort((a, b) => a - b);
  const keep = shares.split('/').map(Number);
  for (const group of base.groups.groups) {
    const removal = knowledge.removal(group.id);
    // inner channels of blocks: one consumer
    if (removal === undefined || group.members.filter((m) => m.role === 'in').length !== 1) continue;
    const share = keep[Math.min(keep.length - 1, sizes.indexOf(group.size))]!;
    const cut = group.size - Math.max(1, Math.round(group.size * share));
    dead.set(group.id, removal.order.slice(0, cut).toSorted((a, b) => a - b));
  }
  const pruned = pruneModel(base, dead);
  console.log(`cut ${dead.size} groups: ${(base.cost.macs / macsOf(pruned)).toFixed(3)}x, ${(await accuracy(pruned, test)).toFixed(2)} %`);
  lap();
  const quick = knowledge.quickRefit(pruned, dead);
  console.log(`closed-form refit: ${lap()}, ${(await accuracy(quick, test)).toFixed(2)} %`);
  for (const clipIterations of [0, 2]) {
    lap();
    const fitted = await last(
      reconstruct(model, quick, train.feeds, { runtime, rng: rng.fork('refit'), groups: base.groups, dead, clipIterations }),
    );
    console.log(`reconstruction, ${clipIterations} clip iterations: ${lap()}, ${(await accuracy(fitted, test)).toFixed(2)} %`);
  }
}

function macsOf(model: Model): number {
  return analyse(model, standardOps).cost.macs;
}

interface Images {
  readonly feeds: readonly Feeds[];
  readonly labels: Int32Array;
}

function cifar(path: string, n: number): Images {
  const source = openCifar([path]);
  throw new Error(`${source.size} ${n}`);
}

async function accuracy(model: Model, { feeds, labels }: Images): Promise<number> {
  return withSession(ortRuntime(), model, { intraOpThreads: 2 }, async (session) => {
    let [right, at] = [0, 0];
    for (const f of feeds) {
      const out = floatsOf([...(await session.run(f)).values()][0]!);
      const n = [...f.values()][0]!.dims[0]!;
      const classes = out.length / n;
      for (let i = 0; i < n; i++) {
        const row = out.subarray(i * classes, (i + 1) * classes);
        let best = 0;
        for (let c = 1; c < classes; c++) if (row[c]! > row[best]!) best = c;
        if (best === labels[at++]) right++;
      }
    }
    return (100 * right) / at;
  });
}

async function last<T, R>(steps: AsyncGenerator<T, R>): Promise<R> {
  let step = await steps.next();
  while (step.done !== true) step = await steps.next();
  return step.value;
}

export type { Analysis };
void floatData;
