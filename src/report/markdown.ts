// report.md: the front, what was foretold of it, and what failed. Everything volatile stands in one marked block at its end.
import type { Cost } from '../analysis/cost.js';
import type { FigureReport, FrontReport, RunFiles } from './run.js';
import { whyText } from './why.js';
import { isFraction, mega, recipeText, showAlone, showFigure, signed, trainedText } from './words.js';

/** The text of report.md; `after` is the cost of the most accurate member. */
export function reportText(
  { front, searched, failed }: RunFiles,
  before: Cost,
  after: Cost | undefined,
  volatile: readonly string[],
): string {
  const percent = isFraction(front.metric);
  const alone = (f: FigureReport): string => showAlone(f, percent);
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
    ...trainedLines(front),
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

/** Which members were distilled at the end, and what that was worth. */
function trainedLines({ candidates }: FrontReport): string[] {
  const rows = candidates.flatMap((c) => {
    const text = trainedText(c);
    return text === undefined ? [] : [`- ${c.file}: ${text}.`];
  });
  return rows.length === 0 ? [] : ['', 'Distilled from the original, without labels (held out, before):', '', ...rows];
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
