// Element-wise arithmetic, comparison, logic and casts. Broadcasting is numpy's since opset 7; before, the result has operand A's shape.
// https://onnx.ai/onnx/operators/
import { attrFloat, attrInt, attrString } from '../ir/graph.js';
import { DataType, elementBits } from '../ir/tensor.js';
import type { OpDef, ShapeRule, ValueRule } from './op.js';
import { broadcastInputs, broadcastShapes, sameAsInput, sameShape, tensorType } from './rules.js';
import { broadcastValues, integerOf, pointwise, rounding } from './values.js';
import type { Pointwise } from './values.js';

/** An operator of one operand that keeps its type. */
function unary(opType: string, compute?: Pointwise): OpDef {
  const def: OpDef = { opType, category: 'elementwise', shape: sameAsInput };
  return compute === undefined ? def : { ...def, value: pointwise(compute) };
}

const broadcastSame: ShapeRule = (ctx) => [tensorType(ctx.elemType(0) || ctx.elemType(1), broadcastInputs(ctx))];
const broadcastBool: ShapeRule = (ctx) => [tensorType(DataType.BOOL, broadcastInputs(ctx))];

/** Operands broadcast together, of one element type. */
function broadcast(opType: string, value: ValueRule): OpDef {
  return { opType, category: 'elementwise', shape: broadcastSame, value };
}

/** The same, with the entry for opset 1 to 6, where `broadcast` and `axis` fit operand B to A. */
function binary(opType: string, value: ValueRule): OpDef[] {
  return [
    { ...broadcast(opType, value), shape: sameAsInput },
    { ...broadcast(opType, value), since: 7 },
  ];
}

/** Comparison or logic: BOOL out. */
function predicate(opType: string, compute: Pointwise): OpDef[] {
  const def: OpDef = { opType, category: 'elementwise', shape: broadcastBool, value: pointwise(compute) };
  return [
    { ...def, shape: sameShape(DataType.BOOL) },
    { ...def, since: 7 },
  ];
}

const divide: ValueRule = (ctx, outputs) => {
  const integer = integerOf(ctx);
  return pointwise((a, b) => (integer ? (b === 0 ? NaN : Math.trunc(a / b)) : a / b))(ctx, outputs);
};

/** `fmod` = 1: the sign of the dividend; otherwise of the divisor, zeros of floats included. */
const modulo: ValueRule = (ctx, outputs) => {
  const fmod = attrInt(ctx.node, 'fmod', 0) === 1;
  const integer = integerOf(ctx);
  return pointwise((a, b) => {
    if (!Number.isFinite(b)) return NaN;
    if (fmod) return a % b;
    const rest = a - b * Math.floor(a / b);
    return rest === 0 && b < 0 && !integer ? -0 : rest;
  })(ctx, outputs);
};

/** Bits that leave the width are lost; a shift by the width or more, or by a negative number, leaves only the sign. */
const shiftBits: ValueRule = (ctx, outputs) => {
  const left = attrString(ctx.node, 'direction') === 'LEFT';
  const type = ctx.elemType(0);
  const bits = elementBits(type);
  // 64 bits do not fit a double once shifted
  if (bits === 0 || bits > 32) return [];
  const signed = type === DataType.INT8 || type === DataType.INT16 || type === DataType.INT32;
  const wrap = (v: number) => {
    const low = ((v % 2 ** bits) + 2 ** bits) % 2 ** bits;
    return signed && low >= 2 ** (bits - 1) ? low - 2 ** bits : low;
  };
  return pointwise((a, b) => {
    if (b < 0 || b >= bits) return left || a >= 0 ? 0 : -1;
    return left ? wrap(a * 2 ** b) : Math.floor(a / 2 ** b);
  })(ctx, outputs);
};

