// The cut plan of a model: labels resolved to lines. After ties every value changes along one axis at most, so each cut is a line:
// for each position of an axis, the class of channels that it belongs to (0 = stays).
import { movingAxes } from '../ops/labels.js';
import type { CutRole, Labels } from '../ops/op.js';
import { variesAlong } from './atoms.js';
import type { Channels, Consumption, Recount } from './channels.js';

/** Class (representative atom) of each position of one axis; shared by all cuts that lie on the same labels. */
export type Line = Int32Array;

export interface PlacedLine {
  readonly axis: number;
  readonly line: Line;
}

export interface PlannedCut {
  readonly node: number;
  readonly input: number;
  readonly tensor: string;
  readonly axis: number;
  readonly line: Line;
  readonly role: CutRole;
}

export interface ChannelPlan {
  readonly cuts: readonly PlannedCut[];
  /** Labelled values: the axis that can shrink. */
  readonly values: ReadonlyMap<string, PlacedLine>;
  readonly consumptions: readonly Consumption[];
  readonly recounts: readonly Recount[];
  /** The axis along which labels change and its line; undefined when nothing there can go. */
  readonly resolve: (labels: Labels) => PlacedLine | undefined;
  readonly classOf: (atom: number) => number;
  readonly atomCount: number;
}

export function planCuts(channels: Channels): ChannelPlan {
  const { atoms } = channels;
  const classes = new Int32Array(atoms.count);
  for (let a = 1; a < classes.length; a++) classes[a] = atoms.find(a);
  const lines = new Map<Int32Array, Map<string, Line>>();
  const resolved = new Map<Labels, PlacedLine | null>();

  const lineAt = (l: Labels, axis: number): Line => {
    let own = lines.get(l.atoms);
    if (own === undefined) lines.set(l.atoms, (own = new Map<string, Line>()));
    const n = l.shape[axis]!;
    const stride = l.strides[axis]!;
    const key = `${l.offset}:${stride}:${n}`;
    let line = own.get(key);
    if (line === undefined) {
      line = new Int32Array(n);
      for (let i = 0, p = l.offset; i < n; i++, p += stride) line[i] = classes[l.atoms[p]!]!;
      own.set(key, line);
    }
    return line;
  };

  const resolve = (l: Labels): PlacedLine | undefined => {
    const known = resolved.get(l);
    if (known !== undefined) return known ?? undefined;
    const moving = movingAxes([l]);
    const axis = moving.length === 1 ? moving[0]! : moving.find((k) => variesAlong(atoms, l, k));
    let placed: PlacedLine | undefined;
    if (axis !== undefined) {
      const line = lineAt(l, axis);
      if (line.some((c) => c !== 0)) placed = { axis, line };
    }
    resolved.set(l, placed ?? null);
    return placed;
  };

  const cuts = channels.cuts.flatMap((cut): PlannedCut[] => {
    const placed = resolve(cut.labels);
    if (placed === undefined || placed.axis !== cut.labelAxis) return [];
    const { node, input, tensor, axis, role } = cut;
    return [{ node, input, tensor, axis, role, line: placed.line }];
  });
  const values = new Map<string, PlacedLine>();
  for (const [name, labels] of channels.labels) {
    const placed = resolve(labels);
    if (placed !== undefined) values.set(name, placed);
  }
  return {
    cuts,
    values,
    consumptions: channels.consumptions,
    recounts: channels.recounts,
    resolve,
    classOf: (atom) => classes[atom] ?? 0,
    atomCount: classes.length,
  };
}
