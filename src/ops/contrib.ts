// onnxruntime's own operators (com.microsoft) that exported and optimised files hold: fused layers, transformer parts, quantised
// arithmetic. https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
import { attrInt, attrInts, type Dim } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import { convMacs, convShape } from './conv.js';
import { contribNhwcOps } from './contrib-nhwc.js';
import { matMulDims, matMulMacs, matMulShape } from './matmul.js';
import type { CostContext, OpDef, ShapeContext, ShapeRule } from './op.js';
import { range } from './partial.js';
import { axisOf, broadcastShapes, countElements, tensorType } from './rules.js';
import { allKnown, entries, present, sameAs, timesDim, unifyDim, unknownDims, type Dims } from './types.js';

const domain = 'com.microsoft';

// --- fused layers -------------------------------------------------------------------------------------------------------

/** Operand i of a fused product, its last two axes exchanged when the attribute says so. */
function operand(ctx: ShapeContext, i: number, attribute: string): Dims | undefined {
  const dims = ctx.shape(i);
  if (dims === undefined || dims.length < 2 || attrInt(ctx.node, attribute, 0) === 0) return dims;
  return [...dims.slice(0, -2), dims.at(-1), dims.at(-2)];
}

const fusedMatMul: ShapeRule = (ctx) => [
  tensorType(ctx.elemType(0), matMulDims(ctx, operand(ctx, 0, 'transA'), operand(ctx, 1, 'transB'))),
];

function fusedMatMulMacs(ctx: CostContext): number | undefined {
  const out = countElements(ctx.outputShape(0));
  const inner = operand(ctx, 0, 'transA')?.at(-1);
  return out === undefined || typeof inner !== 'number' ? undefined : out * inner;
}

const fusedGemm: ShapeRule = (ctx) => {
  const [rows] = operand(ctx, 0, 'transA') ?? unknownDims(2);
  const columns = operand(ctx, 1, 'transB')?.[1];
  return [tensorType(ctx.elemType(0), [rows, columns])];
};

const fused: readonly OpDef[] = [
  {
    opType: 'FusedConv',
    domain,
    category: 'contraction',
    shape: (ctx) => [tensorType(ctx.elemType(0), convShape(ctx))],
    macs: (ctx) => convMacs(ctx),
  },
  ...entries(['FusedMatMul', 'TransposeMatMul', 'FusedMatMulActivation'], {
    domain,
    category: 'contraction',
    shape: fusedMatMul,
    macs: fusedMatMulMacs,
  }),
  { opType: 'FusedGemm', domain, category: 'contraction', shape: fusedGemm, macs: fusedMatMulMacs },
  ...entries(['Gelu', 'FastGelu', 'QuickGelu', 'BiasGelu'], { domain, category: 'activation', shape: sameAs(0) }),
  ...entries(['BiasAdd', 'BiasDropout', 'GroupNorm'], { domain, category: 'norm', shape: sameAs(0) }),
  ...entries(['Trilu', 'Inverse'], { domain, category: 'other', shape: sameAs(0) }),
  { opType: 'GridSample', domain, category: 'movement', shape: gridSample },
];

function gridSample(ctx: ShapeContext): ReturnType<ShapeRule> {
  const x = ctx.shape(0);
  const grid = ctx.shape(1);
  return [tensorType(ctx.elemType(0), grid && [x?.[0] ?? grid[0], x?.[1], ...grid.slice(1, -1)])];
}

// --- normalisation with a residual ---------------------------------------------------------------------------------------

/** Outputs: normalised sum, mean, inverse deviation, the sum itself. */
const skipNorm: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  const saved = tensorType(DataType.FLOAT, dims && [...dims.slice(0, -1), 1]);
  return [ctx.type(0), saved, saved, ctx.type(0)];
};

