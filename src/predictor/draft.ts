// The nodes of a computation graph, one after another in topological order: what each ONNX node means to it (methods.md §1.1,
// rules 1-7). A class because thousands of networks a second pass through it: no object and no closure a node but the node itself.
import type { Cost } from '../analysis/cost.js';
import { constantOfNode } from '../analysis/scope.js';
import type { Shapes } from '../analysis/shapes.js';
import { attrFloat, attrInt, attrInts, type Dim, type Graph, type Model, type Node } from '../ir/graph.js';
import { elementCount, hasData, readNumbers } from '../ir/tensor.js';
import { hasSubgraphs, usedNames } from '../ir/walk.js';
import { dimsOf, frameOf, inputAxis, outputAxis, UNKNOWN_FRAME, type Frame } from './channel-axis.js';
import { gatedBy } from './gates.js';
import { classIndex, meaningOf, type Meaning } from './vocabulary.js';

/** A node while the graph is being made; its index is its place in topological order. */
export interface Draft {
  readonly op: number;
  readonly parents: readonly number[];
  input: Frame;
  output: Frame;
  readonly weighted: boolean;
  /** Window of a convolution; 0 x 0 for matrices. */
  readonly k1: number;
  readonly k2: number;
  bias: boolean;
  readonly node: Node | undefined;
  readonly macs: number;
  readonly params: number;
  /** The operands that the input frame may be read from: the largest counts, of equal ones the first. */
  readonly reads: readonly Place[];
  /** What the output frame is read from. */
  readonly gives: Place;
}

/** A value and its channel axis. */
export interface Place {
  readonly value: string;
  readonly axis: number;
}

export interface DraftGraph {
  readonly nodes: readonly Draft[];
  /** Nodes that graph outputs come from. */
  readonly ends: readonly number[];
  /** Of the first graph input. */
  readonly input: Frame;
}

/** Where a value comes from; absent for constants. */
interface Origin {
  readonly from: readonly number[];
  /** Channel axis. */
  readonly axis: number;
  /** Made of a product with zero: the same whatever comes in. */
  readonly still: boolean;
}

/** O(nodes + edges). */
export function draftGraph(model: Model, shapes: Shapes, cost: Cost, extended: boolean): DraftGraph {
  const drafting = new Drafting(model.graph, shapes, extended);
  let next = 0;
  for (const node of model.graph.nodes) {
    if (node.opType === 'Constant' && node.domain === '') {
      drafting.remember(node);
      continue;
    }
    const entry = cost.nodes[next++];
    drafting.visit(node, entry?.macs ?? 0, entry?.params ?? 0);
  }
  return drafting.result();
}

export function inputDraft(frame: Frame, place: Place = NOWHERE): Draft {
  return draftOf(INPUT, NOTHING, frame, frame, false, 0, 0, false, undefined, 0, 0, [place], place);
}

const NOWHERE: Place = { value: '', axis: 0 };

const NOTHING: readonly number[] = [];
const INPUT = classIndex('Input');
const CONV = classIndex('Conv');
const DEPTHWISE = classIndex('Depthwise');
const MATMUL = classIndex('MatMul');
const ZERO = classIndex('Zero');

// one literal for all: objects of one hidden class
function draftOf(
  op: number,
  parents: readonly number[],
  input: Frame,
  output: Frame,
  weighted: boolean,
  k1: number,
  k2: number,
  bias: boolean,
  node: Node | undefined,
  macs: number,
  params: number,
  reads: readonly Place[],
  gives: Place,
): Draft {
  return { op, parents, input, output, weighted, k1, k2, bias, node, macs, params, reads, gives };
}

class Drafting {
  private readonly drafts: Draft[] = [];
  private readonly origins = new Map<string, Origin>();
  private readonly makers = new Map<string, Node>();
  private readonly meanings = new Map<string, Meaning>();
  private readonly graph: Graph;
  private readonly types: Shapes['types'];
  private readonly extended: boolean;
  private input: Frame = UNKNOWN_FRAME;

  // of the node being visited
  private node!: Node;
  private data: readonly string[] = [];
  private macs = 0;
  private params = 0;
  /** The operand that the resolution is read from. */
  private main = '';
  private mainDims: readonly Dim[] | undefined;
  private axis = 1;
  private to = '';
  private toAxis = 1;
  private toDims: readonly Dim[] | undefined;

  constructor(graph: Graph, shapes: Shapes, extended: boolean) {
    this.graph = graph;
    this.types = shapes.types;
    this.extended = extended;
    for (const v of graph.inputs) {
      if (graph.initializers.has(v.name)) continue;
      const axis = inputAxis(this.dims(v.name));
      const frame = frameOf(this.dims(v.name), axis);
      if (this.drafts.length === 0) this.input = frame;
      this.origins.set(v.name, { from: [this.drafts.length], axis, still: false });
      this.drafts.push(inputDraft(frame, { value: v.name, axis }));
    }
  }

