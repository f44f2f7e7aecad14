// Attention as one operator, and what newer models put beside it. MACs = Q x K^T and P x V over all keys, masked or not.
// https://onnx.ai/onnx/operators/onnx__Attention.html
import { attrInt, type Dim } from '../ir/graph.js';
import type { CostRule, OpDef, ShapeContext, ShapeRule } from './op.js';
import { contradiction, tensorType } from './rules.js';
import { allKnown, present, sameAs, timesDim, unknownDims, type Dims } from './types.js';

/** Sizes of scaled dot-product attention, whatever the layout of its inputs. */
interface Heads {
  readonly batch: Dim;
  readonly heads: Dim;
  readonly keyHeads: Dim;
  readonly queries: Dim;
  /** Keys attended to, those of the past included. */
  readonly keys: Dim;
  readonly headSize: Dim;
  readonly valueSize: Dim;
}

/** Q, K, V are [B, heads, S, size] or [B, S, heads x size] with the head counts as attributes. */
function headsOf(ctx: ShapeContext, pastKey: number): Heads | undefined {
  const [q, k, v] = [ctx.shape(0), ctx.shape(1), ctx.shape(2)];
  if (q === undefined) return undefined;
  const flat = q.length === 3;
  const heads = flat ? attrInt(ctx.node, 'q_num_heads') : q[1];
  const keyHeads = flat ? attrInt(ctx.node, 'kv_num_heads') : k?.[1];
  const size = (dims: readonly Dim[] | undefined, n: Dim): Dim => (flat ? divide(ctx, dims?.[2], n) : dims?.[3]);
  const fresh = k?.[flat ? 1 : 2];
  const past = present(ctx, pastKey) ? ctx.shape(pastKey)?.[2] : 0;
  const keys = past === 0 ? fresh : typeof past === 'number' && typeof fresh === 'number' ? past + fresh : undefined;
  return {
    batch: q[0],
    heads,
    keyHeads,
    queries: q[flat ? 1 : 2],
    keys,
    headSize: size(q, heads),
    valueSize: size(v, keyHeads),
  };
}

function divide(ctx: ShapeContext, d: Dim, by: Dim): Dim {
  if (typeof d !== 'number' || typeof by !== 'number' || by === 0) return undefined;
  return d % by === 0 ? d / by : contradiction(ctx, `${d} channels cannot be split into ${by} heads`);
}

const attentionShape: ShapeRule = (ctx) => {
  const elemType = ctx.elemType(0);
  const h = headsOf(ctx, 4);
  const rank = ctx.shape(0)?.length;
  if (h === undefined || rank === undefined) return [tensorType(elemType, undefined)];
  const width = typeof h.heads === 'number' ? timesDim(h.valueSize, h.heads) : undefined;
  const y = rank === 3 ? [h.batch, h.queries, width] : [h.batch, h.heads, h.queries, h.valueSize];
  return [
    tensorType(elemType, y),
    tensorType(ctx.elemType(1), [h.batch, h.keyHeads, h.keys, h.headSize]),
    tensorType(ctx.elemType(2), [h.batch, h.keyHeads, h.keys, h.valueSize]),
    tensorType(elemType, [h.batch, h.heads, h.queries, h.keys]),
  ];
};

const attentionMacs: CostRule = (ctx) => {
  const h = headsOf(ctx, 4);
  if (h === undefined) return undefined;
  const counts: Dims = [h.batch, h.heads, h.queries, h.keys];
  if (!allKnown(counts) || typeof h.headSize !== 'number' || typeof h.valueSize !== 'number') return undefined;
  return counts.reduce((a, b) => a * b, 1) * (h.headSize + h.valueSize);
};

// --- LinearAttention, CausalConvWithState (opset 27) -------------------------------------------------------------------------

const linearAttentionShape: ShapeRule = (ctx) => {
  const [batch, time] = ctx.shape(0) ?? unknownDims(3);
  const key = ctx.shape(1)?.[2];
  const value = ctx.shape(2)?.[2];
  const heads = attrInt(ctx.node, 'q_num_heads', 1);
  const keyHeads = attrInt(ctx.node, 'kv_num_heads', heads);
  const valueSize = divide(ctx, value, keyHeads);
  const state = present(ctx, 3)
    ? ctx.type(3)
    : tensorType(ctx.elemType(0), [batch, keyHeads, divide(ctx, key, keyHeads), valueSize]);
  return [tensorType(ctx.elemType(0), [batch, time, timesDim(valueSize, heads)]), state];
};

/** Each step writes k x v into the state and reads q x state. */
const linearAttentionMacs: CostRule = (ctx) => {
  const q = ctx.inputShape(0);
  const k = ctx.inputShape(1);
  const v = ctx.inputShape(2);
  if (q === undefined || k === undefined || v === undefined) return undefined;
  const heads = attrInt(ctx.node, 'q_num_heads', 1);
  const keyHeads = attrInt(ctx.node, 'kv_num_heads', heads);
  const [batch = 0, time = 0] = q;
  const stateSize = (k[2]! / keyHeads) * (v[2]! / keyHeads);
  return batch * time * stateSize * (heads + keyHeads);
};

const causalConvShape: ShapeRule = (ctx) => {
  const [batch, channels] = ctx.shape(0) ?? unknownDims(3);
  const kernel = ctx.shape(1)?.at(-1);
  const state = tensorType(ctx.elemType(0), [batch, channels, typeof kernel === 'number' ? kernel - 1 : undefined]);
  return [ctx.type(0), present(ctx, 3) ? ctx.type(3) : state];
};

const causalConvMacs: CostRule = (ctx) => {
  const out = ctx.outputShape(0);
  const weight = ctx.inputShape(1);
  return out && weight && out.reduce((a, b) => a * b, 1) * weight.slice(1).reduce((a, b) => a * b, 1);
};

export const attentionOps: readonly OpDef[] = [
  { opType: 'Attention', category: 'contraction', shape: attentionShape, macs: attentionMacs },
  {
    opType: 'FlexAttention',
    domain: 'ai.onnx.preview',
    category: 'contraction',
    shape: attentionShape,
    macs: attentionMacs,
  },
  { opType: 'RotaryEmbedding', category: 'elementwise', shape: sameAs(0) },
  { opType: 'LinearAttention', category: 'contraction', shape: linearAttentionShape, macs: linearAttentionMacs },
  { opType: 'CausalConvWithState', category: 'contraction', shape: causalConvShape, macs: causalConvMacs },
];
