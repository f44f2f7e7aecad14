// remove-no-ops: nodes that hand on what they get (Identity, Dropout, a Cast to the same type, Reshape to the same shape, a Pad of nothing, a
// whole Slice, pairs of Transposes ...), and nodes that nothing needs. Decided with dynamic dims left open: true for every batch.
import {
  attrInt,
  attrInts,
  attrString,
  intsAttribute,
  opsetOf,
  withAttributes,
  type Dim,
  type Model,
  type Node,
} from '../../src/ir/graph.js';
import { indexGraph, removeDead, type GraphIndex } from '../../src/ir/walk.js';
import { smallValue } from '../../src/analysis/small-values.js';
import type { Analysis } from '../../src/analysis/analyse.js';
import { editModel } from './edit.js';
import type { Mutation, MutationContext } from './mutation.js';

export function removeNoOps(): Mutation {
  return {
    name: 'remove-no-ops',
    summary: 'removes nodes that change nothing and nodes that nothing needs',
    law: 'exact',
    propose: (context) => (changed(context) === undefined ? undefined : {}),
    places: (context) => {
      const made = changed(context);
      return made === undefined ? [] : [{ params: {}, site: 'no-ops', saving: 0, error: () => 0 }];
    },
    apply: (_, context) => changed(context) ?? context.analysis.model,
  };
}

function changed(context: MutationContext): Model | undefined {
  const { analysis } = context;
  const { model } = analysis;
  const { graph } = model;
  const view = viewOf(analysis);
  const outputs = new Set(graph.outputs.map((v) => v.name));
  const edit = editModel(model);
  const gone = new Set<number>();
  const kept = new Set<string>();
  let any = false;
  graph.nodes.forEach((node, i) => {
    if (!isStandard(node) || [node.name, ...node.outputs].some(context.ignore)) return;
    const simpler = simplerOf(node, view, gone);
    if (simpler === undefined) return;
    if ('node' in simpler) {
      edit.replace(i, [simpler.node]);
      any = true;
      return;
    }
    const [from, to] = [node.outputs[0]!, simpler.value];
    if (capturedDeep(view.index, graph.nodes, from) || capturedDeep(view.index, graph.nodes, to)) return;
    if (outputs.has(from)) {
      // the name is a promise: the node before takes it over, unless its own name is one too
      const maker = view.index.producer.get(to);
      if (maker === undefined || outputs.has(to) || kept.has(to) || gone.has(maker)) return;
      edit.rename(to, from);
      kept.add(to);
    } else {
      edit.redirect(from, to);
    }
    edit.replace(i, []);
    gone.add(i);
    any = true;
  });
  if (any) return edit.model();
  const alive = removeDead(graph);
  return alive.nodes.length < graph.nodes.length ? { ...model, graph: alive } : undefined;
}

interface View {
  readonly analysis: Analysis;
  readonly index: GraphIndex;
  readonly nodes: readonly Node[];
  readonly outputs: ReadonlySet<string>;
  shape(name: string): readonly Dim[] | undefined;
  type(name: string): number | undefined;
  /** All elements of a small constant, or undefined. */
  numbers(name: string): readonly number[] | undefined;
}

function viewOf(analysis: Analysis): View {
  const { model, openShapes } = analysis;
  const { graph } = model;
  const tensor = (name: string): { elemType: number; shape?: readonly Dim[] } | undefined => {
    const type = openShapes.types.get(name);
    return type?.kind === 'tensor' ? type : undefined;
  };
  return {
    analysis,
    index: indexGraph(graph),
    nodes: graph.nodes,
    outputs: new Set(graph.outputs.map((v) => v.name)),
    shape: (name) => tensor(name)?.shape,
    type: (name) => tensor(name)?.elemType,
    numbers(name) {
      const elems = smallValue(graph, openShapes, name)?.elems;
      const known = elems?.filter((e) => e !== undefined);
      return known === undefined || known.length !== elems?.length ? undefined : known;
    },
  };
}

