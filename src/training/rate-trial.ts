// Which peak rate a network takes: each is tried for a few steps from the same start on the same batches (the idea of the range test,
// Smith 2017, but started anew for every rate). A network that was just refitted is close to where it should end, and a rate that
// raises one is the ruin of another: on ResNet-20 at half its MACs 3e-4 gains, on ResNet-56 it loses in minutes what hours do not give back.
import type { Runtime } from '../runtime/runtime.js';
import type { Fed } from './feeding.js';
import { startTraining, type TrainingStep } from './step.js';

export interface RateTrial {
  readonly step: TrainingStep;
  readonly runtime: Runtime;
  readonly threads: number;
  readonly feed: (step: number) => Promise<Fed>;
  /** Steps with each rate. */
  readonly steps: number;
  readonly signal?: AbortSignal;
}

/** The first third warms up, the last third is judged. */
const PART = 3;

/** A higher rate gains more later: it is taken when its loss is above the least by no more than this share. */
const SLACK = 0.02;

/** Rates from the highest to the lowest; the one to go on with. */
export async function triedRate(rates: readonly number[], trial: RateTrial): Promise<number> {
  const losses: number[] = [];
  for (const rate of rates) {
    if (trial.signal?.aborted === true) break;
    losses.push(await lossWith(rate, trial));
    // lower ones only learn less from here on
    if (losses.length > 1 && losses.at(-1)! > losses.at(-2)! * (1 + SLACK)) break;
  }
  const finite = losses.filter((loss) => Number.isFinite(loss));
  if (finite.length === 0) return rates.at(-1)!;
  const least = Math.min(...finite);
  return rates[losses.findIndex((loss) => loss <= least + SLACK * Math.abs(least))]!;
}

async function lossWith(rate: number, { step, runtime, threads, feed, steps }: RateTrial): Promise<number> {
  const training = await startTraining(step, runtime, threads);
  try {
    const judged = Math.ceil(steps / PART);
    let sum = 0;
    for (let k = 0; k < steps; k++) {
      const warm = Math.min(1, (PART * (k + 1)) / steps);
      const { loss } = await training.run({ ...(await feed(k)), rate: rate * warm, step: k });
      if (!Number.isFinite(loss)) return Infinity;
      if (k >= steps - judged) sum += loss;
    }
    return sum / judged;
  } finally {
    await training.end();
  }
}
