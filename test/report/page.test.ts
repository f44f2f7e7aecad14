import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { standardOps } from '../../src/ops/index.js';
import { bars, chart, escapeText } from '../../src/report/page-charts.js';
import { writeReport } from '../../src/report/report.js';
import { readRun } from '../../src/report/run.js';

const folder = mkdtempSync(join(tmpdir(), 'pare-page-'));
afterAll(() => rmSync(folder, { recursive: true }));
const options = { table: standardOps, original: 'examples/shapes/shapes-resnet.onnx', volatile: ['Took 1 s'] };

async function pageOf(change: (front: string) => string = (s) => s): Promise<string> {
  const out = join(folder, 'run');
  cpSync('results/example', out, { recursive: true });
  writeFileSync(join(out, 'front.json'), change(readFileSync(join(out, 'front.json'), 'utf8')));
  await writeReport(out, options);
  return readFileSync(join(out, 'report.html'), 'utf8');
}

describe('report.html', () => {
  test('loads nothing, and says everything of each front member where its mark is', async () => {
    const text = await pageOf();
    expect(text).not.toMatch(/(?:src|href)\s*=\s*"(?:https?:)?\/\//);
    expect(text).toContain("default-src 'none'");
    const { front, searched } = readRun('results/example');
    for (const { file } of front.candidates) {
      // twice in the chart (held out and test), once in the table
      expect(text.split(`href="${file}"`)).toHaveLength(4);
    }
    const marks = text.match(/class="mark" [^>]*aria-label="[^"]+" data-text="[^"]+"/g) ?? [];
    expect(marks.length).toBeGreaterThan(searched.length + 2 * front.candidates.length);
    expect(text).toContain('graph output &quot;logits&quot;');
  });

  test('is the same for the same run but for the volatile block', async () => {
    const [once, again] = [await pageOf(), await pageOf()];
    expect(again).toBe(once);
    const at = once.indexOf('<!-- volatile: begin -->');
    expect(at).toBeGreaterThan(0);
    expect(once.slice(0, at)).not.toContain('Took 1 s');
  });

  test('says why each member is there, where the run could tell', async () => {
    const giving =
      (why: unknown) =>
      (text: string): string => {
        // The cast: the published run has members.
        const front = JSON.parse(text) as { candidates: Record<string, unknown>[] };
        return JSON.stringify({ ...front, candidates: front.candidates.map((c) => ({ ...c, why })) });
      };
    expect(await pageOf(giving(undefined))).not.toContain('Why this candidate');
    const effects = [{ signal: 'macs', value: 0.5, mean: 0.4, effect: 0.1 }];
    const text = await pageOf(giving({ foretold: 0.9, reference: 0.8, effects }));
    expect(text).toContain('Why this candidate');
    expect(text).toContain('+10.00 by its share of the MACs (50.0 %; mean 40.0 %)');
  });

  test('says which members were distilled, in both reports', async () => {
    expect(await pageOf()).not.toContain('distilled');
    const text = await pageOf((s) => {
      // The cast: the published run has members.
      const front = JSON.parse(s) as { candidates: Record<string, unknown>[] };
      const trained = { steps: 40, before: { metric: 'top1', value: 0.9, n: 500, ci95: [0.87, 0.92] } };
      const givenUp = { steps: 16, why: 'since it would end no better' };
      const outcome = (i: number): object => (i === 0 ? { trained } : { givenUp });
      const candidates = [...front.candidates, front.candidates[0]!].map((c, i) => ({ ...c, ...outcome(i) }));
      return JSON.stringify({ ...front, candidates });
    });
    expect(text).toContain('not distilled: given up after 16 steps, since it would end no better');
    const words = 'distilled for 40 steps; 90.00 % [87.00 %, 92.00 %], n = 500 before';
    expect(text).toContain(words);
    expect(readFileSync(join(folder, 'run', 'report.md'), 'utf8')).toContain(words);
  });

  test('takes names from hostile models as text', async () => {
    const text = await pageOf((s) => s.replace('shapes-resnet.onnx', '</title><script>alert(1)</script>'));
    expect(text).not.toContain('<script>alert');
    expect(text).toContain('&lt;script&gt;alert(1)');
  });

  test('says that a budget was not reached, and that a run was interrupted', async () => {
    const text = await pageOf((s) =>
      s.replace('"reached": true', '"reached": false, "note": "too little", "interrupted": true'),
    );
    expect(text).toContain('The budget was not reached: too little.');
    expect(text).toContain('The run was interrupted');
  });
});

describe('charts', () => {
  test('marks lie inside the frame, whatever their values', () => {
    for (const scale of [1e-9, 1, 1e9]) {
      const marks = [-3, 0, 5].map((v) => ({ x: v * scale, y: -v * scale, kind: 'front', text: ['m'] }));
      const svg = chart(marks, { title: 't', xTitle: 'x', yTitle: 'y', steps: 'front' });
      const places = [...svg.matchAll(/cx="([^"]+)" cy="([^"]+)"/g)].map(([, x, y]) => [Number(x), Number(y)]);
      expect(places).toHaveLength(3);
      for (const [x, y] of places) {
        expect(x).toBeGreaterThanOrEqual(64);
        expect(x).toBeLessThanOrEqual(624);
        expect(y).toBeGreaterThanOrEqual(12);
        expect(y).toBeLessThanOrEqual(332);
      }
    }
  });

  test('one mark, or none, is a chart too', () => {
    const options = { title: 't', xTitle: 'x', yTitle: 'y' };
    expect(chart([], options)).not.toContain('NaN');
    expect(chart([{ x: 2, y: 2, kind: 'front', text: ['m'] }], options)).not.toContain('NaN');
    expect(bars([], 'none')).not.toContain('NaN');
  });

  test('text is escaped', () => {
    expect(escapeText(`<a href="x">&'`)).toBe('&lt;a href=&quot;x&quot;&gt;&amp;&#39;');
  });
});
