// Group optimal brain surgeon (Hassibi and Stork 1993, by groups): in which order the units of a channel group are best removed
// when the rest is refitted optimally after each, and what that costs. A unit may have columns in many consumers.
import { inverseFromCholesky, multiplyTransposed, ridgedCholesky } from './linear-algebra.js';

/** The covariance of a consumer's input with its (ridged) inverse: made once for all groups that the layer consumes. */
export interface PreparedGram {
  /** [columns, columns] */
  readonly covariance: Float64Array;
  readonly inverse: Float64Array;
}

/** `ridge`: share of the mean variance added to the diagonal. */
export function prepareGram(covariance: ArrayLike<number>, columns: number, ridge = 1e-4): PreparedGram {
  const own = Float64Array.from({ length: columns * columns }, (_, i) => covariance[i]!);
  return { covariance: own, inverse: inverseFromCholesky(ridgedCholesky(own, columns, ridge).factor, columns) };
}

/** One layer that sums over the group's units, seen as rows · columns. */
export interface RemovalConsumer {
  /** [rows, columns] */
  readonly weights: Float64Array;
  readonly rows: number;
  readonly columns: number;
  readonly gram: PreparedGram;
  /** Unit of each column; -1: the column stays. */
  readonly unit: Int32Array;
  /** Factor on the consumer's share of the error; 1 when absent. */
  readonly importance?: number;
}

export interface Removal {
  /** Units, cheapest first. */
  readonly order: readonly number[];
  /**
   * Unexplained share of the consumers' output variance after the first k units, k = 0..size; of several consumers the square
   * of the sum of roots, which is m² times the share when m of them suffer alike.
   */
  readonly errors: readonly number[];
}

export interface RemovalOptions {
  /** Units that go together in one step; 1 unless the group is large. */
  readonly atOnce?: number;
  /** Costs by unit that do not change with what else is removed. */
  readonly fixed?: ArrayLike<number>;
}

/**
 * Removing unit u costs each consumer tr(W_u (H⁻¹_uu)⁻¹ W_uᵀ) with H its input's covariance; then the rest takes over:
 * W -= W_u (H⁻¹_uu)⁻¹ H⁻¹_u*, H⁻¹ -= H⁻¹_*u (H⁻¹_uu)⁻¹ H⁻¹_u*. O(units · columns²) for each consumer.
 */
export function removalOrder(
  size: number,
  consumers: readonly RemovalConsumer[],
  options: RemovalOptions = {},
): Removal {
  const { fixed } = options;
  const atOnce = options.atOnce ?? Math.max(1, Math.ceil(size / 256));
  const states = consumers.map((c) => startState(c, size)).filter((s) => s.variance > 0);
  const alive = new Set(Array.from({ length: size }, (_, u) => u));
  const order: number[] = [];
  const errors = [0];
  const lost = new Float64Array(states.length + 1);
  while (alive.size > 0) {
    const units = [...alive];
    const costs = new Map(units.map((u) => [u, fixed?.[u] ?? 0]));
    for (const state of states) {
      for (const u of units) costs.set(u, costs.get(u)! + unitCost(state, u));
    }
    // ties go to the lower number, so that the order never depends on the way of sorting
    const next = units.toSorted((a, b) => costs.get(a)! - costs.get(b)! || a - b).slice(0, atOnce);
    for (const u of next) {
      lost[0] = lost[0]! + (fixed?.[u] ?? 0);
      states.forEach((state, i) => {
        lost[i + 1] = lost[i + 1]! + unitCost(state, u);
        removeUnit(state, u);
      });
      alive.delete(u);
      order.push(u);
      errors.push(together(lost));
    }
  }
  return { order, errors };
}

/** One consumer's error is noise of its own; the errors of several by the same cut point the same way: amplitudes add up. */
function together(lost: Float64Array): number {
  let amplitude = 0;
  for (const v of lost) amplitude += Math.sqrt(Math.max(0, v));
  return amplitude * amplitude;
}

interface State {
  readonly rows: number;
  readonly n: number;
  readonly weights: Float64Array;
  readonly inverse: Float64Array;
  /** Columns of each unit. */
  readonly places: readonly Int32Array[];
  /** Columns still there, ascending. */
  alive: Int32Array;
  /** Variance of the consumer's outputs. */
  readonly variance: number;
}

