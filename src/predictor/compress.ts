// Any network -> its compressed computation graph, by the rules of AIO-P's compressor (methods.md §1.1): constants, shape
// arithmetic and movement go, biases fold into their operator, gates become one node. Weights are never read.
import { countCost, type Cost } from '../analysis/cost.js';
import { constantOfNode } from '../analysis/scope.js';
import { inferShapes, type Binding, type Shapes } from '../analysis/shapes.js';
import { PareError } from '../errors.js';
import { attrFloat, attrInt, attrInts, type Dim, type Model, type Node } from '../ir/graph.js';
import { elementCount, hasData, readNumbers, type Tensor } from '../ir/tensor.js';
import { hasSubgraphs, usedNames } from '../ir/walk.js';
import { standardOps } from '../ops/index.js';
import type { OpTable } from '../ops/op.js';
import { dimsOf, frameOf, inputAxis, outputAxis, UNKNOWN_FRAME, type Frame } from './channel-axis.js';
import { MAX_KERNEL, type ComputationGraph, type Extras } from './computation-graph.js';
import { gatedBy } from './gates.js';
import { inlineFunctions } from './inline.js';
import { classIndex, meaningOf } from './vocabulary.js';

export interface CompressOptions {
  /** What is known of this very model already: saves finding it again. */
  readonly known?: { readonly shapes: Shapes; readonly cost?: Cost };
  /** Sizes of inputs; dynamic ones are 1 in the batch, 224 in images and 128 in sequences unless given. */
  readonly binding?: Binding;
  readonly table?: OpTable;
  /** Also groups, strides, MACs, parameters and position. */
  readonly extras?: boolean;
  /** Uses AIO-P's reserved classes: other norms, Softmax, Max, Resize, Sub and Div. */
  readonly extended?: boolean;
}

/** The computation graph of any legal model. Deterministic: equal models give equal bytes (`graphBytes`). */
export function compress(original: Model, options: CompressOptions = {}): ComputationGraph {
  const table = options.table ?? standardOps;
  const model = inlineFunctions(original);
  const known = model === original ? options.known : undefined;
  const shapes = known?.shapes ?? shapesOf(model, table, options.binding);
  const cost = known?.cost ?? countCost(model, table, shapes);
  const draft = draftGraph(model, shapes, cost, options.extended === true);
  return layOut(draft, cost.macs, options.extras === true);
}

/** A node while the graph is being made; its index is its place in topological order. */
interface Draft {
  readonly op: number;
  readonly parents: readonly number[];
  input: Frame;
  output: Frame;
  readonly weighted: boolean;
  readonly kernel: readonly [number, number];
  bias: boolean;
  readonly node: Node | undefined;
  readonly macs: number;
  readonly params: number;
}

/** Where a value comes from; absent for constants. */
interface Origin {
  readonly from: readonly number[];
  /** Channel axis. */
  readonly axis: number;
  /** Made of a product with zero: the same whatever comes in. */
  readonly still?: boolean;
}

interface DraftGraph {
  readonly nodes: readonly Draft[];
  /** Nodes that graph outputs come from. */
  readonly ends: readonly number[];
  readonly inputs: Frame;
}

function shapesOf(model: Model, table: OpTable, binding: Binding | undefined): Shapes {
  const tries: Binding[] = [binding ?? defaultBinding(model), { dynamic: 1 }, {}];
  for (const attempt of tries) {
    try {
      return inferShapes(model, table, attempt);
    } catch (error) {
      // the sizes assumed for dynamic inputs may contradict the network: then with less assumed
      if (!(error instanceof PareError)) throw error;
    }
  }
  return { types: new Map(), values: new Map(), unknown: [] };
}

function defaultBinding(model: Model): Binding {
  const inputs = new Map<string, readonly number[]>();
  for (const v of model.graph.inputs) {
    const dims = dimsOf(v.type);
    if (dims === undefined || dims.every((d) => typeof d === 'number' && d >= 0)) continue;
    const size = dims.length > 3 ? 224 : 128;
    inputs.set(
      v.name,
      dims.map((d, i) => (typeof d === 'number' && d >= 0 ? d : i === 0 ? 1 : i === 1 && dims.length > 3 ? 3 : size)),
    );
  }
  return { inputs, dynamic: 1 };
}

