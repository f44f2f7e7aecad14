// Quantisation: scales and zero points beside ordinary tensors. https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html
import { attrInt } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import { convMacs, convShape } from './conv.js';
import { matMulMacs, matMulShape } from './matmul.js';
import type { OpDef, ShapeContext } from './op.js';
import { tensorType } from './rules.js';
import { present } from './types.js';

/** The zero point decides the type; without one `output_dtype` (since 21), and UINT8 otherwise. */
export function quantizedType(ctx: ShapeContext, zeroPoint: number): number {
  if (present(ctx, zeroPoint)) return ctx.elemType(zeroPoint);
  const asked = attrInt(ctx.node, 'output_dtype', 0);
  return asked === 0 ? DataType.UINT8 : asked;
}

/** The scale's type, or `output_dtype` (since 23). */
function dequantizedType(ctx: ShapeContext): number {
  const asked = attrInt(ctx.node, 'output_dtype', 0);
  return asked === 0 ? ctx.elemType(1) : asked;
}

const quantizeLinear: Omit<OpDef, 'domain'> = {
  opType: 'QuantizeLinear',
  category: 'quantize',
  shape: (ctx) => [tensorType(quantizedType(ctx, 2), ctx.shape(0))],
};

const dequantizeLinear: Omit<OpDef, 'domain'> = {
  opType: 'DequantizeLinear',
  category: 'quantize',
  shape: (ctx) => [tensorType(dequantizedType(ctx), ctx.shape(0))],
};

/** Inputs: x, its scale and zero point, w, its scale and zero point, scale and zero point of y, bias. */
const qLinearConv: OpDef = {
  opType: 'QLinearConv',
  category: 'contraction',
  shape: (ctx) => [tensorType(ctx.elemType(7) || ctx.elemType(0), convShape(ctx, 0, 3, 8))],
  macs: (ctx) => convMacs(ctx, 3),
};

const qLinearMatMul: OpDef = {
  opType: 'QLinearMatMul',
  category: 'contraction',
  shape: (ctx) => [tensorType(ctx.elemType(7) || ctx.elemType(0), matMulShape(ctx, 0, 3))],
  macs: (ctx) => matMulMacs(ctx),
};

export const quantizeOps: readonly OpDef[] = [
  quantizeLinear,
  dequantizeLinear,
  qLinearConv,
  qLinearMatMul,
  { ...quantizeLinear, domain: 'com.microsoft' },
  { ...dequantizeLinear, domain: 'com.microsoft' },
  {
    opType: 'DynamicQuantizeLinear',
    category: 'quantize',
    shape: (ctx) => [
      tensorType(DataType.UINT8, ctx.shape(0)),
      tensorType(DataType.FLOAT, []),
      tensorType(DataType.UINT8, []),
    ],
  },
];

/** Whether results are rounded to steps of a scale: a last bit of the input may move them by a whole step. */
export function roundsToSteps(opType: string): boolean {
  return /Quantize|^QLinear|^QGemm$|Integer$/u.test(opType);
}

/** Inputs of a node: its 8-bit weight, and what its bytes stand for. */
export interface QuantizedWeight {
  readonly weight: number;
  readonly scale?: number;
  readonly zero: number;
}

const QUANTIZED_WEIGHTS: Readonly<Record<string, QuantizedWeight | undefined>> = {
  DequantizeLinear: { weight: 0, scale: 1, zero: 2 },
  QLinearConv: { weight: 3, scale: 4, zero: 5 },
  QLinearMatMul: { weight: 3, scale: 4, zero: 5 },
  QGemm: { weight: 3, scale: 4, zero: 5 },
  ConvInteger: { weight: 1, zero: 3 },
  MatMulInteger: { weight: 1, zero: 3 },
  MatMulIntegerToFloat: { weight: 1, scale: 3, zero: 5 },
  DynamicQuantizeMatMul: { weight: 1, scale: 2, zero: 3 },
};

/** undefined for operators whose weights are floats. */
export function quantizedWeight(opType: string): QuantizedWeight | undefined {
  return QUANTIZED_WEIGHTS[opType];
}
