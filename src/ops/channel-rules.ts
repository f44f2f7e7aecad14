// Makers of channel rules: what passes labels on, element-wise operators, norms, pooling and reductions.
import { attrInt, attrInts } from '../ir/graph.js';
import { broadcast, flat, isBlank, noLabels, pick, slice, transpose } from './labels.js';
import type { ChannelContext, ChannelRule, Labels } from './op.js';

/** An operand of an element-wise operator, seen in the shape of the result. */
export interface Operand {
  readonly labels: Labels;
  /** Which axes it really has (size above 1), so that a cut there must reach it. */
  readonly full: readonly boolean[];
}

/** Activations, Identity, Cast: element by element, one labelled operand; further operands are scalars or small constants. */
export const pass: ChannelRule = (c) => {
  c.output(0, c.labels(0));
};

/** Element-wise with Numpy's broadcasting, any number of operands. */
export const elementwise: ChannelRule = (c) => {
  const shape = c.outputShape(0);
  if (c.opset < 7 && attrInt(c.node, 'broadcast', 0) !== 0 && c.inputShape(1).length > 0) {
    fittedByAxis(c, shape);
    return;
  }
  const active: Operand[] = [];
  for (let i = 0; i < c.arity; i++) {
    if (c.present(i) && !c.isConstant(i)) active.push(operand(c.labels(i), shape));
  }
  const merged = merge(c, active);
  for (let i = 0; i < c.arity; i++) if (c.present(i) && c.isConstant(i)) c.cut(i, merged);
  c.output(0, merged);
};

/** Before opset 7 operand B was laid along A's axes from `axis` on. */
function fittedByAxis(c: ChannelContext, shape: readonly number[]): void {
  const a = c.labels(0);
  const rank = c.inputShape(1).length;
  const start = normal(attrInt(c.node, 'axis', shape.length - rank), shape.length);
  if (!c.isConstant(1) || c.isConstant(0)) {
    for (const i of [0, 1]) c.freeze(c.labels(i), 'broadcast along an axis');
    return;
  }
  const own = Array.from({ length: rank }, (_, k) => start + k);
  const others = [...shape.keys()].filter((k) => !own.includes(k));
  c.cut(1, transpose(a, [...others, ...own]));
  c.output(0, a);
}

export function operand(labels: Labels, shape: readonly number[]): Operand {
  const lead = shape.length - labels.shape.length;
  return {
    labels: broadcast(labels, shape),
    full: shape.map((d, k) => k >= lead && (d === 1 || labels.shape[k - lead] !== 1)),
  };
}

/** The labels of what comes of several activations, position by position (all in the shape of the result). */
export function merge(c: ChannelContext, operands: readonly Operand[]): Labels {
  let result = operands[0];
  if (result === undefined) return noLabels(c.outputShape(0));
  for (const next of operands.slice(1)) result = mergePair(c, result, next);
  return result.labels;
}

function mergePair(c: ChannelContext, first: Operand, second: Operand): Operand {
  let a = first.labels;
  let b = second.labels;
  const full = first.full.map((f, k) => f || second.full[k]!);
  if (isBlank(a) && isBlank(b)) return { labels: a, full };
  const reason = 'meets a value without these channels';
  const axes = a.shape.map((_, k) => k);
  for (let again = true; again;) {
    again = false;
    for (const k of axes) {
      // one side really has the axis but does not change along it: it could not follow. What stays so may no longer change along others
      if (c.varies(a, k) && second.full[k]! && !c.varies(b, k)) a = c.whole(a, k, reason);
      else if (c.varies(b, k) && first.full[k]! && !c.varies(a, k)) b = c.whole(b, k, reason);
      else continue;
      again = true;
    }
  }
  const ofA = axes.filter((k) => c.varies(a, k));
  const ofB = axes.filter((k) => c.varies(b, k));
  if (ofB.length === 0) return { labels: a, full };
  if (ofA.length === 0) return { labels: b, full };
  if (ofA.some((k) => ofB.includes(k))) {
    c.tie(a, b);
    return { labels: a, full };
  }
  c.freeze(b, 'two kinds of channels meet crosswise');
  return { labels: a, full };
}