/** Word ids [B, S] to [B, S, hidden]; second output: mask index, third: the sum of the embeddings. */
const embedNorm: ShapeRule = (ctx) => {
  const [batch, length] = ctx.shape(0) ?? unknownDims(2);
  const hidden = tensorType(ctx.elemType(2), [batch, length, ctx.shape(2)?.[1]]);
  return [hidden, tensorType(DataType.INT32, [batch]), hidden];
};

const norms: readonly OpDef[] = [
  ...entries(['SkipLayerNormalization', 'SkipSimplifiedLayerNormalization'], {
    domain,
    category: 'norm',
    shape: skipNorm,
  }),
  ...entries(['LayerNormalization', 'SimplifiedLayerNormalization'], { domain, category: 'norm', shape: skipNorm }),
  // onnxruntime puts this one into the default domain
  { opType: 'SimplifiedLayerNormalization', category: 'norm', shape: skipNorm },
  { opType: 'EmbedLayerNormalization', domain, category: 'norm', shape: embedNorm },
];

// --- attention ------------------------------------------------------------------------------------------------------------

interface Sizes {
  readonly batch: Dim;
  readonly queries: Dim;
  readonly keys: Dim;
  /** heads x head size of Q, and of V. */
  readonly width: Dim;
  readonly valueWidth: Dim;
  /** MACs of projections inside the operator. */
  readonly projection: Dim;
}

function attentionMacs(sizes: Sizes): number | undefined {
  const parts: Dims = [sizes.batch, sizes.queries, sizes.keys];
  if (!allKnown(parts) || typeof sizes.width !== 'number' || typeof sizes.valueWidth !== 'number') return undefined;
  if (typeof sizes.projection !== 'number') return undefined;
  return parts.reduce((a, b) => a * b, 1) * (sizes.width + sizes.valueWidth) + sizes.projection;
}

/** Input [B, S, I], weight [I, Q + K + V]: the projections are part of it. */
function packedSizes(ctx: ShapeContext, pastInput = 4): Sizes {
  const [batch, length, input] = ctx.shape(0) ?? unknownDims(3);
  const all = ctx.shape(1)?.[1];
  const named = ctx.node.attributes.get('qkv_hidden_sizes');
  const third = typeof all === 'number' ? all / 3 : undefined;
  const [width, , valueWidth] = named?.kind === 'ints' ? named.value : [third, third, third];
  const past = present(ctx, pastInput) ? ctx.shape(pastInput)?.[3] : 0;
  const rows = timesAll([batch, length, input, all]);
  return { batch, queries: length, keys: addDims(past, length), width, valueWidth, projection: rows };
}

function addDims(a: Dim, b: Dim): Dim {
  if (a === 0) return b;
  return typeof a === 'number' && typeof b === 'number' ? a + b : undefined;
}

function timesAll(dims: Dims): Dim {
  return dims.reduce<Dim>((a, b) => (typeof b === 'number' ? timesDim(a, b) : undefined), 1);
}

const packedAttention: ShapeRule = (ctx) => {
  const s = packedSizes(ctx);
  const heads = attrInt(ctx.node, 'num_heads', 1);
  const size = typeof s.width === 'number' ? s.width / heads : undefined;
  return [
    tensorType(ctx.elemType(0), [s.batch, s.queries, s.valueWidth]),
    tensorType(ctx.elemType(0), [2, s.batch, heads, s.keys, size]),
  ];
};

/** Query [B, S, width]; key and value [B, L, width] or, as a cross attention's cache, [B, heads, L, size]. */
function multiHeadSizes(ctx: ShapeContext): Sizes {
  const query = ctx.shape(0);
  const [batch, queries] = query ?? unknownDims(3);
  const key = ctx.shape(1);
  const value = ctx.shape(2);
  const past = present(ctx, 6) ? ctx.shape(6)?.[2] : 0;
  // one packed tensor [B, S, heads, 3, size]
  const width = query?.length === 5 ? timesAll([query[2], query[4]]) : query?.[2];
  const fresh = key === undefined ? queries : key.length === 4 ? key[2] : key[1];
  const valueWidth = value === undefined ? width : value.length === 4 ? timesAll([value[1], value[3]]) : value[2];
  return { batch, queries, keys: addDims(past, fresh), width, valueWidth, projection: 0 };
}

