// Text for people: numbers with units, tables with aligned columns, estimates with intervals.
import type { Estimate } from '../measure/statistics.js';

/** 125485696 -> '125.49 M'. */
export function formatCount(n: number): string {
  if (n < 10_000) return String(n);
  const [factor, unit] = n < 1e6 ? [1e3, 'k'] : n < 1e9 ? [1e6, 'M'] : n < 1e12 ? [1e9, 'G'] : [1e12, 'T'];
  return `${(n / factor).toFixed(2)} ${unit}`;
}

export function formatBytes(n: number): string {
  if (n < 1024) return `${n} B`;
  const [factor, unit] = n < 2 ** 20 ? [2 ** 10, 'KiB'] : n < 2 ** 30 ? [2 ** 20, 'MiB'] : [2 ** 30, 'GiB'];
  return `${(n / factor).toFixed(2)} ${unit}`;
}

export function formatPercent(share: number, digits = 1): string {
  return `${(100 * share).toFixed(digits)} %`;
}

/** A share as `92.18 % [91.40, 92.89]`. */
export function formatShare({ value, ci95 }: Estimate): string {
  const percent = (v: number): string => (100 * v).toFixed(2);
  return `${percent(value)} % [${percent(ci95[0])}, ${percent(ci95[1])}]`;
}

/** A difference of shares in points, with its sign. */
export function formatPoints({ value, ci95 }: Estimate): string {
  const points = (v: number): string => `${v > 0 ? '+' : ''}${(100 * v).toFixed(2)}`;
  return `${points(value)} points [${points(ci95[0])}, ${points(ci95[1])}]`;
}

export function formatEstimate({ value, ci95 }: Estimate): string {
  return `${value.toPrecision(4)} [${ci95[0].toPrecision(4)}, ${ci95[1].toPrecision(4)}]`;
}

/** Columns aligned by their widest cell: text to the left, columns named in `right` to the right. */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  right: readonly string[] = [],
): string {
  const widths = header.map((h, i) => Math.max(h.length, ...rows.map((r) => (r[i] ?? '').length)));
  const line = (cells: readonly string[]): string =>
    header
      .map((h, i) => {
        const cell = cells[i] ?? '';
        return right.includes(h) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!);
      })
      .join('  ')
      .trimEnd();
  return [line(header), line(widths.map((w) => '-'.repeat(w))), ...rows.map(line)].join('\n');
}
