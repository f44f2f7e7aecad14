// Regression trees (CART, Breiman 1984) in flat arrays, on columns whose values are coded once: what forests, gradient boosting and
// NGBoost grow. Exact splits on every distinct value, midpoints as thresholds, random choice between equal gains, as in scikit-learn.
import type { Rng } from '../rng.js';

/** A table by columns: each value as the rank of its distinct value. Values must be finite. */
export interface Columns {
  readonly n: number;
  /** By column: of each row, the index into `values`. */
  readonly codes: readonly Uint16Array[];
  /** By column: the distinct values, ascending. */
  readonly values: readonly Float64Array[];
}

export interface Tree {
  /** -1 for a leaf. */
  readonly feature: Int32Array;
  readonly threshold: Float64Array;
  /** A value at most the threshold goes to `low`, any other to `low + 1`. */
  readonly low: Int32Array;
  /** Weighted mean of the targets that reached the node. */
  readonly value: Float64Array;
}

export interface TreeOptions {
  /** Least weight of a leaf. */
  readonly leaf: number;
  readonly depth: number;
  /** Share of the columns that each split may choose from. */
  readonly columns: number;
  /** One random threshold a column (Geurts et al. 2006) instead of the best. */
  readonly randomThresholds: boolean;
  readonly rng: Rng;
}

export function columnsOf(rows: readonly ArrayLike<number>[]): Columns {
  const width = rows[0]?.length ?? 0;
  const codes: Uint16Array[] = [];
  const values: Float64Array[] = [];
  const column = new Float64Array(rows.length);
  for (let f = 0; f < width; f++) {
    for (let i = 0; i < rows.length; i++) column[i] = rows[i]![f]!;
    const distinct = Float64Array.from(new Set(column)).sort();
    const rank = new Map([...distinct].map((v, k) => [v, k]));
    values.push(distinct);
    codes.push(Uint16Array.from(column, (v) => rank.get(v)!));
  }
  if (rows.length > 65_535) throw new RangeError(`a tree learns from at most 65,535 rows, not ${rows.length}`);
  return { n: rows.length, codes, values };
}

/** `weights[i]` = how often row i counts (0: not at all). */
export function growTree(
  data: Columns,
  targets: ArrayLike<number>,
  weights: ArrayLike<number>,
  options: TreeOptions,
): Tree {
  const rows = Uint16Array.from(Array.from({ length: data.n }, (_, i) => i).filter((i) => weights[i]! > 0));
  const feature: number[] = [];
  const threshold: number[] = [];
  const low: number[] = [];
  const value: number[] = [];
  const room = new Workspace(data);
  const add = (): number => {
    feature.push(-1);
    threshold.push(0);
    low.push(-1);
    value.push(0);
    return feature.length - 1;
  };
  // columns in an order of the tree's own; each node starts somewhere else in it, so that equal gains are decided by chance
  const order = Int32Array.from(
    options.rng.shuffle(data.codes.map((_, f) => f).filter((f) => data.values[f]!.length > 1)),
  );
  const stack: Job[] = [{ node: add(), start: 0, end: rows.length, depth: 0, columns: order }];
  for (let job = stack.pop(); job !== undefined; job = stack.pop()) {
    const { node, start, end, depth } = job;
    let weight = 0;
    let sum = 0;
    let least = Infinity;
    let most = -Infinity;
    for (let i = start; i < end; i++) {
      const y = targets[rows[i]!]!;
      weight += weights[rows[i]!]!;
      sum += weights[rows[i]!]! * y;
      if (y < least) least = y;
      if (y > most) most = y;
    }
    value[node] = weight > 0 ? sum / weight : 0;
    if (depth >= options.depth || weight < 2 * options.leaf || !(most > least)) continue;
    const found = room.bestSplit(rows, start, end, targets, weights, value[node], job.columns, options);
    if (found === undefined) continue;
    const middle = partition(rows, start, end, data.codes[found.feature]!, found.code);
    feature[node] = found.feature;
    threshold[node] = found.threshold;
    const children = add();
    add();
    low[node] = children;
    stack.push({ node: children + 1, start: middle, end, depth: depth + 1, columns: found.columns });
    stack.push({ node: children, start, end: middle, depth: depth + 1, columns: found.columns });
  }
  return {
    feature: Int32Array.from(feature),
    threshold: Float64Array.from(threshold),
    low: Int32Array.from(low),
    value: Float64Array.from(value),
  };
}

/** The leaf that a row reaches. */
export function leafOf(tree: Tree, row: ArrayLike<number>): number {
  let at = 0;
  for (let f = tree.feature[0]!; f >= 0; f = tree.feature[at]!) {
    at = tree.low[at]! + (row[f]! <= tree.threshold[at]! ? 0 : 1);
  }
  return at;
}

/** Path attribution (Saabas): adds to each column what its splits on the row's path changed in the mean; the root's mean is left. */
export function attribute(tree: Tree, row: ArrayLike<number>, into: Float64Array, share: number): void {
  let at = 0;
  for (let f = tree.feature[0]!; f >= 0; f = tree.feature[at]!) {
    const next = tree.low[at]! + (row[f]! <= tree.threshold[at]! ? 0 : 1);
    into[f]! += share * (tree.value[next]! - tree.value[at]!);
    at = next;
  }
}

interface Job {
  readonly node: number;
  /** Its rows. */
  readonly start: number;
  readonly end: number;
  readonly depth: number;
  readonly columns: Int32Array;
}