const multiHead: ShapeRule = (ctx) => {
  const s = multiHeadSizes(ctx);
  const heads = attrInt(ctx.node, 'num_heads', 1);
  const per = (d: Dim): Dim => (typeof d === 'number' ? d / heads : undefined);
  return [
    tensorType(ctx.elemType(0), [s.batch, s.queries, s.valueWidth]),
    tensorType(ctx.elemType(0), [s.batch, heads, s.keys, per(s.width)]),
    tensorType(ctx.elemType(0), [s.batch, heads, s.keys, per(s.valueWidth)]),
  ];
};

/** Query [B, S, width], or Q, K and V packed along the last axis when there is no key. Present length is data: the cache's own. */
function groupQuery(ctx: ShapeContext): { y: Dims; present: Dims } {
  const [batch, queries, last] = ctx.shape(0) ?? unknownDims(3);
  const heads = attrInt(ctx.node, 'num_heads', 1);
  const keyHeads = attrInt(ctx.node, 'kv_num_heads', heads);
  const packed = !present(ctx, 1);
  const size = typeof last === 'number' ? last / (packed ? heads + 2 * keyHeads : heads) : undefined;
  const cache = present(ctx, 3) ? ctx.shape(3)?.[2] : undefined;
  return { y: [batch, queries, timesDim(size, heads)], present: [batch, keyHeads, cache, size] };
}

const attentions: readonly OpDef[] = [
  {
    opType: 'Attention',
    domain,
    category: 'contraction',
    shape: packedAttention,
    macs: (ctx) => attentionMacs(packedSizes(ctx)),
  },
  {
    opType: 'MultiHeadAttention',
    domain,
    category: 'contraction',
    shape: multiHead,
    macs: (ctx) => attentionMacs(multiHeadSizes(ctx)),
  },
  {
    opType: 'GroupQueryAttention',
    domain,
    category: 'contraction',
    shape: (ctx) => {
      const { y, present: cache } = groupQuery(ctx);
      const type = tensorType(ctx.elemType(0), cache);
      return [tensorType(ctx.elemType(0), y), type, type];
    },
    // how much of the cache is filled is data (input 6): it can be counted where that is constant
    macs: (ctx) => {
      const [batch, queries, width] = groupQuery(ctx).y;
      return attentionMacs({
        batch,
        queries,
        keys: ctx.value(6)?.elems[0],
        width,
        valueWidth: width,
        projection: 0,
      });
    },
  },
  { opType: 'RotaryEmbedding', domain, category: 'elementwise', shape: sameAs(0) },
];

// --- quantised arithmetic ----------------------------------------------------------------------------------------------------

/** Operands with scale and zero point behind each; the result broadcasts. */
const qLinearBinary: ShapeRule = (ctx) => [
  tensorType(ctx.elemType(0), broadcastShapes(ctx, [ctx.shape(0), ctx.shape(3)])),
];

/** Scale and zero point of the result first, then (tensor, scale, zero point) for each part. */
const qLinearConcat: ShapeRule = (ctx) => {
  const parts = range(Math.floor((ctx.arity - 2) / 3)).map((k) => ctx.shape(2 + 3 * k));
  const first = parts[0];
  if (first === undefined) return [tensorType(ctx.elemType(2), undefined)];
  const axis = axisOf(ctx, attrInt(ctx.node, 'axis', 0), first.length);
  const out = first.map((d, i) => {
    if (i !== axis) return parts.reduce<Dim>((a, p) => unifyDim(ctx, a, p?.[i], `dims ${i}`), d);
    return parts.slice(1).reduce<Dim>((a, p) => addDims(a, p?.[i]), d);
  });
  return [tensorType(ctx.elemType(2), out)];
};

