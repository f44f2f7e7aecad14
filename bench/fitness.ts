// Which fitness finds more: the same search by every `--fitness`, in equal time, over seeds. Hypervolume of what was measured in that
// time, and what AIO-P's is above it on the same seed, mean difference with a 95 % interval: in shares of the original's MACs and score
// from nothing on (whole); and above the score that the search itself looks from, as far again below the best that any of them
// measured as that is below the original, 2 % at least (near). Near, the front that a search found is measured anew on other samples: the
// best of many noisy scores are too good.
// Time is processor time, which other work on the machine does not change: what the search thinks, and what every candidate that it
// measures cost, so that a candidate that several searches come upon is measured once and paid for by each. What is computed once
// for all of them is paid for by whoever comes first: another one with every seed. Measurements are kept in the system's temporary
// folder, and a second call of the same code goes on with them.
// usage: npm run bench -- fitness [example | resnet56 | ...] [seconds of a search (60)] [seeds (5)] [method,method ... | all] [samples of a score (1000)]
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { openJsonLog } from '../search/checkpoint.js';
import { choosingBy } from '../search/choosing.js';
import { constraintsOf, violation } from '../search/constraints.js';
import { inlineEvaluator, measuredOn, resultOf } from '../search/evaluator.js';
import { explore, measuredFront, withMeasurement, worstOf, type Evaluation, type Measured } from '../search/explore.js';
import type { Candidate } from '../search/fitness.js';
import { hypervolume } from '../search/hypervolume.js';
import { reachable, targetsOf } from '../search/targets.js';
import { createVariation } from '../search/variation.js';
import { DEFAULT_EFFORT } from '../search/optimize.js';
import { probeBatch, type Workshop } from '../search/workshop.js';
import { evaluate, recordOutputs } from '../src/measure/evaluate.js';
import { mean, type Estimate } from '../src/measure/statistics.js';
import { fitnessMethod, fitnessMethods, openPredictor } from '../src/predictor/fitness-methods.js';
import { createRng } from '../src/rng.js';
import { threadRuntime } from '../src/runtime/threads.js';
import { codeFingerprint } from './support/fingerprint.js';
import { benchWorkshop, taskOf } from './support/workshop.js';

/** The one that the others are compared with. */
const JUDGED = 'aiop';

/** More than any time allows. */
const MANY = 1000;

