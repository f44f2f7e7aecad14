// Agreement of two rankings: Spearman's rank correlation with average ranks for ties, Kendall's tau-b.

/** In [-1, 1]; NaN when one side is constant or there are fewer than two pairs. */
export function spearman(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return pearson(ranks(a), ranks(b));
}

/** Tau-b: ties on both sides are accounted for. NaN when one side is constant. In O(n log n) (Knight 1966). */
export function kendall(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const n = a.length;
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => a[i]! - a[j]! || b[i]! - b[j]!);
  const pairs = (n * (n - 1)) / 2;
  const tiedA = tiedPairs(n, (i, j) => a[order[i]!] === a[order[j]!]);
  const tiedBoth = tiedPairs(n, (i, j) => a[order[i]!] === a[order[j]!] && b[order[i]!] === b[order[j]!]);
  const sorted = Float64Array.from(order, (i) => b[i]!);
  const swaps = sortCounting(sorted);
  const tiedB = tiedPairs(n, (i, j) => sorted[i] === sorted[j]);
  const concordance = pairs - tiedA - tiedB + tiedBoth - 2 * swaps;
  return concordance / Math.sqrt((pairs - tiedA) * (pairs - tiedB));
}

/** Pairs inside runs of equal neighbours. */
function tiedPairs(n: number, equal: (i: number, j: number) => boolean): number {
  let found = 0;
  let run = 1;
  for (let i = 1; i <= n; i++) {
    if (i < n && equal(i - 1, i)) run++;
    else {
      found += (run * (run - 1)) / 2;
      run = 1;
    }
  }
  return found;
}

/** Sorts in place and counts the pairs that stood the wrong way round: a merge sort from below. */
function sortCounting(values: Float64Array): number {
  let from: Float64Array = values;
  let to: Float64Array = new Float64Array(values.length);
  let swaps = 0;
  for (let width = 1; width < values.length; width *= 2) {
    for (let start = 0; start < values.length; start += 2 * width) {
      const middle = Math.min(start + width, values.length);
      const end = Math.min(start + 2 * width, values.length);
      for (let i = start, j = middle, k = start; k < end; k++) {
        if (i < middle && (j >= end || from[i]! <= from[j]!)) to[k] = from[i++]!;
        else {
          swaps += middle - i;
          to[k] = from[j++]!;
        }
      }
    }
    [from, to] = [to, from];
  }
  if (from !== values) values.set(from);
  return swaps;
}

export function pearson(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const n = a.length;
  let meanA = 0;
  let meanB = 0;
  for (let i = 0; i < n; i++) {
    meanA += a[i]!;
    meanB += b[i]!;
  }
  // summed before it is divided: exact for ranks, so that a constant side has no variance at all
  meanA /= n;
  meanB /= n;
  let covariance = 0;
  let varianceA = 0;
  let varianceB = 0;
  for (let i = 0; i < n; i++) {
    covariance += (a[i]! - meanA) * (b[i]! - meanB);
    varianceA += (a[i]! - meanA) ** 2;
    varianceB += (b[i]! - meanB) ** 2;
  }
  return covariance / Math.sqrt(varianceA * varianceB);
}

/** Ranks from 1; equal values share the average of their ranks. */
export function ranks(values: ArrayLike<number>): Float64Array {
  const order = Array.from(values, (_, i) => i).sort((i, j) => values[i]! - values[j]!);
  const found = new Float64Array(order.length);
  for (let start = 0; start < order.length;) {
    let end = start;
    while (end + 1 < order.length && values[order[end + 1]!] === values[order[start]!]) end++;
    for (let k = start; k <= end; k++) found[order[k]!] = (start + end) / 2 + 1;
    start = end + 1;
  }
  return found;
}