const choose: ValueRule = (ctx, outputs) => {
  const condition = ctx.value(0);
  const yes = ctx.value(1);
  const no = ctx.value(2);
  if (condition === undefined) return [undefined];
  // the side that is not taken may be unknown
  const blank = { dims: [1], elems: [NaN] };
  const taken = pickSides(condition.elems);
  if ((taken.yes && yes === undefined) || (taken.no && no === undefined)) return [undefined];
  if (yes !== undefined && no !== undefined && !taken.mixed) {
    // an unknown element on the other side must not spoil the result
    const side = taken.yes ? yes : no;
    const other = taken.yes ? no : yes;
    const filled = { dims: other.dims, elems: other.elems.map(() => NaN) };
    return [broadcastValues([condition, side, filled], (_c, s) => s)];
  }
  const type = outputs[0];
  const round = rounding(type?.kind === 'tensor' ? type.elemType : 0);
  return [broadcastValues([condition, yes ?? blank, no ?? blank], (c, a, b) => round(c === 0 ? b : a))];
};

function pickSides(condition: readonly (number | undefined)[]): { yes: boolean; no: boolean; mixed: boolean } {
  const yes = condition.some((c) => c !== 0);
  const no = condition.some((c) => c === 0 || c === undefined);
  return { yes, no, mixed: yes && no };
}

const where: ShapeRule = (ctx) => [
  tensorType(ctx.elemType(1) || ctx.elemType(2), broadcastShapes(ctx, [ctx.shape(0), ctx.shape(1), ctx.shape(2)])),
];

/** Before opset 6 `to` was the type's name. */
const castTarget: (ctx: Parameters<ShapeRule>[0]) => number = (ctx) => {
  const a = ctx.node.attributes.get('to');
  if (a?.kind === 'int') return a.value;
  if (a?.kind === 'string') return (DataType as Readonly<Record<string, number>>)[a.value.toUpperCase()] ?? 0;
  return 0;
};

function castValue(target: (ctx: Parameters<ShapeRule>[0]) => number): ValueRule {
  return (ctx) => {
    const value = ctx.value(0);
    const to = target(ctx);
    if (value === undefined || to === DataType.STRING || to === 0) return [undefined];
    return [{ dims: value.dims, elems: value.elems.map((e) => (e === undefined ? e : castNumber(e, to))) }];
  };
}

function castNumber(e: number, to: number): number | undefined {
  if (to === DataType.BOOL) return e === 0 ? 0 : 1;
  if (to === DataType.FLOAT) return Math.fround(e);
  if (to === DataType.INT32 || to === DataType.INT64) {
    const whole = Math.trunc(e);
    const limit = to === DataType.INT32 ? 2 ** 31 : 2 ** 63;
    return whole >= -limit && whole < limit ? whole : undefined;
  }
  if (to === DataType.DOUBLE) return e;
  // narrow types wrap or round by rules that no shape depends on
  return Number.isInteger(e) && e >= 0 && e < 2 ** (NARROW[to] ?? 0) ? e : undefined;
}

/** Bits of magnitude that every value of the type keeps exactly. */
const NARROW: Readonly<Record<number, number>> = {
  [DataType.UINT8]: 8,
  [DataType.INT8]: 7,
  [DataType.UINT16]: 16,
  [DataType.INT16]: 15,
  [DataType.FLOAT16]: 11,
  [DataType.BFLOAT16]: 8,
  [DataType.UINT32]: 32,
  [DataType.UINT64]: 53,
};

/** Since opset 11 the limits are inputs, before attributes. */
const clip: ValueRule = (ctx, outputs) => {
  const value = ctx.value(0);
  if (value === undefined) return [undefined];
  const limit = (i: number, name: string, none: number): number | undefined => {
    if (ctx.opset < 11) return attrFloat(ctx.node, name, none);
    if (i >= ctx.arity || ctx.node.inputs[i] === '') return none;
    return ctx.value(i)?.elems[0];
  };
  const low = limit(1, 'min', -Infinity);
  const high = limit(2, 'max', Infinity);
  if (low === undefined || high === undefined) return [undefined];
  const type = outputs[0];
  const round = rounding(type?.kind === 'tensor' ? type.elemType : 0);
  const elems = value.elems.map((e) => (e === undefined ? e : round(Math.min(Math.max(e, low), high))));
  return [{ dims: value.dims, elems }];
};