function startState(c: RemovalConsumer, size: number): State {
  const { columns: n, rows } = c;
  const lists: number[][] = Array.from({ length: size }, () => []);
  c.unit.forEach((u, i) => {
    if (u >= 0) lists[u]!.push(i);
  });
  return {
    rows,
    n,
    weights: c.weights.slice(),
    inverse: c.gram.inverse.slice(),
    places: lists.map((l) => Int32Array.from(l)),
    alive: Int32Array.from({ length: n }, (_, i) => i),
    variance: outputVariance(c.weights, rows, c.gram.covariance, n) / (c.importance ?? 1),
  };
}

/** tr(W C Wᵀ). */
export function outputVariance(weights: Float64Array, rows: number, covariance: Float64Array, n: number): number {
  // C is symmetric: W Cᵀ = W C
  const product = multiplyTransposed(weights, rows, n, covariance, n);
  let sum = 0;
  for (let i = 0; i < product.length; i++) sum += product[i]! * weights[i]!;
  return sum;
}

function unitCost(state: State, unit: number): number {
  const at = state.places[unit]!;
  const t = at.length;
  if (t === 0) return 0;
  const l = blockFactor(state, at);
  let sum = 0;
  const z = new Float64Array(t);
  for (let r = 0; r < state.rows; r++) {
    // w B⁻¹ wᵀ = ‖L⁻¹ w‖²
    for (let i = 0; i < t; i++) {
      let v = state.weights[r * state.n + at[i]!]!;
      for (let k = 0; k < i; k++) v -= l[i * t + k]! * z[k]!;
      z[i] = v / l[i * t + i]!;
      sum += z[i]! * z[i]!;
    }
  }
  return sum / state.variance;
}

/** Cholesky factor of the unit's block of the inverse; rounding may have made it indefinite once little is left. */
function blockFactor(state: State, at: Int32Array): Float64Array {
  const t = at.length;
  const block = new Float64Array(t * t);
  for (let i = 0; i < t; i++) for (let j = 0; j < t; j++) block[i * t + j] = state.inverse[at[i]! * state.n + at[j]!]!;
  return ridgedCholesky(block, t, 1e-12).factor;
}

function removeUnit(state: State, unit: number): void {
  const at = state.places[unit]!;
  const t = at.length;
  if (t === 0) return;
  const { n, rows, inverse, weights } = state;
  const gone = new Set(at);
  const rest = state.alive.filter((i) => !gone.has(i));
  const m = rest.length;
  const l = blockFactor(state, at);
  // V = L⁻¹ H⁻¹_u*, packed to what stays: the update is VᵀV
  const v = new Float64Array(t * m);
  for (let i = 0; i < t; i++) {
    for (let j = 0; j < m; j++) v[i * m + j] = inverse[at[i]! * n + rest[j]!]!;
    for (let k = 0; k < i; k++) {
      const f = l[i * t + k]!;
      for (let j = 0; j < m; j++) v[i * m + j] = v[i * m + j]! - f * v[k * m + j]!;
    }
    const d = l[i * t + i]!;
    for (let j = 0; j < m; j++) v[i * m + j] = v[i * m + j]! / d;
  }
  const line = new Float64Array(m);
  for (let i = 0; i < m; i++) {
    line.fill(0);
    for (let k = 0; k < t; k++) {
      const f = v[k * m + i]!;
      for (let j = 0; j < m; j++) line[j] = line[j]! + f * v[k * m + j]!;
    }
    const row = rest[i]! * n;
    for (let j = 0; j < m; j++) {
      const index = row + rest[j]!;
      inverse[index] = inverse[index]! - line[j]!;
    }
  }
  const z = new Float64Array(t);
  for (let r = 0; r < rows; r++) {
    const row = r * n;
    for (let i = 0; i < t; i++) {
      let value = weights[row + at[i]!]!;
      for (let k = 0; k < i; k++) value -= l[i * t + k]! * z[k]!;
      z[i] = value / l[i * t + i]!;
    }
    for (let k = 0; k < t; k++) {
      const f = z[k]!;
      if (f === 0) continue;
      for (let j = 0; j < m; j++) {
        const index = row + rest[j]!;
        weights[index] = weights[index]! - f * v[k * m + j]!;
      }
    }
    for (let i = 0; i < t; i++) weights[row + at[i]!] = 0;
  }
  state.alive = rest;
}
