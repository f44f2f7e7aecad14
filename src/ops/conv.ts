// Convolutions. Data [N, C, spatial...], weights [M, C/group, kernel...] (ConvTranspose: [C, M/group, kernel...]).
// MACs: outputs x C/group x kernel; ConvTranspose: inputs x M/group x kernel. A bias is not counted.
import { attrInts } from '../ir/graph.js';
import type { Dim } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import type { CostContext, CostRule, OpDef, ShapeContext, ShapeRule } from './op.js';
import { contradiction, countElements, showShape, tensorType } from './rules.js';
import { groupOf, slide, unslide, windowOf } from './window.js';

/** Dims of the result of a convolution whose data are input `x` and weights input `w`; QLinearConv uses it too. */
export function convShape(ctx: ShapeContext, x = 0, w = 1, bias = 2): readonly Dim[] | undefined {
  const data = ctx.shape(x);
  const weight = ctx.shape(w);
  if (weight === undefined) return data === undefined ? undefined : [data[0], ...data.slice(1).map(() => undefined)];
  const kernel = kernelOf(ctx, weight);
  if (data === undefined) return [undefined, weight[0], ...kernel.map(() => undefined)];
  if (data.length !== weight.length) {
    contradiction(ctx, `input ${showShape(data)} and weight ${showShape(weight)} differ in their number of axes`);
  }
  const group = groupOf(ctx);
  const channels = data[1];
  const perGroup = weight[1];
  if (typeof channels === 'number' && typeof perGroup === 'number' && channels !== perGroup * group) {
    contradiction(ctx, `input has ${channels} channels but weight wants ${perGroup * group} (group ${group})`);
  }
  const filters = weight[0];
  if (typeof filters === 'number') {
    if (filters % group !== 0) contradiction(ctx, `${filters} filters do not divide into group ${group}`);
    expectBias(ctx, bias, filters);
  }
  return [data[0], filters, ...slide(ctx, data.slice(2), windowOf(ctx, kernel))];
}

/** MACs of a convolution from its output and weight dims. */
export function convMacs(ctx: CostContext, w = 1): number | undefined {
  const out = countElements(ctx.outputShape(0));
  const weight = ctx.inputShape(w);
  if (out === undefined || weight === undefined) return undefined;
  return out * (countElements(weight.slice(1)) ?? 0);
}

const conv: ShapeRule = (ctx) => [tensorType(ctx.elemType(0) || ctx.elemType(1), convShape(ctx))];
const convInteger: ShapeRule = (ctx) => [tensorType(DataType.INT32, convShape(ctx, 0, 1, -1))];
const macs: CostRule = (ctx) => convMacs(ctx);

const convTranspose: ShapeRule = (ctx) => {
  const data = ctx.shape(0);
  const weight = ctx.shape(1);
  const elemType = ctx.elemType(0) || ctx.elemType(1);
  if (weight === undefined || data === undefined)
    return [
      tensorType(
        elemType,
        data?.map(() => undefined),
      ),
    ];
  if (data.length !== weight.length) {
    contradiction(ctx, `input ${showShape(data)} and weight ${showShape(weight)} differ in their number of axes`);
  }
  const group = groupOf(ctx);
  const channels = data[1];
  if (typeof channels === 'number' && typeof weight[0] === 'number' && channels !== weight[0]) {
    contradiction(ctx, `input has ${channels} channels but weight wants ${weight[0]} (group ${group})`);
  }
  if (typeof channels === 'number' && channels % group !== 0) {
    contradiction(ctx, `${channels} channels do not divide into group ${group}`);
  }
  const filters = typeof weight[1] === 'number' ? weight[1] * group : undefined;
  if (filters !== undefined) expectBias(ctx, 2, filters);
  const spatial = data.slice(2);
  // opset 1 let output_shape hold batch and channels too
  const wanted = attrInts(ctx.node, 'output_shape')?.slice(-spatial.length);
  const window = windowOf(ctx, kernelOf(ctx, weight));
  const out = wanted ?? unslide(spatial, window, attrInts(ctx.node, 'output_padding'));
  return [tensorType(elemType, [data[0], filters, ...out])];
};

/** Every input position meets every weight of its group once, whatever the stride. */
const convTransposeMacs: CostRule = (ctx) => {
  const data = countElements(ctx.inputShape(0));
  const weight = ctx.inputShape(1);
  if (data === undefined || weight === undefined) return undefined;
  return data * (countElements(weight.slice(1)) ?? 0);
};

/** Data, weight, offset, bias, mask: the result is a Conv's. */
const deformConv: ShapeRule = (ctx) => [tensorType(ctx.elemType(0), convShape(ctx, 0, 1, 3))];

function kernelOf(ctx: ShapeContext, weight: readonly Dim[]): readonly Dim[] {
  const kernel = weight.slice(2);
  const said = attrInts(ctx.node, 'kernel_shape');
  if (said === undefined) return kernel;
  said.forEach((k, i) => {
    if (typeof kernel[i] === 'number' && kernel[i] !== k) {
      contradiction(ctx, `kernel_shape says ${showShape(said)} but the weight has ${showShape(kernel)}`);
    }
  });
  return said;
}

function expectBias(ctx: ShapeContext, i: number, filters: number): void {
  if (i < 0) return;
  const length = ctx.shape(i)?.[0];
  if (typeof length === 'number' && length !== filters) {
    contradiction(ctx, `bias has ${length} entries but there are ${filters} filters`);
  }
}

export const convOps: readonly OpDef[] = [
  { opType: 'Conv', category: 'contraction', shape: conv, macs },
  { opType: 'ConvTranspose', category: 'contraction', shape: convTranspose, macs: convTransposeMacs },
  { opType: 'ConvInteger', since: 10, category: 'contraction', shape: convInteger, macs },
  { opType: 'DeformConv', since: 19, category: 'contraction', shape: deformConv, macs },
];
