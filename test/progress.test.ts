import { expect, test } from 'vitest';
import { progress, type Screen } from '../src/cli/progress.js';
import type { OptimizeReport } from '../search/optimize.js';

interface Fake extends Screen {
  columns: number;
  text: string;
  resize: (columns: number) => void;
}

/** A terminal that keeps what is written, and tells of its width as Node's do. */
function fake(isTTY: boolean, columns = 80): Fake {
  const listeners = new Set<() => void>();
  const screen: Fake = {
    isTTY,
    columns,
    text: '',
    write: (text) => (screen.text += text),
    on: (_, listener) => listeners.add(listener),
    off: (_, listener) => listeners.delete(listener),
    resize: (to) => {
      screen.columns = to;
      for (const listener of listeners) listener();
    },
  };
  return screen;
}

/** The rows that a terminal of this width shows after all this was written to it while it was so wide. */
function rowsOf(text: string, columns: number): string[] {
  const rows = [''];
  let [row, column] = [0, 0];
  for (let i = 0; i < text.length; i++) {
    // eslint-disable-next-line no-control-regex -- terminals are told so
    const escape = /^\u001B\[(\d*)([AJ])/.exec(text.slice(i, i + 8));
    if (escape !== null) {
      if (escape[2] === 'A') row = Math.max(0, row - Number(escape[1]));
      else {
        rows[row] = rows[row]!.slice(0, column);
        rows.length = row + 1;
      }
      i += escape[0].length - 1;
    } else if (text[i] === '\r') column = 0;
    else if (text[i] === '\n') [row, column] = [row + 1, 0];
    else {
      if (column >= columns) [row, column] = [row + 1, 0];
      rows[row] =
        `${(rows[row] ?? '').slice(0, column).padEnd(column)}${text[i]}${(rows[row] ?? '').slice(column + 1)}`;
      column++;
    }
    rows[row] ??= '';
  }
  return rows;
}

const measured = (n: number): OptimizeReport => ({
  stage: 'measured',
  measured: n,
  of: 24,
  scored: 100,
  best: { score: 0.91, share: 0.498 },
  original: { score: 0.93, metric: 'top1' },
  generation: 1,
  hypervolume: 0.7,
});
const options = { quiet: false, logJson: false, budget: 'flops 50%', timeMs: 60_000 };

test('a terminal shows one live line with stage, best, budget and time left; what stays is above it', () => {
  const screen = fake(true, 200);
  const p = progress(screen, options);
  p.show({ stage: 'learn', text: 'channels ranked' });
  for (let n = 1; n <= 5; n++) p.show(measured(n));
  p.show({ stage: 'seeds', warning: 'something odd' });
  p.show(measured(6));
  p.end();
  const rows = rowsOf(screen.text, 200).filter((r) => r !== '');
  expect(rows).toHaveLength(3);
  expect(rows[0]).toMatch(/^\[0:00, 1:00 left\] channels ranked$/);
  expect(rows[1]).toBe('pare: warning: something odd');
  expect(rows[2]).toMatch(
    /^\[0:00, 1:00 left\] measured: 6\/24 measured, best 0.9100 at 49.8 % \(budget flops 50%, orig/,
  );
});

test('the live line fits the terminal, also after it became narrower', () => {
  const screen = fake(true, 50);
  const p = progress(screen, options);
  p.show(measured(1));
  p.show(measured(2));
  expect(rowsOf(screen.text, 50)).toHaveLength(1);
  // the terminal lays the 49 characters on three rows of 20: those are what is cleared
  const before = rowsOf(rowsOf(screen.text, 50)[0]!, 20);
  expect(before).toHaveLength(3);
  const written = screen.text.length;
  screen.resize(20);
  const rows = rowsOf(`${before.join('').slice(0, 49)}${screen.text.slice(written)}`, 20);
  expect(rows).toHaveLength(1);
  expect(rows[0]!.length).toBeLessThan(20);
  expect(rows[0]).toMatch(/^\[0:00, 1:00 left\]/);
  screen.resize(120);
  expect(rowsOf(screen.text.slice(screen.text.lastIndexOf('\r')), 120)[0]).toMatch(/measured: 2\/24/);
  p.end();
  const done = screen.text;
  screen.resize(30);
  expect(screen.text).toBe(done);
});

test('without a terminal every report is a plain line', () => {
  const screen = fake(false);
  const p = progress(screen, { quiet: false, logJson: false, budget: 'flops 50%' });
  p.show({ stage: 'finish', measured: 1, of: 3, text: 'candidates/01.onnx' });
  p.show(measured(3));
  p.end();
  expect(screen.text).not.toContain('\u001B');
  expect(screen.text.split('\n')).toEqual([
    '[0:00] 1/3 candidates/01.onnx',
    expect.stringMatching(/^\[0:00\] measured: 3\/24/),
    '',
  ]);
});

test('--quiet shows warnings only; --log-json a JSON object a line, terminal or not', () => {
  const quiet = fake(true);
  const p = progress(quiet, { ...options, quiet: true });
  p.show(measured(1));
  p.show({ stage: 'data', warning: 'few samples' });
  p.end();
  expect(quiet.text).toBe('pare: warning: few samples\n');

  const json = fake(true);
  const q = progress(json, { ...options, logJson: true });
  q.show(measured(1));
  q.show({ stage: 'data', warning: 'few samples' });
  q.end();
  const lines = json.text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines).toHaveLength(2);
  expect(lines[0]).toMatchObject({ stage: 'measured', measured: 1, of: 24, best: { score: 0.91 } });
  expect(lines[1]).toMatchObject({ stage: 'data', warning: 'few samples' });
  for (const { time, seconds } of lines) expect([typeof time, typeof seconds]).toEqual(['string', 'number']);
});
