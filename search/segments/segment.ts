// A segment: a few operators with one value in and one value out, cut from the computation graph of some network, widths relative to
// what comes in and goes out, so that it fits anywhere with that stride (after AutoGO, methods.md §1.9).
import { fail } from '../../src/errors.js';
import type { GraphBuilder } from '../../src/ir/builder.js';
import { DataType } from '../../src/ir/tensor.js';

/** Operators that segments are made of. */
export const SEGMENT_OPS = [
  'Conv',
  'Depthwise',
  'BatchNorm',
  'ReLU',
  'ReLU6',
  'Swish',
  'Sigmoid',
  'Tanh',
  'GeLU',
  'Add',
  'Mul',
  'Concat',
  'Maxpool',
  'Avgpool',
  'Mean',
] as const;
export type SegmentOp = (typeof SEGMENT_OPS)[number];

export interface SegmentNode {
  readonly op: SegmentOp;
  /** Earlier nodes by number; -1 is the segment's input. */
  readonly from: readonly number[];
  /** Height and width of the window; of convolutions and pools. */
  readonly kernel?: readonly [number, number];
  /** 1 unless said. */
  readonly stride?: number;
  /** Of grouped convolutions. */
  readonly groups?: number;
  /** Channels of a Conv's output: so many times the channels that come in (`in`) or go out (`out`). */
  readonly width?: readonly ['in' | 'out', number];
  readonly bias?: boolean;
}

export interface Segment {
  /** In topological order; the last one gives the output. */
  readonly nodes: readonly SegmentNode[];
  /** Height in over height out. */
  readonly stride: number;
  /** The channels that go out must be those that come in (no node sets them). */
  readonly keepsChannels: boolean;
  /** How often it was found, and in how many networks. */
  readonly count: number;
  readonly networks: number;
}

export interface Ends {
  readonly cin: number;
  readonly cout: number;
}

export interface PlannedNode {
  readonly node: SegmentNode;
  readonly cin: number;
  readonly cout: number;
  /** Halvings since the segment's input; -1 behind a mean over all pixels. */
  readonly stride: number;
}

/** Widths of all nodes between these ends; undefined where the segment does not fit (groups, sums of unequal widths). */
export function planSegment(
  segment: Pick<Segment, 'nodes' | 'stride'>,
  { cin, cout }: Ends,
): readonly PlannedNode[] | undefined {
  const plan: PlannedNode[] = [];
  const before = (i: number): { readonly c: number; readonly stride: number } =>
    i < 0 ? { c: cin, stride: 1 } : { c: plan[i]!.cout, stride: plan[i]!.stride };
  for (const node of segment.nodes) {
    const inputs = node.from.map(before);
    const { c, stride } = inputs[0]!;
    const at = node.op === 'Mean' ? -1 : stride * (node.stride ?? 1);
    switch (node.op) {
      case 'Conv': {
        const [of, times] = node.width ?? ['in', 1];
        const groups = node.groups ?? 1;
        const width = Math.max(1, Math.round(times * (of === 'in' ? cin : cout)));
        if (c % groups !== 0 || width % groups !== 0) return undefined;
        plan.push({ node, cin: c, cout: width, stride: at });
        break;
      }
      case 'Concat':
        if (inputs.some((x) => x.stride !== stride)) return undefined;
        plan.push({ node, cin: c, cout: inputs.reduce((n, x) => n + x.c, 0), stride: at });
        break;
      case 'Add':
      case 'Mul': {
        // a gate of one pixel spreads over the map; widths must be equal
        const map = inputs.find((x) => x.stride > 0) ?? inputs[0]!;
        if (inputs.some((x) => x.c !== c || (x.stride !== map.stride && x.stride > 0))) return undefined;
        plan.push({ node, cin: c, cout: c, stride: map.stride });
        break;
      }
      default:
        plan.push({ node, cin: c, cout: c, stride: at });
    }
  }
  const last = plan.at(-1);
  return last?.cout === cout && last.stride === segment.stride ? plan : undefined;
}

