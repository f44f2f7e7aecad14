// The report of a run, made from the files of its folder: report.md and plots/*.svg. Everything volatile stands in one marked block.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { countCost, type Cost } from '../analysis/cost.js';
import { inferShapes } from '../analysis/shapes.js';
import { PareError } from '../errors.js';
import { readModel } from '../onnx/read.js';
import type { OpTable } from '../ops/op.js';
import { whySchema, whyText } from './why.js';
import { frontChart, layerChart, predictionChart, toSvg, type FrontPoint, type LayerBar, type Pair } from './plot.js';

const figure = z.object({
  metric: z.string(),
  value: z.number(),
  n: z.number(),
  ci95: z.tuple([z.number(), z.number()]),
  difference: z.object({ value: z.number(), ci95: z.tuple([z.number(), z.number()]) }).optional(),
  agreement: z.number().optional(),
  kl: z.number().optional(),
  relativeError: z.number().optional(),
});

const edit = z.object({ mutation: z.string(), params: z.json() });

const member = z.object({
  file: z.string(),
  macs: z.number(),
  params: z.number(),
  memoryBytes: z.number(),
  predicted: z.object({ mean: z.number(), deviation: z.number() }),
  searched: z.number(),
  measured: figure,
  test: figure.optional(),
  violation: z.number(),
  genome: z.array(edit),
  why: whySchema.optional(),
});

const frontFile = z.object({
  model: z.string(),
  metric: z.string(),
  interrupted: z.boolean().optional(),
  reached: z.boolean(),
  note: z.string().optional(),
  rounding: z.object({ roundTo: z.number(), why: z.enum(['asked', 'timed', 'default']) }).optional(),
  original: z.object({
    macs: z.number(),
    params: z.number(),
    memoryBytes: z.number(),
    measured: figure,
    test: figure.optional(),
  }),
  leaveOneOut: z.array(z.number()).optional(),
  foretelling: z
    .object({
      quantity: z.string(),
      belief: z.object({ samples: z.number(), spearman: z.number(), meanAbsoluteError: z.number() }).optional(),
    })
    .optional(),
  candidates: z.array(member),
  leftOut: z.array(z.object({ genome: z.array(edit), reason: z.string() })).optional(),
});

const archived = z.object({
  genome: z.array(edit),
  macs: z.number(),
  score: z.number(),
  value: z.number(),
  predicted: z.object({ mean: z.number(), deviation: z.number() }).optional(),
});

const archivedFailure = z.object({ genome: z.array(edit), failed: z.string() });

const refused = z.object({ genome: z.array(edit), reason: z.string() });

export type FrontReport = z.infer<typeof frontFile>;
export type FigureReport = z.infer<typeof figure>;

export interface RunFiles {
  readonly front: FrontReport;
  /** Everything that was measured during the search. */
  readonly searched: readonly z.infer<typeof archived>[];
  /** What could not be measured, or not be handed over, and why. */
  readonly failed: readonly z.infer<typeof refused>[];
}

/** Reads front.json and archive.jsonl; throws PareError when the folder holds no finished run. */
export function readRun(folder: string): RunFiles {
  const path = join(folder, 'front.json');
  if (!existsSync(path)) {
    throw new PareError(
      `${folder}: holds no finished run (no front.json); give the --out folder of \`pare optimize\`, or finish it with --resume`,
    );
  }
  const lines = existsSync(join(folder, 'archive.jsonl'))
    ? readFileSync(join(folder, 'archive.jsonl'), 'utf8').split('\n')
    : [];
  const front = parsed(frontFile, path, readFileSync(path, 'utf8'));
  const searched: z.infer<typeof archived>[] = [];
  const failed: z.infer<typeof refused>[] = [];
  lines.forEach((line, i) => {
    if (!line.endsWith('}')) return;
    const record = parsed(z.union([archived, archivedFailure]), `${folder}/archive.jsonl, line ${i + 1}`, line);
    if ('failed' in record) failed.push({ genome: record.genome, reason: record.failed });
    else searched.push(record);
  });
  return { front, searched, failed: [...failed, ...(front.leftOut ?? [])] };
}

function parsed<T>(schema: z.ZodType<T>, name: string, text: string): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new PareError(`${name}: not what \`pare optimize\` writes; run it again into a new folder`, { cause });
  }
}

export interface ReportOptions {
  readonly table: OpTable;
  /** The network that was optimised, for the costs of its layers. */
  readonly original: string;
  /** Lines of the volatile block: times, host, versions. */
  readonly volatile?: readonly string[];
}

