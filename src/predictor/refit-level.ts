// From the score that the search measures (a refit that costs nothing) to the one that the exported file will have (a refit on data):
// learnt from the few networks that had both. Few samples allow few features: what was foretold to be lost at the search's level, the
// expected loss of the cut, the MACs, and how many edits of each kind (a refit gives back what cutting channels took, hardly what a
// coarser resolution did) (two levels of fidelity as in Kennedy and O'Hagan 2000, on a scale that levels off).
import type { Rng } from '../rng.js';
import { createEnsemble } from './ensemble.js';
import type { Prediction, PredictorInput, Sample } from './predictor.js';

export interface LevelSample extends PredictorInput {
  /** At the search's level, as foretold without having seen it. */
  readonly low: number;
  /** After the refit. */
  readonly score: number;
}

export interface RefitLevel {
  /** What it says of each sample without having seen that one, in their order. */
  readonly leaveOneOut: readonly number[];
  predict(input: PredictorInput, low: Prediction): Promise<Prediction>;
}

/** What the names of signals that count edits of one kind begin with. */
export const EDITS = 'edits:';

/** How many edits of each kind a network has, by the name of the signal. */
export function editCounts({ signals }: PredictorInput): (readonly [string, number])[] {
  return [...signals].filter(([name]) => name.startsWith(EDITS));
}

/** Below this there is nothing to learn from. */
export const FEWEST_REFITS = 4;

/** `best`: the original's score at the search's level. Needs at least FEWEST_REFITS samples. */
export async function fitRefitLevel(samples: readonly LevelSample[], best: number, rng: Rng): Promise<RefitLevel> {
  if (samples.length < FEWEST_REFITS) throw new RangeError(`fitRefitLevel: ${samples.length} samples`);
  const scale = Math.abs(best) > 1e-9 ? Math.abs(best) : 1;
  const row = (input: PredictorInput, low: number): PredictorInput => ({
    graph: input.graph,
    signals: new Map([
      ['lost', Math.max(0, best - low) / scale],
      ['loss', input.signals.get('loss') ?? 0],
      ['macs', input.signals.get('macs') ?? 0],
      ...editCounts(input),
    ]),
  });
  const predictor = createEnsemble(rng);
  await predictor.fit(samples.map((s): Sample => ({ ...row(s, s.low), score: s.score })));
  return {
    leaveOneOut: predictor.leaveOneOut() ?? [],
    async predict(input, low) {
      const around = [low.mean, low.mean - low.deviation, low.mean + low.deviation].map((x) => row(input, x));
      const [at, below, above] = await predictor.predict(around);
      // How unsure it is of the lower level, carried over.
      const carried = Math.abs(above!.mean - below!.mean) / 2;
      return { mean: at!.mean, deviation: Math.hypot(at!.deviation, carried) };
    },
  };
}
