// A head in closed form for tasks with few measured networks: Gaussian processes over several views of the same networks (what adapters
// foretell for other tasks, graph features), averaged over mixtures of views by their evidence, so that twenty samples are never
// overfitted by a choice among many. Rasmussen & Williams 2006, ch. 5.
import { cholesky, inverseFromCholesky } from '../recovery/linear-algebra.js';
import { pearson } from './correlation.js';
import type { Prediction } from './predictor.js';

/** One way to look at the networks: rows of equal length, standardised over the pool. */
export interface View {
  readonly name: string;
  /** `quadratic`: trends that bend, and that go on beyond what was measured, where `rbf` returns to the mean. */
  readonly kernel: 'linear' | 'quadratic' | 'rbf';
  readonly rows: readonly ArrayLike<number>[];
  /** Multiplies the shares that the mixtures give this view. */
  readonly weight?: number;
}

export interface FewShot {
  /** Row numbers of the views. */
  predict(rows: readonly number[]): Prediction[];
  /** Evidence-weighted share of each view in the prior variance. */
  readonly shares: readonly number[];
  /** What the processes say of each sample without it, in their order; mean, scale and mixture still know it (Rasmussen & Williams 2006, eq. 5.12). */
  readonly leaveOneOut: readonly number[];
}

/** Shares that a view may have in a mixture. */
const SHARES = [0, 0.3, 1];
const NOISES = [0.02, 0.08, 0.3, 1];
/** Samples that the mixtures are judged on at most. */
const JUDGED = 96;

interface Mixture {
  readonly shares: readonly number[];
  readonly noise: number;
}

/**
 * `train` are row numbers of the views, `measured` their labels; one that failed to train counts as {@link bounded} says. `verdict`,
 * standardised over the pool, is what was believed before any label: predictions start from it as far as the labels confirm it.
 */
export function fitFewShot(
  views: readonly View[],
  train: readonly number[],
  measured: readonly number[],
  verdict?: ArrayLike<number>,
): FewShot {
  const n = train.length;
  const told = bounded(measured);
  const trust = verdict === undefined ? undefined : trustIn(verdict, train, told);
  const labels = trust === undefined ? told : bounded(told.map((v, i) => v - trust.before * verdict![train[i]!]!));
  const centre = told.reduce((a, b) => a + b, 0) / n;
  /** The process' own prediction, with the prior mean and beside the verdict. */
  const joined = (own: number, row: number): number => {
    if (trust === undefined) return own;
    const z = verdict![row]!;
    const process = own + trust.before * z;
    return centre + (process - centre + trust.beside * trust.deviation * z) / (1 + trust.beside);
  };
  const mean = labels.reduce((a, b) => a + b, 0) / n;
  const variance = labels.reduce((sum, y) => sum + (y - mean) ** 2, 0) / n;
  if (variance < 1e-18) {
    return {
      predict: (rows) => rows.map((row) => ({ mean: joined(mean, row), deviation: 0 })),
      shares: views.map(() => 0),
      leaveOneOut: train.map((row) => joined(mean, row)),
    };
  }
  const unit = Math.sqrt(variance);
  const y = Float64Array.from(labels, (v) => (v - mean) / unit);
  const grams = views.map((view) => kernelMatrix(view, train, train));

  const judged = Math.min(n, JUDGED);
  const mixtures = mixturesOf(views.length);
  const evidence = mixtures.map((m) => logEvidence(m, views, grams, y, n, judged));
  const best = Math.max(...evidence);
  const raw = evidence.map((e) => Math.exp(e - best));
  const total = raw.reduce((a, b) => a + b, 0);
  // what has no weight costs nothing further; large training sets use the best mixture alone
  const kept = mixtures
    .map((m, i) => ({ m, weight: raw[i]! / total }))
    .sort((a, b) => b.weight - a.weight)
    .slice(0, n > JUDGED ? 1 : 24);
  const keptTotal = kept.reduce((sum, k) => sum + k.weight, 0);

  const betas = views.map(() => new Float64Array(n));
  const shares = views.map(() => 0);
  const left = new Float64Array(n);
  const solved = kept.map(({ m, weight }) => {
    const share = weight / keptTotal;
    const inverse = inverseFromCholesky(factorOf(m, views, grams, n, n), n);
    const alpha = new Float64Array(n);
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) alpha[i]! += inverse[i * n + j]! * y[j]!;
    // the evidence's own scale of the signal
    const amplitude = y.reduce((sum, v, i) => sum + v * alpha[i]!, 0) / n;
    m.shares.forEach((s, k) => {
      const c = s * (views[k]!.weight ?? 1);
      shares[k]! += share * c;
      for (let i = 0; i < n; i++) betas[k]![i]! += share * c * alpha[i]!;
    });
    for (let i = 0; i < n; i++) left[i]! += share * (y[i]! - alpha[i]! / inverse[i * n + i]!);
    return { m, share, inverse, amplitude };
  });
  const [first] = solved;
  return {
    shares,
    leaveOneOut: train.map((row, i) => joined(mean + unit * left[i]!, row)),
    predict(rows) {
      const cross = views.map((view) => kernelMatrix(view, rows, train));
      return rows.map((row, r) => {
        let sum = 0;
        for (let k = 0; k < views.length; k++) {
          for (let i = 0; i < n; i++) sum += cross[k]![r * n + i]! * betas[k]![i]!;
        }
        return { mean: joined(mean + unit * sum, row), deviation: unit * deviationOf(row, r) };
      });

      function deviationOf(row: number, r: number): number {
        if (first === undefined) return 0;
        const { m, inverse, amplitude } = first;
        const k = new Float64Array(n);
        let own = m.noise;
        views.forEach((view, v) => {
          const c = m.shares[v]! * (view.weight ?? 1);
          if (c === 0) return;
          for (let i = 0; i < n; i++) k[i]! += c * cross[v]![r * n + i]!;
          own += c * kernelOf(view, view.rows[row]!, view.rows[row]!);
        });
        let explained = 0;
        for (let i = 0; i < n; i++) {
          let w = 0;
          for (let j = 0; j < n; j++) w += inverse[i * n + j]! * k[j]!;
          explained += k[i]! * w;
        }
        return Math.sqrt(Math.max(0, amplitude * (own - explained)));
      }
    },
  };
}