function isStandard(node: Node): boolean {
  return (node.domain === '' || node.domain === 'ai.onnx') && (node.outputs[0] ?? '') !== '';
}

/** Used inside a subgraph: then the value keeps its name. */
function capturedDeep(index: GraphIndex, nodes: readonly Node[], value: string): boolean {
  return (index.consumers.get(value) ?? []).some((i) => !nodes[i]!.inputs.includes(value));
}

type Simpler = { readonly value: string } | { readonly node: Node };

/** The value that the node's first output equals, or a node that does the same in fewer steps. */
function simplerOf(node: Node, view: View, gone: ReadonlySet<number>): Simpler | undefined {
  const x = node.inputs[0] ?? '';
  const y = node.outputs[0]!;
  if (x === '') return undefined;
  const before = x === '' ? undefined : view.index.producer.get(x);
  const producer = before === undefined || gone.has(before) ? undefined : view.nodes[before];
  const opset = opsetOf(view.analysis.model);
  const same: Simpler = { value: x };
  switch (node.opType) {
    case 'Identity':
      return same;
    case 'Dropout':
      return isInference(node, view, opset) ? same : undefined;
    case 'Cast': {
      const type = view.type(x);
      return type !== undefined && type === attrInt(node, 'to') ? same : undefined;
    }
    case 'Concat':
    case 'Sum':
    case 'Max':
    case 'Min':
    case 'Mean':
      return node.inputs.length === 1 ? same : undefined;
    case 'Split':
      return node.outputs.length === 1 && sameShape(view.shape(x), view.shape(y)) ? same : undefined;
    case 'Pad':
      return padsNothing(node, view) ? same : undefined;
    case 'Slice':
      return takesAll(node, view) ? same : undefined;
    case 'Relu':
      return producer?.opType === 'Relu' && isStandard(producer) ? same : undefined;
    case 'Flatten':
    case 'Squeeze':
    case 'Unsqueeze':
    case 'Expand':
      return sameShape(view.shape(x), view.shape(y)) ? same : undefined;
    case 'Reshape':
      return reshapeOf(node, view, producer);
    case 'Transpose':
      return transposeOf(node, view, producer);
    case 'AveragePool':
    case 'MaxPool':
      return node.outputs.length === 1 && poolsNothing(node) ? same : undefined;
    case 'Add':
    case 'Sub':
      return neutral(node, view, 0);
    case 'Mul':
    case 'Div':
      return neutral(node, view, 1);
    default:
      return undefined;
  }
}

/** Equal for every batch: at most one dim may be unknown on both sides, as the number of elements is the same. */
function sameShape(a: readonly Dim[] | undefined, b: readonly Dim[] | undefined): boolean {
  if (a === undefined || b === undefined || a.length !== b.length) return false;
  let open = 0;
  for (const [i, d] of a.entries()) {
    const e = b[i];
    if (d === undefined || e === undefined || typeof d !== typeof e) open++;
    else if (d !== e) return false;
    // without elements nothing can be told from their number
    if (d === 0 || e === 0) return false;
  }
  return open <= 1;
}

function isInference(node: Node, view: View, opset: number): boolean {
  const mask = node.outputs[1] ?? '';
  if (mask !== '' && (view.index.consumers.has(mask) || view.outputs.has(mask))) return false;
  if (opset < 7) return attrInt(node, 'is_test', 0) === 1;
  const training = node.inputs[2] ?? '';
  return opset < 12 || training === '' || view.numbers(training)?.[0] === 0;
}

function padsNothing(node: Node, view: View): boolean {
  // "pads" is an input since opset 11, an attribute before, and was "paddings" in opset 1
  const given = node.inputs[1] ?? '';
  const pads = given !== '' ? view.numbers(given) : (attrInts(node, 'pads') ?? attrInts(node, 'paddings'));
  return pads?.every((p) => p === 0) === true;
}

