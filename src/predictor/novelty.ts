// How far a network lies from all that the predictor has learnt from: the root mean square of its features in the corpus' deviations.
import { readFloats } from '../ir/tensor.js';
import type { Weights } from './network.js';

/** About 1 within the corpus. */
export function novelty(weights: Weights, features: Float32Array): number {
  const mean = readFloats(weights.get('trunk/mean')!);
  const scale = readFloats(weights.get('trunk/scale')!);
  let sum = 0;
  let count = 0;
  features.forEach((v, i) => {
    // a feature that never varied is new as soon as it differs
    const z = scale[i] === 0 ? (Math.abs(v - mean[i]!) > 1e-3 ? 4 : 0) : (v - mean[i]!) * scale[i]!;
    if (scale[i] === 0 && z === 0) return;
    sum += z * z;
    count++;
  });
  return count === 0 ? 0 : Math.sqrt(sum / count);
}
