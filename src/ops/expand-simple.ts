// Operators written as simpler ones, for gradients: rarely on the way, so that exactness counts more than speed.
// https://onnx.ai/onnx/operators/onnx__Attention.html
import { attrFloat, attrInt, attrInts, attrString } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import { countOfDims, formulas, indices } from './gradient-rules.js';
import type { ExpandContext, ExpandRule } from './op.js';
import { axisOf, contradiction } from './rules.js';

/** (x - mean) / sqrt(variance), over batch and space unless axes say otherwise; onnx adds 1e-9 to the deviation. */
const meanVariance: ExpandRule = (ctx) => {
  const m = formulas(ctx);
  const shape = ctx.inputShape(0);
  const axes = (attrInts(ctx.node, 'axes') ?? [0, 2, 3]).map((a) => axisOf(ctx, a, shape.length));
  const share = 1 / countOfDims(axes.map((a) => shape[a]!));
  const x = ctx.input(0);
  const centred = m.sub(x, m.mul(m.sum(x, axes), share));
  const variance = m.mul(m.sum(m.mul(centred, centred), axes), share);
  return [m.div(centred, m.add(m.f('Sqrt', variance), 1e-9))];
};

const lpNormalization: ExpandRule = (ctx) => {
  const axis = axisOf(ctx, attrInt(ctx.node, 'axis', -1), ctx.inputShape(0).length);
  const opType = attrInt(ctx.node, 'p', 2) === 1 ? 'ReduceL1' : 'ReduceL2';
  const norm = ctx.emit(opType, [ctx.input(0), ctx.ints([axis])], { keepdims: 1 });
  return [formulas(ctx).div(ctx.input(0), norm)];
};

/** (sum |x|^p)^(1/p): the sum is an average over windows of a fixed size, zeros around included. */
const lpPool: ExpandRule = (ctx) => {
  const m = formulas(ctx);
  const kernel = attrInts(ctx.node, 'kernel_shape') ?? [];
  const p = attrInt(ctx.node, 'p', 2);
  const attributes: Record<string, number | string | readonly number[]> = { count_include_pad: 1 };
  for (const name of ['kernel_shape', 'strides', 'pads', 'dilations', 'auto_pad', 'ceil_mode']) {
    const a = ctx.node.attributes.get(name);
    if (a?.kind === 'ints' || a?.kind === 'int' || a?.kind === 'string') attributes[name] = a.value;
  }
  if (attrInt(ctx.node, 'ceil_mode', 0) === 1) {
    contradiction(ctx, 'there is no gradient with ceil_mode 1: freeze the weights before it');
  }
  const average = ctx.emit('AveragePool', [m.pow(m.f('Abs', ctx.input(0)), p)], attributes);
  return [m.pow(m.mul(average, countOfDims(kernel)), 1 / p)];
};

const globalLpPool: ExpandRule = (ctx) => {
  const m = formulas(ctx);
  const p = attrInt(ctx.node, 'p', 2);
  const axes = indices(ctx.inputShape(0).length).slice(2);
  return [m.pow(m.sum(m.pow(m.f('Abs', ctx.input(0)), p), axes), 1 / p)];
};

/** -log p of the labels, averaged, summed or as it is; labels that are ignored weigh 0. */
function likelihoodLoss(withSoftmax: boolean): ExpandRule {
  return (ctx) => {
    const m = formulas(ctx);
    const shape = ctx.inputShape(0);
    const classes = shape[1]!;
    const type = ctx.elemType(0);
    const log = withSoftmax ? ctx.emit('LogSoftmax', [ctx.input(0)], { axis: 1 }) : ctx.input(0);
    const long = ctx.emit('Cast', [ctx.input(1)], { to: DataType.INT64 });
    const ignored = ctx.node.attributes.get('ignore_index');
    const counts =
      ignored?.kind === 'int' ? ctx.emit('Not', [ctx.emit('Equal', [long, ctx.ints([ignored.value], [])])]) : undefined;
    const safe = counts === undefined ? long : ctx.emit('Where', [counts, long, ctx.ints([0], [])]);
    const wide = [shape[0]!, 1, ...shape.slice(2)];
    const label = m.reshape(safe, wide);
    const every = ctx.ints(
      indices(classes),
      shape.map((_, k) => (k === 1 ? classes : 1)),
    );
    const hot = ctx.emit('Cast', [ctx.emit('Equal', [label, every])], { to: type });
    const given =
      ctx.input(2) === ''
        ? undefined
        : m.reshape(
            ctx.input(2),
            shape.map((_, k) => (k === 1 ? classes : 1)),
          );
    const chosen = given === undefined ? hot : m.mul(hot, given);
    const mask = counts === undefined ? undefined : m.reshape(ctx.emit('Cast', [counts], { to: type }), wide);
    const weights = mask === undefined ? chosen : m.mul(chosen, mask);
    const each = m.f('Neg', m.sum(m.mul(log, weights), [1], 0));
    const all = indices(shape.length - 1);
    const reduction = attrString(ctx.node, 'reduction', 'mean');
    const total = (): string => m.sum(each, all, 0);
    const loss =
      reduction === 'none'
        ? each
        : reduction === 'sum'
          ? total()
          : m.div(total(), m.sum(weights, indices(shape.length), 0));
    return withSoftmax ? [loss, log] : [loss];
  };
}

