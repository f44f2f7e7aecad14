// How the reports write figures, recipes and amounts.
import type { FigureReport, FrontReport } from './run.js';

type Member = FrontReport['candidates'][number];

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

export function signed(v: number, percent: boolean): string {
  const text = percent ? (100 * v).toFixed(2) : v.toPrecision(3);
  return v >= 0 ? `+${text}` : text;
}

/** Without the difference: the original's to itself says nothing. */
export function showAlone(f: FigureReport, percent: boolean): string {
  return showFigure({ ...f, difference: undefined }, percent);
}

/** How a member came to be better than its refit, where it was distilled; or why it was not. */
export function trainedText({ trained, givenUp }: Member): string | undefined {
  if (givenUp !== undefined) return `not distilled: given up after ${givenUp.steps} steps, ${givenUp.why}`;
  if (trained === undefined) return undefined;
  const { steps, before } = trained;
  return `distilled for ${steps} steps; ${showAlone(before, isFraction(before.metric))} before`;
}

/** In millions. */
export function mega(v: number): string {
  return `${(v / 1e6).toFixed(2)} M`;
}

/** How many edits of each mutation: `31 x prune-channels, 2 x remove-block`. */
export function recipeText(genome: readonly { readonly mutation: string }[]): string {
  const counts = new Map<string, number>();
  for (const { mutation } of genome) counts.set(mutation, (counts.get(mutation) ?? 0) + 1);
  return [...counts].map(([name, n]) => `${n} x ${name}`).join(', ') || 'unchanged';
}
