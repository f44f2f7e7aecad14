// report.html: one page that loads nothing, works from file://, by keyboard and with a screen reader, light and dark. Everything
// volatile stands in one marked block at its end.
import type { GroupReport } from '../analysis/group-report.js';
import { predictionPairs } from './chart-data.js';
import { bars, chart, escapeText, type Bar, type Mark } from './page-charts.js';
import { SCRIPT, STYLE } from './page-style.js';
import type { LayerBar } from './plot.js';
import type { FigureReport, RunFiles } from './run.js';
import { whyText } from './why.js';
import { isFraction, mega, recipeText, showAlone, showFigure, trainedText } from './words.js';

export interface PageInput {
  readonly run: RunFiles;
  /** Of the original and of the most accurate member; none where the front is empty. */
  readonly layers?: readonly LayerBar[];
  /** What can be cut of the original and what is frozen. */
  readonly groups: GroupReport;
  /** config.json as it stands. */
  readonly config?: string;
  readonly volatile: readonly string[];
}

type Member = RunFiles['front']['candidates'][number];

/** The text of report.html. */
export function pageText(input: PageInput): string {
  const { run, groups } = input;
  const { front } = run;
  const title = `${front.model}, pared`;
  const body = [
    `<h1>${escapeText(title)}</h1>`,
    ...warnings(run),
    `<p>${escapeText(originalText(run))}</p>`,
    section('front', 'The front', frontChart(run) + key(KINDS) + frontTable(run)),
    ...whySection(run),
    section('predicted', 'Predicted against measured', predictedChart(run)),
    section('chosen', 'Why each candidate was measured', volumeChart(run) + chosenList(run)),
    section('layers', 'MACs by layer, before and after', layersChart(input)),
    section('frozen', 'What was frozen, and why', frozenTable(groups)),
    ...(run.failed.length === 0 ? [] : [section('failed', 'Left out', failedList(run))]),
    section('settings', 'Settings', `<pre>${escapeText(input.config ?? 'no config.json beside the run')}</pre>`),
    '<!-- volatile: begin -->',
    section('run', 'Environment and command', `<pre>${escapeText(input.volatile.join('\n'))}</pre>`),
    '<!-- volatile: end -->',
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>${escapeText(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
${body.join('\n')}
</main>
<div id="tip" role="status" hidden></div>
<script>${SCRIPT}</script>
</body>
</html>
`;
}

const KINDS: readonly (readonly [string, string])[] = [
  ['front', 'front, measured on held-out calibration data'],
  ['test', 'front on the test data'],
  ['searched', 'measured during the search, at low fidelity'],
  ['original', 'original'],
];

function section(id: string, title: string, content: string): string {
  return `<section id="${id}" aria-labelledby="${id}-title"><h2 id="${id}-title">${escapeText(title)}</h2>\n${content}\n</section>`;
}

function key(kinds: readonly (readonly [string, string])[]): string {
  const entries = kinds.map(
    ([kind, name]) =>
      `<span><svg viewBox="0 0 12 12" aria-hidden="true"><circle class="${kind}" cx="6" cy="6" r="5"/></svg> ${escapeText(name)}</span>`,
  );
  return `<p class="key">${entries.join('')}</p>`;
}

function warnings({ front }: RunFiles): string[] {
  const lines: string[] = [];
  if (front.interrupted === true) {
    lines.push('The run was interrupted: this is what it had by then; --resume goes on to the whole front.');
  }
  if (!front.reached) lines.push(`The budget was not reached: ${front.note ?? 'these candidates come closest'}.`);
  return lines.map((line) => `<p role="alert"><strong>${escapeText(line)}</strong></p>`);
}

function originalText({ front }: RunFiles): string {
  const { original, metric } = front;
  const test = original.test === undefined ? '' : `; on the test data ${aloneText(original.test)}`;
  return (
    `Original: ${mega(original.macs)} MACs (${mega(2 * original.macs)} FLOPs = 2 x MACs), ${mega(original.params)} parameters, ` +
    `peak activations ${mega(original.memoryBytes)}B; ${metric} on held-out calibration data ${aloneText(original.measured)}${test}.`
  );
}

function frontChart({ front, searched }: RunFiles): string {
  const percent = isFraction(front.metric);
  const scale = percent ? 100 : 1;
  const share = (macs: number): number => (100 * macs) / front.original.macs;
  const figureMark = (kind: string, c: Member, f: FigureReport): Mark => ({
    x: share(c.macs),
    y: scale * f.value,
    interval: [scale * f.ci95[0], scale * f.ci95[1]],
    kind,
    text: memberText(c, f, front.original.macs, kind),
    file: c.file,
  });
  const marks: Mark[] = [
    ...searched.map((r): Mark => ({
      x: share(r.macs),
      y: scale * r.value,
      kind: 'searched',
      text: [
        `${recipeText(r.genome)}`,
        `${share(r.macs).toFixed(1)} % of the MACs`,
        ...(r.predicted === undefined
          ? []
          : [`predicted score ${r.predicted.mean.toPrecision(4)} ± ${r.predicted.deviation.toPrecision(2)}`]),
        `measured at low fidelity: score ${r.score.toPrecision(4)}`,
      ],
    })),
    {
      x: 100,
      y: scale * front.original.measured.value,
      kind: 'original',
      text: ['original', aloneText(front.original.measured)],
    },
    ...front.candidates.flatMap((c) => (c.test === undefined ? [] : [figureMark('test', c, c.test)])),
    ...front.candidates.map((c) => figureMark('front', c, c.measured)),
  ];
  return chart(marks, {
    title: `${front.metric} against MACs; each mark says its recipe, those of the front lead to their file`,
    xTitle: 'MACs (% of the original)',
    yTitle: percent ? `${front.metric} (%)` : front.metric,
    steps: 'front',
    xMost: Math.max(100, ...marks.map((m) => m.x)),
    ...(percent ? { yMost: 100 } : {}),
  });
}

function memberText(c: Member, f: FigureReport, macs: number, kind: string): string[] {
  return [
    c.file,
    `recipe: ${recipeText(c.genome)}`,
    `${mega(c.macs)} MACs (${((100 * c.macs) / macs).toFixed(1)} %), ${mega(2 * c.macs)} FLOPs, ${mega(c.params)} parameters`,
    `predicted score ${c.predicted.mean.toPrecision(4)} ± ${c.predicted.deviation.toPrecision(2)}`,
    `${kind === 'test' ? 'test' : 'held out'}: ${figureText(f)}`,
    ...trainedLine(c),
  ];
}

function trainedLine(c: Member): string[] {
  const text = trainedText(c);
  return text === undefined ? [] : [text];
}

function frontTable({ front }: RunFiles): string {
  const rows = front.candidates.map((c) =>
    [
      `<a href="${escapeText(encodeURI(c.file))}">${escapeText(c.file)}</a>`,
      `${mega(c.macs)} (${((100 * c.macs) / front.original.macs).toFixed(1)} %)`,
      mega(2 * c.macs),
      mega(c.params),
      `${c.predicted.mean.toPrecision(4)} ± ${c.predicted.deviation.toPrecision(2)}`,
      escapeText(figureText(c.measured)),
      c.test === undefined ? '-' : escapeText(figureText(c.test)),
      escapeText([recipeText(c.genome), ...trainedLine(c)].join('; ')),
    ].map((cell) => `<td>${cell}</td>`),
  );
  const head = ['file', 'MACs', 'FLOPs', 'parameters', 'predicted', 'held out [95 %]', 'test [95 %]', 'recipe'];
  return table(
    head,
    rows.map((r) => r.join('')),
  );
}

/** Nothing where the predictor could not tell. */
function whySection({ front }: RunFiles): string[] {
  const rows = front.candidates.flatMap(({ file, why }) =>
    why === undefined
      ? []
      : [`<td>${escapeText(file)}</td><td>${escapeText(whyText(why, isFraction(front.metric)))}</td>`],
  );
  if (rows.length === 0) return [];
  const intro =
    "<p>Signals that moved the search's predictor most (Shapley values; scores of the search, before the refit).</p>";
  return [section('why', 'Why this candidate', intro + table(['file', 'why'], rows))];
}

function predictedChart(run: RunFiles): string {
  const marks = predictionPairs(run).map(({ predicted, measured, kind, recipe }): Mark => ({
    x: predicted,
    y: measured,
    kind: kind === 'before measuring' ? 'foretold' : 'searched',
    text: [recipe, `predicted ${predicted.toPrecision(4)} (${kind})`, `measured ${measured.toPrecision(4)}`],
  }));
  if (marks.length === 0) return '<p>Nothing was predicted in this run.</p>';
  const kinds = [
    ['foretold', 'foretold before it was measured'],
    ['searched', 'learnt from; what is said with it left out'],
  ] as const;
  return (
    chart(marks, {
      title: 'Score predicted against score measured during the search',
      xTitle: 'predicted score',
      yTitle: 'measured score',
      diagonal: true,
    }) + key(kinds)
  );
}

/** Area that the measured candidates dominate below 100 % of the MACs and above the worst score, after each measurement. */
function volumeChart({ front, searched }: RunFiles): string {
  if (searched.length < 2) return '';
  const floor = Math.min(...searched.map((r) => r.score));
  const points = searched.map((r) => [r.macs / front.original.macs, r.score] as const);
  const marks = points.map((_, i): Mark => {
    const volume = dominatedArea(points.slice(0, i + 1), floor);
    return { x: i + 1, y: volume, kind: 'searched', text: [`after ${i + 1} measurements: ${volume.toPrecision(4)}`] };
  });
  return chart(marks, {
    title: 'Hypervolume over measurements',
    xTitle: 'candidates measured',
    yTitle: 'hypervolume (score x share of MACs)',
    joined: true,
  });
}

function dominatedArea(points: readonly (readonly [number, number])[], floor: number): number {
  let area = 0;
  let best = floor;
  const sorted = points.filter(([share]) => share < 1).toSorted((a, b) => a[0] - b[0]);
  for (const [share, score] of sorted) {
    if (score <= best) continue;
    area += (1 - share) * (score - best);
    best = score;
  }
  return area;
}

function chosenList({ front, searched }: RunFiles): string {
  const rows = searched.map((r, i) => {
    const share = `${((100 * r.macs) / front.original.macs).toFixed(1)} %`;
    const why =
      r.predicted === undefined
        ? 'in the first design: spread over the MACs so that the predictor has something to learn from'
        : `foretold ${r.predicted.mean.toPrecision(4)} ± ${r.predicted.deviation.toPrecision(2)}: of what was proposed it promised most hypervolume`;
    return [String(i + 1), share, escapeText(recipeText(r.genome)), escapeText(why), r.score.toPrecision(4)]
      .map((cell) => `<td>${cell}</td>`)
      .join('');
  });
  return `<details><summary>${searched.length} candidates were measured</summary>${table(['', 'MACs', 'recipe', 'why', 'score'], rows)}</details>`;
}

function layersChart({ layers }: PageInput): string {
  if (layers === undefined) return '<p>The front is empty.</p>';
  const rows = layers.map(({ layer, before, after }): Bar => {
    return { name: layer, before, after, text: `${layer}: ${mega(before)} MACs before, ${mega(after)} after` };
  });
  const kinds = [
    ['searched', 'original'],
    ['front', 'most accurate member of the front'],
  ] as const;
  return key(kinds) + bars(rows, 'MACs by layer, before and after');
}

function frozenTable(groups: GroupReport): string {
  const rows = groups.frozen.map((f) =>
    [escapeText(f.names.slice(0, 6).join(', ')), String(f.channels), escapeText(f.reason)]
      .map((c) => `<td>${c}</td>`)
      .join(''),
  );
  const unknown =
    groups.unknown.length === 0
      ? ''
      : `<p>Operators that Pare does not know, passed through untouched: ${escapeText(groups.unknown.join(', '))}.</p>`;
  return unknown + (rows.length === 0 ? '<p>Nothing.</p>' : table(['where', 'channels', 'why'], rows));
}

function failedList({ failed }: RunFiles): string {
  const items = failed.map(({ genome, reason }) => `<li>${escapeText(`${recipeText(genome)}: ${reason}`)}</li>`);
  return `<ul>${items.join('')}</ul>`;
}

function table(head: readonly string[], rows: readonly string[]): string {
  const cells = head.map((h) => `<th scope="col">${escapeText(h)}</th>`).join('');
  return `<div class="scroll"><table><thead><tr>${cells}</tr></thead><tbody>${rows.map((r) => `<tr>${r}</tr>`).join('\n')}</tbody></table></div>`;
}

function figureText(f: FigureReport): string {
  return showFigure(f, isFraction(f.metric));
}

function aloneText(f: FigureReport): string {
  return showAlone(f, isFraction(f.metric));
}
