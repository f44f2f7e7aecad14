// Control flow: If, Loop, Scan (version 8 with a batch axis, 9 and later without), SequenceMap. Costs: trip count x body.
// https://onnx.ai/onnx/operators/onnx__Loop.html, onnx__Scan.html
import { attrInt, attrInts, type Dim, type Graph, type ValueType } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import type { CostRule, OpDef, ShapeContext, ShapeRule, ValueRule } from './op.js';
import { range } from './partial.js';
import { axisOf, contradiction, tensorType } from './rules.js';
import { mergeTypes, refineType } from './types.js';

function bodyOf(ctx: ShapeContext, name: string): Graph {
  const a = ctx.node.attributes.get(name);
  return a?.kind === 'graph' ? a.value : contradiction(ctx, `attribute "${name}" must hold a graph`);
}

/** Inferred types of the body's outputs, filled in by the types it declares. */
function run(ctx: ShapeContext, body: Graph, inputs: readonly (ValueType | undefined)[]): (ValueType | undefined)[] {
  const found = ctx.subgraph(
    body,
    inputs.map((t, i) => refineType(t, body.inputs[i]?.type)),
  );
  return body.outputs.map((o, i) => refineType(found[i], o.type));
}

/**
 * Types of loop-carried values that hold in every iteration: where the body returns another type than it was given, only
 * what both have in common is kept, and the body is run again. Each round loses dims, so it ends. The first `skip` outputs of
 * the body are no state (Loop's condition).
 */
function settle(
  ctx: ShapeContext,
  body: Graph,
  before: readonly (ValueType | undefined)[],
  carried: readonly (ValueType | undefined)[],
  after: readonly (ValueType | undefined)[],
  skip: number,
): { state: (ValueType | undefined)[]; outputs: (ValueType | undefined)[] } {
  let state = [...carried];
  for (let round = 0; ; round++) {
    const outputs = run(ctx, body, [...before, ...state, ...after]);
    const returned = range(state.length).map((i) => outputs[i + skip]);
    const next = state.map((s, i) => widen(s, returned[i]));
    const stable = next.every((s, i) => sameType(s, state[i]));
    if (stable || round >= 8) return { state: next, outputs };
    state = next;
  }
}

function widen(given: ValueType | undefined, returned: ValueType | undefined): ValueType | undefined {
  if (given === undefined) return undefined;
  if (returned === undefined) return given.kind === 'tensor' ? tensorType(given.elemType, undefined) : given;
  // an empty sequence or optional at the start takes the type of what is put into it
  if (given.kind === 'sequence' && returned.kind === 'sequence' && given.elem === undefined) return returned;
  if (given.kind === 'tensor' && returned.kind === 'tensor' && given.elemType === returned.elemType) {
    return mergeTypes(given, returned);
  }
  return mergeTypes(given, returned) ?? returned;
}