/** Ties go to the even neighbour. */
function roundEven(x: number): number {
  const r = Math.round(x);
  return r - x === 0.5 && r % 2 !== 0 ? r - 1 : r;
}

/** The shape of the input; a wider or narrower type stretches the last dim. */
const bitCast: ShapeRule = (ctx) => [tensorType(attrInt(ctx.node, 'to', 0), ctx.shape(0))];

export const elementwiseOps: readonly OpDef[] = [
  ...binary(
    'Add',
    pointwise((a, b) => a + b),
  ),
  ...binary(
    'Sub',
    pointwise((a, b) => a - b),
  ),
  ...binary(
    'Mul',
    pointwise((a, b) => a * b),
  ),
  ...binary('Div', divide),
  ...binary(
    'Pow',
    pointwise((a, b) => a ** b),
  ),
  broadcast('Mod', modulo),
  broadcast('Max', pointwise(Math.max)),
  broadcast('Min', pointwise(Math.min)),
  broadcast(
    'Sum',
    pointwise((...all) => all.reduce((a, b) => a + b)),
  ),
  broadcast(
    'Mean',
    pointwise((...all) => all.reduce((a, b) => a + b) / all.length),
  ),
  broadcast('BitShift', shiftBits),
  broadcast(
    'BitwiseAnd',
    pointwise((a, b) => Number(BigInt(a) & BigInt(b))),
  ),
  broadcast(
    'BitwiseOr',
    pointwise((a, b) => Number(BigInt(a) | BigInt(b))),
  ),
  broadcast(
    'BitwiseXor',
    pointwise((a, b) => Number(BigInt(a) ^ BigInt(b))),
  ),
  unary('BitwiseNot'),

  ...predicate('Equal', (a, b) => Number(a === b)),
  ...predicate('Greater', (a, b) => Number(a > b)),
  ...predicate('GreaterOrEqual', (a, b) => Number(a >= b)),
  ...predicate('Less', (a, b) => Number(a < b)),
  ...predicate('LessOrEqual', (a, b) => Number(a <= b)),
  ...predicate('And', (a, b) => Number(a !== 0 && b !== 0)),
  ...predicate('Or', (a, b) => Number(a !== 0 || b !== 0)),
  ...predicate('Xor', (a, b) => Number((a !== 0) !== (b !== 0))),
  unary('Not', (a) => Number(a === 0)),
  { opType: 'IsInf', category: 'elementwise', shape: sameShape(DataType.BOOL) },
  { opType: 'IsNaN', category: 'elementwise', shape: sameShape(DataType.BOOL) },
  { opType: 'Where', since: 9, category: 'elementwise', shape: where, value: choose },

  unary('Abs', Math.abs),
  unary('Neg', (a) => -a),
  unary('Sign', Math.sign),
  unary('Floor', Math.floor),
  unary('Ceil', Math.ceil),
  unary('Round', roundEven),
  unary('Sqrt', Math.sqrt),
  unary('Reciprocal', (a) => 1 / a),
  unary('Exp', Math.exp),
  unary('Log', Math.log),
  unary('Sin'),
  unary('Cos'),
  unary('Tan'),
  unary('Asin'),
  unary('Acos'),
  unary('Atan'),
  unary('Sinh'),
  unary('Cosh'),
  unary('Asinh'),
  unary('Acosh'),
  unary('Atanh'),
  unary('Erf'),
  { opType: 'Clip', category: 'elementwise', shape: sameAsInput, value: clip },

  { opType: 'Cast', category: 'elementwise', shape: sameShape(castTarget), value: castValue(castTarget) },
  {
    opType: 'CastLike',
    category: 'elementwise',
    shape: sameShape((ctx) => ctx.elemType(1)),
    value: castValue((ctx) => ctx.elemType(1)),
  },
  { opType: 'BitCast', category: 'elementwise', shape: bitCast },
];
