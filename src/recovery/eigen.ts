// Eigenvalues and eigenvectors of symmetric matrices in float64: Householder reflections to tridiagonal form, then implicit QL
// with shifts (Golub and Van Loan, Matrix Computations, 8.3). Subspace iteration where only the largest of many are wanted.
import { createRng } from '../rng.js';
import { cholesky, multiplyTransposed } from './linear-algebra.js';

export interface Eigen {
  /** Descending. */
  readonly values: Float64Array;
  /** [count, n]: row i is the unit eigenvector of value i. */
  readonly vectors: Float64Array;
}

/** All eigenpairs of A [n, n], O(n^3). */
export function symmetricEigen(a: Float64Array, n: number): Eigen {
  const { diagonal, beside, basis } = tridiagonal(a, n);
  implicitQl(diagonal, beside, basis, n);
  const order = Array.from({ length: n }, (_, i) => i).sort((p, q) => diagonal[q]! - diagonal[p]! || p - q);
  const values = Float64Array.from(order, (i) => diagonal[i]!);
  const vectors = new Float64Array(n * n);
  order.forEach((from, to) => vectors.set(basis.subarray(from * n, (from + 1) * n), to * n));
  return { values, vectors };
}

/** Above this size only the leading eigenpairs are computed. */
const COMPLETE = 640;

/** The `count` largest eigenpairs of a positive semidefinite A; by subspace iteration for large matrices. Deterministic. */
export function leadingEigen(a: Float64Array, n: number, count: number): Eigen {
  const wanted = Math.min(n, count);
  if (n <= COMPLETE || wanted * 3 > n) return firstOf(symmetricEigen(a, n), wanted, n);
  const width = Math.min(n, wanted + 16);
  const rng = createRng('leading eigenvectors');
  let rows: Float64Array = Float64Array.from({ length: width * n }, () => rng.normal());
  for (let i = 0; i < 6; i++) rows = orthonormal(multiplyTransposed(rows, width, n, a, n), width, n);
  const product = multiplyTransposed(rows, width, n, a, n);
  const small = symmetricEigen(multiplyTransposed(product, width, n, rows, width), width);
  // the vectors of the small problem, in the large space: V = S · rows
  const vectors = new Float64Array(wanted * n);
  for (let i = 0; i < wanted; i++) {
    for (let k = 0; k < width; k++) {
      const s = small.vectors[i * width + k]!;
      for (let j = 0; j < n; j++) vectors[i * n + j] = vectors[i * n + j]! + s * rows[k * n + j]!;
    }
  }
  return { values: small.values.slice(0, wanted), vectors };
}

function firstOf(all: Eigen, count: number, n: number): Eigen {
  return { values: all.values.slice(0, count), vectors: all.vectors.slice(0, count * n) };
}

interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** beside[i] stands between i and i + 1; the last is 0. */
  readonly beside: Float64Array;
  /** Rows: the columns of Q, with A = Q T Q^T. */
  readonly basis: Float64Array;
}

function tridiagonal(a: Float64Array, n: number): Tridiagonal {
  const m = a.slice(0, n * n);
  const beside = new Float64Array(n);
  const reflections: { readonly from: number; readonly v: Float64Array; readonly beta: number }[] = [];
  for (let k = 0; k + 2 < n; k++) {
    const from = k + 1;
    const v = m.slice(k * n + from, (k + 1) * n);
    let squares = 0;
    for (const x of v) squares += x * x;
    const rest = squares - v[0]! * v[0]!;
    if (rest <= squares * 1e-30 || squares === 0) {
      beside[k] = v[0]!;
      continue;
    }
    const alpha = v[0]! > 0 ? -Math.sqrt(squares) : Math.sqrt(squares);
    beside[k] = alpha;
    const norm = rest + (v[0]! - alpha) ** 2;
    v[0] = v[0]! - alpha;
    const beta = 2 / norm;
    reflections.push({ from, v, beta });
    reflectBothSides(m, n, from, v, beta);
  }
  if (n > 1) beside[n - 2] = m[(n - 2) * n + n - 1]!;
  const basis = new Float64Array(n * n);
  for (let i = 0; i < n; i++) basis[i * n + i] = 1;
  for (const { from, v, beta } of reflections.reverse()) {
    for (let i = from; i < n; i++) {
      const row = i * n + from;
      let dot = 0;
      for (let j = 0; j < v.length; j++) dot += basis[row + j]! * v[j]!;
      dot *= beta;
      for (let j = 0; j < v.length; j++) basis[row + j] = basis[row + j]! - dot * v[j]!;
    }
  }
  return { diagonal: Float64Array.from({ length: n }, (_, i) => m[i * n + i]!), beside, basis };
}

