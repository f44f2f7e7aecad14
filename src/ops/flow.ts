// Rules for the marks between which bodies are laid open (ir/flow.ts): what goes in and out of branches and loops. No file has these
// operators; the analysis adds them to the table for a graph that has such marks.
import { FLOW, type Body } from '../ir/flow.js';
import { attrInt, attrInts, type Node } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import { merge, normal, operand } from './channel-rules.js';
import { insertAxis, pick } from './labels.js';
import type {
  ChannelContext,
  ChannelRule,
  CostContext,
  OpDef,
  OpTable,
  ShapeContext,
  ShapeRule,
  ValueRule,
} from './op.js';
import { tensorType } from './rules.js';
import { mergeTypes } from './types.js';

/** `table`: with the rules of the operators themselves, at the opset of the default domain. */
export function flowOps(table: OpTable, opset: number, bodies: readonly Body[]): readonly OpDef[] {
  const byToken = new Map(bodies.map((b) => [b.token, b]));
  // a loop's own rules, with the node as it was closed: its inputs stand at the end of the mark's
  const closed = (ctx: CostContext): CostContext | undefined => {
    const body = byToken.get(ctx.node.inputs[0] ?? '');
    return body === undefined ? undefined : asClosed(ctx, body.flat, opset);
  };
  const own = (node: Node): OpDef | undefined => table.lookup('', node.opType, opset);
  const loop: Pick<OpDef, 'domain' | 'category' | 'shape' | 'macs'> = {
    domain: FLOW,
    category: 'control',
    shape: (ctx) => {
      // the cast: one object serves both kinds of rules, as the Scope that it stands for does
      const inner = closed(ctx as CostContext);
      return inner === undefined ? [] : (own(inner.node)?.shape(inner) ?? []);
    },
    macs: (ctx) => {
      const inner = closed(ctx);
      return inner === undefined ? undefined : own(inner.node)?.macs?.(inner);
    },
  };
  const body: Pick<OpDef, 'domain' | 'category'> = { domain: FLOW, category: 'control' };
  return [
    { ...body, opType: 'If body', shape: () => [TOKEN], value: (ctx) => [ctx.value(0)], channels: () => {} },
    { ...body, opType: 'If', shape: eitherShape, value: eitherValue, channels: either },
    { ...body, opType: 'Loop body', shape: loopBodyShape, channels: loopBody },
    { ...loop, opType: 'Loop', channels: loopEnd(1, 2, () => 0) },
    { ...body, opType: 'Scan body', shape: scanBodyShape, channels: scanBody },
    { ...loop, opType: 'Scan', channels: loopEnd(0, 0, (node, k) => attrInts(node, 'scan_output_axes')?.[k] ?? 0) },
  ];
}

const TOKEN = tensorType(DataType.BOOL, []);

function asClosed(ctx: CostContext, node: Node, opset: number): CostContext {
  const from = ctx.arity - node.inputs.length;
  return {
    node,
    opset,
    arity: node.inputs.length,
    type: (i) => ctx.type(from + i),
    shape: (i) => ctx.shape(from + i),
    elemType: (i) => ctx.elemType(from + i),
    value: (i) => ctx.value(from + i),
    constant: (i) => ctx.constant(from + i),
    inputShape: (i) => ctx.inputShape(from + i),
    outputShape: (i) => ctx.outputShape(i),
    subgraph: (graph, inputs) => ctx.subgraph(graph, inputs),
    subgraphValues: (graph) => ctx.subgraphValues(graph),
    subgraphMacs: (graph) => ctx.subgraphMacs(graph),
  };
}

// --- If: (token, what then_branch gives, what else_branch gives); the token is the condition ---------------------------------

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

const either: ChannelRule = (c) => {
  const count = c.node.outputs.length;
  for (let k = 0; k < count; k++) together(c, [1 + k, 1 + count + k], k, 'the branches give other shapes');
};

