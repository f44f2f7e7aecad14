// Normalisations, and Dropout, which stands with them in real networks. All keep their input's type.
import { attrInt } from '../ir/graph.js';
import type { Dim } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import type { OpDef, ShapeContext, ShapeRule, ValueRule } from './op.js';
import { axisOf, contradiction, sameAsInput, tensorType } from './rules.js';

/** A normalisation of channels (axis 1) whose scale and bias hold one entry per channel. */
function channelNorm(opType: string): OpDef {
  return {
    opType,
    category: 'norm',
    shape: (ctx) => {
      expectChannels(ctx, [1, 2]);
      return [ctx.type(0)];
    },
  };
}

/** Inference, and the statistics that training returns: two further outputs since opset 14, four before. */
const batchNorm: ShapeRule = (ctx) => {
  const flat = ctx.opset < 9 && attrInt(ctx.node, 'spatial', 1) === 0;
  if (!flat) expectChannels(ctx, [1, 2, 3, 4]);
  const statistics = ctx.type(3) ?? tensorType(ctx.elemType(0), [ctx.shape(0)?.[1]]);
  const outputs = ctx.node.outputs.length;
  return [ctx.type(0), ...Array.from({ length: Math.max(outputs - 1, 0) }, () => statistics)];
};

function expectChannels(ctx: ShapeContext, operands: readonly number[]): void {
  const channels = ctx.shape(0)?.[1];
  if (typeof channels !== 'number') return;
  for (const i of operands) {
    const length = ctx.shape(i)?.[0];
    if (typeof length === 'number' && length !== channels) {
      contradiction(ctx, `input has ${channels} channels but ${PARAMETERS[i] ?? 'a parameter'} has ${length}`);
    }
  }
}

const PARAMETERS = ['input', 'scale', 'bias', 'mean', 'variance'];

/** Scale and bias per group in opset 18, per channel since 21. */
const groupNorm: ShapeRule = (ctx) => {
  const groups = attrInt(ctx.node, 'num_groups', 1);
  const channels = ctx.shape(0)?.[1];
  if (typeof channels === 'number') {
    if (channels % groups !== 0) contradiction(ctx, `${channels} channels do not divide into ${groups} groups`);
    if (ctx.opset >= 21) expectChannels(ctx, [1, 2]);
  }
  return [ctx.type(0)];
};

/** Over the axes from `axis` on; the saved mean and deviation have length 1 there. */
const layerNorm: ShapeRule = (ctx) => {
  const x = ctx.shape(0);
  if (x === undefined) return [ctx.type(0)];
  const axis = axisOf(ctx, attrInt(ctx.node, 'axis', -1), x.length);
  expectTail(ctx, 1, 'scale', x);
  expectTail(ctx, 2, 'bias', x);
  const stash = attrInt(ctx.node, 'stash_type', DataType.FLOAT);
  const saved = tensorType(
    stash,
    x.map((d, k) => (k < axis ? d : 1)),
  );
  return [ctx.type(0), saved, saved];
};

const rmsNorm: ShapeRule = (ctx) => {
  const x = ctx.shape(0);
  if (x !== undefined) expectTail(ctx, 1, 'scale', x);
  return [ctx.type(0)];
};

/** Parameter `i` must broadcast to the last axes of the input. */
function expectTail(ctx: ShapeContext, i: number, name: string, x: readonly Dim[]): void {
  const parameter = ctx.shape(i);
  if (parameter === undefined) return;
  const shift = x.length - parameter.length;
  parameter.forEach((d, k) => {
    const length = x[k + shift];
    if (typeof d === 'number' && typeof length === 'number' && d !== 1 && d !== length) {
      contradiction(ctx, `input has length ${length} along axis ${k + shift} but ${name} has ${d}`);
    }
  });
}

/** The mask has the data's type before opset 10. */
const dropout: ShapeRule = (ctx) => [
  ctx.type(0),
  ctx.opset < 10 ? ctx.type(0) : tensorType(DataType.BOOL, ctx.shape(0)),
];
/** Nothing is dropped unless the node says that it is training. */
const unchanged: ValueRule = (ctx) => {
  const training = ctx.opset < 7 ? attrInt(ctx.node, 'is_test', 0) === 0 : ctx.opset >= 12 && ctx.arity > 2;
  return training && ctx.value(2)?.elems[0] !== 0 ? [] : [ctx.value(0)];
};

export const normOps: readonly OpDef[] = [
  { opType: 'BatchNormalization', category: 'norm', shape: batchNorm },
  channelNorm('InstanceNormalization'),
  { opType: 'GroupNormalization', since: 18, category: 'norm', shape: groupNorm },
  { opType: 'LayerNormalization', category: 'norm', shape: layerNorm },
  { opType: 'RMSNormalization', since: 23, category: 'norm', shape: rmsNorm },
  { opType: 'MeanVarianceNormalization', category: 'norm', shape: sameAsInput },
  { opType: 'LpNormalization', category: 'norm', shape: sameAsInput },
  { opType: 'LRN', category: 'norm', shape: sameAsInput },
  { opType: 'Dropout', category: 'other', shape: dropout, value: unchanged },
];
