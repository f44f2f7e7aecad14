// Two opinions of few measured networks: Gaussian processes over views, and a forest, which bends where they are smooth. Each counts by how
// well it foretells the samples that it has not seen, so that the worse one soon counts little.
import type { Rng } from '../rng.js';
import { bounded, fitFewShot, type View } from './few-shot.js';
import { fitForest } from './forest.js';
import { mixtureOf } from './mixture.js';
import type { Prediction } from './predictor.js';

export interface StackOptions {
  readonly views: readonly View[];
  /** What the forest reads, a row a network. */
  readonly rows: readonly ArrayLike<number>[];
  /** Row numbers of the measured networks, and their labels. */
  readonly train: readonly number[];
  readonly labels: readonly number[];
  /** See {@link fitFewShot}. */
  readonly verdict?: ArrayLike<number>;
  readonly rng: Rng;
}

export function fitStack({ views, rows, train, labels, verdict, rng }: StackOptions): {
  predict(rows: readonly number[]): Prediction[];
} {
  const told = bounded(labels);
  const processes = fitFewShot(views, train, labels, verdict);
  const forest = fitForest(
    train.map((i) => rows[i]!),
    told,
    { rng, columns: 0.5, randomThresholds: true },
  );
  const trust = [processes.leaveOneOut, forest.outOfBag].map((said) => {
    const square = said.reduce((sum, v, i) => sum + (v - told[i]!) ** 2, 0) / told.length;
    return 1 / (square + 1e-12);
  });
  const share = trust[1]! / (trust[0]! + trust[1]!);
  return {
    predict: (asked) =>
      processes.predict(asked).map((p, i): Prediction => {
        const { mean, variance } = mixtureOf([
          { ...p, share: 1 - share },
          { ...forest.predict(rows[asked[i]!]!), share },
        ]);
        return { mean, deviation: Math.sqrt(variance) };
      }),
  };
}
