// Where a value keeps its channels, and its height, width and channels by that: convolutional networks put them on axis 1,
// token networks last, and Transpose and Reshape move them.
import type { Dim, Node, ValueType } from '../ir/graph.js';
import { attrInts } from '../ir/graph.js';

export interface Frame {
  /** 0 = unknown. */
  readonly h: number;
  readonly w: number;
  readonly c: number;
}

export const UNKNOWN_FRAME: Frame = { h: 0, w: 0, c: 0 };

/** Dims of a tensor type; undefined when the rank is unknown or it is no tensor. */
export function dimsOf(type: ValueType | undefined): readonly Dim[] | undefined {
  return type !== undefined && (type.kind === 'tensor' || type.kind === 'sparse') ? type.shape : undefined;
}

/** [N, C] has h = w = 1; sequences [N, T, C] have h = T, w = 1; beyond two spatial axes the last is w, the others make h. */
export function frameOf(dims: readonly Dim[] | undefined, axis: number): Frame {
  if (dims === undefined) return UNKNOWN_FRAME;
  const at = (i: number): number => {
    const d = dims[i];
    return typeof d === 'number' ? d : 0;
  };
  const { length } = dims;
  // the two common ranks first: this runs twice for every node of every candidate
  if (length === 4 && axis === 1) return { h: at(2), w: at(3), c: at(1) };
  if (length === 2 && axis === 1) return { h: 1, w: 1, c: at(1) };
  if (length < 2) return { h: 1, w: 1, c: length === 0 ? 1 : at(0) };
  const rest: number[] = [];
  for (let i = 1; i < length; i++) if (i !== axis) rest.push(at(i));
  if (rest.length < 2) return { h: rest[0] ?? 1, w: 1, c: at(axis) };
  return { h: rest.slice(0, -1).reduce((a, b) => a * b, 1), w: rest.at(-1)!, c: at(axis) };
}

/** Channel axis of a network's input: 1 for images [N, C, H, W], the last for [N, H, W, C <= 4], sequences and vectors. */
export function inputAxis(dims: readonly Dim[] | undefined): number {
  if (dims === undefined) return 1;
  const last = dims.length - 1;
  if (last < 3) return Math.max(0, last);
  const [, first, second] = dims;
  const end = dims[last];
  const few = (d: Dim): boolean => typeof d === 'number' && d <= 4;
  return few(end) && !few(first) && !few(second) ? last : 1;
}

/** Channel axis of a node's output from that of its data input. */
export function outputAxis(
  node: Node,
  axis: number,
  from: readonly Dim[] | undefined,
  to: readonly Dim[] | undefined,
): number {
  const { opType } = node;
  if (opType === 'Transpose') {
    const perm = attrInts(node, 'perm');
    if (perm !== undefined) return Math.max(0, perm.indexOf(axis));
    return from === undefined ? axis : from.length - 1 - axis;
  }
  const last = Math.max(0, (to?.length ?? 2) - 1);
  if (LAST.has(opType)) return last;
  if (opType.includes('Conv') || opType.endsWith('Pool') || FIRST.has(opType)) return 1;
  if (from === undefined || to === undefined) return axis;
  if (!RESHAPES.has(opType) && from.length === to.length) return axis;
  if (BROADCASTS.has(opType) && to.length > from.length) return axis + to.length - from.length;
  return reshapedAxis(from, axis, to);
}

/** Axes are matched in groups of equal products; the last axis of the group that the channels fall into carries them. */
function reshapedAxis(from: readonly Dim[], axis: number, to: readonly Dim[]): number {
  const last = Math.max(0, to.length - 1);
  let i = 0;
  let j = 0;
  while (i < from.length && j < to.length) {
    const first = i;
    let a = size(from[i++]);
    let b = size(to[j++]);
    while (a !== b) {
      if (Number.isNaN(a) || Number.isNaN(b)) return last;
      if (a < b && i < from.length) a *= size(from[i++]);
      else if (b < a && j < to.length) b *= size(to[j++]);
      else return last;
    }
    if (axis >= first && axis < i) return j - 1;
  }
  return last;
}

function size(d: Dim): number {
  return typeof d === 'number' ? d : NaN;
}

const FIRST: ReadonlySet<string> = new Set(
  'BatchNormalization InstanceNormalization GroupNormalization LRN DepthToSpace SpaceToDepth'.split(' '),
);
const LAST: ReadonlySet<string> = new Set(
  'Gemm MatMul Einsum Attention LSTM GRU RNN MultiHeadAttention NhwcConv NhwcMaxPool Gather'.split(' '),
);
const RESHAPES: ReadonlySet<string> = new Set(['Reshape', 'Flatten']);
const BROADCASTS: ReadonlySet<string> = new Set(['Add', 'Sub', 'Mul', 'Div', 'Sum', 'Where', 'Max', 'Min', 'Expand']);