/** M := (I - beta v v^T) M (I - beta v v^T) on the rows and columns from `from` on. */
function reflectBothSides(m: Float64Array, n: number, from: number, v: Float64Array, beta: number): void {
  const size = v.length;
  const w = new Float64Array(size);
  let dot = 0;
  for (let i = 0; i < size; i++) {
    const row = (from + i) * n + from;
    let sum = 0;
    for (let j = 0; j < size; j++) sum += m[row + j]! * v[j]!;
    w[i] = beta * sum;
    dot += w[i]! * v[i]!;
  }
  const half = (beta / 2) * dot;
  for (let i = 0; i < size; i++) w[i] = w[i]! - half * v[i]!;
  for (let i = 0; i < size; i++) {
    const row = (from + i) * n + from;
    const [vi, wi] = [v[i]!, w[i]!];
    for (let j = 0; j < size; j++) m[row + j] = m[row + j]! - vi * w[j]! - wi * v[j]!;
  }
}

/** Diagonalises T in place: `d` becomes the eigenvalues; the rows of `z` turn along. */
function implicitQl(d: Float64Array, e: Float64Array, z: Float64Array, n: number): void {
  // below what rounding left of the largest value nothing is known: matrices without full rank have values of any small size there
  let largest = 0;
  for (let i = 0; i < n; i++) largest = Math.max(largest, Math.abs(d[i]!) + Math.abs(e[i]!));
  const nothing = (Number.EPSILON * largest) / 16;
  for (let low = 0; low < n; low++) {
    for (let turn = 0; ; turn++) {
      let high = low;
      while (
        high < n - 1 &&
        Math.abs(e[high]!) > Math.max(nothing, Number.EPSILON * (Math.abs(d[high]!) + Math.abs(d[high + 1]!)))
      )
        high++;
      if (high === low) break;
      if (turn === 60) throw new Error('symmetricEigen: the matrix has entries that are not finite');
      sweep(d, e, z, n, low, high);
    }
  }
}

/** One QL step with Wilkinson's shift on the block low..high, chasing the bulge upwards by plane rotations. */
function sweep(d: Float64Array, e: Float64Array, z: Float64Array, n: number, low: number, high: number): void {
  const half = (d[low + 1]! - d[low]!) / (2 * e[low]!);
  const root = Math.sqrt(half * half + 1);
  let g = d[high]! - d[low]! + e[low]! / (half + (half >= 0 ? root : -root));
  let [s, c, p] = [1, 1, 0];
  for (let i = high - 1; i >= low; i--) {
    const f = s * e[i]!;
    const b = c * e[i]!;
    const r = Math.sqrt(f * f + g * g);
    e[i + 1] = r;
    if (r === 0) {
      d[i + 1] = d[i + 1]! - p;
      e[high] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    g = d[i + 1]! - p;
    const t = (d[i]! - g) * s + 2 * c * b;
    p = s * t;
    d[i + 1] = g + p;
    g = c * t - b;
    const [first, second] = [i * n, (i + 1) * n];
    for (let k = 0; k < n; k++) {
      const x = z[first + k]!;
      const y = z[second + k]!;
      z[second + k] = s * x + c * y;
      z[first + k] = c * x - s * y;
    }
  }
  d[low] = d[low]! - p;
  e[low] = g;
  e[high] = 0;
}

/** Orthonormal rows that span the same space: the rows times the inverse of their Gram matrix's Cholesky factor, twice. */
function orthonormal(rows: Float64Array, m: number, n: number): Float64Array {
  let q = rows;
  for (let pass = 0; pass < 2; pass++) {
    const gram = multiplyTransposed(q, m, n, q, m);
    let trace = 0;
    for (let i = 0; i < m; i++) trace += gram[i * m + i]!;
    for (let i = 0; i < m; i++) gram[i * m + i] = gram[i * m + i]! + trace * 1e-14 + 1e-300;
    const l = cholesky(gram, m);
    if (l === undefined) throw new Error('leadingEigen: the matrix has entries that are not finite');
    const next = q.slice();
    // forward substitution: row i minus what the rows before it hold
    for (let i = 0; i < m; i++) {
      for (let k = 0; k < i; k++) {
        const f = l[i * m + k]!;
        if (f !== 0) for (let j = 0; j < n; j++) next[i * n + j] = next[i * n + j]! - f * next[k * n + j]!;
      }
      const pivot = l[i * m + i]!;
      for (let j = 0; j < n; j++) next[i * n + j] = next[i * n + j]! / pivot;
    }
    q = next;
  }
  return q;
}
