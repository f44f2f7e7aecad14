// Pseudo-labels for a family of networks that share a head (AIO-P's latent sampling, methods.md §1.5): activations of a population of
// variants give mean and deviation at every place; a head fitted once on draws from them judges each variant by its own activations.
// Our head is closed form (ridge regression on one-hot classes), so nothing but forward passes and one Cholesky is needed.
import { PareError } from '../errors.js';
import { cholesky, solveRows } from '../recovery/linear-algebra.js';
import type { Rng } from '../rng.js';

/** Activations of all calibration samples, [samples, width], row after row. */
export interface Activations {
  readonly width: number;
  readonly data: Float32Array;
}

export interface Population {
  readonly width: number;
  readonly mean: Float64Array;
  /** Unbiased; 0 for a population of one. */
  readonly deviation: Float64Array;
}

/** Elementwise over the variants. */
export function populationOf(variants: readonly Activations[]): Population {
  const [first] = variants;
  if (first === undefined) throw new PareError('a population needs at least one variant of the network');
  if (variants.some((v) => v.data.length !== first.data.length || v.width !== first.width)) {
    throw new PareError('the variants differ in the activations that their head reads: cut nothing behind that place');
  }
  const n = variants.length;
  const mean = new Float64Array(first.data.length);
  const deviation = new Float64Array(first.data.length);
  for (let i = 0; i < mean.length; i++) {
    let sum = 0;
    for (const v of variants) sum += v.data[i]!;
    mean[i] = sum / n;
    let squares = 0;
    for (const v of variants) squares += (v.data[i]! - mean[i]!) ** 2;
    deviation[i] = n > 1 ? Math.sqrt(squares / (n - 1)) : 0;
  }
  return { width: first.width, mean, deviation };
}

/** mean + normal draws times deviation. */
export function drawLatents({ width, mean, deviation }: Population, rng: Rng): Activations {
  const data = Float32Array.from(mean, (m, i) => (deviation[i] === 0 ? m : m + rng.normal() * deviation[i]!));
  return { width, data };
}

/** Weights [width + 1, classes], the bias last. */
export interface SharedHead {
  readonly width: number;
  readonly classes: number;
  readonly weights: Float64Array;
}

/** Ridge regression of one-hot classes on `draws` draws of the population's latents. */
export function fitSharedHead(
  population: Population,
  classes: ArrayLike<number>,
  options: { readonly count: number; readonly draws: number; readonly ridge?: number; readonly rng: Rng },
): SharedHead {
  const { width } = population;
  const p = width + 1;
  const { count } = options;
  const gram = new Float64Array(p * p);
  const product = new Float64Array(count * p);
  for (let d = 0; d < options.draws; d++) {
    const { data } = drawLatents(population, options.rng.fork(`draw/${d}`));
    const samples = data.length / width;
    for (let s = 0; s < samples; s++) {
      const row = data.subarray(s * width, (s + 1) * width);
      const at = (i: number): number => (i < width ? row[i]! : 1);
      for (let i = 0; i < p; i++) {
        product[classes[s]! * p + i]! += at(i);
        for (let j = 0; j <= i; j++) gram[i * p + j]! += at(i) * at(j);
      }
    }
  }
  let trace = 0;
  for (let i = 0; i < width; i++) trace += gram[i * p + i]! / width;
  for (let i = 0; i < p; i++) {
    for (let j = 0; j < i; j++) gram[j * p + i] = gram[i * p + j]!;
    gram[i * p + i]! += (options.ridge ?? 1e-3) * Math.max(trace, 1e-12);
  }
  const factor = cholesky(gram, p);
  // the ridge makes it positive definite
  if (factor === undefined) throw new Error('the shared head has no solution');
  const solved = solveRows(factor, p, product, count);
  const weights = new Float64Array(p * count);
  for (let c = 0; c < count; c++) for (let i = 0; i < p; i++) weights[i * count + c] = solved[c * p + i]!;
  return { width, classes: count, weights };
}

/** Share of the samples that the shared head puts into their class from this variant's activations: its pseudo-label. */
export function pseudoAccuracy(head: SharedHead, variant: Activations, classes: ArrayLike<number>): number {
  const { width, classes: count, weights } = head;
  const samples = variant.data.length / width;
  let right = 0;
  for (let s = 0; s < samples; s++) {
    let best = 0;
    let most = -Infinity;
    for (let c = 0; c < count; c++) {
      let sum = weights[width * count + c]!;
      for (let i = 0; i < width; i++) sum += variant.data[s * width + i]! * weights[i * count + c]!;
      if (sum > most) [most, best] = [sum, c];
    }
    if (best === classes[s]) right++;
  }
  return right / samples;
}
