// The next ones to measure when nothing is foretold. "diverse": children of the best measured ones, as far as can be from everything
// measured; "random": children of any seeds, whatever was measured. The floors that a predictor has to beat.
import type { Rng } from '../src/rng.js';
import type { Scored } from './dominance.js';
import type { Candidate } from './fitness.js';
import type { Genome } from './genome.js';
import { standings, tournament } from './selection.js';
import { farthestFirst } from './spread.js';

export interface BlindOptions {
  readonly choose: 'diverse' | 'random';
  readonly count: number;
  readonly seeds: readonly Genome[];
  readonly measured: readonly { readonly candidate: Candidate; readonly scored: Scored }[];
  /** Keys of those that need no measuring any more. */
  readonly seen: ReadonlySet<string>;
  assess(genome: Genome): Candidate;
  vary(a: Genome, b: Genome, rng: Rng): Genome | undefined;
  /** By costs alone: may it hold the constraints? */
  feasible(candidate: Candidate): boolean;
  readonly rng: Rng;
}

/** Children that are drawn for each one chosen. */
const CHILDREN = 12;

/** Fewer than `count` where no more were found; feasible ones first. */
export function chooseBlindly(options: BlindOptions): {
  readonly chosen: readonly Candidate[];
  readonly scored: number;
} {
  const { measured, choose, count, seen, rng } = options;
  const standing = standings(measured.map((m) => m.scored));
  const parent = (stream: Rng): Genome =>
    choose === 'diverse' && measured.length > 0
      ? measured[tournament(standing, stream)]!.candidate.genome
      : stream.pick(options.seeds);
  const drawn = new Map<string, Candidate>();
  for (let i = 0; i < CHILDREN * count; i++) {
    const stream = rng.fork(`child/${i}`);
    const genome = options.vary(parent(stream), parent(stream), stream);
    if (genome === undefined) continue;
    const candidate = options.assess(genome);
    if (!seen.has(candidate.key)) drawn.set(candidate.key, candidate);
  }
  const all = [...drawn.values()];
  const fitting = all.filter((c) => options.feasible(c));
  const open = fitting.length > 0 ? fitting : all;
  const chosen =
    choose === 'random'
      ? rng
          .fork('choose')
          .sample(open.length, Math.min(count, open.length))
          .map((i) => open[i]!)
      : farthest(
          open,
          measured.map((m) => m.candidate),
          count,
        );
  return { chosen, scored: drawn.size };
}

/** Far from everything measured and from each other, in standardised signals. */
function farthest(open: readonly Candidate[], measured: readonly Candidate[], count: number): Candidate[] {
  const rows = standardised([...open, ...measured]);
  return farthestFirst(rows.slice(0, open.length), rows.slice(open.length), count).map((i) => open[i]!);
}

function standardised(candidates: readonly Candidate[]): Float64Array[] {
  const rows = candidates.map((c) =>
    Float64Array.from(c.signals.values(), (x) =>
      Number.isFinite(x) ? Math.sign(x) * Math.log1p(100 * Math.abs(x)) : 0,
    ),
  );
  const width = rows[0]?.length ?? 0;
  for (let j = 0; j < width; j++) {
    const mean = rows.reduce((sum, r) => sum + r[j]!, 0) / rows.length;
    const deviation = Math.sqrt(rows.reduce((sum, r) => sum + (r[j]! - mean) ** 2, 0) / rows.length);
    for (const r of rows) r[j] = deviation > 1e-12 ? (r[j]! - mean) / deviation : 0;
  }
  return rows;
}
