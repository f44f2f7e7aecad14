// How long a network takes in onnxruntime, in milliseconds a run: warm, repeated, threads and batch said. Two networks are
// compared in rounds, each timed right after the other, so that whatever else the machine does hits both.
import { createRng } from '../rng.js';
import { ortRuntime } from '../runtime/ort.js';
import type { ModelSource, RuntimeTensor, Session } from '../runtime/runtime.js';
import { randomFeeds, type FeedOptions } from './feeds.js';
import { median, quantile, type Estimate } from './statistics.js';

export interface LatencyOptions extends FeedOptions {
  /** Intra-op threads (1). */
  readonly threads?: number;
  /** Rounds that count (30). */
  readonly rounds?: number;
  /** Rounds stop early after this time (10 s), but not before five. */
  readonly maxMs?: number;
  readonly signal?: AbortSignal;
  /** What to run on; made up from the declared inputs otherwise. */
  readonly feeds?: ReadonlyMap<string, RuntimeTensor>;
}

export interface Latency {
  readonly median: number;
  readonly p90: number;
  readonly threads: number;
  readonly batch: number;
  /** Runs that were timed. */
  readonly runs: number;
}

export interface LatencyComparison {
  readonly reference: Latency;
  readonly candidate: Latency;
  /** Time of the reference over time of the candidate, median over the rounds: 1.5 means 1.5 times as fast. */
  readonly speedup: Estimate;
}

/** One network: median and 90th percentile. */
export async function measureLatency(model: ModelSource, options: LatencyOptions = {}): Promise<Latency> {
  const [times] = await timed([model], options);
  return summary(times!, options);
}

/**
 * Milliseconds of one network when nothing else disturbs: the 10th percentile. What others do on the machine only ever adds time, so
 * this is what networks that are timed at different moments are compared by.
 */
export async function quietLatency(model: ModelSource, options: LatencyOptions = {}): Promise<number> {
  const [times] = await timed([model], options);
  return quantile(
    times!.runs.toSorted((a, b) => a - b),
    0.1,
  );
}

/** Two networks with the same inputs, alternating. */
export async function compareLatency(
  reference: ModelSource,
  candidate: ModelSource,
  options: LatencyOptions = {},
): Promise<LatencyComparison> {
  const [a, b] = await timed([reference, candidate], options);
  return {
    reference: summary(a!, options),
    candidate: summary(b!, options),
    speedup: median(a!.rounds.map((t, i) => t / b!.rounds[i]!)),
  };
}

interface Times {
  /** Every run, ms. */
  readonly runs: readonly number[];
  /** The median run of every round, ms. */
  readonly rounds: readonly number[];
  readonly batch: number;
}

/** A round of one network lasts at least this long: short runs are repeated. */
const ROUND_MS = 8;

async function timed(models: readonly ModelSource[], options: LatencyOptions): Promise<Times[]> {
  const runtime = ortRuntime();
  const sessions: Session[] = [];
  try {
    for (const model of models) {
      sessions.push(await runtime.load(model, { intraOpThreads: options.threads ?? 1 }));
    }
    const subjects = [];
    for (const session of sessions) {
      const feeds = options.feeds ?? randomFeeds(session.inputs, createRng('latency'), options);
      subjects.push({
        session,
        feeds,
        repeat: await warmUp(session, feeds),
        runs: [] as number[],
        rounds: [] as number[],
      });
    }
    const end = performance.now() + (options.maxMs ?? 10_000);
    const rounds = options.rounds ?? 30;
    for (let round = 0; round < rounds && (round < 5 || performance.now() < end); round++) {
      options.signal?.throwIfAborted();
      // who comes first alternates: a cache or a clock rate that changes within a round favours nobody
      for (const s of round % 2 === 0 ? subjects : subjects.toReversed()) {
        const times: number[] = [];
        for (let i = 0; i < s.repeat; i++) times.push(await timeOf(s.session, s.feeds));
        s.runs.push(...times);
        s.rounds.push(
          quantile(
            times.toSorted((x, y) => x - y),
            0.5,
          ),
        );
      }
    }
    return subjects.map(({ runs, rounds: perRound, feeds }) => {
      const batch = [...feeds.values()][0]?.dims[0] ?? 1;
      return { runs, rounds: perRound, batch };
    });
  } finally {
    for (const session of sessions) await session.release();
  }
}

/** Until two runs in a row do not get faster, at least three; returns how many runs make a round. */
async function warmUp(session: Session, feeds: ReadonlyMap<string, RuntimeTensor>): Promise<number> {
  let best = Infinity;
  let stale = 0;
  for (let i = 0; i < 20 && (i < 3 || stale < 2); i++) {
    const t = await timeOf(session, feeds);
    stale = t < best * 0.98 ? 0 : stale + 1;
    best = Math.min(best, t);
  }
  return Math.max(1, Math.min(200, Math.ceil(ROUND_MS / best)));
}

async function timeOf(session: Session, feeds: ReadonlyMap<string, RuntimeTensor>): Promise<number> {
  const start = performance.now();
  await session.run(feeds);
  return performance.now() - start;
}

function summary({ runs, batch }: Times, options: LatencyOptions): Latency {
  const sorted = runs.toSorted((a, b) => a - b);
  return {
    median: quantile(sorted, 0.5),
    p90: quantile(sorted, 0.9),
    threads: options.threads ?? 1,
    batch,
    runs: runs.length,
  };
}
