// Tables of measured architectures: CSV, packed with gzip or not, every cell as it stands in the file (RFC 4180 quoting).
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { failAt, messageOf, PareError } from '../errors.js';

export interface Table {
  /** In the file's order; all different. */
  readonly columns: readonly string[];
  readonly rows: readonly Row[];
}

/** Cells by column. */
export type Row = ReadonlyMap<string, string>;

/** Reads PATH.csv or PATH.csv.gz. */
export function readTable(path: string): Table {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    failAt('read', path, error);
  }
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) {
    try {
      bytes = gunzipSync(bytes);
    } catch (error) {
      throw new PareError(`the table ${path} is damaged: it cannot be unpacked (${messageOf(error)})`, {
        cause: error,
      });
    }
  }
  return parseTable(bytes.toString('utf8'), path);
}

/** `name` is for messages. */
export function parseTable(text: string, name = 'the table'): Table {
  const lines = cells(text.startsWith('\uFEFF') ? text.slice(1) : text, name);
  const [columns] = lines;
  if (columns === undefined) throw new PareError(`${name} is empty: its first line must name the columns`);
  const twice = columns.find((c, i) => columns.indexOf(c) !== i);
  if (twice !== undefined) throw new PareError(`${name}: two columns are called "${twice}"; names must differ`);
  const rows = lines.slice(1).map((line, i) => {
    if (line.length !== columns.length) {
      throw new PareError(
        `${name}, row ${i + 1}: ${line.length} cells for ${columns.length} columns; cells with commas need quotes`,
      );
    }
    const row = new Map<string, string>();
    for (let c = 0; c < columns.length; c++) row.set(columns[c]!, line[c]!);
    return row;
  });
  return { columns, rows };
}

/** The cell as a number; undefined where it is empty or says that nothing was measured. */
export function numberIn(row: Row, column: string): number | undefined {
  const cell = row.get(column)?.trim() ?? '';
  const value = cell === '' ? NaN : Number(cell);
  return Number.isFinite(value) ? value : undefined;
}

/** The cell of a column that must be there. */
export function cellIn(row: Row, column: string): string {
  const cell = row.get(column);
  if (cell !== undefined) return cell;
  const known = [...row.keys()].slice(0, 12).join(', ');
  throw new PareError(`the table has no column "${column}": its columns are ${known}`);
}

/** Lines of cells; empty lines are passed over. */
function cells(text: string, name: string): string[][] {
  const lines: string[][] = [];
  let at = 0;
  while (at < text.length) {
    let end = text.indexOf('\n', at);
    if (end < 0) end = text.length;
    const quote = text.indexOf('"', at);
    // most lines have no quotes and are split at once
    if (quote < 0 || quote > end) {
      const line = text.slice(at, text[end - 1] === '\r' ? end - 1 : end);
      if (line !== '') lines.push(line.split(','));
      at = end + 1;
      continue;
    }
    const line: string[] = [];
    let ended = false;
    while (!ended) {
      let cell: string;
      if (text[at] === '"') {
        const from = at + 1;
        let close = text.indexOf('"', from);
        while (close >= 0 && text[close + 1] === '"') close = text.indexOf('"', close + 2);
        if (close < 0) throw new PareError(`${name}, row ${lines.length}: a quote is opened and never closed`);
        cell = text.slice(from, close).replaceAll('""', '"');
        at = close + 1;
      } else {
        const from = at;
        while (at < text.length && text[at] !== ',' && text[at] !== '\n' && text[at] !== '\r') at++;
        cell = text.slice(from, at);
      }
      line.push(cell);
      if (text[at] === ',') at++;
      else if (text[at] === '\r' && text[at + 1] === '\n') ended = true;
      else if (at >= text.length || text[at] === '\n') ended = true;
      else throw new PareError(`${name}, row ${lines.length}: something follows the closing quote of a cell`);
    }
    while (at < text.length && text[at] !== '\n') at++;
    at++;
    lines.push(line);
  }
  return lines;
}