/** Input 0 along axis 1 (BatchNormalization, InstanceNormalization, PRelu-like): the vectors at `vectors` are cut with it. */
export function perChannel(vectors: readonly number[], spatial: 'pass' | 'whole' = 'pass'): ChannelRule {
  return (c) => {
    let x = c.labels(0);
    if (isBlank(x)) return;
    for (let k = 0; k < x.shape.length; k++) {
      if (k === 1 || (spatial === 'pass' && k === 0)) continue;
      if (spatial === 'whole' && k > 1 && c.varies(x, k) && !othersVary(c, x, k)) {
        // GroupNorm of one group, written as Reshape and InstanceNormalization
        c.inexact(x, `${c.node.opType} over channels`);
        continue;
      }
      x = c.whole(x, k, 'channels lie along space');
    }
    const atoms = x.shape.length > 1 ? c.along(x, 1) : c.along(x, 0);
    for (const i of vectors) {
      if (!c.present(i)) continue;
      // BatchNormalization with `spatial` = 0 has an entry per position
      if (c.inputShape(i).length === 1) c.cut(i, c.spread(atoms, 0, [atoms.length]));
      else c.freeze(x, 'statistics per position');
    }
    c.output(0, x);
  };
}

/** ImageScaler: one bias per channel, held in an attribute. */
export const imageScaler: ChannelRule = (c) => {
  let x = c.labels(0);
  for (let k = 0; k < x.shape.length; k++) if (k !== 1) x = c.whole(x, k, 'channels lie along space');
  c.output(0, x);
  const bias = c.node.attributes.get('bias');
  if (bias?.kind !== 'floats' || isBlank(x)) return;
  c.recount((r) => {
    const alive = r.alive(x, 1);
    return { attributes: { bias: { ...bias, value: bias.value.filter((_, k) => alive[k]) } } };
  });
};

/** QuantizeLinear, DequantizeLinear: scale and zero point are scalars, or lie along one axis. */
export const quantized: ChannelRule = (c) => {
  const x = c.labels(0);
  if (isBlank(x)) return;
  const axis = normal(attrInt(c.node, 'axis', 1), x.shape.length);
  for (const i of [1, 2]) {
    const dims = c.present(i) ? c.inputShape(i) : [];
    if (dims.length !== 1 || dims[0] === 1) continue;
    if (!c.varies(x, axis)) continue;
    // in the shape of x with one entry along the axis: the cut knows what else changes there
    c.cut(i, transpose(x, [...x.shape.keys()].filter((k) => k !== axis).concat(axis)));
  }
  c.output(0, x);
};

/** Statistics over the axes from `axis` on (LayerNormalization, RMSNormalization): marked inexact, affine vectors cut. */
export function layerNorm(vectors: readonly number[]): ChannelRule {
  return (c) => {
    let x = c.labels(0);
    const rank = x.shape.length;
    const axis = normal(attrInt(c.node, 'axis', -1), rank);
    for (let k = axis; k < rank; k++) {
      if (!c.varies(x, k)) continue;
      if (rank - axis === 1 && !othersVary(c, x, k)) c.inexact(x, `${c.node.opType} over channels`);
      else x = c.whole(x, k, `${c.node.opType} over channels`);
    }
    for (const i of vectors) if (c.present(i)) c.cut(i, x);
    c.output(0, x);
  };
}

