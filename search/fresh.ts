// Candidates that a finished search never measured, spread over a range of MACs: half of them recombine what the search had found,
// half are cut anew under other opinions of what is important. For testing the predictor where it must generalise.
import type { Rng } from '../src/rng.js';
import type { Candidate, Fitness } from './fitness.js';
import type { Genome } from './genome.js';
import type { Replayer } from './replay.js';
import { createVariation } from './variation.js';

export interface FreshOptions {
  readonly fitness: Fitness;
  readonly replayer: Replayer;
  readonly assess: (genome: Genome) => Candidate;
  /** What the search had measured. */
  readonly parents: readonly Genome[];
  /** Keys of candidates that are not fresh. */
  readonly known: ReadonlySet<string>;
  readonly count: number;
  /** Shares of the original's MACs. */
  readonly low: number;
  readonly high: number;
  readonly rng: Rng;
}

const ATTEMPTS = 8;

/** Fewer than `count` where the range holds no more; all different, by falling MACs. */
export function drawFresh(options: FreshOptions): Candidate[] {
  const { fitness, replayer, low, high, count } = options;
  const parents: readonly Genome[] = [[], ...options.parents];
  const found = new Map<string, Candidate>();
  const whole = fitness.base.analysis.cost.macs;
  for (let i = 0; i < count; i++) {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const rng = options.rng.fork(`${i}/${attempt}`);
      // One in each slice of the range, anywhere within it.
      const share = low + ((high - low) * (i + rng.next())) / count;
      const variation = createVariation(fitness, replayer, { kind: 'macs', low: share, high: share });
      const genome =
        i % 2 === 0
          ? variation.vary(rng.pick(parents), rng.pick(parents), rng.fork('vary'))
          : variation.draw(share, rng.fork('draw'));
      if (genome === undefined) continue;
      const candidate = options.assess(genome);
      const inside = candidate.macs >= 0.98 * low * whole && candidate.macs <= high * whole;
      if (!inside || genome.length === 0 || options.known.has(candidate.key) || found.has(candidate.key)) continue;
      found.set(candidate.key, candidate);
      break;
    }
  }
  return [...found.values()].toSorted((a, b) => b.macs - a.macs);
}
