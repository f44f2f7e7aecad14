// Channel rules of arithmetic on 8 bits: those of the operator behind it; scales and zero points per channel follow, and a dead
// position of the masked reference holds the zero point. https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
import { attrInt } from '../ir/graph.js';
import { contract, convolve, type Side } from './channel-rules-contract.js';
import { join } from './channel-rules-movement.js';
import { merge, operand } from './channel-rules.js';
import { broadcast, flat, isBlank } from './labels.js';
import type { ChannelContext, ChannelRule, Labels } from './op.js';

/** Inputs: x, scale, zero point, w, scale, zero point, scale and zero point of y, bias. */
export const qLinearConv: ChannelRule = (c) => {
  c.output(0, convolve(c, false, { weight: 3, bias: 8, zero: 2, scales: [4, 5] }));
};

/** Inputs: x, w, their zero points. */
export const convInteger: ChannelRule = (c) => {
  c.output(0, convolve(c, false, { weight: 1, bias: -1, zero: 2, scales: [3] }));
};

interface Product {
  readonly a: number;
  readonly b: number;
  readonly zeroA: number;
  readonly zeroB: number;
  /** Operands with one entry for each row of A, or one for all. */
  readonly rows: readonly number[];
  /** Operands with one entry for each column of B, or one for all. */
  readonly columns: readonly number[];
  /** The scale of A is found from A itself. */
  readonly dynamic?: boolean;
}

function product(at: Product): ChannelRule {
  return (c) => {
    const strange =
      at.rows.some((i) => c.present(i) && size(c, i) > 1) ||
      at.columns.some((i) => c.present(i) && c.inputShape(i).filter((d) => d > 1).length > 1);
    if (strange) {
      for (const i of [at.a, at.b]) c.freeze(c.labels(i), 'scales per row');
      return;
    }
    if (at.dynamic === true) c.inexact(c.labels(at.a), `${c.node.opType} finds one scale for all channels`);
    const side = (i: number, zero: number, transpose: string): Side => ({
      i,
      zero,
      swap: attrInt(c.node, transpose, 0) !== 0,
    });
    const out = contract(c, side(at.a, at.zeroA, 'transA'), side(at.b, at.zeroB, 'transB'));
    for (const i of at.columns) if (c.present(i) && size(c, i) > 1) c.cut(i, out, 'along');
    c.output(0, out);
  };
}

function size(c: ChannelContext, i: number): number {
  return c.inputShape(i).reduce((n, d) => n * d, 1);
}

export const qLinearMatMul = product({ a: 0, b: 3, zeroA: 2, zeroB: 5, rows: [1, 2], columns: [4, 5] });
export const matMulInteger = product({ a: 0, b: 1, zeroA: 2, zeroB: 3, rows: [2], columns: [3] });
export const matMulIntegerToFloat = product({ a: 0, b: 1, zeroA: 4, zeroB: 5, rows: [2, 4], columns: [3, 5, 6] });
export const qGemm = product({ a: 0, b: 3, zeroA: 2, zeroB: 5, rows: [1, 2], columns: [4, 5, 6] });
export const dynamicQuantizeMatMul = product({
  a: 0,
  b: 1,
  zeroA: -1,
  zeroB: 3,
  rows: [],
  columns: [2, 3, 4],
  dynamic: true,
});

/** One scale from the extremes of the whole tensor: dead channels have their part in it. */
export const dynamicQuantizeLinear: ChannelRule = (c) => {
  const x = c.labels(0);
  c.inexact(x, 'DynamicQuantizeLinear finds one scale for all channels');
  c.output(0, x);
};

/** Inputs: A, scale, zero point, B, scale, zero point, and those of the result. */
export const qLinearBinary: ChannelRule = (c) => {
  const shape = c.outputShape(0);
  const active = [0, 3].filter((i) => !c.isConstant(i));
  const merged = merge(
    c,
    active.map((i) => operand(c.labels(i), shape)),
  );
  for (const i of [0, 3]) if (c.isConstant(i)) c.cut(i, merged);
  c.output(0, merged);
};

/** Scale and zero point of the result, then each part with its own. */
export const qLinearConcat: ChannelRule = (c) => {
  const parts: number[] = [];
  for (let i = 2; i < c.arity; i += 3) parts.push(i);
  join(c, parts);
};

/** Windows over space; channels are the last axis where an attribute (or the operator) says so. */
export function pooled(last: (c: ChannelContext) => boolean): ChannelRule {
  return (c) => {
    let x = c.labels(0);
    if (isBlank(x)) return;
    const shape = c.outputShape(0);
    const rank = shape.length;
    const own = last(c) ? rank - 1 : 1;
    for (let k = 1; k < rank; k++) {
      if (k !== own) x = flat(c.whole(x, k, 'channels lie along space'), k, shape[k]!);
    }
    c.output(0, { ...x, shape });
  };
}

export const channelsLast = (c: ChannelContext): boolean => attrInt(c.node, 'channels_last', 0) === 1;

/** Condition, X with scale and zero point, Y with scale and zero point. */
export const qLinearWhere: ChannelRule = (c) => {
  const shape = c.outputShape(0);
  const all = [0, 1, 4];
  const active = all.filter((i) => !c.isConstant(i));
  const merged: Labels = merge(
    c,
    active.map((i) => operand(c.labels(i), shape)),
  );
  for (const i of all) if (c.isConstant(i)) c.cut(i, broadcast(merged, shape));
  c.output(0, merged);
};
