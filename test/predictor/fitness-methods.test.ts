import { expect, test } from 'vitest';
import { pruneChannels } from '../../search/mutations/prune-channels.js';
import { createVariation } from '../../search/variation.js';
import { spearman } from '../../src/predictor/correlation.js';
import {
  DEFAULT_FITNESS,
  fitnessMethod,
  fitnessMethods,
  openPredictor,
  type FitnessContext,
} from '../../src/predictor/fitness-methods.js';
import { createRng } from '../../src/rng.js';
import { floatData } from '../../src/runtime/runtime.js';
import { openSearch, shapesModel } from '../search/open-search.js';

// The shipped example cut at random; the score falls with the loss that its weights foretell and with its MACs.
const { base, replayer, fitness } = openSearch(shapesModel, { mutations: (surgery) => [pruneChannels(surgery)] });
const variation = createVariation(fitness, replayer, { kind: 'macs', low: 0.3, high: 1 });
const samples = Array.from({ length: 44 }, (_, i) => {
  const rng = createRng(`cut/${i}`);
  const candidate = fitness.assess(variation.draw(0.3 + 0.65 * rng.next(), rng));
  const { signals } = candidate;
  return Object.assign(candidate, { score: 0.95 - 0.1 * signals.get('loss')! - 0.2 * (1 - signals.get('macs')!) ** 2 });
});
const [known, fresh] = [samples.slice(0, 24), samples.slice(24)];

test.each(fitnessMethods.filter((m) => 'create' in m).map((m) => m.name))(
  '%s ranks networks that it has not seen, and repeats itself',
  async (name) => {
    const said = await Promise.all(
      [0, 1].map(async () => {
        const context = { rng: createRng('one'), base: () => base.model };
        const predictor = (await openPredictor(fitnessMethod(name), context))!;
        expect(predictor.name).toBe(name);
        await predictor.fit(known);
        const left = predictor.leaveOneOut?.();
        expect(left?.length ?? known.length).toBe(known.length);
        const predictions = await predictor.predict(fresh);
        const why = await predictor.explain?.(fresh.slice(0, 2), fresh);
        why?.forEach(({ foretold, reference, effects }, i) => {
          expect(foretold).toBe(predictions[i]!.mean);
          const sum = effects.reduce((total, e) => total + e.effect, 0);
          expect(sum).toBeCloseTo(foretold - reference, 9);
          // the score was made of these two
          expect(effects.slice(0, 12).some((e) => /^(loss|macs)/.test(e.signal))).toBe(true);
        });
        // a sum of ranks cannot tell
        expect(why === undefined).toBe(name === 'proxies');
        return predictions;
      }),
    );
    expect(said[1]).toEqual(said[0]);
    expect(said[0]!.every((p) => p.deviation > 0)).toBe(true);
    expect(
      spearman(
        said[0]!.map((p) => p.mean),
        fresh.map((s) => s.score),
      ),
    ).toBeGreaterThan(0.6);
  },
  60_000,
);

test('omni looks at one forward pass of each candidate, and says what it would have said of each sample', async () => {
  const rng = createRng('omni');
  const input = base.model.graph.inputs[0]!.name;
  const dims = [4, 3, 16, 16];
  let asked = 0;
  const batch = () => {
    asked++;
    return new Map([
      [
        input,
        floatData(
          dims,
          Float32Array.from({ length: 4 * 3 * 256 }, () => rng.normal()),
        ),
      ],
    ]);
  };
  const made = async (context: Partial<FitnessContext>) => {
    const predictor = (await openPredictor(fitnessMethod('omni'), {
      rng: createRng('one'),
      base: () => base.model,
      ...context,
    }))!;
    await predictor.fit(known.slice(0, 12));
    return predictor;
  };
  const seeing = await made({ batch });
  const blind = await made({});
  expect(asked).toBe(1);
  // the proxies are columns that trees can split by: what is said changes
  const [a, b] = [await seeing.predict(fresh), await blind.predict(fresh)];
  expect(a.map((p) => p.mean)).not.toEqual(b.map((p) => p.mean));
  const left = seeing.leaveOneOut!()!;
  expect(
    spearman(
      left,
      known.slice(0, 12).map((s) => s.score),
    ),
  ).toBeGreaterThan(0.3);
  for (const { mean, interval } of a) {
    expect(interval![0]).toBeLessThanOrEqual(mean);
    expect(interval![1]).toBeGreaterThanOrEqual(mean);
  }
}, 60_000);

test('names are names, and a file that nobody reads is refused', async () => {
  expect(new Set(fitnessMethods.map((m) => m.name)).size).toBe(fitnessMethods.length);
  expect(fitnessMethod(DEFAULT_FITNESS).name).toBe(DEFAULT_FITNESS);
  expect(() => fitnessMethod('guess')).toThrow(/--fitness guess: .*choose signals, .*measured, random/);
  const context = { rng: createRng('one'), file: 'x.onnx' };
  await expect(openPredictor(fitnessMethod('measured'), context)).rejects.toThrow(/--predictor: .*"measured"/);
  expect(await openPredictor(fitnessMethod('random'), { rng: createRng('one') })).toBeUndefined();
});
