// Reading a network's outputs sample by sample: rows, classes, probabilities, and the size of a difference.
import { DataType } from '../ir/tensor.js';
import { floatsOf, type RuntimeTensor } from '../runtime/runtime.js';

export type Outputs = ReadonlyMap<string, RuntimeTensor>;

export function isFloat(t: RuntimeTensor): boolean {
  return [DataType.FLOAT, DataType.DOUBLE, DataType.FLOAT16, DataType.BFLOAT16].some((d) => d === t.dataType);
}

/** Values of sample i of n along the first axis (all values when there is one sample); undefined when n does not divide them. */
export function rowLength(t: RuntimeTensor, n: number): number | undefined {
  const length = t.data.length / n;
  return (t.dims[0] === n || n === 1) && Number.isInteger(length) ? length : undefined;
}

/** One vector of class scores a sample: [N, C], also with further axes of length 1. */
export function isClassifier(t: RuntimeTensor, n: number): boolean {
  const rest = t.dims.slice(t.dims[0] === n ? 1 : 0).filter((d) => d !== 1);
  return isFloat(t) && rest.length === 1 && rowLength(t, n) === rest[0];
}

/** The name of the output to judge by: the one asked for, else the first with class scores, else the first. */
export function judgedOutput(outputs: Outputs, n: number, asked: string | undefined): string | undefined {
  if (asked !== undefined) return outputs.has(asked) ? asked : undefined;
  for (const [name, t] of outputs) if (isClassifier(t, n)) return name;
  return [...outputs.keys()][0];
}

/** Rows of `width` values as float32. */
export function rowsOf(t: RuntimeTensor, width: number): (i: number) => Float32Array {
  const values = floatsOf(t);
  return (i) => values.subarray(i * width, (i + 1) * width);
}

/** First index of the largest value; -1 when a value is not finite. */
export function argmax(row: Float32Array): number {
  let best = -1;
  let top = -Infinity;
  for (let i = 0; i < row.length; i++) {
    const v = row[i]!;
    if (Number.isNaN(v)) return -1;
    if (v > top) {
      top = v;
      best = i;
    }
  }
  return top === Infinity ? -1 : best;
}

/** Whether the class is among the k largest values; ties count against it. */
export function inTop(row: Float32Array, label: number, k: number): boolean {
  const own = row[label];
  if (own === undefined || Number.isNaN(own)) return false;
  let above = 0;
  for (let i = 0; i < row.length; i++) if (i !== label && row[i]! >= own) above++;
  return above < k;
}

/** Rows that already are probabilities: none negative, sums of 1. */
export function areProbabilities(t: RuntimeTensor, n: number, width: number): boolean {
  const row = rowsOf(t, width);
  for (let i = 0; i < n; i++) {
    let sum = 0;
    for (const v of row(i)) {
      if (!(v >= 0)) return false;
      sum += v;
    }
    if (Math.abs(sum - 1) > 1e-3) return false;
  }
  return true;
}

/** Probabilities of a row of logits (or of log-probabilities, which softmax leaves as they are). */
export function softmax(row: Float32Array): Float64Array {
  let top = -Infinity;
  for (const v of row) top = Math.max(top, v);
  const p = Float64Array.from(row, (v) => Math.exp(v - top));
  let sum = 0;
  for (const v of p) sum += v;
  return p.map((v) => v / sum);
}

/** KL(p || q) in nats; q is kept above 1e-12 so that a probability rounded to 0 costs much, but not everything. */
export function divergence(p: ArrayLike<number>, q: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) if (p[i]! > 0) sum += p[i]! * Math.log(p[i]! / Math.max(q[i]!, 1e-12));
  return Math.max(0, sum);
}

export interface Deviation {
  /** Per sample: sum of squared differences, and of squared reference values. For other types than floats: elements that differ, and all. */
  readonly error: Float64Array;
  readonly signal: Float64Array;
  /** Samples with values that are not finite. */
  readonly nonFinite: number;
}

/** How far `t` is from `reference` in each of the first `count` of n samples. */
export function deviation(t: RuntimeTensor, reference: RuntimeTensor, n: number, count: number): Deviation | undefined {
  const width = rowLength(reference, n);
  if (width === undefined || t.data.length !== reference.data.length) return undefined;
  const error = new Float64Array(count);
  const signal = new Float64Array(count);
  let nonFinite = 0;
  const floats = isFloat(reference) && isFloat(t);
  const [a, b] = floats ? [floatsOf(t), floatsOf(reference)] : [t.data, reference.data];
  for (let i = 0; i < count; i++) {
    let bad = false;
    for (let j = i * width; j < (i + 1) * width; j++) {
      const [x, y] = [a[j]!, b[j]!];
      if (typeof x !== 'number' || typeof y !== 'number' || !floats) {
        error[i]! += x === y ? 0 : 1;
        signal[i]! += 1;
      } else if (Number.isFinite(x) && Number.isFinite(y)) {
        error[i]! += (x - y) ** 2;
        signal[i]! += y * y;
      } else if (!Object.is(x, y)) bad = true;
    }
    if (bad) nonFinite++;
  }
  return { error, signal, nonFinite };
}