const attentionAttributes: ReadonlySet<string> = new Set([
  'is_causal',
  'kv_num_heads',
  'q_num_heads',
  'qk_matmul_output_mode',
  'scale',
  'softcap',
  'softmax_precision',
]);

/** softmax(scale Q K^T + mask) V, heads beside each other; keys and values of fewer heads serve several queries' heads. */
const attention: ExpandRule = (ctx) => {
  const m = formulas(ctx);
  const { node } = ctx;
  for (const [i, name] of ['past_key', 'past_value', 'nonpad_kv_seqlen'].entries()) {
    if (ctx.input(4 + i) !== '') contradiction(ctx, `there is no gradient with ${name}: freeze the weights before it`);
  }
  for (const name of node.attributes.keys()) {
    if (!attentionAttributes.has(name)) {
      contradiction(ctx, `there is no gradient with its attribute ${name}: freeze the weights before it`);
    }
  }
  if (attrInt(node, 'softmax_precision', 1) !== 1 && ctx.elemType(0) !== attrInt(node, 'softmax_precision', 1)) {
    contradiction(ctx, 'there is no gradient with softmax_precision: freeze the weights before it');
  }
  const q4 = asHeads(ctx, 0, attrInt(node, 'q_num_heads', 1));
  const k4 = asHeads(ctx, 1, attrInt(node, 'kv_num_heads', 1));
  const v4 = asHeads(ctx, 2, attrInt(node, 'kv_num_heads', 1));
  const [batch = 1, heads = 1, queries = 1, size = 1] = q4.shape;
  const [, keyHeads = 1, keys = 1] = k4.shape;
  const times = heads / keyHeads;
  // [B, keyHeads, times, S, size]: key heads broadcast over the queries' heads that they serve
  const q = m.reshape(q4.name, [batch, keyHeads, times, queries, size]);
  const k = m.reshape(k4.name, [batch, keyHeads, 1, keys, size]);
  const v = m.reshape(v4.name, [batch, keyHeads, 1, keys, v4.shape[3]!]);
  const scale = attrFloat(node, 'scale', 1 / Math.sqrt(size));
  let scores = m.mul(ctx.emit('MatMul', [q, m.transpose(k, [0, 1, 2, 4, 3])]), scale);
  const cap = attrFloat(node, 'softcap', 0);
  const capped = (s: string): string => (cap === 0 ? s : m.mul(m.f('Tanh', m.mul(s, 1 / cap)), cap));
  const view = [batch, heads, queries, keys];
  scores = m.reshape(capped(scores), view);
  if (ctx.input(3) !== '') {
    const bias = ctx.elemType(3) === DataType.BOOL ? m.where(ctx.input(3), 0, -1e30) : ctx.input(3);
    scores = m.add(scores, bias);
  }
  if (attrInt(node, 'is_causal', 0) === 1) {
    const causal = indices(queries).flatMap((a) => indices(keys).map((b) => (b <= a ? 0 : -1e30)));
    scores = m.add(scores, ctx.float(causal, [queries, keys]));
  }
  const weights = ctx.emit('Softmax', [scores], { axis: -1 });
  const product = ctx.emit('MatMul', [m.reshape(weights, [batch, keyHeads, times, queries, keys]), v]);
  const out = m.reshape(product, [batch, heads, queries, v4.shape[3]!]);
  const y = q4.flat ? m.reshape(m.transpose(out, [0, 2, 1, 3]), ctx.outputShape(0)) : out;
  return [y, k4.name, v4.name, undefined];
};

interface HeadView {
  readonly name: string;
  /** [B, heads, S, size] */
  readonly shape: readonly number[];
  readonly flat: boolean;
}

function asHeads(ctx: ExpandContext, i: number, heads: number): HeadView {
  const shape = ctx.inputShape(i);
  if (shape.length === 4) return { name: ctx.input(i), shape, flat: false };
  const m = formulas(ctx);
  const [batch = 1, length = 1, width = 1] = shape;
  const apart = m.reshape(ctx.input(i), [batch, length, heads, width / heads]);
  return { name: m.transpose(apart, [0, 2, 1, 3]), shape: [batch, heads, length, width / heads], flat: true };
}

export const simpleExpansions: readonly (readonly [string, ExpandRule])[] = [
  ['MeanVarianceNormalization', meanVariance],
  ['LpNormalization', lpNormalization],
  ['LpPool', lpPool],
  ['GlobalLpPool', globalLpPool],
  ['NegativeLogLikelihoodLoss', likelihoodLoss(false)],
  ['SoftmaxCrossEntropyLoss', likelihoodLoss(true)],
  ['Attention', attention],
];
