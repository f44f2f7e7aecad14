// Which fitness finds more: the same search by every `--fitness`, at equal evaluations, over seeds. Hypervolume of what was measured (in
// shares of the original's MACs and score) against the default's on the same seed, mean difference with a 95 % interval.
// usage: npm run bench -- fitness [example | resnet56 | ...] [evaluations (24)] [seeds (5)] [method,method ...]
import { constraintsOf } from '../search/constraints.js';
import { inlineEvaluator, type Result } from '../search/evaluator.js';
import { explore } from '../search/explore.js';
import type { Candidate } from '../search/fitness.js';
import { reachable, targetsOf } from '../search/targets.js';
import { createVariation } from '../search/variation.js';
import { DEFAULT_EFFORT } from '../search/optimize.js';
import { probeBatch, type Workshop } from '../search/workshop.js';
import { mean } from '../src/measure/statistics.js';
import { DEFAULT_FITNESS, fitnessMethod, fitnessMethods, openPredictor } from '../src/predictor/fitness-methods.js';
import { createRankAggregation } from '../src/predictor/rank-aggregation.js';
import { createRng } from '../src/rng.js';
import { threadRuntime } from '../src/runtime/threads.js';
import { benchWorkshop, taskOf } from './support/workshop.js';

export async function run(args: string[]): Promise<void> {
  const [name = 'example', evaluations = '24', seeds = '5', list] = args;
  const asked = list?.split(',') ?? fitnessMethods.map((m) => m.name);
  const names = [DEFAULT_FITNESS, ...asked.filter((m) => m !== DEFAULT_FITNESS)];
  const runtime = threadRuntime(2);
  const workshop = await benchWorkshop(taskOf(name), runtime, '1');
  try {
    // Candidates that several searches come upon are measured once.
    const evaluator = inlineEvaluator({ ...workshop.context, reference: workshop.reference, concurrency: 2 });
    const known = new Map<string, Result>();
    const measure = async (candidates: readonly Candidate[]): Promise<(Result | undefined)[]> => {
      const open = candidates.filter((c) => !known.has(c.key));
      const jobs = open.map((c) => ({ genome: c.genome, effort: DEFAULT_EFFORT.search }));
      for (const r of await evaluator.evaluate(jobs)) if (!('failed' in r)) known.set(r.key, r);
      return candidates.map((c) => known.get(c.key));
    };
    const volumes = new Map<string, number[]>();
    for (let s = 1; s <= Number(seeds); s++) {
      for (const method of names) {
        const found = await search(workshop, method, String(s), Number(evaluations), measure);
        volumes.set(method, [...(volumes.get(method) ?? []), found]);
        console.log(`seed ${s}, ${method}: hypervolume ${found.toFixed(4)}`);
      }
    }
    console.log(
      `\n${name}, 50 % MACs, ${evaluations} evaluations, ${seeds} seeds; score: closed-form refit, ${workshop.evaluation.n} samples`,
    );
    console.log('| fitness | hypervolume | difference to the default [95 %] |\n|---|---|---|');
    const reference = volumes.get(DEFAULT_FITNESS)!;
    for (const [method, values] of volumes) {
      const own = mean(Float64Array.from(values));
      const difference = mean(Float64Array.from(values, (v, i) => v - reference[i]!));
      const interval = `${difference.value.toFixed(4)} [${difference.ci95.map((x) => x.toFixed(4)).join(', ')}]`;
      console.log(`| ${method} | ${own.value.toFixed(4)} | ${method === DEFAULT_FITNESS ? '-' : interval} |`);
    }
  } finally {
    await workshop.close();
    await runtime.close();
  }
}

async function search(
  workshop: Workshop,
  name: string,
  seed: string,
  evaluations: number,
  measure: (candidates: readonly Candidate[]) => Promise<(Result | undefined)[]>,
): Promise<number> {
  const { fitness, replayer, original, assess } = workshop;
  const rng = createRng(seed);
  const constraints = constraintsOf({ flops: '50%' }, original);
  const variation = createVariation(fitness, replayer, reachable(fitness, replayer, targetsOf(constraints, original)));
  const method = fitnessMethod(name);
  const predictor = await openPredictor(method, {
    rng: rng.fork('predictor'),
    base: () => replayer.base.model,
    batch: () => probeBatch(workshop),
  });
  const steps = explore({
    base: original,
    seeds: variation.seeds(20, rng.fork('seeds')),
    assess,
    vary: (a, b, stream) => variation.vary(a, b, stream),
    measure,
    ...(predictor === undefined ? {} : { predictor, fallback: createRankAggregation() }),
    ...('choose' in method ? { blindly: method.choose } : {}),
    constraints,
    rng: rng.fork('search'),
    evaluations,
  });
  let volume = 0;
  for await (const report of steps) volume = report.hypervolume;
  return volume;
}
