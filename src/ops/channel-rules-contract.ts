// Channel rules of contractions: they consume the labels of what they sum over and make new channels.
import { attrInt, intAttribute } from '../ir/graph.js';
import { merge, operand } from './channel-rules.js';
import { flat, insertAxis, isBlank, noLabels, pick, transpose } from './labels.js';
import type { ChannelContext, ChannelRule, CutRole, Labels } from './op.js';

/** Conv: weight [M, C/group, ...]. ConvTranspose: weight [C, M/group, ...]. */
export function convolution(transposed = false): ChannelRule {
  return (c) => c.output(0, convolve(c, transposed));
}

/** Where the operands of a convolution lie. */
interface Operands {
  readonly weight: number;
  readonly bias: number;
  /** Zero point of the data. */
  readonly zero?: number;
  /** Vectors with an entry per output channel (or one for all). */
  readonly scales?: readonly number[];
}

export function convolve(c: ChannelContext, transposed: boolean, at: Operands = { weight: 1, bias: 2 }): Labels {
  const shape = c.outputShape(0);
  const weight = c.inputShape(at.weight);
  const group = attrInt(c.node, 'group', 1);
  let x = c.labels(0);
  if (x.shape.some((_, k) => k !== 1 && c.varies(x, k))) {
    const passed = alongPositions(c, x, weight, shape, transposed);
    if (passed !== undefined) return passed;
    for (let k = 0; k < x.shape.length; k++) if (k !== 1) x = c.whole(x, k, 'channels lie along space');
  }
  const inputs = c.along(x, 1);
  const channels = inputs.length;
  const outputs = shape[1]!;
  const [inAxis, outAxis] = transposed ? [0, 1] : [1, 0];
  let made: Int32Array;
  if (group === channels && group > 1) {
    // depthwise: each input channel makes its own outputs, labels pass through
    const multiplier = outputs / group;
    made = Int32Array.from({ length: outputs }, (_, i) => inputs[Math.floor(i / multiplier)]!);
    const axis = transposed ? made.filter((_, i) => i % multiplier === 0) : made;
    c.cut(at.weight, c.spread(axis, 0, weight), 'along');
    recountGroup(c, c.spread(inputs, 0, [channels]));
  } else if (group > 1) {
    // every group keeps as many channels: position j lives in all groups or in none
    const perIn = channels / group;
    const perOut = outputs / group;
    tiePositions(c, inputs, perIn);
    c.consume(0, x, at.zero);
    const fresh = c.fresh(perOut);
    made = Int32Array.from({ length: outputs }, (_, i) => fresh[i % perOut]!);
    if (transposed) {
      c.cut(at.weight, c.spread(inputs, 0, weight), 'in');
      c.cut(at.weight, c.spread(fresh, 1, weight), 'out');
    } else {
      c.cut(at.weight, c.spread(inputs.subarray(0, perIn), 1, weight), 'in');
      c.cut(at.weight, c.spread(made, 0, weight), 'out');
    }
  } else {
    c.consume(0, x, at.zero);
    c.cut(at.weight, c.spread(inputs, inAxis, weight), 'in');
    made = c.fresh(outputs);
    c.cut(at.weight, c.spread(made, outAxis, weight), 'out');
  }
  for (const i of [at.bias, ...(at.scales ?? [])]) {
    if (c.present(i) && c.inputShape(i).length === 1) c.cut(i, c.spread(made, 0, [outputs]), 'along');
  }
  return c.spread(made, 1, shape);
}

/** com.microsoft FusedConv: an activation and maybe a sum with input 3. */
export const fusedConvolution: ChannelRule = (c) => {
  const shape = c.outputShape(0);
  const made = operand(convolve(c, false), shape);
  c.output(0, merge(c, c.present(3) ? [made, operand(c.labels(3), shape)] : [made]));
};

/**
 * Channels that lie along positions (heads folded into the batch, tokens as the channels of a 1 x 1 kernel): they pass through, as
 * rows do in a matrix product. Undefined where the kernel mixes positions, or where new exact channels are worth more.
 */
