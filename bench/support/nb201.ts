// NAS-Bench-201's cells with their labels and the thirteen proxies, as GRAF's own experiments take them: the 9,445 cells without
// unreachable operators, random splits over rows (methods.md §3.2).
import { cellFeatures } from '../../src/predictor/graf-cell.js';
import { readTable, type Row } from '../../src/predictor/tables.js';
import { sharedPath } from '../../test/shared-path.js';

export interface Nb201Row {
  readonly cell: readonly number[];
  readonly label: number;
  /** MACs and parameters in millions, as the proxies' table counts them. */
  readonly size: readonly number[];
  /** The thirteen proxies. */
  readonly proxies: readonly number[];
  readonly graf: readonly number[];
}

/** The labels that methods.md measured with (its goldens of the proxies' tau tell them): NASLib's validation accuracies. */
export const NB201_SETS = {
  cifar10: { label: 'naslib_cifar10valid_val200', proxies: 'nb201-proxies-cifar10.csv.gz' },
  imagenet16: { label: 'naslib_in16_val200', proxies: 'nb201-proxies-imagenet16.csv.gz' },
} as const;

export function readNb201(set: keyof typeof NB201_SETS): Nb201Row[] {
  const { label, proxies } = NB201_SETS[set];
  const labels = new Map(
    readTable(sharedPath('tables', 'nb201.csv.gz')).rows.map((r) => [r.get('op_indices')!, Number(r.get(label))]),
  );
  const table = readTable(sharedPath('tables', proxies));
  const names = table.columns.filter((c) => c !== 'op_indices');
  return table.rows.map((row: Row) => {
    const code = row.get('op_indices')!;
    const cell = (code.match(/\d+/g) ?? []).map(Number);
    return {
      cell,
      label: labels.get(code)!,
      size: [Number(row.get('flops')), Number(row.get('params'))],
      proxies: names.map((name) => Number(row.get(name))),
      graf: cellFeatures(cell, 5),
    };
  });
}

/** Six operators as thirty zeros and ones. */
export function oneHot(cell: readonly number[]): number[] {
  return cell.flatMap((op) => [0, 1, 2, 3, 4].map((o) => (o === op ? 1 : 0)));
}