const qLinearGlobalPool: ShapeRule = (ctx) => {
  const last = attrInt(ctx.node, 'channels_last', 0) === 1;
  const dims = ctx.shape(0);
  const kept = (i: number, rank: number) => i === 0 || i === (last ? rank - 1 : 1);
  return [tensorType(ctx.elemType(0), dims && dims.map((d, i) => (kept(i, dims.length) ? d : 1)))];
};

const qLinearReduceMean: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  if (dims === undefined) return [tensorType(ctx.elemType(0), undefined)];
  const axes = (attrInts(ctx.node, 'axes') ?? range(dims.length)).map((a) => axisOf(ctx, a, dims.length));
  const keep = attrInt(ctx.node, 'keepdims', 1) !== 0;
  const out = dims.flatMap((d, k): Dim[] => (axes.includes(k) ? (keep ? [1] : []) : [d]));
  return [tensorType(ctx.elemType(0), out)];
};

/** y = A x B with B [N, K] packed in blocks: K and N are attributes. */
const matMulBits: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  return [tensorType(ctx.elemType(0), dims && [...dims.slice(0, -1), attrInt(ctx.node, 'N')])];
};

const quantised: readonly OpDef[] = [
  ...entries(['QLinearAdd', 'QLinearMul'], { domain, category: 'elementwise', shape: qLinearBinary }),
  ...entries(['QLinearSigmoid', 'QLinearLeakyRelu', 'QLinearSoftmax'], {
    domain,
    category: 'activation',
    shape: sameAs(0),
  }),
  {
    opType: 'QLinearWhere',
    domain,
    category: 'elementwise',
    shape: (ctx) => [tensorType(ctx.elemType(1), broadcastShapes(ctx, [ctx.shape(0), ctx.shape(1), ctx.shape(4)]))],
  },
  { opType: 'QLinearReduceMean', domain, category: 'reduce', shape: qLinearReduceMean },
  { opType: 'QLinearConcat', domain, category: 'movement', shape: qLinearConcat },
  { opType: 'QLinearGlobalAveragePool', domain, category: 'pool', shape: qLinearGlobalPool },
  {
    opType: 'QGemm',
    domain,
    category: 'contraction',
    shape: (ctx) => {
      const rows = operand(ctx, 0, 'transA')?.[0];
      const columns = operand(ctx, 3, 'transB')?.[1];
      const elemType = present(ctx, 8) ? ctx.elemType(8) : DataType.FLOAT;
      return [tensorType(elemType, [rows, columns])];
    },
    macs: fusedMatMulMacs,
  },
  ...entries(['MatMulIntegerToFloat', 'DynamicQuantizeMatMul'], {
    domain,
    category: 'contraction',
    shape: (ctx) => [tensorType(DataType.FLOAT, matMulShape(ctx))],
    macs: (ctx) => matMulMacs(ctx),
  }),
  // the same as Attention behind its scales: input, weight, bias, two scales, mask, two zero points, past
  {
    opType: 'QAttention',
    domain,
    category: 'contraction',
    shape: (ctx) => {
      const s = packedSizes(ctx, 8);
      const heads = attrInt(ctx.node, 'num_heads', 1);
      const size = typeof s.width === 'number' ? s.width / heads : undefined;
      const elemType = ctx.elemType(3);
      return [
        tensorType(elemType, [s.batch, s.queries, s.valueWidth]),
        tensorType(elemType, [2, s.batch, heads, s.keys, size]),
      ];
    },
    macs: (ctx) => attentionMacs(packedSizes(ctx, 8)),
  },
  {
    opType: 'MatMulNBits',
    domain,
    category: 'contraction',
    shape: matMulBits,
    macs: (ctx) => {
      const x = countElements(ctx.inputShape(0));
      return x === undefined ? undefined : x * attrInt(ctx.node, 'N', 0);
    },
  },
];

export const contribOps: readonly OpDef[] = [...fused, ...norms, ...attentions, ...quantised, ...contribNhwcOps];