function alongPositions(
  c: ChannelContext,
  labels: Labels,
  weight: readonly number[],
  shape: readonly number[],
  transposed: boolean,
): Labels | undefined {
  let x = labels;
  const axes = [...x.shape.keys()].filter((k) => k !== 1 && c.varies(x, k));
  const mixing = axes.filter((k) => k > 1 && !(weight[k] === 1 && shape[k] === x.shape[k]));
  const square = weight[0] === weight[1];
  if (c.isInexact(x) && !square && shape[1]! > 1) return undefined;
  if (mixing.length > 0) {
    // a kernel over channels (efficient channel attention): one channel in and out, as long as before
    const k = mixing[0]!;
    const plain = axes.length === 1 && shape[1] === 1 && x.shape[1] === 1 && shape[k] === x.shape[k];
    if (!plain || transposed) return undefined;
    c.inexact(x, 'a kernel over neighbouring channels');
  }
  x = c.whole(x, 1, 'channels along two axes');
  return { ...flat(x, 1, shape[1]!), shape };
}

function tiePositions(c: ChannelContext, atoms: Int32Array, period: number): void {
  for (let j = 0; j < period; j++) {
    c.tieAll(atoms.filter((_, i) => i % period === j));
  }
}

function recountGroup(c: ChannelContext, channels: Labels): void {
  if (c.unlabelled(channels)) return;
  c.recount((r) => ({ attributes: { group: intAttribute('group', r.dims(channels)[0]!) } }));
}

/** Gemm: Y = A' B' + C, matrices transposed by attribute. */
export const gemm: ChannelRule = (c) => {
  const transA = attrInt(c.node, 'transA', 0) !== 0;
  const transB = attrInt(c.node, 'transB', 0) !== 0;
  const out = contract(c, { i: 0, swap: transA }, { i: 1, swap: transB });
  c.cut(2, out, 'along');
  c.output(0, out);
};

export const matMul: ChannelRule = (c) => {
  c.output(0, contract(c, { i: 0, swap: false }, { i: 1, swap: false }));
};

/** com.microsoft FusedMatMul: either side transposed by attribute. */
export const fusedMatMul: ChannelRule = (c) => {
  const flag = (name: string): boolean => attrInt(c.node, name, 0) !== 0;
  if (flag('transBatchA') || flag('transBatchB')) {
    for (const i of [0, 1]) c.freeze(c.labels(i), 'batch axes transposed');
    return;
  }
  // onnxruntime 1.30 leaves the matrix as it is when the other side is a vector, against its own documentation
  if ((flag('transA') || flag('transB')) && [0, 1].some((i) => c.inputShape(i).length === 1)) {
    for (const i of [0, 1]) c.freeze(c.labels(i), 'a transposed matrix times a vector');
    return;
  }
  c.output(0, contract(c, { i: 0, swap: flag('transA') }, { i: 1, swap: flag('transB') }));
};

export interface Side {
  readonly i: number;
  /** Zero point of an operand of 8 bits. */
  readonly zero?: number;
  /** The last two axes are swapped before the product. */
  readonly swap: boolean;
}

