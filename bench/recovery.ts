// Recovery without training on a public network: accuracy after each step. Arguments: model (resnet20), images (1000), and the
// share of each stage's inner channels that stays (0.5, or 0.25/0.5/0.75 for three stages).
//   npm run bench -- recovery resnet56 1000 0.25/0.5/0.75

import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { analyse } from '../src/analysis/analyse.js';
import { pruneModel } from '../src/analysis/cut.js';
import type { Model } from '../src/ir/graph.js';
import { readModel } from '../src/onnx/read.js';
import { standardOps } from '../src/ops/index.js';
import { chunksOf } from '../src/data/batches.js';
import { drain } from '../src/drain.js';
import { openDataset, type Dataset } from '../src/data/dataset.js';
import { evaluate } from '../src/measure/evaluate.js';
import { knowledgeOf, learn } from '../src/recovery/knowledge.js';
import { reconstruct } from '../src/recovery/least-squares.js';
import type { Feeds } from '../src/recovery/walk.js';
import { createRng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { withSession } from '../src/runtime/runtime.js';
import { cifarFile } from '../test/cifar.js';
import { sharedPath } from '../test/shared-path.js';

export async function run(args: string[]): Promise<void> {
  const [name = 'resnet20', images = '1000', shares = '0.5', tests = '5000'] = args;
  const model = readModel(sharedPath('models', `cifar10-${name}.onnx`));
  const base = analyse(model, standardOps);
  const runtime = ortRuntime();
  const train = await openCifar(model, name, 'cifar10-train-1.bin', Number(images));
  const test = await openCifar(model, name, 'cifar10-test.bin', Number(tests));
  const all = Array.from({ length: train.size }, (_, i) => i);
  const feeds: Feeds[] = chunksOf(train, all, 50).map((c) => train.batch(c.indices).inputs);
  console.log(`${name}: ${(base.cost.macs / 1e6).toFixed(2)} MMACs, ${(await accuracy(model, test)).toFixed(2)} %`);
  const rng = createRng(1);
  let clock = performance.now();
  const lap = (): string => {
    const seconds = (performance.now() - clock) / 1000;
    clock = performance.now();
    return `${seconds.toFixed(1)} s`;
  };
  const data = await drain(learn(base, feeds, { runtime, rng: rng.fork('learn') }));
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
    dead.set(
      group.id,
      removal.order.slice(0, cut).toSorted((a, b) => a - b),
    );
  }
  const pruned = pruneModel(base, dead);
  console.log(
    `cut ${dead.size} groups: ${(base.cost.macs / macsOf(pruned)).toFixed(3)}x, ${(await accuracy(pruned, test)).toFixed(2)} %`,
  );
  lap();
  const quick = knowledge.quickRefit(pruned, dead);
  console.log(`closed-form refit: ${lap()}, ${(await accuracy(quick, test)).toFixed(2)} %`);
  for (const clipIterations of [0, 2]) {
    lap();
    const fitted = await drain(
      reconstruct(model, quick, feeds, { runtime, rng: rng.fork('refit'), groups: base.groups, dead, clipIterations }),
    );
    console.log(
      `reconstruction, ${clipIterations} clip iterations: ${lap()}, ${(await accuracy(fitted, test)).toFixed(2)} %`,
    );
  }
}

function macsOf(model: Model): number {
  return analyse(model, standardOps).cost.macs;
}

/** How the public networks were trained to see images (models/INDEX.md). */
const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
const PREPARED: Readonly<Record<string, object>> = {
  resnet20: IMAGENET,
  resnet56: IMAGENET,
  'mobilenetv2-w0.5': { mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616] },
  'densenet-6-12-24': { mean: [0.4914, 0.4822, 0.4465], std: [0.2023, 0.1994, 0.201] },
};

async function openCifar(model: Model, name: string, file: string, limit: number): Promise<Dataset> {
  const path = join(mkdtempSync(join(tmpdir(), 'pare-bench-')), 'manifest.json');
  const files = [cifarFile(file)];
  writeFileSync(path, JSON.stringify({ format: 'cifar10-binary', files, limit, scale: 1 / 255, ...PREPARED[name] }));
  return withSession(ortRuntime(), model, {}, (session) => Promise.resolve(openDataset(path, session.inputs)));
}

async function accuracy(model: Model, data: Dataset): Promise<number> {
  const { value } = await withSession(ortRuntime(), model, { intraOpThreads: 2 }, (session) =>
    evaluate(session, data, { batch: 50 }),
  );
  return 100 * value;
}