const timed = z.object({
  key: z.string(),
  /** Absent: could not be measured. */
  score: z.number().optional(),
  /** Of a processor. */
  seconds: z.number(),
});
type Timed = z.infer<typeof timed>;

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
  const path = join(tmpdir(), `pare-fitness-${name}-${workshop.evaluation.n}-${codeFingerprint()}.jsonl`);
  const log = openJsonLog(path, (json) => timed.parse(json));
  try {
    const evaluator = inlineEvaluator({ ...workshop.context, reference: workshop.reference });
    const known = new Map(log.earlier.map((t) => [t.key, t]));
    const measure = async (candidate: Candidate): Promise<Timed> => {
      const earlier = known.get(candidate.key);
      if (earlier !== undefined) return earlier;
      const began = processorSeconds();
      const [r] = await evaluator.evaluate([{ genome: candidate.genome, effort: DEFAULT_EFFORT.search }]);
      const score = r === undefined || 'failed' in r ? {} : { score: r.score };
      const made: Timed = { key: candidate.key, ...score, seconds: processorSeconds() - began };
      known.set(candidate.key, made);
      log.append([made]);
      return made;
    };
    const found = new Map<string, Found[]>(names.map((method) => [method, []]));
    for (let s = 1; s <= Number(seeds); s++) {
      for (let i = 0; i < names.length; i++) {
        const method = names[(s - 1 + i) % names.length]!;
        const f = await search(workshop, method, String(s), Number(seconds), measure);
        found.get(method)!.push(f);
        console.log(
          `seed ${s}, ${method}: hypervolume ${volumeOf(f, workshop.original, 0).toFixed(4)}, ${f.measured} measured, ${f.thinking.toFixed(1)} s of thinking`,
        );
      }
    }
    const { original } = workshop;
    const all = [...found.values()].flat();
    const bestOf = (fronts: readonly Found[]): number =>
      Math.max(...fronts.flatMap((f) => f.within.map((m) => m.score)));
    const near = worstOf(original.score, bestOf(all));
    const held = await onOtherSamples(workshop);
    const again = new Map<Found, Found>();
    for (const f of all) {
      const front = measuredFront({}, f.within).filter((m) => m.score > near);
      const within: Measured[] = [];
      for (const m of front) within.push(withMeasurement(m, await held.scoreOf(m)));
      again.set(f, { ...f, within });
    }
    const heldOriginal = withMeasurement(original, held.original);
    const heldNear = worstOf(held.original, bestOf([...again.values()]));
    console.log(
      `\n${name}, 50 % MACs, ${seconds} s of processor time a search, ${seeds} seeds; score: closed-form refit, ${workshop.evaluation.n} samples; original ${original.score.toFixed(4)}; near: on ${held.samples} other samples, above ${heldNear.toFixed(4)}, original ${held.original.toFixed(4)}; kept in ${path}`,
    );
    console.log(
      `| fitness | measured | hypervolume, whole | ${JUDGED} above it [95 %] | near | ${JUDGED} above it [95 %] |\n|---|---|---|---|---|---|`,
    );
    const reference = found.get(JUDGED)!;
    for (const [method, runs] of found) {
      const average = (of: (f: Found, i: number) => number): Estimate => mean(Float64Array.from(runs, of));
      const volumes = [
        (f: Found): number => volumeOf(f, original, 0),
        (f: Found): number => volumeOf(again.get(f)!, heldOriginal, heldNear),
      ];
      const above = volumes.flatMap((volume) => {
        const own = average(volume);
        const by = average((f, i) => volume(reference[i]!) - volume(f));
        const interval = `${by.value.toFixed(4)} [${by.ci95.map((x) => x.toFixed(4)).join(', ')}]`;
        return [own.value.toFixed(4), method === JUDGED ? '-' : interval];
      });
      console.log(`| ${method} | ${average((f) => f.measured).value.toFixed(1)} | ${above.join(' | ')} |`);
    }
  } finally {
    log.close();
    await workshop.close();
    await runtime.close();
  }
}

/** So many at most, none of which scored during the search. */
const OTHERS = 2000;

interface OtherSamples {
  readonly samples: number;
  /** The uncut network's score. */
  readonly original: number;
  scoreOf(candidate: Candidate): Promise<number>;
}

async function onOtherSamples({ context, session, dataset, heldIndices }: Workshop): Promise<OtherSamples> {
  const indices = heldIndices.slice(0, OTHERS);
  const { concurrency } = context.runtime;
  const reference = await recordOutputs(session, dataset, { indices, concurrency });
  const whole = await evaluate(session, dataset, { indices, reference, concurrency });
  const known = new Map<string, number>();
  return {
    samples: indices.length,
    original: resultOf('', whole).score,
    async scoreOf({ key, genome }) {
      const job = { genome, effort: DEFAULT_EFFORT.search };
      const score =
        known.get(key) ?? resultOf(key, (await measuredOn(context, job, [{ dataset, reference }]))[0]!).score;
      known.set(key, score);
      return score;
    },
  };
}

interface Found {
  /** Those that hold the budget. */
  readonly within: readonly Measured[];
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
      const results: (Evaluation | undefined)[] = [];
      for (const candidate of candidates) {
        const { key, score, seconds: taken } = await measureOne(candidate);
        charged += taken;
        results.push(score === undefined ? undefined : { key, score });
      }
      inMeasuring += processorSeconds() - before;
      return results;
    },
    ...choosingBy(method, predictor, fitness),
    constraints,
    rng: rng.fork('search'),
    evaluations: MANY,
    stop: () => charged + thinking() >= seconds,
  });
  let last: Found = { within: [], measured: 0, thinking: 0 };
  for await (const report of steps) {
    // what came after the end does not count
    if (charged + thinking() > seconds) continue;
    const within = report.measured.filter((m) => violation(constraints, m) === 0);
    last = { within, measured: report.measured.length, thinking: thinking() };
  }
  return last;
}

/** In shares of the original's MACs and score, above a score. */
function volumeOf({ within }: Found, { macs, score }: Measured, least: number): number {
  return hypervolume(
    within.map((m) => [-m.score / Math.abs(score), m.macs / macs]),
    [-least / Math.abs(score), 1],
  );
}

/** Of all threads of this process. */
function processorSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