/** Labels of [..., M, N] = [..., M, K] x [..., K, N], vectors as in Numpy. */
export function contract(c: ChannelContext, left: Side, right: Side): Labels {
  const shapeA = c.inputShape(left.i);
  const shapeB = c.inputShape(right.i);
  let a = matrix(c.labels(left.i), left, 0);
  let b = matrix(c.labels(right.i), right, 1);
  const rank = Math.max(a.shape.length, b.shape.length);
  const M = a.shape.at(-2)!;
  const N = b.shape.at(-1)!;
  const result = resultShape(a.shape, b.shape);
  const constA = c.isConstant(left.i);
  const constB = c.isConstant(right.i);
  const finish = (l: Labels): Labels => {
    let out = l;
    if (shapeB.length === 1) out = pick(out, out.shape.length - 1, 0);
    if (shapeA.length === 1) out = pick(out, out.shape.length - (shapeB.length === 1 ? 1 : 2), 0);
    return out;
  };

  if (constA || constB) {
    // one side is a weight: what the other side sums over is consumed, the weight's free axis makes new channels
    const side = constB ? left : right;
    const weight = constB ? right : left;
    let x = constB ? a : b;
    const w = constB ? b : a;
    const sumX = x.shape.length - (constB ? 1 : 2);
    const freeX = x.shape.length - (constB ? 2 : 1);
    const sumW = w.shape.length - (constB ? 2 : 1);
    const freeW = w.shape.length - (constB ? 1 : 2);
    // a vector has no axis for what `matrix` added
    const cut = (l: Labels, role: CutRole): void => {
      const vector = (constB ? shapeB : shapeA).length === 1;
      c.cut(weight.i, vector ? pick(l, constB ? 1 : 0, 0) : unswap(l, weight), role);
    };
    const others = (l: Labels): boolean => l.shape.some((_, k) => k !== sumX && c.varies(l, k));
    if (c.varies(x, sumX) && others(x)) x = c.whole(x, sumX, 'channels along two axes');
    if (c.varies(x, sumX)) {
      c.consume(side.i, c.labels(side.i), side.zero);
      cut(c.spread(c.along(x, sumX), sumW, w.shape), 'in');
      x = noLabels(x.shape);
    } else if (others(x) && c.isInexact(x) && !batchVaries(c, x) && w.shape[freeW] !== w.shape[sumW]) {
      // new exact channels are worth more than passing on inexact ones
      c.freeze(x, 'another axis makes channels here');
      x = noLabels(x.shape);
    }
    if (others(x)) {
      // rows (or heads) pass through; a weight with its own batch axes loses them too
      if (w.shape.length > 2) cut(batchOnly(x, w.shape), 'along');
      return finish(placed(flat(x, sumX, constB ? N : M), result));
    }
    const free = w.shape[freeW]!;
    const atoms = c.fresh(free);
    cut(c.spread(atoms, freeW, w.shape), 'out');
    return finish(c.spread(atoms, rank - (freeX === x.shape.length - 2 ? 1 : 2), result));
  }

  const sumA = a.shape.length - 1;
  const sumB = b.shape.length - 2;
  if (c.varies(a, sumA) || c.varies(b, sumB)) {
    if (batchVaries(c, a) || batchVaries(c, b)) {
      // heads: the whole head is the unit
      a = c.whole(a, sumA, 'channels of heads meet channels without heads');
      b = c.whole(b, sumB, 'channels of heads meet channels without heads');
    }
    if (c.varies(a, sumA) && c.varies(a, sumA - 1)) a = c.whole(a, sumA, 'channels along two axes');
    if (c.varies(b, sumB) && c.varies(b, sumB + 1)) b = c.whole(b, sumB, 'channels along two axes');
    const both = c.varies(a, sumA) && c.varies(b, sumB);
    if (both) {
      const k = a.shape[sumA]!;
      c.tie(c.spread(c.along(a, sumA), 0, [k]), c.spread(c.along(b, sumB), 0, [k]));
      c.consume(left.i, c.labels(left.i), left.zero);
      c.consume(right.i, c.labels(right.i), right.zero);
      a = noLabels(a.shape);
      b = noLabels(b.shape);
    } else {
      a = c.whole(a, sumA, 'summed with a value without these channels');
      b = c.whole(b, sumB, 'summed with a value without these channels');
    }
  }
  const merged = merge(c, [
    { labels: placed(flat(a, sumA, N), result), full: fullIn(a.shape, result, rank - 1) },
    { labels: placed(flat(b, sumB, M), result), full: fullIn(b.shape, result, rank - 2) },
  ]);
  return finish(merged);
}