/** Multiply-accumulates of one sample on an input of h x w pixels; undefined where it does not fit. */
export function segmentMacs(segment: Segment, ends: Ends, h: number, w: number): number | undefined {
  const plan = planSegment(segment, ends);
  if (plan === undefined) return undefined;
  let macs = 0;
  for (const { node, cin, cout, stride } of plan) {
    if (node.op !== 'Conv' && node.op !== 'Depthwise') continue;
    const pixels = stride < 0 ? 1 : Math.ceil(h / stride) * Math.ceil(w / stride);
    const [k1, k2] = node.kernel ?? [1, 1];
    const groups = node.op === 'Depthwise' ? cin : (node.groups ?? 1);
    macs += pixels * cout * (cin / groups) * k1 * k2;
  }
  return macs;
}

/** Puts the segment behind a value; weights are placeholders, named `STEM.weight` and so on. Returns its output. */
export function emitSegment(g: GraphBuilder, segment: Segment, input: string, ends: Ends, stem = 'segment'): string {
  const plan =
    planSegment(segment, ends) ?? fail(`the segment does not fit between ${ends.cin} and ${ends.cout} channels`);
  const values: string[] = [];
  const weight = (name: string, dims: readonly number[]): string =>
    g.constant({ name: `${stem}.${name}`, dataType: DataType.FLOAT, dims });
  for (const { node, cin, cout } of plan) {
    const inputs = node.from.map((i) => (i < 0 ? input : values[i]!));
    values.push(emitNode(g, node, inputs, cin, cout, weight));
  }
  return values.at(-1)!;
}

function emitNode(
  g: GraphBuilder,
  node: SegmentNode,
  inputs: readonly string[],
  cin: number,
  cout: number,
  weight: (name: string, dims: readonly number[]) => string,
): string {
  const [x = ''] = inputs;
  const [k1, k2] = node.kernel ?? [1, 1];
  const stride = node.stride ?? 1;
  const window = {
    kernel_shape: [k1, k2],
    strides: [stride, stride],
    // even windows grow downwards and to the right, and windows that tile have no padding
    pads: k1 === stride && k2 === stride ? [0, 0, 0, 0] : [(k1 - 1) >> 1, (k2 - 1) >> 1, k1 >> 1, k2 >> 1],
  };
  switch (node.op) {
    case 'Conv':
    case 'Depthwise': {
      const group = node.op === 'Depthwise' ? cin : (node.groups ?? 1);
      const all = [x, weight('weight', [cout, cin / group, k1, k2])];
      if (node.bias === true) all.push(weight('bias', [cout]));
      return g.op('Conv', all, { ...window, group });
    }
    case 'BatchNorm':
      return g.op('BatchNormalization', [x, ...['scale', 'shift', 'mean', 'var'].map((name) => weight(name, [cin]))]);
    case 'Swish':
      return g.op('Mul', [x, g.op('Sigmoid', [x])]);
    case 'GeLU': {
      const erf = g.op('Erf', [g.op('Mul', [x, g.floats(Math.SQRT1_2)])]);
      return g.op('Mul', [g.op('Mul', [x, g.op('Add', [erf, g.floats(1)])]), g.floats(0.5)]);
    }
    case 'ReLU6':
      return g.op('Clip', [x, g.floats(0), g.floats(6)]);
    case 'ReLU':
      return g.op('Relu', [x]);
    case 'Maxpool':
      return g.op('MaxPool', [x], window);
    case 'Avgpool':
      return g.op('AveragePool', [x], window);
    case 'Mean':
      return g.op('GlobalAveragePool', [x]);
    case 'Concat':
      return g.op('Concat', inputs, { axis: 1 });
    case 'Sigmoid':
    case 'Tanh':
      return g.op(node.op, [x]);
    case 'Add':
    case 'Mul': {
      const [, second = x] = inputs;
      return g.op(node.op, [x, second]);
    }
  }
}
