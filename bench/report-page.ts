// The report page in headless Chromium (Debian's package): every mark is hovered, focused by keyboard and left with Escape; links lead
// to files; nothing is printed to the console. usage: npm run bench -- report-page [folder of a run (results/example)] [screenshot.png]

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const MOST_BYTES = 3e6;

/** Runs inside the page, after the page's own script; leaves its counts in the document. */
const DRIVE = `{
const tip = document.getElementById('tip');
const marks = [...document.querySelectorAll('.mark')];
let hovered = 0, focused = 0, hidden = 0;
for (const mark of marks) {
  mark.dispatchEvent(new PointerEvent('pointermove', { clientX: 50, clientY: 50 }));
  if (!tip.hidden && tip.textContent === mark.dataset.text) hovered++;
  mark.dispatchEvent(new PointerEvent('pointerleave'));
  if (tip.hidden) hidden++;
  mark.focus();
  if (document.activeElement === mark && !tip.hidden && mark.getAttribute('aria-label')) focused++;
  dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' }));
  if (tip.hidden) hidden++;
}
const links = [...document.querySelectorAll('a')].map((a) => a.getAttribute('href'));
const result = document.createElement('script');
result.type = 'application/json';
result.id = 'result';
result.textContent = JSON.stringify({ marks: marks.length, hovered, focused, hidden, links });
document.body.append(result);
}`;

export async function run(args: string[]): Promise<void> {
  const [folder = 'results/example', screenshot] = args;
  const path = resolve(folder, 'report.html');
  if (!existsSync(path)) throw new Error(`${path} does not exist: give the folder of a finished run`);
  const bytes = statSync(path).size;
  const scratch = mkdtempSync(join(tmpdir(), 'pare-page-'));
  const driven = join(scratch, 'driven.html');
  writeFileSync(driven, readFileSync(path, 'utf8').replace('</body>', `<script>${DRIVE}</script></body>`));
  const { stdout, stderr } = chromium(['--dump-dom', pathToFileURL(driven).href]);
  const found = /<script type="application\/json" id="result">(.*?)<\/script>/s.exec(stdout)?.[1];
  if (found === undefined) throw new Error(`the page's script did not run: ${stderr.slice(0, 500)}`);
  const { marks, hovered, focused, hidden, links } = JSON.parse(found) as {
    marks: number;
    hovered: number;
    focused: number;
    hidden: number;
    links: string[];
  };
  const missing = links.filter((href) => !existsSync(join(folder, decodeURI(href))));
  const errors = stderr.split('\n').filter((line) => line.includes('CONSOLE'));
  const rows: [string, string, boolean][] = [
    ['size', `${(bytes / 1e3).toFixed(0)} kB`, bytes <= MOST_BYTES],
    ['marks', `${marks}`, marks > 0],
    ['say their text on hover', `${hovered}`, hovered === marks],
    ['say their text on focus', `${focused}`, focused === marks],
    ['hide it on leaving and on Escape', `${hidden} of ${2 * marks}`, hidden === 2 * marks],
    ['links whose file is missing', `${missing.length} of ${links.length}`, missing.length === 0],
    ['lines on the console', `${errors.length}`, errors.length === 0],
    ['addresses outside the page', `${outside(path)}`, outside(path) === 0],
  ];
  for (const [name, value, ok] of rows) console.log(`${ok ? 'ok    ' : 'FAILED'} ${name}: ${value}`);
  for (const line of errors) console.log(line);
  if (screenshot !== undefined) {
    const picture = join(scratch, 'page.png');
    chromium([`--screenshot=${picture}`, '--window-size=1200,2400', pathToFileURL(path).href]);
    copyFileSync(picture, screenshot);
    console.log(`screenshot: ${screenshot}`);
  }
  await Promise.resolve();
}

function chromium(options: readonly string[]): { readonly stdout: string; readonly stderr: string } {
  const common = ['--headless', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr', '--log-level=0'];
  const { stdout, stderr, error } = spawnSync('chromium', [...common, ...options], {
    encoding: 'utf8',
    timeout: 120_000,
    maxBuffer: 1 << 26,
  });
  if (error !== undefined)
    throw new Error(`chromium cannot be run (Debian: apt-get install chromium): ${error.message}`);
  return { stdout, stderr };
}

function outside(path: string): number {
  return readFileSync(path, 'utf8').match(/(?:src|href)\s*=\s*"(?:https?:)?\/\//g)?.length ?? 0;
}
