// Candidates a second through the predictor, one thread: `npm run bench -- predictor-speed [MODEL.onnx]`. The graph is compressed once a
// candidate, features are computed, the network runs in batches of 64 with two adapters and with all.
import { readModel } from '../src/onnx/read.js';
import { shippedPredictor } from '../src/predictor/aiop.js';
import { compress } from '../src/predictor/compress.js';
import { detailed } from '../src/predictor/corpus.js';
import { graphFeatures } from '../src/predictor/graph-features.js';
import { networkModel, selectAdapters } from '../src/predictor/network.js';
import { runNetwork, runTrunk } from '../src/predictor/run-network.js';
import { trunkModel } from '../src/predictor/trunk.js';
import { ortRuntime } from '../src/runtime/ort.js';

export async function run(args: string[]): Promise<void> {
  const [path = '../shared/models/cifar10-resnet56.onnx'] = args;
  const model = readModel(path);
  const started = performance.now();
  const { card, weights } = shippedPredictor();
  console.log(`file read in ${(performance.now() - started).toFixed(0)} ms, ${card.labels.length} adapters`);
  const graph = detailed(compress(model, { extras: true }));
  console.log(`${graph.size} nodes`);
  const rate = async (name: string, count: number, work: () => Promise<unknown> | void): Promise<void> => {
    await work();
    const times: number[] = [];
    for (let i = 0; i < 9; i++) {
      const start = performance.now();
      await work();
      times.push(performance.now() - start);
    }
    times.sort((a, b) => a - b);
    const say = (ms: number): string => Math.round((1000 * count) / ms).toString();
    console.log(`${name}: ${say(times[0]!)} a second at best, ${say(times[4]!)} in the median`);
  };
  await rate('compress', 1, () => void compress(model, { extras: true }));
  await rate('features', 1, () => void graphFeatures(graph));
  const graphs = Array.from({ length: 64 }, () => graph);
  const runtime = ortRuntime();
  const all = card.labels.map((_, k) => k);
  for (const which of [[], all.slice(0, 2), all]) {
    const session = await runtime.load(networkModel(card.size, selectAdapters(weights, which)));
    const outputs = which.length === 0 ? ['base'] : ['base', 'adapters'];
    await rate(`base and ${which.length} adapters`, 64, () => runNetwork(session, graphs, outputs));
    await session.release();
  }
  const trunk = await runtime.load(trunkModel(weights));
  const features = graphs.map((g) => graphFeatures(g));
  await rate('trunk, features given', 64, () => runTrunk(trunk, features, card.labels.length));
  await trunk.release();
}
