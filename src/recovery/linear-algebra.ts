// Dense linear algebra in float64 for least squares: Cholesky, solves with many right-hand sides, inverses, conjugate
// gradients. Matrices are row-major. Right-hand sides are the *rows* of B (a layer's weights lie so): X A = B with A symmetric.

/** C [m, n] = A [m, k] · Bᵀ, B [n, k]. */
export function multiplyTransposed(a: Float64Array, m: number, k: number, b: Float64Array, n: number): Float64Array {
  const c = new Float64Array(m * n);
  accumulate(part(c, n), part(a, k), part(b, k), { rows: m, columns: n, depth: k, sign: 1 });
  return c;
}

/** The lower factor L of A = L Lᵀ (zeros above the diagonal), or undefined when A is not positive definite. Only A's lower half is read. */
export function cholesky(a: Float64Array, n: number): Float64Array | undefined {
  const l = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) l[i * n + j] = a[i * n + j]!;
  for (let start = 0; start < n; start += BLOCK) {
    const end = Math.min(n, start + BLOCK);
    // everything left of this block column is final: subtract its share from the panel below in one product
    for (let row = start; row < n; row += BLOCK) {
      const size = { rows: Math.min(BLOCK, n - row), columns: end - start, depth: start, sign: -1 };
      accumulate(part(l, n, row, start), part(l, n, row), part(l, n, start), size);
    }
    for (let j = start; j < end; j++) {
      const rowJ = j * n;
      let d = l[rowJ + j]!;
      for (let k = start; k < j; k++) d -= l[rowJ + k]! * l[rowJ + k]!;
      if (!(d > 0) || d === Infinity) return undefined;
      const root = Math.sqrt(d);
      l[rowJ + j] = root;
      for (let i = j + 1; i < n; i++) {
        const rowI = i * n;
        let s = l[rowI + j]!;
        for (let k = start; k < j; k++) s -= l[rowI + k]! * l[rowJ + k]!;
        l[rowI + j] = s / root;
      }
    }
    for (let i = start; i < end; i++) l.fill(0, i * n + i + 1, i * n + end);
  }
  return l;
}

/** X with X · (L Lᵀ) = B, for the m rows of B [m, n]. */
export function solveRows(l: Float64Array, n: number, b: Float64Array, m: number): Float64Array {
  const x = b.slice(0, m * n);
  for (let row = 0; row < m; row += 4) {
    // four rows at a time share every load of L; the last group repeats its last row instead of branching
    const r0 = row * n;
    const rows = Math.min(4, m - row);
    if (rows < 4) {
      for (let r = 0; r < rows; r++) solveOne(l, n, x, r0 + r * n);
      continue;
    }
    const r1 = r0 + n;
    const r2 = r1 + n;
    const r3 = r2 + n;
    for (let i = 0; i < n; i++) {
      const li = i * n;
      let s0 = x[r0 + i]!;
      let s1 = x[r1 + i]!;
      let s2 = x[r2 + i]!;
      let s3 = x[r3 + i]!;
      for (let k = 0; k < i; k++) {
        const v = l[li + k]!;
        s0 -= v * x[r0 + k]!;
        s1 -= v * x[r1 + k]!;
        s2 -= v * x[r2 + k]!;
        s3 -= v * x[r3 + k]!;
      }
      const d = l[li + i]!;
      x[r0 + i] = s0 / d;
      x[r1 + i] = s1 / d;
      x[r2 + i] = s2 / d;
      x[r3 + i] = s3 / d;
    }
    for (let i = n - 1; i >= 0; i--) {
      const li = i * n;
      const d = l[li + i]!;
      const s0 = (x[r0 + i] = x[r0 + i]! / d);
      const s1 = (x[r1 + i] = x[r1 + i]! / d);
      const s2 = (x[r2 + i] = x[r2 + i]! / d);
      const s3 = (x[r3 + i] = x[r3 + i]! / d);
      for (let k = 0; k < i; k++) {
        const v = l[li + k]!;
        x[r0 + k] = x[r0 + k]! - v * s0;
        x[r1 + k] = x[r1 + k]! - v * s1;
        x[r2 + k] = x[r2 + k]! - v * s2;
        x[r3 + k] = x[r3 + k]! - v * s3;
      }
    }
  }
  return x;
}