  result(): DraftGraph {
    const ends = new Set(this.graph.outputs.flatMap((o) => this.origins.get(o.name)?.from ?? NOTHING));
    return { nodes: this.drafts, ends: [...ends], input: this.input };
  }

  remember(node: Node): void {
    for (const o of node.outputs) this.makers.set(o, node);
  }

  visit(node: Node, macs: number, params: number): void {
    this.remember(node);
    if (node.opType === 'Shape' || node.opType === 'Size') return;
    const moving: string[] = [];
    const fixed: string[] = [];
    for (const value of hasSubgraphs(node) ? usedNames(node) : node.inputs) {
      const origin = this.origins.get(value);
      if (origin !== undefined) (origin.still ? fixed : moving).push(value);
    }
    // behind a product with zero nothing changes any more: such operands count as constants, such nodes are left out
    const data = moving.length > 0 ? moving : fixed;
    if (data.length === 0) return;
    this.node = node;
    this.data = data;
    this.macs = macs;
    this.params = params;
    this.choose(data);
    const parents = this.union(data);
    if (moving.length === 0) this.pass(parents, true);
    else this.draw(data, parents);
  }

  private draw(data: readonly string[], parents: readonly number[]): void {
    const { node } = this;
    const meaning = this.meaning();
    switch (meaning.kind) {
      case 'dropped':
        this.pass(parents, false);
        break;
      case 'join':
        this.join(meaning.index, data, parents);
        break;
      case 'conv':
        this.convolution(parents);
        break;
      case 'matmul': {
        const bias = node.opType.includes('Gemm') && (node.inputs[2] ?? '') !== '';
        if (this.ownsMatrix()) this.add(MATMUL, parents, true, bias);
        else this.add(MATMUL, parents);
        break;
      }
      case 'recurrent':
        this.add(0, parents, true, (node.inputs[3] ?? '') !== '');
        break;
      case 'embedding':
        if (this.isConstant(node.inputs[0] ?? '')) this.add(0, parents, true);
        else this.pass(parents, false);
        break;
      case 'regular':
        this.add(node.opType === 'Clip' ? this.clipClass() : meaning.index, parents);
    }
  }

  private join(index: number, data: readonly string[], parents: readonly number[]): void {
    const { node } = this;
    if (node.opType === 'Concat' && parents.length === 1 && this.mainDims?.[this.axis] === this.toDims?.[this.axis]) {
      // pieces of one value, joined along another axis than the channels: a cyclic shift, or padding by copies
      this.pass(parents, false);
      return;
    }
    if (data.length > 1) {
      const gated =
        node.opType === 'Mul'
          ? gatedBy(
              node,
              (value) => this.makers.get(value),
              (value) => this.isConstant(value),
            )
          : undefined;
      const root = gated === undefined ? undefined : this.origins.get(gated.value);
      if (gated === undefined || root === undefined) this.add(index, parents);
      else this.add(gated.name === 'other' ? 0 : classIndex(gated.name), root.from);
      return;
    }
    const constants = node.inputs.filter((value) => value !== '' && this.isConstant(value));
    if (node.opType === 'Mul' && constants.some((value) => this.isZero(value))) {
      this.add(ZERO, parents);
      this.pass([this.drafts.length - 1], true);
      return;
    }
    const owner = parents.length === 1 ? this.drafts[parents[0]!] : undefined;
    if (node.opType === 'Add' && owner?.weighted === true && !owner.bias && owner.output.c > 0) {
      // a sum with one number for each channel is the operator's bias
      owner.bias = constants.some((value) => sizeOf(this.dims(value)) === owner.output.c);
    }
    this.pass(parents, false);
  }

  private convolution(parents: readonly number[]): void {
    const { node } = this;
    const quantized = node.opType === 'QLinearConv';
    const groups = attrInt(node, 'group', 1);
    const channels = this.dims(node.inputs[0] ?? '')?.[node.opType.startsWith('Nhwc') ? 3 : 1];
    const bias = (node.inputs[quantized ? 8 : 2] ?? '') !== '' && node.opType !== 'ConvInteger';
    // the last two axes of the window; one-dimensional windows have width 1
    const window = attrInts(node, 'kernel_shape') ?? this.dims(node.inputs[quantized ? 3 : 1] ?? '')?.slice(2) ?? [];
    const { length } = window;
    const k1 = length === 0 ? 0 : known(window[length < 2 ? 0 : length - 2]);
    const k2 = length < 2 ? length : known(window[length - 1]);
    this.add(groups > 1 && groups === channels ? DEPTHWISE : CONV, parents, true, bias, k1, k2);
  }

  private ownsMatrix(): boolean {
    const { opType, inputs } = this.node;
    if (opType === 'Einsum') return inputs.some((value) => this.isConstant(value));
    const second = opType.startsWith('QLinear') || opType === 'QGemm' ? 3 : 1;
    return this.isConstant(inputs[0] ?? '') || this.isConstant(inputs[second] ?? '');
  }

