// Random numbers: the shape of an attribute or of another tensor. https://onnx.ai/onnx/operators/
import { attrInt, attrInts } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import type { OpDef, ShapeContext, ShapeRule } from './op.js';
import { sameShape, tensorType } from './rules.js';

const byAttribute: ShapeRule = (ctx) => [
  tensorType(attrInt(ctx.node, 'dtype', DataType.FLOAT), attrInts(ctx.node, 'shape')),
];
const like: ShapeRule = sameShape((ctx: ShapeContext) => attrInt(ctx.node, 'dtype', ctx.elemType(0)));
const multinomial: ShapeRule = (ctx) => [
  tensorType(attrInt(ctx.node, 'dtype', DataType.INT32), [ctx.shape(0)?.[0], attrInt(ctx.node, 'sample_size', 1)]),
];

export const randomOps: readonly OpDef[] = [
  { opType: 'RandomNormal', category: 'other', shape: byAttribute },
  { opType: 'RandomUniform', category: 'other', shape: byAttribute },
  { opType: 'RandomNormalLike', category: 'other', shape: like },
  { opType: 'RandomUniformLike', category: 'other', shape: like },
  { opType: 'Bernoulli', since: 15, category: 'other', shape: like },
  { opType: 'Multinomial', since: 7, category: 'other', shape: multinomial },
];