function draftGraph(model: Model, shapes: Shapes, cost: Cost, extended: boolean): DraftGraph {
  const { graph } = model;
  const drafts: Draft[] = [];
  const origins = new Map<string, Origin>();
  const makers = new Map<string, Node>();
  const dims = (value: string): readonly Dim[] | undefined => dimsOf(shapes.types.get(value));
  const isConstant = (value: string): boolean => value === '' || !origins.has(value);
  let inputs = UNKNOWN_FRAME;
  for (const v of graph.inputs) {
    if (graph.initializers.has(v.name)) continue;
    const axis = inputAxis(dims(v.name));
    const frame = frameOf(dims(v.name), axis);
    if (drafts.length === 0) inputs = frame;
    origins.set(v.name, { from: [drafts.length], axis });
    drafts.push({ ...regularDraft(classIndex('Input'), [], frame, frame), node: undefined });
  }
  let next = 0;
  for (const node of graph.nodes) {
    if (node.opType === 'Constant' && node.domain === '') {
      makers.set(node.outputs[0] ?? '', node);
      continue;
    }
    const nodeCost = cost.nodes[next++];
    for (const o of node.outputs) makers.set(o, node);
    if (node.opType === 'Shape' || node.opType === 'Size') continue;
    const used = hasSubgraphs(node) ? [...usedNames(node)] : node.inputs;
    const reached = used.filter((value) => origins.has(value));
    if (reached.length === 0) continue;
    const moving = reached.filter((value) => origins.get(value)!.still !== true);
    // behind a product with zero nothing changes any more: such operands count as constants, such nodes are left out
    const data = moving.length === 0 ? reached : moving;
    const main = dataInput(data, dims);
    const { axis } = origins.get(main)!;
    const parents = union(data.map((value) => origins.get(value)!.from));
    const out = node.outputs.find((o) => o !== '') ?? '';
    const toAxis = outputAxis(node, axis, dims(main), dims(out));
    const made = (from: readonly number[], still = moving.length === 0): void => {
      const origin = still ? { from, axis: toAxis, still } : { from, axis: toAxis };
      for (const o of node.outputs) if (o !== '') origins.set(o, origin);
    };
    if (moving.length === 0) {
      made(parents);
      continue;
    }
    const add = (op: number, from: readonly number[], more: Partial<Draft> = {}): void => {
      const fromAxis = more.weighted === true ? weightedAxis(node, axis, dims(main)) : axis;
      drafts.push({
        ...regularDraft(op, from, frameOf(dims(main), fromAxis), frameOf(dims(out), toAxis)),
        node,
        macs: nodeCost?.macs ?? 0,
        params: nodeCost?.params ?? 0,
        ...more,
      });
      made([drafts.length - 1]);
    };
    const meaning = meaningOf(node.opType, extended);
    switch (meaning.kind) {
      case 'dropped':
        made(parents);
        break;
      case 'join': {
        if (isShift(node, parents, main, out, axis, dims)) {
          made(parents);
          break;
        }
        if (data.length > 1) {
          const gated = node.opType === 'Mul' ? gatedBy(node, (v) => makers.get(v), isConstant) : undefined;
          const root = gated === undefined ? undefined : origins.get(gated.value);
          if (gated === undefined || root === undefined) add(meaning.index, parents);
          else add(gated.name === 'other' ? 0 : classIndex(gated.name), root.from);
          break;
        }
        const constants = node.inputs.filter((value) => value !== '' && !origins.has(value));
        if (node.opType === 'Mul' && constants.some((value) => isZero(value, graph.initializers, makers))) {
          add(classIndex('Zero'), parents);
          made([drafts.length - 1], true);
          break;
        }
        const [parent = -1] = parents;
        const owner = drafts[parent];
        if (node.opType === 'Add' && parents.length === 1 && owner?.weighted === true && !owner.bias) {
          // a sum with one number for each channel is the operator's bias
          owner.bias = constants.some((value) => sizeOf(dims(value)) === owner.output.c && owner.output.c > 0);
        }
        made(parents);
        break;
      }
      case 'conv': {
        const input = node.opType === 'QLinearConv' ? 3 : 1;
        const weight = dims(node.inputs[input] ?? '');
        const groups = attrInt(node, 'group', 1);
        const c = dims(node.inputs[0] ?? '')?.[node.opType.startsWith('Nhwc') ? 3 : 1];
        add(classIndex(groups > 1 && groups === c ? 'Depthwise' : 'Conv'), parents, {
          weighted: true,
          kernel: kernelOf(node, weight),
          bias: (node.inputs[node.opType === 'QLinearConv' ? 8 : 2] ?? '') !== '' && node.opType !== 'ConvInteger',
        });
        break;
      }
      case 'matmul': {
        const products = node.opType.startsWith('QLinear') || node.opType === 'QGemm' ? [0, 3] : [0, 1];
        const weighted =
          node.opType === 'Einsum'
            ? node.inputs.some((value) => isConstant(value))
            : products.some((i) => isConstant(node.inputs[i] ?? ''));
        const bias = /Gemm/.test(node.opType) && (node.inputs[2] ?? '') !== '';
        add(classIndex('MatMul'), parents, weighted ? { weighted, bias } : {});
        break;
      }
      case 'recurrent':
        add(0, parents, { weighted: true, bias: (node.inputs[3] ?? '') !== '' });
        break;
      case 'embedding':
        if (isConstant(node.inputs[0] ?? '')) add(0, parents, { weighted: true });
        else made(parents);
        break;
      case 'regular':
        add(node.opType === 'Clip' ? clipClass(node, graph.initializers, makers) : meaning.index, parents);
    }
  }
  const ends = union(graph.outputs.flatMap((o) => origins.get(o.name)?.from ?? []).map((i) => [i]));
  return { nodes: drafts, ends, inputs };
}

