// Rules for the marks between which bodies are laid open (ir/flow.ts): what goes in and out of the branches of an If. No file has
// these operators; the analysis adds them to the table for a graph that has such marks.
import { BODY, FLOW } from '../ir/flow.js';
import { DataType } from '../ir/tensor.js';
import { merge, operand } from './channel-rules.js';
import type { ChannelRule, OpDef, ShapeContext, ShapeRule, ValueRule } from './op.js';
import { tensorType } from './rules.js';
import { mergeTypes } from './types.js';

/** Inputs of the mark behind an If: the token, what then_branch gives, what else_branch gives. The token is the condition. */
const eitherShape: ShapeRule = (ctx) => {
  const count = ctx.node.outputs.length;
  const known = taken(ctx);
  return Array.from({ length: count }, (_, k) =>
    known === undefined ? mergeTypes(ctx.type(1 + k), ctx.type(1 + count + k)) : ctx.type(known + k),
  );
};

const eitherValue: ValueRule = (ctx) => {
  const known = taken(ctx);
  return known === undefined ? [] : ctx.node.outputs.map((_, k) => ctx.value(known + k));
};

/** First input of the branch that is taken with the dims at hand. */
function taken(ctx: ShapeContext): number | undefined {
  const condition = ctx.value(0)?.elems[0];
  return condition === undefined ? undefined : condition === 0 ? 1 + ctx.node.outputs.length : 1;
}

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
  {
    opType: BODY,
    domain: FLOW,
    category: 'control',
    shape: () => [tensorType(DataType.BOOL, [])],
    value: (ctx) => [ctx.value(0)],
    channels: () => {},
  },
  { opType: 'If', domain: FLOW, category: 'control', shape: eitherShape, value: eitherValue, channels: either },
];
