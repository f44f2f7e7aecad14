import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { spearman } from '../../src/predictor/correlation.js';
import { createEnsemble } from '../../src/predictor/ensemble.js';
import type { Predictor } from '../../src/predictor/predictor.js';
import { createRng } from '../../src/rng.js';
import { withMeasurement, type Measured } from '../../search/explore.js';
import type { Candidate } from '../../search/fitness.js';
import { createForeteller, effortGain } from '../../search/foretell.js';

// A family of networks whose cheap score falls steeply with the loss of the cut, and whose score after the refit falls gently, both
// with a deviation of their own that the signals do not know.
const candidate = (i: number): Candidate => {
  const rng = createRng(`family/${i}`);
  const macs = 0.3 + 0.7 * rng.next();
  const loss = (1 - macs) ** 2 * Math.exp(0.3 * rng.normal());
  const signals = new Map([
    ['loss', loss],
    ['macs', macs],
    ['noise', rng.normal()],
  ]);
  // The cast: nothing here looks at the graph.
  return { genome: [], key: `${i}`, macs, params: 1, memoryBytes: 1, signals, graph: {} as Candidate['graph'] };
};
const lossOf = (c: Candidate): number => c.signals.get('loss')!;
const cheapOf = (c: Candidate): number => 0.95 * Math.exp(-2.5 * lossOf(c));
const refittedOf = (c: Candidate): number => 0.94 - 0.25 * lossOf(c);

const base: Candidate = {
  ...candidate(0),
  macs: 1,
  signals: new Map([
    ['loss', 0],
    ['macs', 1],
    ['noise', 0],
  ]),
};
const original = withMeasurement(base, 0.95);
const family = (from: number, count: number): Measured[] =>
  Array.from({ length: count }, (_, i) => candidate(from + i)).map((c) => withMeasurement(c, cheapOf(c)));

const foretold = async (
  predictor: Predictor,
  refits: number,
): Promise<{ error: number; rank: number; quantity: string }> => {
  const foreteller = await createForeteller({
    predictor,
    original,
    measured: family(1, 24).filter((m) => m.macs < 0.7),
    calibrated: { refits: family(100, refits).map((c) => ({ candidate: c, refitted: refittedOf(c) })), original: 0.94 },
    rng: createRng('level'),
  });
  const fresh = family(200, 60);
  const said = (await foreteller.foretell(fresh)).map((p) => p.mean);
  const truth = fresh.map(refittedOf);
  return {
    error: said.reduce((sum, x, i) => sum + Math.abs(x - truth[i]!), 0) / 60,
    rank: spearman(said, truth),
    quantity: foreteller.quantity,
  };
};

describe('createForeteller', () => {
  test('six refitted networks teach what the refit makes of a score that falls steeply', async () => {
    const six = await foretold(createEnsemble(createRng('a')), 6);
    expect(six.quantity).toBe('refitted');
    expect(six.error).toBeLessThan(0.015);
    expect(six.rank).toBeGreaterThan(0.95);
    const none = await foretold(createEnsemble(createRng('a')), 0);
    expect(none.quantity).toBe('searched');
    expect(none.error).toBeGreaterThan(4 * six.error);
  });

  test('a predictor that cannot leave samples out has to foretell the refitted ones unseen', async () => {
    const ensemble = createEnsemble(createRng('a'));
    const fitted: number[] = [];
    const plain: Predictor = {
      name: ensemble.name,
      fit: async (samples) => {
        fitted.push(samples.length);
        await ensemble.fit(samples);
      },
      predict: (candidates) => ensemble.predict(candidates),
    };
    expect((await foretold(plain, 6)).error).toBeLessThan(0.03);
    expect(fitted[0]! - fitted[1]!).toBe(6);
  });
});

describe('effortGain', () => {
  test('what files lose less than foretold is carried to the next ones, towards the original and never beyond it', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.5, max: 1, noNaN: true }),
        fc.array(fc.tuple(fc.double({ min: 0, max: 0.4, noNaN: true }), fc.double({ min: 0, max: 0.4, noNaN: true })), {
          maxLength: 6,
        }),
        fc.double({ min: 0, max: 0.5, noNaN: true }),
        (best, files, lost) => {
          const gain = effortGain(best);
          const before = gain.carry({ mean: best - lost, deviation: 0.01 });
          expect(before.mean).toBeCloseTo(best - lost, 12);
          for (const [expected, found] of files) gain.learn({ mean: best - expected, deviation: 0 }, best - found);
          const after = gain.carry({ mean: best - lost, deviation: 0.01 });
          expect(after.mean).toBeLessThanOrEqual(best);
          const less = files.reduce((sum, [expected, found]) => sum + found - expected, 0);
          expect(Math.sign(less) * (before.mean - after.mean)).toBeGreaterThanOrEqual(-1e-12);
        },
      ),
    );
  });
});