/** (L Lᵀ)⁻¹, symmetric and full. */
export function inverseFromCholesky(l: Float64Array, n: number): Float64Array {
  // M = (L⁻¹)ᵀ, row j holding column j of L⁻¹: contiguous for both products below
  const m = new Float64Array(n * n);
  for (let j = 0; j < n; j++) {
    const mj = j * n;
    m[mj + j] = 1 / l[mj + j]!;
  }
  for (let i = 0; i < n; i++) {
    const li = i * n;
    const d = l[li + i]!;
    let j = 0;
    for (; j + 4 <= i; j += 4) {
      const m0 = j * n;
      const m1 = m0 + n;
      const m2 = m1 + n;
      const m3 = m2 + n;
      let s0 = 0;
      let s1 = 0;
      let s2 = 0;
      let s3 = 0;
      // entries left of the diagonal of M are zero, so starting all four at j is right
      for (let k = j; k < i; k++) {
        const v = l[li + k]!;
        s0 += v * m[m0 + k]!;
        s1 += v * m[m1 + k]!;
        s2 += v * m[m2 + k]!;
        s3 += v * m[m3 + k]!;
      }
      m[m0 + i] = -s0 / d;
      m[m1 + i] = -s1 / d;
      m[m2 + i] = -s2 / d;
      m[m3 + i] = -s3 / d;
    }
    for (; j < i; j++) {
      const mj = j * n;
      let s = 0;
      for (let k = j; k < i; k++) s += l[li + k]! * m[mj + k]!;
      m[mj + i] = -s / d;
    }
  }
  // A⁻¹ = M Mᵀ; row i of M starts at i, so block row `start` needs the columns from `start` on only
  const inverse = new Float64Array(n * n);
  for (let start = 0; start < n; start += BLOCK) {
    const rows = Math.min(BLOCK, n - start);
    for (let column = 0; column <= start; column += BLOCK) {
      const size = { rows, columns: Math.min(BLOCK, n - column), depth: n - start, sign: 1 };
      accumulate(part(inverse, n, start, column), part(m, n, start, start), part(m, n, column, start), size);
    }
  }
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) inverse[j * n + i] = inverse[i * n + j]!;
  return inverse;
}

export interface RidgedFactor {
  readonly factor: Float64Array;
  /** What was added to the diagonal, absolute. */
  readonly ridge: number;
}

/**
 * Cholesky of A + ridge · mean diagonal · I; grows the ridge tenfold until the matrix is positive definite. The last `free`
 * rows (the constant column of the bias) get only a billionth of it. All-zero diagonals (dead inputs) are covered as well.
 */
export function ridgedCholesky(a: Float64Array, n: number, ridge: number, free = 0): RidgedFactor {
  let trace = 0;
  for (let i = 0; i < n - free; i++) trace += a[i * n + i]!;
  const scale = trace > 0 && n > free ? trace / (n - free) : 1;
  for (let relative = Math.max(ridge, 1e-12); relative < 1e6; relative *= 10) {
    const ridged = a.slice();
    for (let i = 0; i < n; i++) ridged[i * n + i] = ridged[i * n + i]! + ridgeAt(i, n, free, relative * scale);
    const factor = cholesky(ridged, n);
    if (factor !== undefined) return { factor, ridge: relative * scale };
  }
  throw new Error('ridgedCholesky: the matrix has entries that are not finite');
}

/** The ridge on diagonal entry i. */
export function ridgeAt(i: number, n: number, free: number, ridge: number): number {
  return i < n - free ? ridge : ridge * 1e-9 + 1e-12;
}

/** Multiplies each row of V [m, n] by the symmetric matrix. */
export type MultiplyRows = (v: Float64Array, m: number) => Promise<Float64Array> | Float64Array;

export interface ConjugateGradientOptions {
  /** Stop when every row's residual is below this share of its right-hand side. */
  readonly tolerance?: number;
  readonly maxIterations?: number;
  /** Approximate inverse applied to rows (e.g. a diagonal); identity when absent. */
  readonly precondition?: (v: Float64Array, m: number) => Float64Array;
  /** Start; zero when absent. */
  readonly start?: Float64Array;
}

/** X [m, n] with X A = B by preconditioned conjugate gradients, all rows side by side; A positive definite, given by its product. */
export async function conjugateGradient(
  multiply: MultiplyRows,
  b: Float64Array,
  m: number,
  n: number,
  options: ConjugateGradientOptions = {},
): Promise<{ readonly x: Float64Array; readonly iterations: number }> {
  const { tolerance = 1e-6, maxIterations = 200, precondition = (v) => v.slice(), start } = options;
  const x = start?.slice() ?? new Float64Array(m * n);
  const r = b.slice();
  if (start !== undefined) {
    const ax = await multiply(x, m);
    for (let i = 0; i < r.length; i++) r[i] = r[i]! - ax[i]!;
  }
  const wanted = rowDots(b, b, m, n).map((v) => v * tolerance * tolerance);
  let z = precondition(r, m);
  const p = z.slice();
  let rz = rowDots(r, z, m, n);
  let iterations = 0;
  while (iterations < maxIterations && rowDots(r, r, m, n).some((v, i) => v > wanted[i]! && v > 0)) {
    iterations++;
    const ap = await multiply(p, m);
    const curvature = rowDots(p, ap, m, n);
    for (let row = 0; row < m; row++) {
      const alpha = curvature[row]! > 0 ? rz[row]! / curvature[row]! : 0;
      for (let i = row * n; i < (row + 1) * n; i++) {
        x[i] = x[i]! + alpha * p[i]!;
        r[i] = r[i]! - alpha * ap[i]!;
      }
    }
    z = precondition(r, m);
    const next = rowDots(r, z, m, n);
    for (let row = 0; row < m; row++) {
      const beta = rz[row]! > 0 ? next[row]! / rz[row]! : 0;
      for (let i = row * n; i < (row + 1) * n; i++) p[i] = z[i]! + beta * p[i]!;
    }
    rz = next;
  }
  return { x, iterations };
}

