// com.microsoft operators with channels last, [N, spatial..., C], as onnxruntime's quantiser and mobile builds write them.
// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
import { attrInt, attrInts } from '../ir/graph.js';
import type { CostContext, OpDef, ShapeContext, ShapeRule } from './op.js';
import { contradiction, countElements, tensorType } from './rules.js';
import type { Dims } from './types.js';
import { slide, windowOf } from './window.js';

const domain = 'com.microsoft';

/** The input's dims with channels first, whatever the node's layout. */
function channelsFirst(ctx: ShapeContext, last: boolean): Dims | undefined {
  const dims = ctx.shape(0);
  return dims === undefined || !last ? dims : [dims[0], dims.at(-1), ...dims.slice(1, -1)];
}

function inLayout(dims: Dims, last: boolean): Dims {
  return last ? [dims[0], ...dims.slice(2), dims[1]] : dims;
}

/** QLinearAveragePool says where its channels are; NhwcMaxPool has them last. */
function pool(last: (ctx: ShapeContext) => boolean): ShapeRule {
  return (ctx) => {
    const dims = channelsFirst(ctx, last(ctx));
    const kernel = attrInts(ctx.node, 'kernel_shape') ?? contradiction(ctx, 'the attribute kernel_shape is missing');
    if (dims === undefined) return [tensorType(ctx.elemType(0))];
    const ceil = attrInt(ctx.node, 'ceil_mode', 0) === 1;
    const out = [dims[0], dims[1], ...slide(ctx, dims.slice(2), windowOf(ctx, kernel), ceil)];
    return [tensorType(ctx.elemType(0), inLayout(out, last(ctx)))];
  };
}

/** Weight [M, C / group, kernel...], as in Conv. */
const conv: ShapeRule = (ctx) => {
  const dims = channelsFirst(ctx, true);
  const weight = ctx.shape(1);
  if (dims === undefined || weight === undefined) return [tensorType(ctx.elemType(0))];
  const out = [dims[0], weight[0], ...slide(ctx, dims.slice(2), windowOf(ctx, weight.slice(2)))];
  return [tensorType(ctx.elemType(0), inLayout(out, true))];
};

function convMacs(ctx: CostContext): number | undefined {
  const out = countElements(ctx.outputShape(0));
  const each = countElements(ctx.inputShape(1)?.slice(1));
  return out === undefined || each === undefined ? undefined : out * each;
}

export const contribNhwcOps: readonly OpDef[] = [
  {
    opType: 'QLinearAveragePool',
    domain,
    category: 'pool',
    shape: pool((ctx) => attrInt(ctx.node, 'channels_last', 0) === 1),
  },
  { opType: 'NhwcMaxPool', domain, category: 'pool', shape: pool(() => true) },
  { opType: 'NhwcConv', domain, category: 'contraction', shape: conv, macs: convMacs },
  { opType: 'NhwcFusedConv', domain, category: 'contraction', shape: conv, macs: convMacs },
];
