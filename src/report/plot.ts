// Charts as vega-lite specifications and as SVG, drawn without a browser. The data stand in the specification.
import { compile, type TopLevelSpec } from 'vega-lite';
import { parse, View } from 'vega';

/** The SVG text of a specification; equal specifications give equal bytes. */
export async function toSvg(spec: TopLevelSpec): Promise<string> {
  const view = new View(parse(compile(spec).spec), { renderer: 'none' });
  try {
    return `${await view.toSVG()}\n`;
  } finally {
    view.finalize();
  }
}

export interface FrontPoint {
  /** Share of the original's MACs, 0..1. */
  readonly share: number;
  readonly value: number;
  readonly ci95?: readonly [number, number];
  readonly kind: 'searched' | 'front' | 'test' | 'original';
  readonly label: string;
}

const CONFIG = {
  background: 'white',
  axis: { labelFontSize: 11, titleFontSize: 12, gridColor: '#e5e5e5' },
  legend: { labelFontSize: 11, titleFontSize: 12 },
  font: 'sans-serif',
} as const;

/** The front over what was searched. `percent`: the metric is a fraction and shown in percent. */
export function frontChart(points: readonly FrontPoint[], metric: string, percent: boolean): TopLevelSpec {
  const scale = percent ? 100 : 1;
  const values = points.map((p) => ({
    share: 100 * p.share,
    value: scale * p.value,
    low: scale * (p.ci95?.[0] ?? p.value),
    high: scale * (p.ci95?.[1] ?? p.value),
    kind: NAMES[p.kind],
    label: p.label,
  }));
  const y = {
    field: 'value',
    type: 'quantitative',
    title: percent ? `${metric} (%)` : metric,
    scale: { zero: false },
  } as const;
  const x = {
    field: 'share',
    type: 'quantitative',
    title: 'MACs (% of the original)',
    scale: { zero: false },
  } as const;
  const colour = {
    field: 'kind',
    type: 'nominal',
    title: null,
    scale: { domain: Object.values(NAMES), range: ['#b8c4d0', '#d1495b', '#edae49', '#222222'] },
  } as const;
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    config: CONFIG,
    width: 520,
    height: 320,
    data: { values },
    layer: [
      {
        transform: [{ filter: { field: 'kind', oneOf: [NAMES.front, NAMES.test] } }],
        mark: { type: 'rule', opacity: 0.7 },
        encoding: { x, y: { ...y, field: 'low' }, y2: { field: 'high' }, color: colour },
      },
      {
        transform: [{ filter: { field: 'kind', equal: NAMES.front } }],
        mark: { type: 'line', interpolate: 'step-after', opacity: 0.5 },
        encoding: { x, y, color: colour },
      },
      {
        mark: { type: 'point', filled: true, size: 50, opacity: 0.9 },
        encoding: { x, y, color: colour, tooltip: { field: 'label' } },
      },
    ],
  };
}

const NAMES = { searched: 'searched', front: 'front (held-out)', test: 'front (test)', original: 'original' } as const;

export interface Pair {
  readonly predicted: number;
  readonly measured: number;
  readonly deviation?: number;
  readonly kind: string;
}

/** Predicted against measured, with the diagonal on which they would agree. */
export function predictionChart(pairs: readonly Pair[], metric: string, percent: boolean): TopLevelSpec {
  const scale = percent ? 100 : 1;
  const values = pairs.map((p) => ({
    predicted: scale * p.predicted,
    measured: scale * p.measured,
    low: scale * (p.predicted - (p.deviation ?? 0)),
    high: scale * (p.predicted + (p.deviation ?? 0)),
    kind: p.kind,
  }));
  const all = values.flatMap((v) => [v.predicted, v.measured]);
  const ends = [Math.min(...all), Math.max(...all)];
  const unit = percent ? ' (%)' : '';
  const x = {
    field: 'measured',
    type: 'quantitative',
    title: `measured ${metric}${unit}`,
    scale: { zero: false },
  } as const;
  const y = {
    field: 'predicted',
    type: 'quantitative',
    title: `predicted ${metric}${unit}`,
    scale: { zero: false },
  } as const;
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    config: CONFIG,
    width: 360,
    height: 360,
    data: { values },
    layer: [
      {
        data: { values: ends.map((v) => ({ measured: v, predicted: v })) },
        mark: { type: 'line', strokeDash: [4, 4], color: '#888888' },
        encoding: { x, y },
      },
      {
        mark: { type: 'rule', opacity: 0.5 },
        encoding: {
          x,
          y: { ...y, field: 'low' },
          y2: { field: 'high' },
          color: { field: 'kind', type: 'nominal', title: null },
        },
      },
      {
        mark: { type: 'point', filled: true, size: 40 },
        encoding: { x, y, color: { field: 'kind', type: 'nominal', title: null } },
      },
    ],
  };
}

export interface LayerBar {
  readonly layer: string;
  /** In MACs. */
  readonly before: number;
  readonly after: number;
}

/** MACs of each layer before and after, in the order of the network. */
export function layerChart(layers: readonly LayerBar[]): TopLevelSpec {
  const values = layers.flatMap((l, order) => [
    { layer: l.layer, order, version: 'before', macs: l.before / 1e6 },
    { layer: l.layer, order, version: 'after', macs: l.after / 1e6 },
  ]);
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    config: CONFIG,
    width: 420,
    height: { step: 14 },
    data: { values },
    mark: { type: 'bar' },
    encoding: {
      y: {
        field: 'layer',
        type: 'nominal',
        sort: { field: 'order', op: 'min' },
        title: null,
        axis: { labelLimit: 260 },
      },
      x: { field: 'macs', type: 'quantitative', stack: null, title: 'M MACs' },
      color: {
        field: 'version',
        type: 'nominal',
        title: null,
        scale: { domain: ['before', 'after'], range: ['#b8c4d0', '#d1495b'] },
      },
      opacity: { value: 0.85 },
    },
  };
}
