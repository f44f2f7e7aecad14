import { expect, test } from 'vitest';
import type { Predictor, Sample } from '../../src/predictor/predictor.js';
import { trust } from '../../search/trust.js';

const sample = (x: number, score: number): Sample => ({
  // The cast: these predictors look at one signal only.
  graph: {} as Sample['graph'],
  signals: new Map([['x', x]]),
  score,
});

/** Says `sign` times the signal. */
const saying = (name: string, sign: () => number): Predictor => ({
  name,
  fit: async () => {},
  predict: async (candidates) => candidates.map((c) => ({ mean: sign() * c.signals.get('x')!, deviation: 0.1 })),
});

test('a predictor whose ranking of the last measured ones is no better than chance is not asked until it finds its way', async () => {
  let sign = -1;
  const main = saying('main', () => sign);
  const fallback = saying('fallback', () => 1);
  const trusted = trust(main, fallback);
  const measure = async (count: number): Promise<void> => {
    const batch = Array.from({ length: count }, (_, i) => sample(i, i / 10));
    const foretold = await trusted.foretell(batch);
    batch.forEach((s, i) => trusted.judge(foretold[i]!, s.score));
  };
  // Nothing is concluded from a few.
  await measure(4);
  expect(await trusted.learn([])).toMatchObject({
    predictor: 'main',
    fellBack: false,
    foretold: 4,
    foretoldSpearman: -1,
  });
  await measure(4);
  const confidence = await trusted.learn([]);
  expect(confidence).toMatchObject({ predictor: 'fallback', fellBack: true, foretold: 8 });
  expect((await trusted.predict([sample(3, 0)]))[0]!.mean).toBe(3);
  // It is still listened to, and comes back once it ranks well.
  sign = 1;
  await measure(16);
  expect(await trusted.learn([])).toMatchObject({ predictor: 'main', fellBack: false, foretoldSpearman: 1 });
  // A predictor that says the same of everybody ranks nothing.
  sign = 0;
  await measure(16);
  expect(await trusted.learn([])).toMatchObject({ predictor: 'fallback', fellBack: true });
});

test('without a fallback the predictor is asked whatever it says', async () => {
  const trusted = trust(
    saying('main', () => -1),
    undefined,
  );
  const batch = Array.from({ length: 10 }, (_, i) => sample(i, i));
  const foretold = await trusted.foretell(batch);
  batch.forEach((s, i) => trusted.judge(foretold[i]!, s.score));
  expect(await trusted.learn(batch)).toMatchObject({ predictor: 'main', fellBack: false, foretoldSpearman: -1 });
});

test('where it can leave samples out, what it has learnt since counts, not what it foretold', async () => {
  let foretelling = -1;
  let leftOut = 1;
  const samples = Array.from({ length: 12 }, (_, i) => sample(i, i / 10));
  const main: Predictor = {
    ...saying('main', () => foretelling),
    leaveOneOut: () => samples.map((s) => leftOut * s.score),
  };
  const trusted = trust(
    main,
    saying('fallback', () => 1),
  );
  const foretold = await trusted.foretell(samples);
  samples.forEach((s, i) => trusted.judge(foretold[i]!, s.score));
  expect(await trusted.learn(samples)).toMatchObject({
    predictor: 'main',
    fellBack: false,
    foretoldSpearman: -1,
    belief: { samples: 12, spearman: 1, meanAbsoluteError: 0 },
  });
  [foretelling, leftOut] = [1, -1];
  expect(await trusted.learn(samples)).toMatchObject({ predictor: 'fallback', fellBack: true });
});
