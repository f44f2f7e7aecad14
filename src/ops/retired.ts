// Operators of opset 1 that ONNX took back soon after; files of 2017 and 2018 still hold them.
// https://github.com/onnx/onnx/blob/v1.4.1/docs/Operators.md (experimental section)
import { attrInts } from '../ir/graph.js';
import type { OpDef, ShapeRule } from './op.js';
import { sameAsInput, tensorType } from './rules.js';
import { addDim, entries } from './types.js';

/** border = [left, top, right, bottom]; with `scale` the size is given and only the corner is read from it. */
const crop: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  const [left = 0, top = 0, right = 0, bottom = 0] = attrInts(ctx.node, 'border') ?? [];
  const size = attrInts(ctx.node, 'scale');
  const height = size?.[0] ?? addDim(dims?.[2], -top - bottom);
  const width = size?.[1] ?? addDim(dims?.[3], -left - right);
  return [tensorType(ctx.elemType(0), [dims?.[0], dims?.[1], height, width])];
};

export const retiredOps: readonly OpDef[] = [
  ...entries(['Affine', 'ImageScaler', 'Scale'], { category: 'elementwise', shape: sameAsInput }),
  ...entries(['ParametricSoftplus', 'ScaledTanh'], { category: 'activation', shape: sameAsInput }),
  { opType: 'Crop', category: 'movement', shape: crop },
];
