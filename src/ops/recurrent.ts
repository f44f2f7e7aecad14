// Recurrent layers. X is [T, B, I], with layout 1 [B, T, I]; gates x H rows of W per direction.
// https://onnx.ai/onnx/operators/onnx__LSTM.html, onnx__GRU.html, onnx__RNN.html
import { attrInt, attrString, type Dim } from '../ir/graph.js';
import type { CostContext, OpDef, ShapeContext } from './op.js';
import { tensorType } from './rules.js';
import { unifyDim, unknownDims } from './types.js';

interface Sizes {
  readonly batchFirst: boolean;
  readonly time: Dim;
  readonly batch: Dim;
  readonly input: Dim;
  readonly hidden: Dim;
  readonly directions: number;
}

function sizesOf(ctx: ShapeContext): Sizes {
  const [a, b, c] = ctx.shape(0) ?? unknownDims(3);
  const batchFirst = attrInt(ctx.node, 'layout', 0) === 1;
  const w = ctx.shape(1);
  return {
    batchFirst,
    time: batchFirst ? b : a,
    batch: batchFirst ? a : b,
    input: w === undefined ? c : unifyDim(ctx, c, w[2], 'input size and columns of W'),
    // R is [directions, gates x H, H]; version 1 may leave hidden_size out
    hidden: attrInt(ctx.node, 'hidden_size') ?? ctx.shape(2)?.[2],
    directions: attrString(ctx.node, 'direction', 'forward').toLowerCase() === 'bidirectional' ? 2 : 1,
  };
}

function recurrent(opType: string, gates: number): OpDef {
  return {
    opType,
    category: 'contraction',
    shape: (ctx) => {
      const { batchFirst, time, batch, hidden, directions } = sizesOf(ctx);
      const elemType = ctx.elemType(0);
      const all = batchFirst ? [batch, time, directions, hidden] : [time, directions, batch, hidden];
      const last = batchFirst ? [batch, directions, hidden] : [directions, batch, hidden];
      const state = tensorType(elemType, last);
      return opType === 'LSTM' ? [tensorType(elemType, all), state, state] : [tensorType(elemType, all), state];
    },
    macs: (ctx) => recurrentMacs(ctx, gates),
  };
}

/** Every time step multiplies the input and the last state with their part of every gate: T x B x D x gates x H x (I + H). */
function recurrentMacs(ctx: CostContext, gates: number): number | undefined {
  const { time, batch, input, hidden, directions } = sizesOf(ctx);
  if (typeof time !== 'number' || typeof batch !== 'number') return undefined;
  if (typeof input !== 'number' || typeof hidden !== 'number') return undefined;
  return time * batch * directions * gates * hidden * (input + hidden);
}

export const recurrentOps: readonly OpDef[] = [recurrent('RNN', 1), recurrent('GRU', 3), recurrent('LSTM', 4)];
