// A layer that sees only some of its input columns: the best weights there, when the rest can be foretold from them.
import type { FactorLayer } from './factors.js';
import { columns, multiplyTransposed, principal, ridgedCholesky, solveRows } from './linear-algebra.js';

/** Outputs `rows` keep the weight columns `keep` (channel-major). */
export interface Part {
  readonly rows: readonly number[];
  readonly keep: readonly number[];
}

export interface Restriction {
  /** By part: [rows, keep]. */
  readonly weights: readonly Float64Array[];
  /** What each output loses on average: to be added to the bias. */
  readonly shift: Float64Array;
  /** Unexplained share of the outputs' variance (of the weights' energy without moments). */
  readonly error: number;
}

/** W' = W H_:K (H_KK)^-1 for each part with exact moments; the plain weights otherwise. The parts' rows are all outputs. */
export function restrict(layer: FactorLayer, parts: readonly Part[]): Restriction {
  const { outputs, weights, moments } = layer;
  const n = weights.length / outputs;
  const taps = n / layer.channels;
  const exact = moments?.kind === 'exact' ? Float64Array.from(moments.covariance) : undefined;
  const variance = (k: number): number => {
    if (moments === undefined) return 1;
    const c = Math.floor(k / taps);
    return moments.covariance[moments.kind === 'channel' ? c * moments.size + c : c]!;
  };
  const mean = (k: number): number =>
    moments === undefined ? 0 : moments.mean[moments.kind === 'exact' ? k : Math.floor(k / taps)]!;
  const shift = new Float64Array(outputs);
  let [lost, total] = [0, 0];
  const made = parts.map(({ rows, keep }) => {
    const own = new Float64Array(rows.length * n);
    rows.forEach((row, i) => own.set(weights.subarray(row * n, (row + 1) * n), i * n));
    const kept = fit(own, rows.length, n, keep, exact);
    const difference = own.slice();
    for (let i = 0; i < rows.length; i++)
      keep.forEach((k, j) => (difference[i * n + k]! -= kept[i * keep.length + j]!));
    const energy = (m: Float64Array, i: number, seen: Float64Array | undefined): number => {
      let sum = 0;
      for (let k = 0; k < n; k++)
        sum += m[i * n + k]! * (seen === undefined ? m[i * n + k]! * variance(k) : seen[i * n + k]!);
      return Math.max(0, sum);
    };
    const [before, after] = [own, difference].map((m) =>
      exact === undefined ? undefined : multiplyTransposed(m, rows.length, n, exact, n),
    );
    rows.forEach((row, i) => {
      const scale = (layer.scale?.[row] ?? 1) ** 2;
      total += scale * energy(own, i, before);
      lost += scale * energy(difference, i, after);
      for (let k = 0; k < n; k++) shift[row] = shift[row]! + difference[i * n + k]! * mean(k);
    });
    return kept;
  });
  return { weights: made, shift, error: total > 0 ? lost / total : 0 };
}

function fit(
  own: Float64Array,
  rows: number,
  n: number,
  keep: readonly number[],
  covariance: Float64Array | undefined,
): Float64Array {
  const start = columns(own, rows, n, keep);
  if (covariance === undefined) return start;
  const h = principal(covariance, n, keep);
  const seen = columns(multiplyTransposed(own, rows, n, covariance, n), rows, n, keep);
  // ridge towards the plain weights
  const rest = multiplyTransposed(start, rows, keep.length, h, keep.length).map((v, i) => seen[i]! - v);
  const change = solveRows(ridgedCholesky(h, keep.length, 1e-4).factor, keep.length, rest, rows);
  return start.map((v, i) => v + change[i]!);
}
