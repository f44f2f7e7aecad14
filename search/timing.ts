// Time in a run that limits it: the original and a few probes are timed before the search, everything measured is timed too, and the
// law of what time is made of is learnt again from all of it. Timings are kept in run.json: a resumed run decides by the same ones.
import { quietLatency } from '../src/measure/latency.js';
import type { Volatile } from './archive.js';
import { CANDIDATE_TIMING } from './evaluator.js';
import type { Measured } from './explore.js';
import type { Candidate, Fitness } from './fitness.js';
import { genomeKey, type Genome } from './genome.js';
import { latencyProbes, learnLatency, type LatencyLaw, type Timed } from './latency-law.js';
import type { Replayer } from './replay.js';
import { createVariation } from './variation.js';

export interface TimingOptions {
  readonly fitness: Fitness;
  readonly replayer: Replayer;
  readonly volatile: Volatile;
  readonly signal?: AbortSignal;
}

export interface Timing {
  /** As learnt last. */
  law(): LatencyLaw;
  /** Learns from what was measured as well; milliseconds of candidates. */
  learn(measured: readonly Measured[]): (c: Candidate) => number;
  /** What two thin layers in the place of one save: shares of the MACs and of the time; absent where nothing can be factorised. */
  readonly factors?: { readonly macs: number; readonly time: number };
}

/** Of the MACs that factors save, the share that must be saved in time: less, and channels or whole layers are the better choice. */
export const WORTHWHILE = 0.6;

export async function openTiming({ fitness, replayer, volatile, signal }: TimingOptions): Promise<Timing> {
  const timed: Timed[] = [];
  const time = async (genome: Genome): Promise<number> => {
    signal?.throwIfAborted();
    const key = genomeKey(genome);
    let latencyMs = volatile.latencies.get(key);
    if (latencyMs === undefined) {
      latencyMs = await quietLatency(replayer.replay(genome), CANDIDATE_TIMING);
      volatile.latencies.set(key, latencyMs);
      volatile.save();
    }
    timed.push({ genome, latencyMs });
    return latencyMs;
  };
  const whole = await time([]);
  const factors = createVariation(fitness, replayer, { kind: 'macs', low: 0.6, high: 0.6 }).mixed(0.6, { alone: true });
  for (const genome of latencyProbes(fitness)) await time(genome);
  const saving =
    factors === undefined
      ? undefined
      : {
          macs: 1 - fitness.assess(factors).macs / fitness.base.analysis.cost.macs,
          time: 1 - (await time(factors)) / whole,
        };
  let law = learnLatency(fitness, timed);
  return {
    law: () => law,
    learn(measured) {
      const more = measured.flatMap(({ genome, latencyMs }): Timed[] =>
        latencyMs === undefined ? [] : [{ genome, latencyMs }],
      );
      law = learnLatency(fitness, [...timed, ...more]);
      return (c) => law.of(c.genome);
    },
    ...(saving === undefined ? {} : { factors: saving }),
  };
}

/** In words. */
export function factorsText({ macs, time }: NonNullable<Timing['factors']>): string {
  const percent = (x: number): string => `${(100 * x).toFixed(0)} %`;
  const verdict = time >= WORTHWHILE * macs ? 'they are used' : 'they are left alone';
  return `two thin layers for one: MACs -${percent(macs)}, latency -${percent(time)}; ${verdict}`;
}