/** The operand as [..., rows, columns]; a vector becomes a row (left) or a column (right). */
function matrix(l: Labels, side: Side, vectorAxis: 0 | 1): Labels {
  if (l.shape.length === 1) return insertAxis(l, vectorAxis);
  return side.swap ? swapLast(l) : l;
}

function unswap(l: Labels, side: Side): Labels {
  return side.swap ? swapLast(l) : l;
}

function swapLast(l: Labels): Labels {
  const n = l.shape.length;
  return transpose(
    l,
    [...l.shape.keys()].map((k) => (k === n - 1 ? n - 2 : k === n - 2 ? n - 1 : k)),
  );
}

function resultShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, k) => {
    if (k === rank - 2) return a.at(-2)!;
    if (k === rank - 1) return b.at(-1)!;
    return Math.max(a[k - rank + a.length] ?? 1, b[k - rank + b.length] ?? 1);
  });
}

function batchVaries(c: ChannelContext, l: Labels): boolean {
  return l.shape.slice(0, -2).some((_, k) => c.varies(l, k));
}

/** Broadcast to the result; the axes of the matrices fit already. */
function placed(l: Labels, result: readonly number[]): Labels {
  return operand(l, result).labels;
}

function fullIn(shape: readonly number[], result: readonly number[], missing: number): boolean[] {
  const lead = result.length - shape.length;
  return result.map((d, k) => k !== missing && k >= lead && (d === 1 || shape[k - lead] !== 1));
}

/** Labels of the batch axes of x in the shape of a weight with batch axes. */
function batchOnly(x: Labels, shape: readonly number[]): Labels {
  let l = x;
  for (let k = l.shape.length - 2; k < l.shape.length; k++) l = flat(l, k, 1);
  return operand(l, [...padTo(shape, l.shape.length).slice(0, -2), ...shape.slice(-2)]).labels;
}

function padTo(shape: readonly number[], rank: number): number[] {
  return [...Array.from({ length: Math.max(0, rank - shape.length) }, () => 1), ...shape];
}

/** LSTM, GRU, RNN: a unit of the hidden state is one channel, shared by all gates and both directions. */
export function recurrent(gates: number): ChannelRule {
  return (c) => {
    const hidden = attrInt(c.node, 'hidden_size', c.inputShape(2).at(-1) ?? 1);
    const x = c.labels(0);
    let input = x;
    for (let k = 0; k < x.shape.length - 1; k++) input = c.whole(input, k, 'channels along time');
    c.consume(0, input);
    const w = c.inputShape(1);
    const r = c.inputShape(2);
    const last = x.shape.length - 1;
    if (!isBlank(input)) c.cut(1, c.spread(c.along(input, last), 2, w), 'in');
    const atoms = c.fresh(hidden);
    const tiled = (times: number): Int32Array =>
      Int32Array.from({ length: hidden * times }, (_, i) => atoms[i % hidden]!);
    c.cut(1, c.spread(tiled(gates), 1, w), 'out');
    c.cut(2, c.spread(tiled(gates), 1, r), 'out');
    const inner = c.spread(atoms, 2, r);
    c.cut(2, inner, 'in');
    c.consume(2, inner);
    if (c.present(3)) c.cut(3, c.spread(tiled(2 * gates), 1, c.inputShape(3)), 'along');
    for (const i of [5, 6]) {
      if (c.present(i)) c.cut(i, c.spread(atoms, c.inputShape(i).length - 1, c.inputShape(i)), 'along');
    }
    if (c.present(7)) c.cut(7, c.spread(tiled(3), 1, c.inputShape(7)), 'along');
    for (let i = 0; i < c.node.outputs.length; i++) {
      if (c.node.outputs[i] !== '') c.output(i, c.spread(atoms, c.outputShape(i).length - 1, c.outputShape(i)));
    }
    const line = c.spread(atoms, 0, [hidden]);
    c.recount((n) => ({ attributes: { hidden_size: intAttribute('hidden_size', n.dims(line)[0]!) } }));
  };
}