/** The square matrix of the rows and columns `keep` of A [n, n]. */
export function principal(a: Float64Array, n: number, keep: ArrayLike<number>): Float64Array {
  const k = keep.length;
  const out = new Float64Array(k * k);
  for (let i = 0; i < k; i++) {
    const from = keep[i]! * n;
    for (let j = 0; j < k; j++) out[i * k + j] = a[from + keep[j]!]!;
  }
  return out;
}

/** The columns `keep` of B [m, n]. */
export function columns(b: Float64Array, m: number, n: number, keep: ArrayLike<number>): Float64Array {
  const k = keep.length;
  const out = new Float64Array(m * k);
  for (let i = 0; i < m; i++) for (let j = 0; j < k; j++) out[i * k + j] = b[i * n + keep[j]!]!;
  return out;
}

/** 48 rows of 576 float64 fit a second-level cache beside as many others. */
const BLOCK = 48;

function rowDots(a: Float64Array, b: Float64Array, m: number, n: number): Float64Array {
  const dots = new Float64Array(m);
  for (let row = 0; row < m; row++) {
    let s = 0;
    for (let i = row * n; i < (row + 1) * n; i++) s += a[i]! * b[i]!;
    dots[row] = s;
  }
  return dots;
}

function solveOne(l: Float64Array, n: number, x: Float64Array, r: number): void {
  for (let i = 0; i < n; i++) {
    const li = i * n;
    let s = x[r + i]!;
    for (let k = 0; k < i; k++) s -= l[li + k]! * x[r + k]!;
    x[r + i] = s / l[li + i]!;
  }
  for (let i = n - 1; i >= 0; i--) {
    const li = i * n;
    const s = (x[r + i] = x[r + i]! / l[li + i]!);
    for (let k = 0; k < i; k++) x[r + k] = x[r + k]! - l[li + k]! * s;
  }
}

/** What begins at one entry of a row-major matrix. */
interface Part {
  readonly data: Float64Array;
  readonly width: number;
  /** The index of its first entry. */
  readonly at: number;
}

function part(data: Float64Array, width: number, row = 0, column = 0): Part {
  return { data, width, at: row * width + column };
}

interface ProductSize {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly sign: number;
}

/** C [rows, columns] += sign · A [rows, depth] · B [columns, depth]ᵀ: four by two dot products at a time, so that each load serves several. */
function accumulate(
  { data: c, width: ldc, at: cAt }: Part,
  { data: a, width: lda, at: aAt }: Part,
  { data: b, width: ldb, at: bAt }: Part,
  { rows, columns: cols, depth, sign }: ProductSize,
): void {
  let i = 0;
  for (; i + 4 <= rows; i += 4) {
    const a0 = aAt + i * lda;
    const a1 = a0 + lda;
    const a2 = a1 + lda;
    const a3 = a2 + lda;
    let j = 0;
    for (; j + 2 <= cols; j += 2) {
      const b0 = bAt + j * ldb;
      const b1 = b0 + ldb;
      let s00 = 0;
      let s01 = 0;
      let s10 = 0;
      let s11 = 0;
      let s20 = 0;
      let s21 = 0;
      let s30 = 0;
      let s31 = 0;
      for (let k = 0; k < depth; k++) {
        const v0 = b[b0 + k]!;
        const v1 = b[b1 + k]!;
        const u0 = a[a0 + k]!;
        const u1 = a[a1 + k]!;
        const u2 = a[a2 + k]!;
        const u3 = a[a3 + k]!;
        s00 += u0 * v0;
        s01 += u0 * v1;
        s10 += u1 * v0;
        s11 += u1 * v1;
        s20 += u2 * v0;
        s21 += u2 * v1;
        s30 += u3 * v0;
        s31 += u3 * v1;
      }
      const c0 = cAt + i * ldc + j;
      const c1 = c0 + ldc;
      const c2 = c1 + ldc;
      const c3 = c2 + ldc;
      c[c0] = c[c0]! + sign * s00;
      c[c0 + 1] = c[c0 + 1]! + sign * s01;
      c[c1] = c[c1]! + sign * s10;
      c[c1 + 1] = c[c1 + 1]! + sign * s11;
      c[c2] = c[c2]! + sign * s20;
      c[c2 + 1] = c[c2 + 1]! + sign * s21;
      c[c3] = c[c3]! + sign * s30;
      c[c3 + 1] = c[c3 + 1]! + sign * s31;
    }
    for (; j < cols; j++) for (let r = 0; r < 4; r++) single(i + r, j);
  }
  for (; i < rows; i++) for (let j = 0; j < cols; j++) single(i, j);

  function single(row: number, column: number): void {
    const a0 = aAt + row * lda;
    const b0 = bAt + column * ldb;
    let sum = 0;
    for (let k = 0; k < depth; k++) sum += a[a0 + k]! * b[b0 + k]!;
    const at = cAt + row * ldc + column;
    c[at] = c[at]! + sign * sum;
  }
}
