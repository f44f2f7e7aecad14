// Charts of the report page as SVG that needs no library: every mark can be reached by keyboard and says itself to a screen reader;
// page-script.ts shows the same text beside the pointer.

/** Text inside markup: names come from model files. */
export function escapeText(text: string): string {
  return text.replace(/[&<>"']/g, (c) => ENTITIES[c]!);
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

export interface Mark {
  readonly x: number;
  readonly y: number;
  /** A whisker along y. */
  readonly interval?: readonly [number, number];
  /** Class of its colour: searched, front, test, original, foretold. */
  readonly kind: string;
  /** What is said of it, in lines. */
  readonly text: readonly string[];
  /** Relative path of the file behind it. */
  readonly file?: string;
}

export interface ChartOptions {
  readonly title: string;
  readonly xTitle: string;
  readonly yTitle: string;
  /** Marks of this kind are joined by steps. */
  readonly steps?: string;
  /** Marks are joined by a line, in their order. */
  readonly joined?: boolean;
  /** The line y = x. */
  readonly diagonal?: boolean;
  /** No axis goes beyond. */
  readonly xMost?: number;
  readonly yMost?: number;
}

const [WIDTH, HEIGHT] = [640, 380];
const MARGIN = { left: 64, right: 16, top: 12, bottom: 48 };

export function chart(marks: readonly Mark[], options: ChartOptions): string {
  const ys = marks.flatMap((m) => [m.y, ...(m.interval ?? [])]);
  const xs = marks.map((m) => m.x);
  const both = options.diagonal === true ? [...xs, ...ys] : undefined;
  const x = axis(both ?? xs, MARGIN.left, WIDTH - MARGIN.right, options.xMost);
  const y = axis(both ?? ys, HEIGHT - MARGIN.bottom, MARGIN.top, options.yMost);
  const parts = [
    ...x.ticks.map(
      (t) =>
        `<line class="grid" x1="${at(x.of(t))}" x2="${at(x.of(t))}" y1="${MARGIN.top}" y2="${HEIGHT - MARGIN.bottom}"/>` +
        `<text x="${at(x.of(t))}" y="${HEIGHT - MARGIN.bottom + 16}" text-anchor="middle">${tick(t)}</text>`,
    ),
    ...y.ticks.map(
      (t) =>
        `<line class="grid" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${at(y.of(t))}" y2="${at(y.of(t))}"/>` +
        `<text x="${MARGIN.left - 6}" y="${at(y.of(t) + 4)}" text-anchor="end">${tick(t)}</text>`,
    ),
    `<text x="${(MARGIN.left + WIDTH - MARGIN.right) / 2}" y="${HEIGHT - 10}" text-anchor="middle">${escapeText(options.xTitle)}</text>`,
    `<text transform="translate(14 ${(HEIGHT - MARGIN.bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeText(options.yTitle)}</text>`,
  ];
  if (options.diagonal === true) {
    const [low, high] = x.range;
    parts.push(
      `<line class="rule" x1="${at(x.of(low))}" y1="${at(y.of(low))}" x2="${at(x.of(high))}" y2="${at(y.of(high))}"/>`,
    );
  }
  const stepped = marks.filter((m) => m.kind === options.steps).toSorted((a, b) => a.x - b.x);
  if (stepped.length > 1) {
    const path = stepped.map((m, i) =>
      i === 0 ? `M${at(x.of(m.x))} ${at(y.of(m.y))}` : `H${at(x.of(m.x))}V${at(y.of(m.y))}`,
    );
    parts.push(`<path class="steps" d="${path.join('')}"/>`);
  }
  if (options.joined === true && marks.length > 1) {
    parts.push(
      `<path class="steps" d="${marks.map((m, i) => `${i === 0 ? 'M' : 'L'}${at(x.of(m.x))} ${at(y.of(m.y))}`).join('')}"/>`,
    );
  }
  for (const m of marks)
    parts.push(
      markOf(
        m,
        x.of(m.x),
        y.of(m.y),
        m.interval?.map((v) => y.of(v)),
      ),
    );
  return svg(options.title, WIDTH, HEIGHT, parts);
}

export interface Bar {
  readonly name: string;
  readonly before: number;
  readonly after: number;
  readonly text: string;
}

/** Two bars a row, in the rows' order. */
export function bars(rows: readonly Bar[], title: string): string {
  const row = 18;
  const left = 220;
  const most = Math.max(1, ...rows.flatMap((r) => [r.before, r.after]));
  const length = (v: number): string => at((v / most) * (WIDTH - left - 16));
  const parts = rows.map((r, i) => {
    const top = i * row + 4;
    const name = r.name.length > 34 ? `…${r.name.slice(-33)}` : r.name;
    return (
      `<g class="mark" tabindex="0" role="img" aria-label="${escapeText(r.text)}" data-text="${escapeText(r.text)}">` +
      `<rect class="hit" x="0" y="${top - 2}" width="${WIDTH}" height="${row}"/>` +
      `<text x="${left - 6}" y="${top + 10}" text-anchor="end">${escapeText(name)}</text>` +
      `<rect class="searched" x="${left}" y="${top}" width="${length(r.before)}" height="6"/>` +
      `<rect class="front" x="${left}" y="${top + 7}" width="${length(r.after)}" height="6"/></g>`
    );
  });
  return svg(title, WIDTH, rows.length * row + 8, parts);
}

function svg(title: string, width: number, height: number, parts: readonly string[]): string {
  return `<svg viewBox="0 0 ${width} ${height}" role="group" aria-label="${escapeText(title)}">\n${parts.join('\n')}\n</svg>`;
}

function markOf(m: Mark, x: number, y: number, whisker: readonly number[] | undefined): string {
  const said = escapeText(m.text.join('; '));
  const line =
    whisker === undefined
      ? ''
      : `<line class="whisker ${m.kind}" x1="${at(x)}" x2="${at(x)}" y1="${at(whisker[0]!)}" y2="${at(whisker[1]!)}"/>`;
  const dot = `${line}<circle class="${m.kind}" cx="${at(x)}" cy="${at(y)}" r="${m.kind === 'searched' ? 4 : 6}"/>`;
  const data = `data-text="${escapeText(m.text.join('\n'))}"`;
  return m.file === undefined
    ? `<g class="mark" tabindex="0" role="img" aria-label="${said}" ${data}>${dot}</g>`
    : `<a class="mark" href="${escapeText(encodeURI(m.file))}" aria-label="${said}" ${data}>${dot}</a>`;
}

interface Axis {
  readonly range: readonly [number, number];
  readonly ticks: readonly number[];
  of(value: number): number;
}

/** Round ticks around the values. */
function axis(values: readonly number[], from: number, to: number, limit = Infinity): Axis {
  const finite = values.filter(Number.isFinite);
  const [least, most] = [Math.min(...finite), Math.max(...finite)];
  const span = finite.length === 0 || most === least ? 1 : most - least;
  const rough = span / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((f) => f * power >= rough) ?? 10);
  const low = finite.length === 0 ? 0 : Math.floor((least - span * 0.02) / step) * step;
  const high = finite.length === 0 ? 1 : Math.min(limit, Math.ceil((most + span * 0.02) / step) * step);
  const count = Math.floor((high - low) / step + 1e-6);
  return {
    range: [low, high],
    ticks: Array.from({ length: count + 1 }, (_, i) => low + i * step),
    of: (v) => from + ((v - low) / (high - low)) * (to - from),
  };
}

function at(v: number): string {
  return v.toFixed(1);
}

function tick(v: number): string {
  return String(Number(v.toPrecision(6)));
}