function regularDraft(op: number, parents: readonly number[], input: Frame, output: Frame): Omit<Draft, 'node'> {
  return { op, parents, input, output, weighted: false, kernel: [0, 0], bias: false, macs: 0, params: 0 };
}

/** Pieces of one value, joined along another axis than the channels: a cyclic shift, or padding by copies. */
function isShift(
  node: Node,
  parents: readonly number[],
  main: string,
  out: string,
  axis: number,
  dims: (value: string) => readonly Dim[] | undefined,
): boolean {
  return node.opType === 'Concat' && parents.length === 1 && dims(main)?.[axis] === dims(out)?.[axis];
}

/** The largest operand: of a product with a gate it is the one that is gated. */
function dataInput(data: readonly string[], dims: (value: string) => readonly Dim[] | undefined): string {
  let best = data[0]!;
  if (data.length === 1) return best;
  let most = sizeOf(dims(best));
  for (const value of data) {
    const size = sizeOf(dims(value));
    if (size > most) {
      best = value;
      most = size;
    }
  }
  return best;
}

function sizeOf(dims: readonly Dim[] | undefined): number {
  let n = dims === undefined ? 0 : 1;
  for (const d of dims ?? []) n *= typeof d === 'number' ? d : 0;
  return n;
}

function union(lists: readonly (readonly number[])[]): readonly number[] {
  if (lists.length === 1) return lists[0]!;
  return [...new Set(lists.flat())].toSorted((a, b) => a - b);
}

/** Convolutions read channels on axis 1 and matrices on the last, whatever came before. */
function weightedAxis(node: Node, axis: number, from: readonly Dim[] | undefined): number {
  if (from === undefined) return axis;
  return node.opType.includes('Conv') && !node.opType.startsWith('Nhwc') ? 1 : Math.max(0, from.length - 1);
}

/** The last two axes of the window; one-dimensional windows have width 1. */
function kernelOf(node: Node, weight: readonly Dim[] | undefined): readonly [number, number] {
  const window = attrInts(node, 'kernel_shape') ?? weight?.slice(2) ?? [];
  const at = (i: number): number => {
    const k = window[i];
    return typeof k === 'number' ? k : 0;
  };
  if (window.length < 2) return [window.length === 0 ? 0 : at(0), window.length];
  return [at(window.length - 2), at(window.length - 1)];
}

function constantOf(
  value: string,
  initializers: ReadonlyMap<string, Tensor>,
  makers: ReadonlyMap<string, Node>,
): ArrayLike<number> | undefined {
  const node = makers.get(value);
  const tensor = initializers.get(value) ?? (node?.opType === 'Constant' ? constantOfNode(node) : undefined);
  if (tensor?.bytes === undefined || !hasData(tensor) || elementCount(tensor.dims) > 4096) return undefined;
  return readNumbers(tensor);
}

function isZero(value: string, initializers: ReadonlyMap<string, Tensor>, makers: ReadonlyMap<string, Node>): boolean {
  const numbers = constantOf(value, initializers, makers);
  if (numbers === undefined || numbers.length === 0) return false;
  for (let i = 0; i < numbers.length; i++) if (numbers[i] !== 0) return false;
  return true;
}

/** Clip(0, 6) is ReLU6, Clip(0, more) ReLU. */
function clipClass(node: Node, initializers: ReadonlyMap<string, Tensor>, makers: ReadonlyMap<string, Node>): number {
  const bound = (i: number, attribute: string, absent: number): number => {
    const value = node.inputs[i] ?? '';
    if (value !== '') return constantOf(value, initializers, makers)?.[0] ?? NaN;
    return attrFloat(node, attribute, absent);
  };
  if (bound(1, 'min', -Infinity) !== 0) return 0;
  const max = bound(2, 'max', Infinity);
  return max === 6 ? classIndex('ReLU6') : max > 1e30 ? classIndex('ReLU') : 0;
}