/** Writes report.md and plots/*.svg beside front.json; returns their paths. */
export async function writeReport(folder: string, options: ReportOptions): Promise<readonly string[]> {
  const run = readRun(folder);
  const before = costOf(options.original, options.table);
  const best = mostAccurate(run.front);
  const after = best === undefined ? undefined : costOf(join(folder, best.file), options.table);
  const percent = isFraction(run.front.metric);
  const plots: [string, string][] = [
    ['front', await toSvg(frontChart(frontPoints(run), run.front.metric, percent))],
    ['predicted', await toSvg(predictionChart(predictionPairs(run), run.front.metric, percent))],
  ];
  if (after !== undefined) plots.push(['layers', await toSvg(layerChart(layerBars(before, after)))]);
  mkdirSync(join(folder, 'plots'), { recursive: true });
  const written = plots.map(([name, svg]) => writeBeside(join(folder, 'plots', `${name}.svg`), svg));
  return [...written, writeBeside(join(folder, 'report.md'), reportText(run, before, after, options.volatile ?? []))];
}

/** What the run itself holds to be the most accurate, on held-out calibration data; budgets first. */
export function mostAccurate(front: FrontReport): FrontReport['candidates'][number] | undefined {
  return front.candidates.toSorted((a, b) => a.violation - b.violation || b.measured.value - a.measured.value)[0];
}

/** Metrics between 0 and 1 that people read as percentages. */
export function isFraction(metric: string): boolean {
  return ['top1', 'top5', 'agreement'].includes(metric);
}

export function showFigure(f: FigureReport, percent: boolean): string {
  const show = (v: number): string => (percent ? `${(100 * v).toFixed(2)} %` : v.toPrecision(4));
  const difference =
    f.difference === undefined
      ? ''
      : `; ${signed(f.difference.value, percent)} [${signed(f.difference.ci95[0], percent)}, ${signed(f.difference.ci95[1], percent)}] against the original`;
  return `${show(f.value)} [${show(f.ci95[0])}, ${show(f.ci95[1])}], n = ${f.n}${difference}`;
}

function signed(v: number, percent: boolean): string {
  const text = percent ? (100 * v).toFixed(2) : v.toPrecision(3);
  return v >= 0 ? `+${text}` : text;
}

export function costOf(path: string, table: OpTable): Cost {
  const model = readModel(path);
  return countCost(model, table, inferShapes(model, table, { dynamic: 1 }));
}

function frontPoints({ front, searched }: RunFiles): FrontPoint[] {
  const share = (macs: number): number => macs / front.original.macs;
  const point = (kind: FrontPoint['kind'], macs: number, f: FigureReport, label: string): FrontPoint => ({
    share: share(macs),
    value: f.value,
    ci95: f.ci95,
    kind,
    label,
  });
  return [
    ...searched.map((r): FrontPoint => ({
      share: share(r.macs),
      value: r.value,
      kind: 'searched',
      label: recipeText(r.genome),
    })),
    ...front.candidates.map((c) => point('front', c.macs, c.measured, c.file)),
    ...front.candidates.flatMap((c) => (c.test === undefined ? [] : [point('test', c.macs, c.test, c.file)])),
    point('original', front.original.macs, front.original.measured, 'original'),
  ];
}

/** What was foretold before the measurement; of those the predictor learnt from first, what it says with each of them left out. */
function predictionPairs({ front, searched }: RunFiles): Pair[] {
  return searched.flatMap(({ score, predicted }, i): Pair[] => {
    const left = front.leaveOneOut?.[i];
    if (predicted !== undefined) {
      return [{ predicted: predicted.mean, deviation: predicted.deviation, measured: score, kind: 'before measuring' }];
    }
    return left === undefined ? [] : [{ predicted: left, measured: score, kind: 'left out of the fit' }];
  });
}

/** What was foretold of the members before their refit, and how sure the run was of it. */
function foretellingLines({ foretelling, candidates, metric }: FrontReport): string[] {
  const belief = foretelling?.belief;
  if (foretelling === undefined || belief === undefined) return [];
  const percent = isFraction(metric);
  const value = (x: number): string => (percent ? (100 * x).toFixed(2) : x.toPrecision(4));
  const members = candidates.map((c) => `${c.file}: ${value(c.predicted.mean)} ± ${value(c.predicted.deviation)}`);
  return [
    '',
    `Foretold before the refit (${foretelling.quantity}; ± one standard deviation): ${members.join('; ')}. ` +
      `Of ${belief.samples} other networks that were refitted, each left out: mean error ${value(belief.meanAbsoluteError)}${percent ? ' points' : ''}, Spearman ${belief.spearman.toFixed(2)}.`,
  ];
}

/** What set each member apart for the search's predictor. */
function whyLines({ candidates, metric }: FrontReport): string[] {
  const known = candidates.flatMap(({ file, why }) => (why === undefined ? [] : [{ file, why }]));
  if (known.length === 0) return [];
  const rows = known.map(({ file, why }) => `- ${file}: ${whyText(why, isFraction(metric))}.`);
  return [
    '',
    "Why these, by the search's predictor (scores of the search, before the refit; Shapley values):",
    '',
    ...rows,
  ];
}

function layerBars(before: Cost, after: Cost): LayerBar[] {
  const rest = new Map(after.nodes.map((n) => [n.node, n.macs]));
  const bars: LayerBar[] = [];
  for (const n of before.nodes) {
    if (n.macs > 0) bars.push({ layer: n.node, before: n.macs, after: rest.get(n.node) ?? 0 });
    rest.delete(n.node);
  }
  for (const [layer, macs] of rest) if (macs > 0) bars.push({ layer, before: 0, after: macs });
  return bars;
}