function sameType(a: ValueType | undefined, b: ValueType | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

// --- If ---------------------------------------------------------------------------------------------------------------------

const ifShape: ShapeRule = (ctx) => {
  const condition = ctx.value(0)?.elems[0];
  const branch = (name: string) => run(ctx, bodyOf(ctx, name), []);
  if (condition !== undefined) return branch(condition === 0 ? 'else_branch' : 'then_branch');
  const yes = branch('then_branch');
  const no = branch('else_branch');
  return yes.map((t, i) => mergeTypes(t, no[i]));
};

/** Contents pass only from a branch that is known to be taken. */
const ifValue: ValueRule = (ctx) => {
  const condition = ctx.value(0)?.elems[0];
  if (condition === undefined) return [];
  return ctx.subgraphValues(bodyOf(ctx, condition === 0 ? 'else_branch' : 'then_branch'));
};

/** The branch that is taken, or the dearer one when that is not known. */
const ifMacs: CostRule = (ctx) => {
  const condition = ctx.value(0)?.elems[0];
  if (condition !== undefined) {
    return ctx.subgraphMacs(bodyOf(ctx, condition === 0 ? 'else_branch' : 'then_branch'));
  }
  return Math.max(ctx.subgraphMacs(bodyOf(ctx, 'then_branch')), ctx.subgraphMacs(bodyOf(ctx, 'else_branch')));
};

// --- Loop -------------------------------------------------------------------------------------------------------------------

/** Iterations, when they are known: a count, and a condition that the body never changes. */
function tripCount(ctx: ShapeContext): number | undefined {
  const body = bodyOf(ctx, 'body');
  const first = ctx.node.inputs[1] === undefined || ctx.node.inputs[1] === '' ? 1 : ctx.value(1)?.elems[0];
  if (first === 0) return 0;
  const count = ctx.value(0)?.elems[0];
  if (first === undefined || count === undefined) return undefined;
  if (count <= 0) return 0;
  return keepsCondition(body, ctx.node.inputs[1]) ? count : undefined;
}

/** Whether the condition that the body returns is the one it was given, the one at the start (`first`, which is true), or constant true. */
function keepsCondition(body: Graph, first: string | undefined): boolean {
  let name = body.outputs[0]?.name;
  const makers = new Map(body.nodes.flatMap((n) => n.outputs.map((o) => [o, n] as const)));
  for (let hops = 0; name !== undefined && hops <= body.nodes.length; hops++) {
    if (name === body.inputs[1]?.name) return true;
    const constant = body.initializers.get(name);
    if (constant !== undefined) return constant.bytes?.()[0] === 1;
    const node = makers.get(name);
    if (node === undefined) return name !== '' && name === first;
    if (node.opType === 'Constant') {
      const value = node.attributes.get('value');
      return value?.kind === 'tensor' && value.value.bytes?.()[0] === 1;
    }
    if (node.opType !== 'Identity' && node.opType !== 'Cast') return false;
    name = node.inputs[0];
  }
  return false;
}

const loopShape: ShapeRule = (ctx) => {
  const body = bodyOf(ctx, 'body');
  const count = Math.max(0, body.inputs.length - 2);
  const carried = range(count).map((i) => ctx.type(i + 2));
  const before = [tensorType(DataType.INT64, []), tensorType(DataType.BOOL, [])];
  const { state, outputs } = settle(ctx, body, before, carried, [], 1);
  const trips = tripCount(ctx);
  return [...state, ...outputs.slice(1 + count).map((t) => stacked(t, trips, 0))];
};

/** A scan output: one more axis of length `n`. */
function stacked(t: ValueType | undefined, n: Dim, axis: number): ValueType | undefined {
  if (t?.kind !== 'tensor' || t.shape === undefined) return t;
  const at = axis < 0 ? axis + t.shape.length + 1 : axis;
  return tensorType(t.elemType, [...t.shape.slice(0, at), n, ...t.shape.slice(at)]);
}

const loopMacs: CostRule = (ctx) => {
  const each = ctx.subgraphMacs(bodyOf(ctx, 'body'));
  if (each === 0) return 0;
  const trips = tripCount(ctx);
  return trips === undefined ? undefined : trips * each;
};

// --- Scan -------------------------------------------------------------------------------------------------------------------

interface ScanLayout {
  readonly body: Graph;
  readonly states: number;
  readonly scans: number;
  /** First input that is a state: version 8 has sequence_lens before. */
  readonly first: number;
  /** Version 8 has a batch axis in front of everything. */
  readonly batched: boolean;
}

function scanLayout(ctx: ShapeContext): ScanLayout {
  const batched = ctx.opset < 9;
  const first = batched ? 1 : 0;
  const scans = attrInt(ctx.node, 'num_scan_inputs', 0);
  if (!(scans >= 0 && scans <= ctx.arity - first)) {
    contradiction(ctx, `num_scan_inputs is ${scans}, but it has ${ctx.arity - first} inputs`);
  }
  return { body: bodyOf(ctx, 'body'), scans, states: ctx.arity - first - scans, first, batched };
}

function scanAxis(ctx: ShapeContext, layout: ScanLayout, k: number, rank: number): number {
  if (layout.batched) return 1;
  return axisOf(ctx, attrInts(ctx.node, 'scan_input_axes')?.[k] ?? 0, rank);
}

/** Length of the scanned axis. */
function scanLength(ctx: ShapeContext, layout: ScanLayout): Dim {
  let length: Dim;
  for (let k = 0; k < layout.scans; k++) {
    const dims = ctx.shape(layout.first + layout.states + k);
    const d = dims?.[scanAxis(ctx, layout, k, dims.length)];
    if (typeof d === 'number') return d;
    length ??= d;
  }
  return length;
}

function without(t: ValueType | undefined, axes: readonly number[]): ValueType | undefined {
  if (t?.kind !== 'tensor' || t.shape === undefined) return t;
  return tensorType(
    t.elemType,
    t.shape.filter((_, i) => !axes.includes(i)),
  );
}

const scanShape: ShapeRule = (ctx) => {
  const layout = scanLayout(ctx);
  const { body, states, scans, first, batched } = layout;
  const carried = range(states).map((i) => without(ctx.type(first + i), batched ? [0] : []));
  const slices = range(scans).map((k) => {
    const t = ctx.type(first + states + k);
    const rank = t?.kind === 'tensor' ? t.shape?.length : undefined;
    if (rank === undefined) return t;
    return without(t, batched ? [0, 1] : [scanAxis(ctx, layout, k, rank)]);
  });
  const { state, outputs } = settle(ctx, body, [], carried, slices, 0);
  const length = scanLength(ctx, layout);
  const batch = batched ? ctx.shape(first)?.[0] : undefined;
  const axes = attrInts(ctx.node, 'scan_output_axes');
  const made = outputs.slice(states).map((t, k) => stacked(t, length, batched ? 0 : (axes?.[k] ?? 0)));
  return [...state, ...made].map((t) => (batched ? stacked(t, batch, 0) : t));
};

const scanMacs: CostRule = (ctx) => {
  const layout = scanLayout(ctx);
  const each = ctx.subgraphMacs(layout.body);
  if (each === 0) return 0;
  const length = scanLength(ctx, layout);
  const batch = layout.batched ? ctx.shape(layout.first)?.[0] : 1;
  return typeof length === 'number' && typeof batch === 'number' ? length * batch * each : undefined;
};

// --- SequenceMap ------------------------------------------------------------------------------------------------------------

const sequenceMapShape: ShapeRule = (ctx) => {
  const body = bodyOf(ctx, 'body');
  const inputs = range(ctx.arity).map((i) => {
    const t = ctx.type(i);
    return t?.kind === 'sequence' ? t.elem : t;
  });
  return run(ctx, body, inputs).map((elem): ValueType => ({ kind: 'sequence', elem }));
};

export const controlOps: readonly OpDef[] = [
  { opType: 'If', category: 'control', shape: ifShape, value: ifValue, macs: ifMacs },
  { opType: 'Loop', category: 'control', shape: loopShape, macs: loopMacs },
  { opType: 'Scan', category: 'control', shape: scanShape, macs: scanMacs },
  {
    opType: 'SequenceMap',
    category: 'control',
    shape: sequenceMapShape,
    macs: (ctx) => (ctx.subgraphMacs(bodyOf(ctx, 'body')) === 0 ? 0 : undefined),
  },
];
