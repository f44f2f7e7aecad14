// `--min-accuracy` is asked of the exported files, and the search measures before their refit: the networks that are refitted to learn what
// that makes of a score are refitted early in such a run, and say which score of the search will do.
import { drain } from '../src/drain.js';
import type { Prediction } from '../src/predictor/predictor.js';
import { calibrate, type Calibrated, type CalibrateOptions } from './calibrate.js';
import { isNeedy } from './evaluator.js';
import type { Measured } from './explore.js';
import type { Candidate } from './fitness.js';

export interface LeastScore {
  /** What is asked of samples on which the original reaches this. */
  on(original: number): number;
  /** The lowest score of the search that the refit lifts to what is asked. */
  ofSearch(measured: readonly Measured[]): Promise<number>;
  /** A score of the search as if no refit on data had come before it: some candidates are measured after one, and gain less by the next. */
  comparable(candidate: Candidate, score: number): number;
  /** What was foretold of comparable scores, as the candidate will be measured. */
  asMeasured(candidate: Candidate, prediction: Prediction): Prediction;
  /** Whether the exported file may well hold what is asked, by all that was refitted so far. */
  likely(candidate: Measured): boolean;
  /** What an exported file has lost. */
  learn(candidate: Measured, loss: number): void;
  /** Networks that were refitted elsewhere, where the search ended before it asked for them. */
  take(calibrated: Calibrated): void;
  /** The networks that were refitted for it; undefined before. */
  calibrated(): Calibrated | undefined;
  /** Sentences since the last call. */
  news(): readonly string[];
}

export interface LeastScoreOptions extends Omit<CalibrateOptions, 'measured'> {
  /** What the user's words mean where the original reaches this. */
  readonly wish: (original: number) => number;
}

export function leastScore({ wish, ...options }: LeastScoreOptions): LeastScore {
  const { original: whole, replayer } = options.workshop;
  let calibrated: Calibrated | undefined;
  let said: string[] = [];
  /** Losses before and after, of candidates that the search measures after a refit on data, and of the others: one says nothing of the other. */
  const seen = new Map<boolean, Losses[]>([
    [true, []],
    [false, []],
  ]);
  const add = (candidate: Measured, refitted: number): void => {
    seen.get(isNeedy(candidate.genome, replayer))!.push({ searched: whole.score - candidate.score, refitted });
  };
  const allowedBefore = (needy: boolean): number => {
    const best = calibrated?.original ?? whole.score;
    return searchedLoss(seen.get(needy)!, best - wish(best), best);
  };
  /** How much larger a loss of this candidate would be before any refit on data. */
  const factorOf = (candidate: Candidate): number => {
    if (calibrated === undefined || !isNeedy(candidate.genome, replayer)) return 1;
    const own = allowedBefore(true);
    return own > 0 ? allowedBefore(false) / own : 1;
  };
  const take = (found: Calibrated): void => {
    calibrated = found;
    for (const { candidate, refitted } of found.refits) add(candidate, found.original - refitted);
  };
  return {
    on: wish,
    take,
    calibrated: () => calibrated,
    news() {
      const list = said;
      said = [];
      return list;
    },
    async ofSearch(measured) {
      const found = await drain(calibrate({ ...options, measured }));
      take(found);
      const { refits, original } = found;
      const least = whole.score - allowedBefore(false);
      if (refits.length > 0) {
        const words = [wish(original), least].map((v) => v.toPrecision(4));
        said.push(
          `${words[0]} after the refit is asked; by ${refits.length} networks that were refitted, a score of ${words[1]} before it will do`,
        );
      }
      return least;
    },
    comparable(candidate, score) {
      const factor = factorOf(candidate);
      return factor === 1 ? score : whole.score - factor * (whole.score - score);
    },
    asMeasured(candidate, prediction) {
      const factor = factorOf(candidate);
      const { mean, deviation } = prediction;
      if (factor === 1) return prediction;
      return { mean: whole.score - (whole.score - mean) / factor, deviation: deviation / factor };
    },
    likely: (m) => whole.score - m.score <= allowedBefore(isNeedy(m.genome, replayer)),
    learn: add,
  };
}

export interface Losses {
  /** Before the refit, as the search measures. */
  readonly searched: number;
  readonly refitted: number;
}

/**
 * The loss before the refit that leaves the allowed one behind it, by the share that the refit left of the losses that were seen, those
 * close to the allowed one first. Half a percent of `best` (what the original reaches) counts as seen and left as it was: losses of a
 * few samples decide little.
 */
export function searchedLoss(seen: readonly Losses[], allowed: number, best: number): number {
  if (allowed <= 0) return allowed;
  const prior = PRIOR * Math.abs(best);
  const closeness = ({ refitted }: Losses): number =>
    Math.exp(-Math.abs(Math.log((Math.max(0, refitted) + prior) / (allowed + prior))));
  let before = prior;
  let behind = prior;
  for (const losses of seen) {
    const weight = closeness(losses);
    before += weight * Math.max(0, losses.searched);
    behind += weight * Math.max(0, losses.refitted);
  }
  return allowed / Math.min(MOST_LEFT, Math.max(LEAST_LEFT, behind / before));
}

const PRIOR = 0.005;
/** A refit rarely makes things worse, and never brings everything back. */
const MOST_LEFT = 1.25;
const LEAST_LEFT = 0.2;
