import fc from 'fast-check';
import { expect, test } from 'vitest';
import { factoriseDepthwise } from '../src/recovery/depthwise.js';
import { factorise, type FactorLayer, type Factors } from '../src/recovery/factors.js';
import type { Gram } from '../src/recovery/gram.js';
import { multiplyTransposed } from '../src/recovery/linear-algebra.js';
import { createRng, type Rng } from '../src/rng.js';

interface Case {
  readonly layer: FactorLayer;
  readonly first: readonly boolean[];
}

const cases = fc
  .record({
    seed: fc.integer(),
    outputs: fc.integer({ min: 1, max: 7 }),
    channels: fc.integer({ min: 1, max: 5 }),
    kernel: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 }),
    first: fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }),
    data: fc.constantFrom('none', 'exact', 'channel', 'diagonal'),
    scaled: fc.boolean(),
  })
  .map(({ seed, outputs, channels, kernel, first, data, scaled }): Case => {
    const rng = createRng(seed);
    const taps = kernel.reduce((n, k) => n * k, 1);
    const weights = normals(rng, outputs * channels * taps);
    const moments = data === 'none' ? {} : { moments: gram(rng, data, channels, taps) };
    const scale = scaled ? { scale: normals(rng, outputs).map((v) => 0.1 + v * v) } : {};
    return {
      layer: { weights, outputs, channels, kernel, ...moments, ...scale },
      first: first.slice(0, kernel.length),
    };
  });

function normals(rng: Rng, n: number): Float64Array {
  return Float64Array.from({ length: n }, () => rng.normal());
}

function gram(rng: Rng, kind: string, channels: number, taps: number): Gram {
  const size = kind === 'exact' ? channels * taps : channels;
  const samples = 3 * size;
  const rows = normals(rng, size * samples);
  const full = multiplyTransposed(rows, size, samples, rows, size);
  const covariance = Float32Array.from(
    kind === 'diagonal' ? Array.from({ length: size }, (_, i) => full[i * size + i]!) : full,
  );
  // the cast: the caller names one of the three kinds
  return { kind: kind as Gram['kind'], group: 1, size, covariance, mean: Float32Array.from(normals(rng, size)) };
}

/** The kernel that the two factors compute together. */
function composed({ layer, first }: Case, { first: f, second: s }: Factors, rank: number): Float64Array {
  const { outputs, channels, kernel } = layer;
  const taps = kernel.reduce((n, k) => n * k, 1);
  const [inFirst, inSecond] = [true, false].map((which) => (t: number): number => {
    let [rest, at] = [t, 0];
    const digits = kernel.map((_, a) => kernel.slice(a + 1).reduce((n, k) => n * k, 1));
    for (const [a, d] of digits.entries()) {
      const digit = Math.floor(rest / d);
      rest %= d;
      if (first[a] === which) at = at * kernel[a]! + digit;
    }
    return at;
  }) as [(t: number) => number, (t: number) => number];
  const count = (which: boolean): number => kernel.reduce((n, k, a) => (first[a] === which ? n * k : n), 1);
  const out = new Float64Array(outputs * channels * taps);
  for (let o = 0; o < outputs; o++)
    for (let c = 0; c < channels; c++)
      for (let t = 0; t < taps; t++)
        for (let q = 0; q < rank; q++)
          out[(o * channels + c) * taps + t]! +=
            s[(o * rank + q) * count(false) + inSecond(t)]! * f[(q * channels + c) * count(true) + inFirst(t)]!;
  return out;
}

/** Share of the weighted variance that W - W' makes up. */
function lost(layer: FactorLayer, made: Float64Array): number {
  const energy = (w: Float64Array): number => {
    const { outputs, moments, scale } = layer;
    const n = w.length / outputs;
    const taps = n / layer.channels;
    const h = (i: number, j: number): number => {
      if (moments === undefined) return i === j ? 1 : 0;
      if (moments.kind === 'exact') return moments.covariance[i * n + j]!;
      if (i % taps !== j % taps) return 0;
      const [c, d] = [Math.floor(i / taps), Math.floor(j / taps)];
      if (moments.kind === 'diagonal') return c === d ? moments.covariance[c]! : 0;
      return moments.covariance[c * moments.size + d]!;
    };
    let sum = 0;
    for (let o = 0; o < outputs; o++)
      for (let i = 0; i < n; i++)
        for (let j = 0; j < n; j++) sum += (scale?.[o] ?? 1) ** 2 * w[o * n + i]! * w[o * n + j]! * h(i, j);
    return sum;
  };
  return energy(layer.weights.map((v, i) => v - made[i]!)) / energy(layer.weights);
}