  private add(op: number, parents: readonly number[], weighted = false, bias = false, k1 = 0, k2 = 0): void {
    const { node, mainDims } = this;
    const axis = this.axisOf(this.main, weighted);
    const input = frameOf(mainDims, axis);
    const output = frameOf(this.toDims, this.toAxis);
    const reads = this.data.map((value): Place => ({ value, axis: this.axisOf(value, weighted) }));
    const gives = { value: this.to, axis: this.toAxis };
    const { macs, params } = this;
    this.drafts.push(draftOf(op, parents, input, output, weighted, k1, k2, bias, node, macs, params, reads, gives));
    this.pass([this.drafts.length - 1], false);
  }

  /** Convolutions read channels on axis 1 and matrices on the last, whatever came before. */
  private axisOf(value: string, weighted: boolean): number {
    const dims = weighted ? this.dims(value) : undefined;
    if (dims === undefined) return this.origins.get(value)!.axis;
    const { opType } = this.node;
    return opType.includes('Conv') && !opType.startsWith('Nhwc') ? 1 : Math.max(0, dims.length - 1);
  }

  /** The node's outputs come from these. */
  private pass(from: readonly number[], still: boolean): void {
    const origin = { from, axis: this.toAxis, still };
    for (const o of this.node.outputs) if (o !== '') this.origins.set(o, origin);
  }

  /** The largest operand gives the resolution: of a product with a gate it is the one that is gated. */
  private choose(data: readonly string[]): void {
    this.main = data[0]!;
    this.mainDims = this.dims(this.main);
    if (data.length > 1) {
      let most = sizeOf(this.mainDims);
      for (const value of data) {
        const dims = this.dims(value);
        const size = sizeOf(dims);
        if (size <= most) continue;
        this.main = value;
        this.mainDims = dims;
        most = size;
      }
    }
    this.axis = this.origins.get(this.main)!.axis;
    const { outputs } = this.node;
    this.to = outputs[0] === '' ? (outputs.find((o) => o !== '') ?? '') : (outputs[0] ?? '');
    this.toDims = this.dims(this.to);
    this.toAxis = outputAxis(this.node, this.axis, this.mainDims, this.toDims);
  }

  /** Ascending, no node twice. */
  private union(data: readonly string[]): readonly number[] {
    const first = this.origins.get(data[0]!)!.from;
    if (data.length === 1) return first;
    const second = this.origins.get(data[1]!)!.from;
    if (data.length === 2 && first.length === 1 && second.length === 1) {
      const [a, b] = [first[0]!, second[0]!];
      return a === b ? first : a < b ? [a, b] : [b, a];
    }
    const all = new Set<number>();
    for (const value of data) for (const v of this.origins.get(value)!.from) all.add(v);
    return [...all].sort((a, b) => a - b);
  }

  private meaning(): Meaning {
    const { opType } = this.node;
    const known = this.meanings.get(opType);
    if (known !== undefined) return known;
    const found = meaningOf(opType, this.extended);
    this.meanings.set(opType, found);
    return found;
  }

  private dims(value: string): readonly Dim[] | undefined {
    return dimsOf(this.types.get(value));
  }

  private isConstant(value: string): boolean {
    return value === '' || !this.origins.has(value);
  }

  private numbers(value: string): ArrayLike<number> | undefined {
    const maker = this.makers.get(value);
    const tensor =
      this.graph.initializers.get(value) ?? (maker?.opType === 'Constant' ? constantOfNode(maker) : undefined);
    if (tensor?.bytes === undefined || !hasData(tensor) || elementCount(tensor.dims) > 4096) return undefined;
    return readNumbers(tensor);
  }

  private isZero(value: string): boolean {
    const numbers = this.numbers(value);
    if (numbers === undefined || numbers.length === 0) return false;
    for (let i = 0; i < numbers.length; i++) if (numbers[i] !== 0) return false;
    return true;
  }

  /** Clip(0, 6) is ReLU6, Clip(0, more) ReLU. */
  private clipClass(): number {
    const bound = (i: number, attribute: string, absent: number): number => {
      const value = this.node.inputs[i] ?? '';
      if (value !== '') return this.numbers(value)?.[0] ?? NaN;
      return attrFloat(this.node, attribute, absent);
    };
    if (bound(1, 'min', -Infinity) !== 0) return 0;
    const max = bound(2, 'max', Infinity);
    return max === 6 ? classIndex('ReLU6') : max > 1e30 ? classIndex('ReLU') : 0;
  }
}

/** 0 where a dim is unknown. */
export function sizeOf(dims: readonly Dim[] | undefined): number {
  if (dims === undefined) return 0;
  let n = 1;
  for (const d of dims) n *= typeof d === 'number' ? d : 0;
  return n;
}

function known(d: Dim): number {
  return typeof d === 'number' ? d : 0;
}