/** Dead nodes go, unknown sizes are filled in, weighted nodes come first. */
function layOut(draft: DraftGraph, macs: number, extras: boolean): ComputationGraph {
  const alive = aliveNodes(draft);
  const kept: Draft[] = [];
  const place = new Int32Array(alive.length).fill(-1);
  const wantsInput = !alive.some((live, i) => live && draft.nodes[i]!.op === classIndex('Input'));
  if (wantsInput) {
    // a network of constants, or one whose inputs are no tensors: something must feed it
    kept.push({ ...regularDraft(classIndex('Input'), [], draft.inputs, draft.inputs), node: undefined });
  }
  draft.nodes.forEach((d, i) => {
    if (!alive[i]) return;
    place[i] = kept.length;
    kept.push(d);
  });
  const parents = kept.map((d, i) => {
    if (wantsInput && i > 0 && d.parents.length === 0) return [0];
    return d.parents.map((p) => place[p]!);
  });
  fillUnknown(kept, parents);

  const size = kept.length;
  const weighted = kept.reduce((n, d) => n + (d.weighted ? 1 : 0), 0);
  const number = new Int32Array(size);
  let heavy = 0;
  let light = weighted;
  kept.forEach((d, i) => (number[i] = d.weighted ? heavy++ : light++));
  const resolutions = new Float32Array(6 * size);
  const ops = new Uint8Array(size);
  const kernels = new Uint8Array(2 * weighted);
  const bias = new Uint8Array(weighted);
  const into: (readonly number[])[] = kept.map(() => NOTHING);
  let edges = 0;
  let clamped = 0;
  kept.forEach((d, i) => {
    const v = number[i]!;
    ops[v] = d.op;
    resolutions.set([d.input.h, d.output.h, d.input.w, d.output.w, d.input.c, d.output.c], 6 * v);
    if (d.weighted) {
      const [k1, k2] = d.kernel;
      kernels[2 * v] = Math.min(k1, MAX_KERNEL);
      kernels[2 * v + 1] = Math.min(k2, MAX_KERNEL);
      bias[v] = d.bias ? 1 : 0;
      if (Math.max(k1, k2) > MAX_KERNEL) clamped++;
    }
    const from = parents[i]!.map((p) => number[p]!);
    into[v] = from.length > 1 ? from.sort((a, b) => a - b) : from;
    edges += from.length;
  });
  const sources = new Int32Array(edges);
  const targets = new Int32Array(edges);
  let e = 0;
  into.forEach((from, v) => {
    for (const u of from) {
      sources[e] = u;
      targets[e++] = v;
    }
  });
  const graph = { size, weighted, ops, resolutions, kernels, bias, sources, targets, order: number, macs, clamped };
  return extras ? { ...graph, extras: extrasOf(kept, number) } : graph;
}

const NOTHING: readonly number[] = [];

function aliveNodes(draft: DraftGraph): boolean[] {
  const alive = draft.nodes.map(() => false);
  for (const end of draft.ends) alive[end] = true;
  for (let i = alive.length - 1; i >= 0; i--) if (alive[i]) for (const p of draft.nodes[i]!.parents) alive[p] = true;
  return alive;
}

/** An unknown size is the parent's output or the child's input, then the node's own other side, then 1. */
function fillUnknown(nodes: readonly Draft[], parents: readonly (readonly number[])[]): void {
  if (!nodes.some((d) => isUnknown(d.input) || isUnknown(d.output))) return;
  nodes.forEach((d, i) => {
    const parent = nodes[parents[i]![0] ?? -1];
    d.input = filled(d.input, parent?.output ?? UNKNOWN_FRAME);
  });
  for (let i = nodes.length - 1; i >= 0; i--) {
    const d = nodes[i]!;
    for (const p of parents[i]!) nodes[p]!.output = filled(nodes[p]!.output, d.input);
  }
  for (const d of nodes) {
    d.output = filled(d.output, d.input);
    d.input = filled(d.input, d.output);
    const one = { h: 1, w: 1, c: 1 };
    d.output = filled(d.output, one);
    d.input = filled(d.input, one);
  }
}

function isUnknown(f: Frame): boolean {
  return f.h === 0 || f.w === 0 || f.c === 0;
}

function filled(f: Frame, by: Frame): Frame {
  if (!isUnknown(f)) return f;
  return { h: f.h === 0 ? by.h : f.h, w: f.w === 0 ? by.w : f.w, c: f.c === 0 ? by.c : f.c };
}

function extrasOf(nodes: readonly Draft[], number: Int32Array): Extras {
  const { length } = nodes;
  const extras = {
    groups: new Float32Array(length).fill(1),
    strides: new Float32Array(length).fill(1),
    macs: new Float64Array(length),
    params: new Float64Array(length),
    positions: new Float32Array(length),
  };
  nodes.forEach((d, i) => {
    const v = number[i]!;
    if (d.node !== undefined) {
      extras.groups[v] = attrInt(d.node, 'group', 1);
      extras.strides[v] = Math.max(1, ...(attrInts(d.node, 'strides') ?? []));
    }
    extras.macs[v] = d.macs;
    extras.params[v] = d.params;
    extras.positions[v] = length > 1 ? i / (length - 1) : 0;
  });
  return extras;
}