test('full rank gives the weights back; errors are the true ones and never rise', () => {
  fc.assert(
    fc.property(cases, (one) => {
      const made = factorise(one.layer, one.first);
      let before = 1 + 1e-6;
      for (let rank = 1; rank <= made.maxRank; rank++) {
        const error = lost(one.layer, composed(one, made.factors(rank), rank));
        expect(made.error(rank)).toBeCloseTo(error, 3);
        expect(error).toBeLessThanOrEqual(before + 1e-4);
        before = error;
      }
      expect(before).toBeLessThan(1e-5);
      const whole = composed(one, made.factors(made.maxRank), made.maxRank);
      const scale = Math.max(...one.layer.weights.map(Math.abs));
      for (const [i, v] of whole.entries()) expect(Math.abs(v - one.layer.weights[i]!)).toBeLessThan(2e-3 * scale);
    }),
    { numRuns: 80 },
  );
});

test('no other pair of factors is nearer: random changes of both only lose', () => {
  fc.assert(
    fc.property(cases, fc.integer(), (one, seed) => {
      const rng = createRng(seed);
      const made = factorise(one.layer, one.first);
      const rank = 1 + rng.int(made.maxRank);
      const factors = made.factors(rank);
      const error = lost(one.layer, composed(one, factors, rank));
      // with taps in the second factor the features are the best for uncorrelated taps only: then the second factor alone may move
      const free = one.layer.moments?.kind !== 'exact';
      for (let i = 0; i < 5; i++) {
        const near = (m: Float64Array, on: boolean): Float64Array =>
          m.map((v) => (on ? v * (1 + 0.05 * rng.normal()) : v));
        const other = { ...factors, first: near(factors.first, free), second: near(factors.second, true) };
        expect(lost(one.layer, composed(one, other, rank))).toBeGreaterThanOrEqual(error - 1e-4);
      }
    }),
    { numRuns: 60 },
  );
});

test('depthwise and pointwise: errors are the true ones; as many filters as taps lose nothing', () => {
  fc.assert(
    fc.property(cases, ({ layer }) => {
      const taps = layer.kernel.reduce((n, k) => n * k, 1);
      const made = factoriseDepthwise(layer, 9);
      for (const rank of [1, made.maxRank]) {
        const { first, second } = made.factors(rank);
        const whole = layer.weights.map((_, at) => {
          const [oc, t] = [Math.floor(at / taps), at % taps];
          const [o, c] = [Math.floor(oc / layer.channels), oc % layer.channels];
          let sum = 0;
          for (let q = 0; q < rank; q++)
            sum += second[(o * layer.channels + c) * rank + q]! * first[(c * rank + q) * taps + t]!;
          return sum;
        });
        const expected = layer.moments?.kind === 'channel' ? made.error(rank) : lost(layer, whole);
        expect(made.error(rank)).toBeCloseTo(expected, 4);
        expect(made.error(rank)).toBeLessThan(rank === Math.min(taps, layer.outputs) ? 1e-4 : 1.01);
      }
    }),
    { numRuns: 60 },
  );
});

test('the shift of the bias keeps the mean of every output', () => {
  fc.assert(
    fc.property(cases, (one) => {
      const { layer } = one;
      if (layer.moments === undefined) return;
      const { moments } = layer;
      const made = factorise(layer, one.first);
      const factors = made.factors(1);
      const whole = composed(one, factors, 1);
      const n = whole.length / layer.outputs;
      const mean = (k: number): number =>
        moments.mean[moments.kind === 'exact' ? k : Math.floor((k * layer.channels) / n)]!;
      for (let o = 0; o < layer.outputs; o++) {
        let [before, after] = [0, factors.shift[o]!];
        for (let k = 0; k < n; k++) {
          before += layer.weights[o * n + k]! * mean(k);
          after += whole[o * n + k]! * mean(k);
        }
        expect(after).toBeCloseTo(before, 6);
      }
    }),
    { numRuns: 40 },
  );
});
