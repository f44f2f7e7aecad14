// Candidates a second from genome to prediction, on networks that differ: replay (no weight is touched), compression, features, the graph
// network in batches of 64 with the base alone, two adapters and all of them, the trunk. Wall clock and processor time, since the machine
// may be busy: `npm run bench -- predictor-speed [MODEL.onnx] [candidates] [whole: the way from genome to prediction alone]`.
import { createFitness } from '../search/fitness.js';
import { partsOf } from '../search/genome.js';
import { pruneChannels } from '../search/mutations/prune-channels.js';
import { createReplayer, surgeryWith } from '../search/replay.js';
import { createVariation } from '../search/variation.js';
import { readModel } from '../src/onnx/read.js';
import { standardOps } from '../src/ops/index.js';
import { shippedPredictor } from '../src/predictor/aiop.js';
import { compress } from '../src/predictor/compress.js';
import { detailed } from '../src/predictor/corpus.js';
import { graphFeatures } from '../src/predictor/graph-features.js';
import { selectAdapters } from '../src/predictor/network.js';
import { runNetwork, runTrunk } from '../src/predictor/run-network.js';
import { scoringModel } from '../src/predictor/scoring-network.js';
import { createSketcher } from '../src/predictor/sketch.js';
import { trunkModel } from '../src/predictor/trunk.js';
import { createRng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { threadRuntime } from '../src/runtime/threads.js';

export async function run(args: string[]): Promise<void> {
  const [path = '../shared/models/cifar10-resnet56.onnx', wanted = '256', only = ''] = args;
  const count = Number(wanted);
  const surgery = surgeryWith(standardOps);
  const base = surgery.analyse(readModel(path));
  const mutations = [pruneChannels(surgery)];
  const replayer = createReplayer(base, { surgery, mutations, ignore: () => false, roundTo: 1, maxRatio: 1 });
  const fitness = createFitness(replayer);
  const variation = createVariation(fitness, replayer, { kind: 'macs', low: 0.3, high: 1 });
  const genomes = Array.from({ length: count }, (_, i) => {
    const rng = createRng(`speed/${i}`);
    return variation.draw(0.4 + 0.6 * rng.next(), rng);
  });
  const started = performance.now();
  const { card, weights } = shippedPredictor();
  console.log(`file read in ${(performance.now() - started).toFixed(0)} ms, ${card.labels.length} adapters`);
  const models = genomes.map((g) => replayer.replay(g));
  const all = card.labels.map((_, k) => k);
  const sketch = createSketcher(base, { table: standardOps, extras: true });
  const deads = genomes.map((g) => partsOf(g).dead);
  const graphs = models.map((m) => detailed(compress(m, { extras: true })));
  console.log(
    `${count} candidates of ${graphs[0]!.size} nodes\n\n| step | ms a candidate | ms of processor time | a second | a second that two cores to itself would give |\n|---|---|---|---|---|`,
  );
  const rate = async (name: string, work: () => Promise<unknown> | void): Promise<void> => {
    await work();
    const walls: number[] = [];
    const cpus: number[] = [];
    for (let i = 0; i < 7; i++) {
      const start = performance.now();
      const cpu = process.cpuUsage();
      await work();
      const used = process.cpuUsage(cpu);
      walls.push((performance.now() - start) / count);
      cpus.push((used.user + used.system) / 1000 / count);
    }
    const wall = walls.toSorted((a, b) => a - b)[3]!;
    const cpu = cpus.toSorted((a, b) => a - b)[3]!;
    console.log(
      `| ${name} | ${wall.toFixed(3)} | ${cpu.toFixed(3)} | ${Math.round(1000 / wall)} | ${Math.round(2000 / cpu)} |`,
    );
  };
  if (only !== 'whole') await parts();
  await fromGenome();

  async function parts(): Promise<void> {
    await rate('replay', () => genomes.forEach((g) => replayer.replay(g)));
    await rate('compress', () => models.forEach((m) => compress(m, { extras: true })));
    await rate('sketch, in place of both', () => deads.forEach((d) => sketch(d)));
    await rate('features', () => graphs.forEach((g) => graphFeatures(g)));
    const runtime = ortRuntime();
    for (const which of [[], all.slice(0, 2), all]) {
      const session = await runtime.load(scoringModel(card.size, selectAdapters(weights, which)));
      const outputs = which.length === 0 ? ['base'] : ['base', 'adapters'];
      await rate(`base and ${which.length} adapters`, () => runNetwork(session, graphs, outputs));
      await session.release();
    }
    const trunk = await runtime.load(trunkModel(weights));
    const features = graphs.map((g) => graphFeatures(g));
    await rate('trunk, features given', () => runTrunk(trunk, features, card.labels.length));
    await trunk.release();
  }

  async function fromGenome(): Promise<void> {
    console.log(
      '\n| from genome to prediction, two threads, batches of 64 | ms a candidate | ms of processor time | a second | a second that two cores to itself would give |\n|---|---|---|---|---|',
    );
    const threads = threadRuntime(2);
    const last = await threads.load(trunkModel(weights));
    for (const which of [all.slice(0, 2), all]) {
      const session = await threads.load(scoringModel(card.size, selectAdapters(weights, which)));
      // two batches under way: one is drawn while the other runs
      const queue = async (): Promise<void> => {
        const open = Array.from({ length: Math.ceil(count / 64) }, (_, i) => 64 * i);
        const work = async (): Promise<void> => {
          for (let at = open.shift(); at !== undefined; at = open.shift()) {
            const drawn = genomes.slice(at, at + 64).map((g) => detailed(sketch(partsOf(g).dead)));
            await runTrunk(last, drawn.map(graphFeatures), card.labels.length);
            await runNetwork(session, drawn, ['base', 'adapters'], 1);
          }
        };
        await Promise.all([work(), work(), work()]);
      };
      await rate(`base, ${which.length} adapters, trunk`, queue);
      await session.release();
    }
    await last.release();
    await threads.close();
  }
}