/** One value or the other, as an element-wise operator on both: a channel is cut in both or in none. */
function together(c: ChannelContext, both: readonly [number, number], output: number, otherwise: string): void {
  const active = both.filter((i) => !c.isConstant(i));
  const labelled = active.filter((i) => !c.unlabelled(c.labels(i)));
  if (labelled.length === 0) return;
  const shape = c.inputShape(both[0]);
  if (c.inputShape(both[1]).join() !== shape.join()) {
    for (const i of labelled) c.freeze(c.labels(i), otherwise);
    return;
  }
  const merged = merge(
    c,
    active.map((i) => operand(c.labels(i), shape)),
  );
  for (const i of both) if (c.isConstant(i)) c.cut(i, merged);
  c.output(output, merged);
}

// --- loops: (token, what the body gives, what it is given, inputs of the node) -----------------------------------------------

/** States have the same type in every iteration: the analysis opens no others. */
const loopBodyShape: ShapeRule = (ctx) => {
  const states = Array.from({ length: Math.max(0, ctx.arity - 2) }, (_, k) => ctx.type(2 + k));
  return [TOKEN, tensorType(DataType.INT64, []), TOKEN, ...states];
};

const loopBody: ChannelRule = (c) => {
  for (let i = 2; i < c.arity; i++) if (!c.isConstant(i)) c.output(1 + i, c.labels(i));
};

const scanBodyShape: ShapeRule = (ctx) => {
  const states = ctx.arity - attrInt(ctx.node, 'num_scan_inputs', 0);
  const inputs = Array.from({ length: ctx.arity }, (_, i) => {
    const type = ctx.type(i);
    if (i < states || type?.kind !== 'tensor' || type.shape === undefined) return type;
    const axis = normal(attrInts(ctx.node, 'scan_input_axes')?.[i - states] ?? 0, type.shape.length);
    return tensorType(
      type.elemType,
      type.shape.filter((_, k) => k !== axis),
    );
  });
  return [TOKEN, ...inputs];
};

const scanBody: ChannelRule = (c) => {
  const states = c.arity - attrInt(c.node, 'num_scan_inputs', 0);
  for (let i = 0; i < c.arity; i++) {
    const x = c.labels(i);
    if (c.isConstant(i) || c.unlabelled(x)) continue;
    if (i < states) c.output(1 + i, x);
    else {
      const axis = normal(attrInts(c.node, 'scan_input_axes')?.[i - states] ?? 0, x.shape.length);
      c.output(1 + i, pick(c.whole(x, axis, 'channels lie along the loop'), axis, 0));
    }
  }
};

/** The first `skip` outputs and `given` inputs of the body are no state. */
function loopEnd(skip: number, given: number, axisOf: (node: Node, k: number) => number): ChannelRule {
  return (c) => {
    const inside = bodySizes(c, skip);
    for (let i = 1; i <= skip; i++) c.freeze(c.labels(i), 'decides on iterations');
    for (let k = 0; k < inside.states; k++) {
      const both = [1 + skip + k, 1 + skip + inside.outputs + given + k] as const;
      together(c, both, k, 'the state changes its shape');
    }
    for (let k = inside.states; k < inside.outputs; k++) {
      const x = c.labels(1 + skip + k);
      const shape = c.outputShape(k);
      if (c.isConstant(1 + skip + k) || c.unlabelled(x)) continue;
      const axis = normal(axisOf(c.node, k - inside.states), x.shape.length + 1);
      const stacked = insertAxis(x, axis, shape[axis] ?? 1);
      if (stacked.shape.join() === shape.join()) c.output(k, stacked);
      else c.freeze(x, 'the number of iterations is not known');
    }
  };
}

/** Outputs of the node, and how many of them are states: Loop has two inputs and Scan `num_scan_inputs` besides. */
function bodySizes(c: ChannelContext, skip: number): { readonly outputs: number; readonly states: number } {
  const scans = attrInt(c.node, 'num_scan_inputs', 0);
  const outputs = c.node.outputs.length;
  // token, outputs of the body, inputs of the body, inputs of the node: Loop's both have two besides its states, Scan's scans
  const others = skip === 1 ? 2 : scans;
  return { outputs, states: (c.arity - 1 - skip - outputs - 2 * others) / 2 };
}