function takesAll(node: Node, view: View): boolean {
  const list = (i: number, name: string): readonly number[] | undefined => {
    const input = node.inputs[i] ?? '';
    return input === '' ? attrInts(node, name) : view.numbers(input);
  };
  const starts = list(1, 'starts');
  const steps = list(4, 'steps');
  if (starts?.every((s) => s === 0) !== true) return false;
  if ((node.inputs[4] ?? '') !== '' && steps?.every((s) => s === 1) !== true) return false;
  const [x, y] = [view.shape(node.inputs[0]!), view.shape(node.outputs[0]!)];
  if (x === undefined || y === undefined) return false;
  const ends = list(2, 'ends');
  const axes = list(3, 'axes') ?? starts.map((_, i) => i);
  if (ends === undefined || ((node.inputs[3] ?? '') !== '' && list(3, 'axes') === undefined)) return false;
  return ends.every((end, i) => {
    const dim = x[axes[i]! < 0 ? axes[i]! + x.length : axes[i]!];
    // INT32_MAX and INT64_MAX are how exporters say "to the end"
    return end >= 2 ** 31 - 1 || (typeof dim === 'number' && end >= dim);
  });
}

function poolsNothing(node: Node): boolean {
  const all = (name: string, value: number): boolean => attrInts(node, name)?.every((v) => v === value) ?? true;
  const kernel = attrInts(node, 'kernel_shape');
  return kernel?.every((k) => k === 1) === true && all('strides', 1) && all('pads', 0);
}

function neutral(node: Node, view: View, value: number): Simpler | undefined {
  const [a = '', b = ''] = node.inputs;
  const is = (name: string): boolean => {
    const numbers = view.numbers(name);
    return numbers !== undefined && numbers.length > 0 && numbers.every((v) => v === value);
  };
  const fits = (x: string): boolean => {
    const [from, to] = [view.shape(x), view.shape(node.outputs[0]!)];
    // broadcasting might have made it larger: here every dim must be known to be the same
    return from !== undefined && from.length === to?.length && from.every((d, i) => d !== undefined && d === to[i]);
  };
  if (is(b) && fits(a)) return { value: a };
  return (node.opType === 'Add' || node.opType === 'Mul') && is(a) && fits(b) ? { value: b } : undefined;
}

function reshapeOf(node: Node, view: View, producer: Node | undefined): Simpler | undefined {
  const x = node.inputs[0]!;
  const y = node.outputs[0]!;
  if (sameShape(view.shape(x), view.shape(y))) return { value: x };
  if (producer === undefined || !isStandard(producer) || !RESHAPES.has(producer.opType)) return undefined;
  // the last shape alone decides, unless it copies dims (0) from the value before
  const target = view.numbers(node.inputs[1] ?? '');
  if (target === undefined || target.includes(0) || attrString(node, 'allowzero') !== '') return undefined;
  return { node: { ...node, inputs: [producer.inputs[0]!, ...node.inputs.slice(1)] } };
}

const RESHAPES: ReadonlySet<string> = new Set(['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze']);

function transposeOf(node: Node, view: View, producer: Node | undefined): Simpler | undefined {
  const x = node.inputs[0]!;
  const rank = view.shape(x)?.length;
  const own = permOf(node, rank);
  if (own === undefined) return undefined;
  if (own.every((p, i) => p === i)) return { value: x };
  const before = producer?.opType === 'Transpose' && isStandard(producer) ? permOf(producer, rank) : undefined;
  if (before === undefined || producer === undefined) return undefined;
  const both = own.map((p) => before[p]!);
  const from = producer.inputs[0]!;
  if (both.every((p, i) => p === i)) return { value: from };
  return { node: { ...withAttributes(node, { perm: intsAttribute('perm', both) }), inputs: [from] } };
}

function permOf(node: Node, rank: number | undefined): readonly number[] | undefined {
  const perm = attrInts(node, 'perm');
  if (perm !== undefined && perm.length > 0) return perm;
  return rank === undefined ? undefined : Array.from({ length: rank }, (_, i) => rank - 1 - i);
}