/** How many edits of each mutation: `31 x prune-channels, 2 x remove-block`. */
export function recipeText(genome: readonly { readonly mutation: string }[]): string {
  const counts = new Map<string, number>();
  for (const { mutation } of genome) counts.set(mutation, (counts.get(mutation) ?? 0) + 1);
  return [...counts].map(([name, n]) => `${n} x ${name}`).join(', ') || 'unchanged';
}

function reportText(
  { front, searched, failed }: RunFiles,
  before: Cost,
  after: Cost | undefined,
  volatile: readonly string[],
): string {
  const percent = isFraction(front.metric);
  const mega = (v: number): string => `${(v / 1e6).toFixed(2)} M`;
  const alone = (f: FigureReport): string => showFigure({ ...f, difference: undefined }, percent);
  const rows = front.candidates.map((c) => [
    `[${c.file}](${c.file})`,
    `${mega(c.macs)} (${((100 * c.macs) / front.original.macs).toFixed(1)} %)`,
    mega(2 * c.macs),
    mega(c.params),
    alone(c.measured),
    c.measured.difference === undefined
      ? '-'
      : `${signed(c.measured.difference.value, percent)} [${signed(c.measured.difference.ci95[0], percent)}, ${signed(c.measured.difference.ci95[1], percent)}]`,
    c.test === undefined ? '-' : showFigure(c.test, percent),
    recipeText(c.genome),
  ]);
  const original = front.original;
  const lines = [
    `# ${front.model}, pared`,
    '',
    front.interrupted === true
      ? '**The run was interrupted:** this is what it had by then, refitted in haste; `--resume` goes on to the whole front.\n'
      : '',
    front.reached ? '' : `**The budget was not reached:** ${front.note ?? 'these candidates come closest'}.\n`,
    `Original: ${mega(original.macs)} MACs (${mega(2 * original.macs)} FLOPs = 2 x MACs), ${mega(original.params)} parameters, peak activations ${mega(original.memoryBytes)}B; ` +
      `${front.metric} on held-out calibration data ${alone(original.measured)}` +
      (original.test === undefined ? '.' : `; on the test data ${alone(original.test)}.`),
    '',
    `| file | MACs | FLOPs | params | ${front.metric}, held out [95 %] | against the original | test [95 %] | recipe |`,
    '|---|---|---|---|---|---|---|---|',
    ...rows.map((r) => `| ${r.join(' | ')} |`),
    '',
    `${searched.length} candidates were measured during the search on samples apart from the held-out ones; test data, where given, took no part in any choice.`,
    ...roundingLines(front.rounding),
    ...foretellingLines(front),
    ...whyLines(front),
    ...failureLines(failed),
    '',
    '![front](plots/front.svg) ![predicted against measured](plots/predicted.svg)',
    ...(after === undefined
      ? []
      : ['', 'Layers of the most accurate member before and after:', '', '![layers](plots/layers.svg)']),
    '',
    before.uncounted.length === 0 ? 'Every operator was counted.' : `Not counted: ${before.uncounted.join('; ')}.`,
    '',
    '<!-- volatile: begin -->',
    ...volatile,
    '<!-- volatile: end -->',
  ];
  return `${lines.join('\n')}\n`;
}

/** How wide layers may be, and who said so. */
function roundingLines(rounding: FrontReport['rounding']): string[] {
  if (rounding === undefined) return [];
  const { roundTo, why } = rounding;
  const rule = roundTo === 1 ? 'Widths are not rounded' : `Widths are multiples of ${roundTo} where possible`;
  const reason = {
    asked: 'as asked with --round-to',
    timed:
      roundTo === 1
        ? 'a network with widths just under multiples of 8, timed before the search, was faster than one with the multiples'
        : 'a network with widths just under multiples of 8, timed before the search, was no faster than one with the multiples',
    default:
      roundTo === 1
        ? 'nothing was timed, since no --latency was asked for, and rounding costs accuracy at equal MACs; --round-to 8 asks for it'
        : 'no group is wide enough to compare',
  }[why];
  return ['', `${rule}: ${reason}.`];
}

/** By reason: many candidates may fail for the same one. */
function failureLines(failed: RunFiles['failed']): string[] {
  if (failed.length === 0) return [];
  const byReason = new Map<string, string[]>();
  for (const { genome, reason } of failed) byReason.set(reason, [...(byReason.get(reason) ?? []), recipeText(genome)]);
  const rows = [...byReason].map(([reason, recipes]) => `- ${reason} (${[...new Set(recipes)].join('; ')})`);
  return ['', `${failed.length} candidates could not be measured or handed over:`, '', ...rows];
}

/** Written beside and renamed. */
export function writeBeside(path: string, text: string): string {
  const beside = `${path}.part`;
  writeFileSync(beside, text);
  renameSync(beside, path);
  return path;
}
