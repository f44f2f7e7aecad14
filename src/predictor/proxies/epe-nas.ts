// epe_nas: jacov's correlations within each class (Lopes et al., ICANN 2021).
import { PareError } from '../../errors.js';
import { correlations } from './correlations.js';
import type { Proxy } from './proxy.js';

export const epeNas: Proxy = {
  name: 'epe_nas',
  needs: 'gradients',
  score: async (probe) => {
    const { kind, values } = await probe.targets();
    const { dims } = probe.network.scores;
    if (kind === 'own outputs')
      throw new PareError('epe_nas compares the samples of a class, and the network has no class scores');
    const width = dims[1]!;
    const labels = Int32Array.from({ length: dims[0]! }, (_, n) =>
      values.subarray(n * width, (n + 1) * width).indexOf(1),
    );
    const jacobian = await probe.jacobian();
    return epeOf(jacobian.values, jacobian.columns, labels, width);
  },
};

/** Rows of the Jacobian by class; `classes` that the data have, not only those in the batch. */
export function epeOf(rows: ArrayLike<number>, columns: number, labels: Int32Array, classes: number): number {
  const sums: number[] = [];
  for (const c of new Set(labels)) {
    const own = [...labels.keys()].filter((n) => labels[n] === c);
    const part = new Float32Array(own.length * columns);
    own.forEach((n, i) => {
      for (let k = 0; k < columns; k++) part[i * columns + k] = rows[n * columns + k]!;
    });
    const sum = correlations(part, own.length, columns).reduce((s, r) => s + Math.log(Math.abs(r) + 1e-5), 0);
    sums.push(classes > 100 ? sum / own.length : sum);
  }
  if (classes <= 100) return sums.reduce((s, x) => s + Math.abs(x), 0);
  let apart = 0;
  for (const a of sums) for (const b of sums) apart += Math.abs(a - b);
  return apart / sums.length;
}
