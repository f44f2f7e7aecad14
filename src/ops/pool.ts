// Pooling. Data [N, C, spatial...]. https://onnx.ai/onnx/operators/onnx__MaxPool.html
import { attrInt, attrInts } from '../ir/graph.js';
import type { Dim } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import type { OpDef, ShapeContext, ShapeRule } from './op.js';
import { contradiction, knownInts, showShape, tensorType } from './rules.js';
import { slide, unslide, windowOf } from './window.js';

function pool(opType: string): OpDef {
  return { opType, category: 'pool', shape: (ctx) => [tensorType(ctx.elemType(0), pooled(ctx))] };
}

function pooled(ctx: ShapeContext): readonly Dim[] | undefined {
  const x = ctx.shape(0);
  if (x === undefined) return undefined;
  const kernel = kernelOf(ctx, x);
  return [x[0], x[1], ...slide(ctx, x.slice(2), windowOf(ctx, kernel), attrInt(ctx.node, 'ceil_mode', 0) === 1)];
}

function kernelOf(ctx: ShapeContext, x: readonly Dim[]): readonly number[] {
  const kernel = attrInts(ctx.node, 'kernel_shape') ?? contradiction(ctx, 'the attribute kernel_shape is missing');
  if (kernel.length !== x.length - 2) {
    contradiction(ctx, `kernel_shape ${showShape(kernel)} does not fit the input ${showShape(x)}`);
  }
  return kernel;
}

/** The second output holds where each maximum came from. */
const maxPool: ShapeRule = (ctx) => {
  const shape = pooled(ctx);
  return [tensorType(ctx.elemType(0), shape), tensorType(DataType.INT64, shape)];
};

/** One number per channel. */
function globalPool(opType: string): OpDef {
  return {
    opType,
    category: 'pool',
    shape: (ctx) => [
      tensorType(
        ctx.elemType(0),
        ctx.shape(0)?.map((d, k) => (k < 2 ? d : 1)),
      ),
    ],
  };
}

const maxUnpool: ShapeRule = (ctx) => {
  const x = ctx.shape(0);
  const elemType = ctx.elemType(0);
  if (x === undefined) return [tensorType(elemType)];
  if (ctx.arity > 2 && ctx.node.inputs[2] !== '') {
    return [tensorType(elemType, knownInts(ctx, 2) ?? x.map(() => undefined))];
  }
  return [tensorType(elemType, [x[0], x[1], ...unslide(x.slice(2), windowOf(ctx, kernelOf(ctx, x)))])];
};

/** One pooled window per region of interest. */
function roiPool(opType: string, since: number, size: (ctx: ShapeContext) => readonly Dim[]): OpDef {
  return {
    opType,
    since,
    category: 'pool',
    shape: (ctx) => [tensorType(ctx.elemType(0), [ctx.shape(1)?.[0], ctx.shape(0)?.[1], ...size(ctx)])],
  };
}

export const poolOps: readonly OpDef[] = [
  pool('AveragePool'),
  pool('LpPool'),
  { opType: 'MaxPool', category: 'pool', shape: maxPool },
  globalPool('GlobalAveragePool'),
  globalPool('GlobalMaxPool'),
  globalPool('GlobalLpPool'),
  { opType: 'MaxUnpool', since: 9, category: 'pool', shape: maxUnpool },
  roiPool('MaxRoiPool', 1, (ctx) => attrInts(ctx.node, 'pooled_shape') ?? [undefined, undefined]),
  roiPool('RoiAlign', 10, (ctx) => [attrInt(ctx.node, 'output_height', 1), attrInt(ctx.node, 'output_width', 1)]),
];
