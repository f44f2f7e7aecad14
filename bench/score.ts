// Candidates a second on one core: generated, checked (our shapes, graph check), counted and scored. Default: ResNet-56.
import { performance } from 'node:perf_hooks';
import { createEnsemble } from '../src/predictor/ensemble.js';
import { createRng } from '../src/rng.js';
import { pruneChannels } from '../search/mutations/prune-channels.js';
import { createVariation } from '../search/variation.js';
import { sharedPath } from '../test/shared-path.js';
import { openSearch } from '../test/search/open-search.js';

export async function run(args: string[]): Promise<void> {
  const path = args[0] ?? sharedPath('models', 'cifar10-resnet56.onnx');
  const count = Number(args[1] ?? 600);
  const rng = createRng('bench/score');
  const { replayer, fitness } = openSearch(path, { mutations: (surgery) => [pruneChannels(surgery)] });
  const variation = createVariation(fitness, replayer, { kind: 'macs', low: 0.3, high: 0.5 });
  const seeds = variation.seeds(16, rng);
  const predictor = createEnsemble(rng);
  await predictor.fit(seeds.map((g, i) => ({ ...fitness.assess(g), score: 0.9 - 0.01 * i })));

  const spent = { generate: 0, 'check and count': 0, predict: 0 };
  const timed = async <T>(what: keyof typeof spent, act: () => T | Promise<T>): Promise<T> => {
    const start = performance.now();
    const result = await act();
    spent[what] += performance.now() - start;
    return result;
  };
  const cpu = process.cpuUsage();
  const start = performance.now();
  for (let i = 0; i < count; i++) {
    const stream = rng.fork(`child/${i}`);
    const genome = await timed('generate', () => variation.vary(stream.pick(seeds), stream.pick(seeds), stream));
    if (genome === undefined) continue;
    const candidate = await timed('check and count', () => fitness.assess(genome));
    await timed('predict', () => predictor.predict([candidate]));
  }
  const seconds = (performance.now() - start) / 1000;
  const used = process.cpuUsage(cpu);
  const busy = (used.user + used.system) / 1e6;
  console.log(
    `${Math.round(count / seconds)} candidates a second (${count} in ${seconds.toFixed(2)} s, one core; ${busy.toFixed(2)} s of processor time)`,
  );
  for (const [what, ms] of Object.entries(spent)) console.log(`  ${what.padEnd(16)} ${(ms / count).toFixed(2)} ms`);
}
