// Estimates with 95 % intervals: Wilson for proportions, Student for means, paired for differences, order statistics for medians.

export interface Estimate {
  readonly value: number;
  /** Lower and upper end of the 95 % interval. */
  readonly ci95: readonly [number, number];
}

const Z = 1.959963984540054;

/** Wilson's score interval. Wilson 1927, J. Am. Stat. Assoc. 22. */
export function proportion(successes: number, n: number): Estimate {
  const p = successes / n;
  const z2 = (Z * Z) / n;
  const centre = (p + z2 / 2) / (1 + z2);
  const half = (Z / (1 + z2)) * Math.sqrt((p * (1 - p)) / n + z2 / (4 * n));
  // the bounds also hold against rounding: at 0 and n successes one end is p itself
  return { value: p, ci95: [Math.min(p, Math.max(0, centre - half)), Math.max(p, Math.min(1, centre + half))] };
}

/** Mean with the interval of Student's t; one value alone has an interval of no width. */
export function mean(values: Float64Array): Estimate {
  const n = values.length;
  const value = sum(values) / n;
  let squares = 0;
  for (const v of values) squares += (v - value) ** 2;
  const half = n > 1 ? student(n - 1) * Math.sqrt(squares / (n - 1) / n) : 0;
  return { value, ci95: [value - half, value + half] };
}

/** The 97.5 % quantile of Student's t: exact for 1 and 2 degrees of freedom, else by Abramowitz and Stegun 26.7.5, within 0.3 %. */
function student(freedom: number): number {
  if (freedom === 1) return Math.tan(0.475 * Math.PI);
  if (freedom === 2) return 0.95 * Math.sqrt(2 / (4 * 0.975 * 0.025));
  const terms = [
    Z,
    (Z ** 3 + Z) / 4,
    (5 * Z ** 5 + 16 * Z ** 3 + 3 * Z) / 96,
    (3 * Z ** 7 + 19 * Z ** 5 + 17 * Z ** 3 - 15 * Z) / 384,
    (79 * Z ** 9 + 776 * Z ** 7 + 1482 * Z ** 5 - 1920 * Z ** 3 - 945 * Z) / 92160,
  ];
  return terms.reduceRight((sum, term) => sum / freedom + term, 0);
}

/**
 * Difference of two paired proportions from the discordant counts: `gained` are right in the first only, `lost` in the second
 * only. Interval by Agresti and Min 2005 (Statistics in Medicine 24): half a pair is added to each of the four cells.
 */
export function pairedDifference(gained: number, lost: number, n: number): Estimate {
  const [b, c, m] = [gained + 0.5, lost + 0.5, n + 2];
  const centre = (b - c) / m;
  const half = (Z / m) * Math.sqrt(b + c - (b - c) ** 2 / m);
  return { value: (gained - lost) / n, ci95: [Math.max(-1, centre - half), Math.min(1, centre + half)] };
}

/** Square root of a ratio of sums, e.g. |error| / |signal| over all samples; interval by linearising the ratio. */
export function rootRatio(numerators: Float64Array, denominators: Float64Array): Estimate {
  const n = numerators.length;
  const [top, bottom] = [sum(numerators), sum(denominators)];
  if (top === 0) return { value: 0, ci95: [0, 0] };
  const ratio = top / bottom;
  const value = Math.sqrt(ratio);
  if (n < 2 || !Number.isFinite(value)) return { value, ci95: [value, value] };
  let squares = 0;
  for (let i = 0; i < n; i++) squares += (numerators[i]! - ratio * denominators[i]!) ** 2;
  const error = (Math.sqrt((squares / (n - 1)) * n) / bottom / (2 * value)) * Z;
  return { value, ci95: [Math.max(0, value - error), value + error] };
}

/** Median; its interval between the order statistics that a binomial(n, 1/2) leaves outside with 2.5 % each (normal approximation). */
export function median(values: readonly number[]): Estimate {
  const sorted = values.toSorted((a, b) => a - b);
  const n = sorted.length;
  const reach = (Z * Math.sqrt(n)) / 2;
  const low = Math.max(0, Math.floor(n / 2 - reach));
  const high = Math.min(n - 1, Math.ceil(n / 2 + reach) - 1);
  return { value: quantile(sorted, 0.5), ci95: [sorted[low]!, sorted[Math.max(low, high)]!] };
}

/** Quantile of ascending values, linear between neighbours. */
export function quantile(sorted: readonly number[], q: number): number {
  const at = (sorted.length - 1) * q;
  const [low, high] = [Math.floor(at), Math.ceil(at)];
  return sorted[low]! + (sorted[high]! - sorted[low]!) * (at - low);
}

function sum(values: Float64Array): number {
  let total = 0;
  for (const v of values) total += v;
  return total;
}