/** Labels held within three robust deviations of their median: among twenty, one failed training would bend all predictions. */
export function bounded(labels: readonly number[]): readonly number[] {
  const middle = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
  const median = middle(labels);
  const deviation = 1.4826 * middle(labels.map((v) => Math.abs(v - median)));
  if (deviation === 0) return labels;
  // among many, the far ones are few and count for little
  const most = 3 * deviation * Math.max(1, Math.sqrt(labels.length / 32));
  return labels.map((v) => Math.min(median + most, Math.max(median - most, v)));
}

/** Half of the verdict's slope is the prior mean; a few samples more cannot outvote it at once, which fades as they grow. */
function trustIn(
  verdict: ArrayLike<number>,
  train: readonly number[],
  labels: readonly number[],
): { readonly before: number; readonly beside: number; readonly deviation: number } {
  const n = train.length;
  const said = train.map((i) => verdict[i]!);
  const correlation = pearson(said, labels);
  const mean = labels.reduce((a, b) => a + b, 0) / n;
  const deviation = Math.sqrt(labels.reduce((sum, y) => sum + (y - mean) ** 2, 0) / n);
  const confirmed = Number.isNaN(correlation) ? 0 : Math.min(1, Math.max(0, 2 * correlation));
  return { before: 0.5 * confirmed * deviation, beside: Math.min(0.3, 6 / n) * confirmed, deviation };
}

function mixturesOf(views: number): Mixture[] {
  let shares: number[][] = [[]];
  for (let v = 0; v < views; v++) shares = shares.flatMap((s) => SHARES.map((share) => [...s, share]));
  return shares.filter((s) => s.includes(1)).flatMap((s) => NOISES.map((noise) => ({ shares: s, noise })));
}

/** Log marginal likelihood with the common amplitude integrated out at its optimum; of the first `judged` samples. */
function logEvidence(
  m: Mixture,
  views: readonly View[],
  grams: readonly Float64Array[],
  y: Float64Array,
  n: number,
  judged: number,
): number {
  const l = factorOf(m, views, grams, n, judged);
  // forward substitution: |L^-1 y|^2 = y K^-1 y
  const z = new Float64Array(judged);
  let square = 0;
  let logDet = 0;
  for (let i = 0; i < judged; i++) {
    let sum = y[i]!;
    for (let j = 0; j < i; j++) sum -= l[i * judged + j]! * z[j]!;
    const d = l[i * judged + i]!;
    z[i] = sum / d;
    square += z[i]! ** 2;
    logDet += Math.log(d);
  }
  return -0.5 * judged * Math.log(square / judged) - logDet;
}

function factorOf(
  m: Mixture,
  views: readonly View[],
  grams: readonly Float64Array[],
  n: number,
  size: number,
): Float64Array {
  const k = new Float64Array(size * size);
  m.shares.forEach((share, v) => {
    const c = share * (views[v]!.weight ?? 1);
    if (c === 0) return;
    for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) k[i * size + j]! += c * grams[v]![i * n + j]!;
  });
  for (let i = 0; i < size; i++) k[i * size + i]! += m.noise + 1e-9;
  const l = cholesky(k, size);
  // kernels are positive semidefinite and the noise is not 0
  if (l === undefined) throw new Error('a Gram matrix is not positive definite');
  return l;
}

function kernelMatrix(view: View, left: readonly number[], right: readonly number[]): Float64Array {
  const out = new Float64Array(left.length * right.length);
  left.forEach((a, i) => {
    right.forEach((b, j) => (out[i * right.length + j] = kernelOf(view, view.rows[a]!, view.rows[b]!)));
  });
  return out;
}

/** About 1 on the diagonal on average, whatever the number of columns; `quadratic`: more, the more its columns agree. */
function kernelOf(view: View, a: ArrayLike<number>, b: ArrayLike<number>): number {
  const width = Math.max(1, a.length);
  let sum = 0;
  if (view.kernel !== 'rbf') {
    for (let c = 0; c < a.length; c++) sum += a[c]! * b[c]!;
    const dot = sum / width;
    return view.kernel === 'linear' ? dot : (1 + dot) ** 2 / 4;
  }
  for (let c = 0; c < a.length; c++) sum += (a[c]! - b[c]!) ** 2;
  return Math.exp(-sum / (2 * width));
}
