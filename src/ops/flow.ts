// Rules for the marks between which bodies are laid open (ir/flow.ts): what goes in and out of the branches of an If. No file has
// these operators; the analysis adds them to the table for a graph that has such marks.
import { BODY, FLOW } from '../ir/flow.js';
import { DataType } from '../ir/tensor.js';
import { merge, operand } from './channel-rules.js';
import type { ChannelRule, OpDef, ShapeRule } from './op.js';
import { tensorType } from './rules.js';
import { mergeTypes } from './types.js';

/** Inputs of the mark behind an If: the token, what the one branch gives, what the other gives. */
const eitherShape: ShapeRule = (ctx) => {
  const count = ctx.node.outputs.length;
  return Array.from({ length: count }, (_, k) => mergeTypes(ctx.type(1 + k), ctx.type(1 + count + k)));
};

/** As an element-wise operator on both: a channel is cut in both branches or in none. */
const either: ChannelRule = (c) => {
  const count = c.node.outputs.length;
  for (let k = 0; k < count; k++) {
    const both = [1 + k, 1 + count + k];
    const active = both.filter((i) => !c.isConstant(i));
    const shape = c.inputShape(both[0]!);
    const labelled = active.filter((i) => !c.unlabelled(c.labels(i)));
    if (labelled.length === 0) continue;
    if (c.inputShape(both[1]!).join() !== shape.join()) {
      for (const i of labelled) c.freeze(c.labels(i), 'the branches give other shapes');
      continue;
    }
    const merged = merge(
      c,
      active.map((i) => operand(c.labels(i), shape)),
    );
    for (const i of both) if (c.isConstant(i)) c.cut(i, merged);
    c.output(k, merged);
  }
};

export const flowOps: readonly OpDef[] = [
  { opType: BODY, domain: FLOW, category: 'control', shape: () => [tensorType(DataType.BOOL, [])], channels: () => {} },
  { opType: 'If', domain: FLOW, category: 'control', shape: eitherShape, channels: either },
];
