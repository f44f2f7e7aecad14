// What the charts of a run show, for report.md and report.html alike.
import type { Cost } from '../analysis/cost.js';
import type { FrontPoint, LayerBar, Pair } from './plot.js';
import type { FigureReport, RunFiles } from './run.js';
import { recipeText } from './words.js';

export function frontPoints({ front, searched }: RunFiles): FrontPoint[] {
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

interface RecipePair extends Pair {
  readonly kind: 'before measuring' | 'left out of the fit';
  readonly recipe: string;
}

/** What was foretold before the measurement; of those the predictor learnt from first, what it says with each of them left out. */
export function predictionPairs({ front, searched }: RunFiles): RecipePair[] {
  return searched.flatMap(({ score, predicted, genome }, i): RecipePair[] => {
    const recipe = recipeText(genome);
    const left = front.leaveOneOut?.[i];
    if (predicted !== undefined) {
      return [
        {
          predicted: predicted.mean,
          deviation: predicted.deviation,
          measured: score,
          kind: 'before measuring',
          recipe,
        },
      ];
    }
    return left === undefined ? [] : [{ predicted: left, measured: score, kind: 'left out of the fit', recipe }];
  });
}

/** In the order of the original; what only the smaller network has stands last. */
export function layerBars(before: Cost, after: Cost): LayerBar[] {
  const rest = new Map(after.nodes.map((n) => [n.node, n.macs]));
  const bars: LayerBar[] = [];
  for (const n of before.nodes) {
    if (n.macs > 0) bars.push({ layer: n.node, before: n.macs, after: rest.get(n.node) ?? 0 });
    rest.delete(n.node);
  }
  for (const [layer, macs] of rest) if (macs > 0) bars.push({ layer, before: 0, after: macs });
  return bars;
}
