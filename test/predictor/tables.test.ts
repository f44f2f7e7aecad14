// Tables: quoting, packing, and sentences for what is wrong with them.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { cellIn, numberIn, parseTable, readTable } from '../../src/predictor/tables.js';

const folder = mkdtempSync(join(tmpdir(), 'pare-tables-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('tables', () => {
  test('law: what is written is read, whatever the cells hold', () => {
    const quoted = (cell: string): string => `"${cell.replaceAll('"', '""')}"`;
    const cell = fc.string({ unit: fc.constantFrom('a', ',', '"', '\n', '\r', ' ', '0', '|', 'é') });
    const bare = fc.string({ unit: fc.constantFrom('a', '~', ' ', '0', '|', 'é', '.') });
    const line = fc.tuple(
      fc.oneof(
        cell.map((c) => [c, quoted(c)]),
        bare.map((c) => [c, c]),
      ),
      cell,
      bare,
    );
    fc.assert(
      fc.property(fc.array(line, { minLength: 1 }), fc.constantFrom('\n', '\r\n'), (lines, end) => {
        const text = ['a,b,c', ...lines.map(([[, a], b, c]) => `${a},${quoted(b)},${c}`)].join(end);
        const table = parseTable(text + end);
        expect(table.columns).toEqual(['a', 'b', 'c']);
        expect(table.rows.map((r) => [...r.values()])).toEqual(lines.map(([[a], b, c]) => [a, b, c]));
      }),
    );
  });

  test('packed or not, the same table', () => {
    const text = 'arch,acc\n"(0, 1)",93.5\n\n01,\n';
    writeFileSync(join(folder, 't.csv'), text);
    writeFileSync(join(folder, 't.csv.gz'), gzipSync(text));
    const table = readTable(join(folder, 't.csv'));
    expect(readTable(join(folder, 't.csv.gz'))).toEqual(table);
    expect(table.rows.map((r) => [cellIn(r, 'arch'), numberIn(r, 'acc')])).toEqual([
      ['(0, 1)', 93.5],
      ['01', undefined],
    ]);
  });

  test('sentences', () => {
    expect(() => readTable(join(folder, 'none.csv'))).toThrow(/none\.csv: there is no such file/);
    expect(() => parseTable('', 'T')).toThrow('T is empty: its first line must name the columns');
    expect(() => parseTable('a,a\n1,2', 'T')).toThrow('two columns are called "a"');
    expect(() => parseTable('a,b\n1,2,3', 'T')).toThrow('T, row 1: 3 cells for 2 columns');
    expect(() => parseTable('a,b\n1,"2', 'T')).toThrow('a quote is opened and never closed');
    expect(() => cellIn(parseTable('a,b\n1,2').rows[0]!, 'c')).toThrow('no column "c": its columns are a, b');
    writeFileSync(join(folder, 'bad.csv.gz'), gzipSync('a\n1').subarray(0, 12));
    expect(() => readTable(join(folder, 'bad.csv.gz'))).toThrow(/is damaged/);
  });
});