/** Statistics over groups of channels: whole groups are units. */
export const groupNorm: ChannelRule = (c) => {
  let x = c.labels(0);
  if (isBlank(x)) return;
  const groups = attrInt(c.node, 'num_groups', 1);
  for (let k = 2; k < x.shape.length; k++) x = c.whole(x, k, 'channels lie along space');
  const atoms = c.along(x, 1);
  if (groups === 1) {
    c.inexact(x, 'GroupNormalization over all channels');
    for (const i of [1, 2]) if (c.inputShape(i)[0] === atoms.length) c.cut(i, c.spread(atoms, 0, [atoms.length]));
    c.output(0, x);
    return;
  }
  const size = atoms.length / groups;
  for (let g = 0; g < groups; g++) c.tieAll(atoms.subarray(g * size, (g + 1) * size));
  const first = Int32Array.from({ length: groups }, (_, g) => atoms[g * size]!);
  for (const i of [1, 2]) {
    // scale and bias: one per channel since opset 21, one per group before
    const n = c.inputShape(i)[0];
    c.cut(i, c.spread(n === atoms.length ? atoms : first, 0, [n ?? 0]));
  }
  c.output(0, x);
  const perGroup = c.spread(first, 0, [groups]);
  c.recount((r) => ({
    attributes: { num_groups: { name: 'num_groups', kind: 'int', value: r.dims(perGroup)[0]! } },
  }));
};

/** Pooling and other windows over the axes from 2 on. */
export const spatial: ChannelRule = (c) => {
  let x = c.labels(0);
  if (isBlank(x)) return;
  const shape = c.outputShape(0);
  for (let k = 2; k < x.shape.length; k++) {
    x = flat(c.whole(x, k, 'channels lie along space'), k, shape[k] ?? 1);
  }
  c.output(0, { ...x, shape });
  if ((c.node.outputs[1] ?? '') !== '') c.freeze(x, 'positions of the maximum are used');
};

/** A value of the whole axis at each position (Softmax, CumSum): it can lose none of them. Axis by attribute. */
export function alongAxis(attribute: string, fallback: (opset: number, rank: number) => number): ChannelRule {
  return (c) => {
    let x = c.labels(0);
    const rank = x.shape.length;
    const axis = normal(attrInt(c.node, attribute, fallback(c.opset, rank)), rank);
    // before opset 13 Softmax runs over all axes from `axis` on
    const last = c.opset < 13 && c.node.opType.includes('max') ? rank - 1 : axis;
    for (let k = axis; k <= last; k++) x = c.whole(x, k, `${c.node.opType} over channels`);
    c.output(0, x);
  };
}

/** LRN: each channel is divided by a sum over its neighbours, which change. */
export const localResponse: ChannelRule = (c) => {
  const x = c.labels(0);
  c.inexact(x, 'LRN over neighbouring channels');
  c.output(0, x);
};

/**
 * Reductions. 'sum': dead positions add 0 in the masked reference, so the axis is consumed exactly; 'statistic': the mean's divisor
 * changes, an extreme could be a dead channel's: marked inexact. Positions of extremes keep the axis whole.
 */
export function reduction(kind: 'sum' | 'statistic'): ChannelRule {
  return (c) => {
    let x = c.labels(0);
    if (isBlank(x)) return;
    const rank = x.shape.length;
    const given = attrInts(c.node, 'axes') ?? c.value(1)?.elems;
    const single = c.node.opType.startsWith('Arg') ? [attrInt(c.node, 'axis', 0)] : undefined;
    const keepAll = attrInt(c.node, 'noop_with_empty_axes', 0) !== 0 && (given === undefined || given.length === 0);
    if (keepAll) {
      c.output(0, x);
      return;
    }
    const axes = (single ?? (given === undefined || given.length === 0 ? x.shape.map((_, k) => k) : given)).map((a) =>
      normal(a ?? 0, rank),
    );
    for (const k of axes) {
      if (!c.varies(x, k)) continue;
      if (othersVary(c, x, k) || c.node.opType.startsWith('Arg')) x = c.whole(x, k, `${c.node.opType} over channels`);
      else {
        if (kind === 'sum') c.consume(0, x);
        else c.inexact(x, `${c.node.opType} over channels`);
        x = noLabels(x.shape);
      }
    }
    if (isBlank(x)) return;
    const keep = attrInt(c.node, 'keepdims', 1) !== 0;
    for (const k of axes.toSorted((p, q) => q - p)) x = keep ? slice(x, k, 0, 1, 1) : pick(x, k, 0);
    c.output(0, x);
  };
}

export function normal(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}

function othersVary(c: ChannelContext, x: Labels, axis: number): boolean {
  return x.shape.some((_, k) => k !== axis && c.varies(x, k));
}
