// Which fitness finds more: the same search by every `--fitness`, in equal time, over seeds. Hypervolume of what was measured in that
// time (in shares of the original's MACs and score), and what AIO-P's is above it on the same seed, mean difference with a 95 % interval.
// Time is processor time, which other work on the machine does not change: what the search thinks, and what every candidate that it
// measures cost, so that a candidate that several searches come upon is measured once and paid for by each.
// usage: npm run bench -- fitness [example | resnet56 | ...] [seconds of a search (60)] [seeds (5)] [method,method ... | all] [samples of a score (1000)]
import { constraintsOf } from '../search/constraints.js';
import { inlineEvaluator, type Result } from '../search/evaluator.js';
import { explore } from '../search/explore.js';
import type { Candidate } from '../search/fitness.js';
import { reachable, targetsOf } from '../search/targets.js';
import { createVariation } from '../search/variation.js';
import { DEFAULT_EFFORT } from '../search/optimize.js';
import { probeBatch, type Workshop } from '../search/workshop.js';
import { mean, type Estimate } from '../src/measure/statistics.js';
import { fitnessMethod, fitnessMethods, openPredictor } from '../src/predictor/fitness-methods.js';
import { createRankAggregation } from '../src/predictor/rank-aggregation.js';
import { createRng } from '../src/rng.js';
import { threadRuntime } from '../src/runtime/threads.js';
import { benchWorkshop, taskOf } from './support/workshop.js';

/** The one that the others are compared with. */
const JUDGED = 'aiop';

/** More than any time allows. */
const MANY = 1000;

interface Timed {
  readonly result: Result | undefined;
  /** Seconds of a processor. */
  readonly seconds: number;
}

type Measure = (candidate: Candidate) => Promise<Timed>;

export async function run(args: string[]): Promise<void> {
  const [name = 'example', seconds = '60', seeds = '5', list = 'all', samples] = args;
  const asked = list === 'all' ? fitnessMethods.map((m) => m.name) : list.split(',');
  const names = [JUDGED, ...asked.filter((m) => m !== JUDGED)];
  const runtime = threadRuntime(2);
  const workshop = await benchWorkshop(
    taskOf(name),
    runtime,
    '1',
    samples === undefined ? {} : { scoreImages: Number(samples) },
  );
  try {
    const evaluator = inlineEvaluator({ ...workshop.context, reference: workshop.reference });
    const known = new Map<string, Timed>();
    const measure = async (candidate: Candidate): Promise<Timed> => {
      const earlier = known.get(candidate.key);
      if (earlier !== undefined) return earlier;
      const began = processorSeconds();
      const [r] = await evaluator.evaluate([{ genome: candidate.genome, effort: DEFAULT_EFFORT.search }]);
      const result = r === undefined || 'failed' in r ? undefined : r;
      const timed = { result, seconds: processorSeconds() - began };
      known.set(candidate.key, timed);
      return timed;
    };
    const found = new Map<string, Found[]>();
    for (let s = 1; s <= Number(seeds); s++) {
      for (const method of names) {
        const f = await search(workshop, method, String(s), Number(seconds), measure);
        found.set(method, [...(found.get(method) ?? []), f]);
        console.log(
          `seed ${s}, ${method}: hypervolume ${f.volume.toFixed(4)}, ${f.measured} measured, ${f.thinking.toFixed(1)} s of thinking`,
        );
      }
    }
    console.log(
      `\n${name}, 50 % MACs, ${seconds} s of processor time a search, ${seeds} seeds; score: closed-form refit, ${workshop.evaluation.n} samples`,
    );
    console.log(`| fitness | hypervolume | measured | ${JUDGED} above it [95 %] |\n|---|---|---|---|`);
    const reference = found.get(JUDGED)!;
    for (const [method, runs] of found) {
      const average = (of: (f: Found, i: number) => number): Estimate => mean(Float64Array.from(runs, of));
      const difference = average((f, i) => reference[i]!.volume - f.volume);
      const interval = `${difference.value.toFixed(4)} [${difference.ci95.map((x) => x.toFixed(4)).join(', ')}]`;
      const own = average((f) => f.volume).value.toFixed(4);
      console.log(
        `| ${method} | ${own} | ${average((f) => f.measured).value.toFixed(1)} | ${method === JUDGED ? '-' : interval} |`,
      );
    }
  } finally {
    await workshop.close();
    await runtime.close();
  }
}

interface Found {
  readonly volume: number;
  readonly measured: number;
  /** Seconds. */
  readonly thinking: number;
}

async function search(
  workshop: Workshop,
  name: string,
  seed: string,
  seconds: number,
  measureOne: Measure,
): Promise<Found> {
  const { fitness, replayer, original, assess } = workshop;
  const rng = createRng(seed);
  const constraints = constraintsOf({ flops: '50%' }, original);
  const variation = createVariation(fitness, replayer, reachable(fitness, replayer, targetsOf(constraints, original)));
  const began = processorSeconds();
  let inMeasuring = 0;
  let charged = 0;
  const thinking = (): number => processorSeconds() - began - inMeasuring;
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
    measure: async (candidates) => {
      const before = processorSeconds();
      const results: (Result | undefined)[] = [];
      for (const candidate of candidates) {
        const timed = await measureOne(candidate);
        charged += timed.seconds;
        results.push(timed.result);
      }
      inMeasuring += processorSeconds() - before;
      return results;
    },
    ...(predictor === undefined ? {} : { predictor, fallback: createRankAggregation() }),
    ...('choose' in method ? { blindly: method.choose } : {}),
    constraints,
    rng: rng.fork('search'),
    evaluations: MANY,
    stop: () => charged + thinking() >= seconds,
  });
  let last: Found = { volume: 0, measured: 0, thinking: 0 };
  for await (const report of steps) {
    // what came after the end does not count
    if (charged + thinking() > seconds) continue;
    last = { volume: report.hypervolume, measured: report.measured.length, thinking: thinking() };
  }
  return last;
}

/** Of all threads of this process. */
function processorSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