interface Split {
  readonly feature: number;
  /** The highest code that goes to the low side. */
  readonly code: number;
  readonly threshold: number;
  /** The columns that still vary here: no other can split below. */
  readonly columns: Int32Array;
}

/** Scratch arrays of one tree: by code the weight and the sum of what has it. */
class Workspace {
  private readonly data: Columns;
  private readonly weight: Float64Array;
  private readonly sum: Float64Array;
  private readonly count: Int32Array;

  constructor(data: Columns) {
    this.data = data;
    const most = data.values.reduce((m, v) => Math.max(m, v.length), 1);
    this.weight = new Float64Array(most);
    this.sum = new Float64Array(most);
    this.count = new Int32Array(most);
  }

  bestSplit(
    rows: Uint16Array,
    start: number,
    end: number,
    targets: ArrayLike<number>,
    weights: ArrayLike<number>,
    center: number,
    columns: Int32Array,
    options: TreeOptions,
  ): Split | undefined {
    const { weight, sum, count } = this;
    const varying: number[] = [];
    let best: { feature: number; code: number; threshold: number } | undefined;
    let total = 0;
    let squares = 0;
    for (let i = start; i < end; i++) {
      const row = rows[i]!;
      total += weights[row]!;
      squares += weights[row]! * (targets[row]! - center) ** 2;
    }
    let bestGain = 1e-10 * squares;
    const wanted = Math.max(1, Math.round(options.columns * columns.length));
    const offset = columns.length === 0 ? 0 : options.rng.int(columns.length);
    const asked = wanted < columns.length ? options.rng.sample(columns.length, columns.length) : undefined;
    let looked = 0;
    for (let k = 0; k < columns.length; k++) {
      const f = columns[asked?.[k] ?? (offset + k) % columns.length]!;
      const codes = this.data.codes[f]!;
      let lowest = 65_536;
      let highest = -1;
      for (let i = start; i < end; i++) {
        const c = codes[rows[i]!]!;
        if (c < lowest) lowest = c;
        if (c > highest) highest = c;
      }
      if (lowest === highest) continue;
      varying.push(f);
      // a column that cannot split is no choice: the next one is asked in its place
      if (looked >= wanted) continue;
      looked++;
      const span = highest - lowest + 1;
      let present: Uint16Array | undefined;
      if (span > 8 * (end - start)) {
        // few rows among many values: the codes that occur, sorted
        present = new Uint16Array(end - start);
        for (let i = start; i < end; i++) present[i - start] = codes[rows[i]!]!;
        present.sort();
        for (const c of present) weight[c] = sum[c] = count[c] = 0;
      } else {
        weight.fill(0, lowest, highest + 1);
        sum.fill(0, lowest, highest + 1);
        count.fill(0, lowest, highest + 1);
      }
      for (let i = start; i < end; i++) {
        const row = rows[i]!;
        const c = codes[row]!;
        const w = weights[row]!;
        weight[c]! += w;
        sum[c]! += w * (targets[row]! - center);
        count[c]!++;
      }
      const cut = options.randomThresholds
        ? this.data.values[f]![lowest]! +
          options.rng.next() * (this.data.values[f]![highest]! - this.data.values[f]![lowest]!)
        : NaN;
      let leftWeight = 0;
      let leftSum = 0;
      let previous = -1;
      let allSum = 0;
      const steps = present?.length ?? span;
      for (let s = 0; s < steps; s++) allSum += this.once(present, s, lowest, sum);
      for (let s = 0; s < steps; s++) {
        const c = present === undefined ? lowest + s : present[s]!;
        if (count[c] === 0 || c === previous) continue;
        if (previous >= 0 && leftWeight >= options.leaf && total - leftWeight >= options.leaf) {
          const fits = Number.isNaN(cut) || (this.data.values[f]![previous]! <= cut && cut < this.data.values[f]![c]!);
          const rest = allSum - leftSum;
          const gain = fits ? (leftSum * leftSum) / leftWeight + (rest * rest) / (total - leftWeight) : -1;
          if (gain > bestGain) {
            bestGain = gain;
            best = {
              feature: f,
              code: previous,
              threshold: Number.isNaN(cut) ? midpoint(this.data.values[f]!, previous, c) : cut,
            };
          }
        }
        leftWeight += weight[c]!;
        leftSum += sum[c]!;
        previous = c;
      }
    }
    return best === undefined ? undefined : { ...best, columns: Int32Array.from(varying) };
  }

  private once(present: Uint16Array | undefined, s: number, lowest: number, sum: Float64Array): number {
    if (present === undefined) return sum[lowest + s]!;
    return s > 0 && present[s] === present[s - 1] ? 0 : sum[present[s]!]!;
  }
}

/** Between two values; rounding must not move it onto the upper one. */
function midpoint(values: Float64Array, below: number, above: number): number {
  const middle = values[below]! + (values[above]! - values[below]!) / 2;
  return middle < values[above]! ? middle : values[below]!;
}

/** Rows of codes up to `code` first; returns where the others begin. */
function partition(rows: Uint16Array, start: number, end: number, codes: Uint16Array, code: number): number {
  let middle = start;
  for (let i = start; i < end; i++) {
    const row = rows[i]!;
    if (codes[row]! <= code) {
      rows[i] = rows[middle]!;
      rows[middle++] = row;
    }
  }
  return middle;
}
