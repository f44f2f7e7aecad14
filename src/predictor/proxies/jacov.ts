// jacov: how differently the network reacts to different samples: eigenvalues of the correlation of the samples' input gradients
// (Mellor et al. 2020, first version).
import { symmetricEigen } from '../../recovery/eigen.js';
import { correlations } from './correlations.js';
import type { Proxy } from './proxy.js';

export const jacov: Proxy = {
  name: 'jacov',
  needs: 'gradients',
  score: async (probe) => {
    const { rows, columns, values } = await probe.jacobian();
    return jacovOf(correlations(values, rows, columns), rows);
  },
};

/** Of a correlation matrix [n, n]. */
export function jacovOf(correlation: Float64Array, n: number): number {
  const k = 1e-5;
  if (!correlation.every((x) => Number.isFinite(x))) return NaN;
  return -symmetricEigen(correlation, n).values.reduce((sum, v) => sum + Math.log(v + k) + 1 / (v + k), 0);
}
