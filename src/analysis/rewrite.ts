// Edits of one graph while it is cut: constants replaced in place or copied where uses differ, attributes and shape operands patched.
import { PareError } from '../errors.js';
import {
  describeNode,
  withAttributes,
  type Attribute,
  type Graph,
  type Model,
  type Node,
  type ValueInfo,
} from '../ir/graph.js';
import { sliceTensor, type Keep } from '../ir/slice.js';
import { DataType, floatToHalf, int64Tensor, readNumbers, type Tensor } from '../ir/tensor.js';
import { allNames, freshName, removeDead } from '../ir/walk.js';
import type { NodePatch } from '../ops/op.js';
import type { Analysis } from './analyse.js';
import type { Fate } from './fate.js';
import { constantOfNode } from './scope.js';
import type { ShapeChains } from './shape-chains.js';

type Wanted = readonly (number | undefined)[];

export class Rewriter {
  private readonly analysis: Analysis;
  private readonly fate: Fate;
  private readonly graph: Graph;
  private readonly nodes = new Map<number, Node>();
  private readonly initializers = new Map<string, Tensor>();
  private readonly prelude: Node[] = [];
  private readonly operands = new Map<number, Map<number, Wanted>>();
  /** Nodes that go in front of others. */
  private readonly before = new Map<number, Node[]>();
  private names: Set<string> | undefined;
  private computed: ReturnType<ShapeChains['values']> | undefined;
  private replacedComputed = false;

  constructor(analysis: Analysis, fate: Fate) {
    this.analysis = analysis;
    this.fate = fate;
    this.graph = analysis.graph;
  }

  /** `uses`: "node:input" -> what stays along each axis. */
  cutConstant(name: string, uses: ReadonlyMap<string, Keep[]>): void {
    const tensor = this.constant(name);
    if (tensor === undefined) return; // made by nodes: its origin is cut
    const all = this.analysis.constantUses.get(name) ?? [];
    if (all.length === 1) {
      this.replaceConstant(name, sliceTensor(tensor, [...uses.values()][0]!));
      return;
    }
    const variants = new Map<string, { readonly keeps: Keep[]; readonly places: (readonly [number, number])[] }>();
    let untouched = false;
    for (const [node, input] of all) {
      const keeps = uses.get(`${node}:${input}`);
      if (keeps === undefined) {
        untouched = true;
        continue;
      }
      const key = keeps.map((k, axis) => (k === undefined ? '' : `${axis}:${Array.from(k).join()}`)).join('|');
      const variant = variants.get(key);
      if (variant === undefined) variants.set(key, { keeps, places: [[node, input]] });
      else variant.places.push([node, input]);
    }
    for (const { keeps, places } of variants.values()) {
      const cut = sliceTensor(tensor, keeps);
      if (!untouched) {
        untouched = true;
        this.replaceConstant(name, cut);
        continue;
      }
      const own = this.addConstant(cut, name);
      for (const [node, input] of places) this.setInput(node, input, own);
    }
  }

  patch(index: number, patch: NodePatch): void {
    if (patch.attributes !== undefined) this.patchAttributes(index, patch.attributes);
    for (const [i, wanted] of patch.inputs ?? []) {
      let own = this.operands.get(index);
      if (own === undefined) this.operands.set(index, (own = new Map<number, Wanted>()));
      const before = own.get(i);
      // several cuts of one operand, each along its own axis, add up
      own.set(
        i,
        before === undefined || before.length !== wanted.length ? wanted : before.map((w, k) => wanted[k] ?? w),
      );
    }
  }

  finish(): Model {
    this.keepLeaves();
    for (const [index, operands] of this.operands) {
      for (const [i, wanted] of operands) this.patchOperand(index, i, wanted);
    }
    const { flow } = this.analysis;
    let nodes = this.graph.nodes;
    if (this.nodes.size > 0) {
      const copy = [...nodes];
      for (const [i, node] of this.nodes) copy[i] = node;
      nodes = copy;
    }
    if (this.before.size > 0) nodes = nodes.flatMap((node, i) => [...(this.before.get(i) ?? []), node]);
    if (this.prelude.length > 0) nodes = [...this.prelude, ...nodes];
    let initializers = this.graph.initializers;
    if (this.initializers.size > 0) {
      const copy = new Map(initializers);
      for (const [name, t] of this.initializers) copy.set(name, t);
      initializers = copy;
    }
    const inputs = this.graph.inputs.some((v) => this.initializers.has(v.name))
      ? this.graph.inputs.map((v) => this.retype(v))
      : this.graph.inputs;
    const graph: Graph = { ...this.graph, nodes, initializers, inputs, valueInfo: this.valueInfo() };
    return flow.close({ ...flow.model, graph: this.replacedComputed ? removeDead(graph) : graph });
  }

  private patchAttributes(index: number, changes: Readonly<Record<string, Attribute | undefined>>): void {
    const node = this.node(index);
    const differs = Object.entries(changes).some(([name, a]) => {
      const was = node.attributes.get(name);
      if (a === undefined || was === undefined) return a !== was;
      return JSON.stringify(a.value) !== JSON.stringify(was.value);
    });
    if (differs) this.nodes.set(index, withAttributes(node, changes));
  }

  /** Numbers made from shapes that shrink, where nothing asks for new ones: they stay as they were. */
  private keepLeaves(): void {
    const { shapes, shapeChains } = this.analysis;
    for (const [node, input] of shapeChains.leaves()) {
      const was = shapes.values.get(this.graph.nodes[node]!.inputs[input]!)?.elems;
      if (was === undefined || this.operands.get(node)?.has(input) === true) continue;
      let own = this.operands.get(node);
      if (own === undefined) this.operands.set(node, (own = new Map<number, Wanted>()));
      own.set(input, was);
    }
  }

  private patchOperand(index: number, i: number, wanted: Wanted): void {
    const original = this.graph.nodes[index]!;
    const name = original.inputs[i] ?? '';
    if (name === '') {
      if (wanted.every((w) => w !== undefined))
        this.setInput(index, i, this.addConstant(vector('', wanted), `${describe(original)}_${i}`));
      return;
    }
    this.makeValue(index, i, name, wanted);
  }

  /** Operand i of the node gets the wanted contents: constants are replaced, computed ones patched where they come out wrong. */
  private makeValue(index: number, i: number, name: string, wanted: Wanted): void {
    if (wanted.every((w) => w === undefined) && wanted.length > 0) return;
    const tensor = this.constant(name);
    if (tensor !== undefined) {
      const was = Array.from(readNumbers(tensor));
      const now = wanted.map((w, k) => w ?? was[k] ?? 0);
      if (now.length === was.length && now.every((v, k) => v === was[k])) return;
      const dims = tensor.dims.length === 0 ? [] : [now.length];
      const made = integers(tensor, dims, now);
      if ((this.analysis.constantUses.get(name)?.length ?? 0) <= 1) this.replaceConstant(name, made);
      else this.setInput(index, i, this.addConstant(made, name));
      return;
    }
    this.computed ??= this.analysis.shapeChains.values(this.fate);
    const open = this.computed.open.get(name);
    const bound = this.computed.bound.get(name)?.elems;
    if (open === undefined && bound === undefined) return; // depends on data: nothing is known to be wrong
    const is = wanted.map((_, k) => open?.elems[k] ?? bound?.[k]);
    const right = wanted.every((w, k) => w === undefined || is[k] === undefined || w === is[k]);
    if (right && wanted.length === (open?.elems ?? bound)?.length) return;
    const wrong = (k: number): boolean => wanted[k] !== undefined && is[k] !== undefined && wanted[k] !== is[k];
    const unsure = wanted.some((_, k) => open?.elems[k] === undefined && wrong(k));
    const steady = unsure ? this.analysis.shapeChains.steady(name) : [];
    const known = (k: number): boolean => open?.elems[k] !== undefined || steady[k] !== undefined;
    const merged = wanted.map((w, k) => (known(k) ? (w ?? open?.elems[k] ?? bound?.[k]) : undefined));
    const shape = (open ?? this.computed.bound.get(name))?.dims ?? [];
    const rank = shape.length;
    if (merged.every((w) => w !== undefined)) {
      const dims = rank === 1 ? [merged.length] : shape;
      const type = this.analysis.shapes.types.get(name);
      const like = { name, dataType: type?.kind === 'tensor' ? type.elemType : DataType.INT64, dims };
      this.setInput(index, i, this.addConstant(integers(like, dims, merged), name));
      this.replacedComputed = true;
      return;
    }
    // parts depend on the batch: where all that is wrong does not, these parts are replaced
    const at = this.analysis.producers.get(name);
    const maker = at === undefined ? undefined : this.graph.nodes[at]!;
    const stays = wanted.every((w, k) => known(k) || w === undefined || w === bound?.[k]);
    const others = (): boolean =>
      (this.analysis.constantUses.get(name) ?? []).some(([n, k]) => !sameNumbers(this.operands.get(n)?.get(k), wanted));
    if (stays && rank === 1 && merged.length === is.length) {
      if (maker === undefined || !(WALKED.has(maker.opType) || THROUGH.has(maker.opType)) || others()) {
        this.setInput(index, i, this.mixed(index, name, merged));
        return;
      }
    }
    // go where the wrong parts are made
    if (at !== undefined && maker?.opType === 'Concat') {
      let start = 0;
      maker.inputs.forEach((piece, k) => {
        const type = this.analysis.shapes.types.get(piece);
        const size = type?.kind === 'tensor' && typeof type.shape?.[0] === 'number' ? type.shape[0] : 1;
        this.makeValue(at, k, piece, wanted.slice(start, start + size));
        start += size;
      });
      return;
    }
    if (at !== undefined && maker?.opType === 'Mul') {
      // batch x heads: the constant factor shrinks
      const k = maker.inputs.findIndex((input) => this.constant(input) !== undefined);
      const factor = k < 0 ? undefined : this.constant(maker.inputs[k]!);
      const was = factor === undefined ? undefined : readNumbers(factor)[0];
      const now = was === undefined || is[0] === undefined ? NaN : (was * (wanted[0] ?? is[0])) / is[0];
      if (wanted.length === 1 && Number.isInteger(now)) {
        this.makeValue(at, k, maker.inputs[k]!, [now]);
        return;
      }
    }
    if (at !== undefined && maker !== undefined && THROUGH.has(maker.opType)) {
      this.makeValue(at, 0, maker.inputs[0]!, wanted);
      return;
    }
    throw new PareError(
      `${describeNode(this.graph.nodes[index]!)}: its operand "${name}" mixes channel counts with the batch size; give the model a fixed batch size`,
    );
  }

  /** A vector of given numbers and, where undefined, those of a computed one. */
  private mixed(index: number, name: string, wanted: Wanted): string {
    const type = this.analysis.shapes.types.get(name);
    const dataType = type?.kind === 'tensor' ? type.elemType : DataType.INT64;
    const nodes = this.before.get(index) ?? [];
    this.before.set(index, nodes);
    const pieces: string[] = [];
    const add = (opType: string, inputs: readonly string[]): string => {
      this.names ??= allNames(this.graph);
      const made = freshName(this.names, `${name}_cut`);
      this.names.add(made);
      const attributes = new Map<string, Attribute>([['axis', { name: 'axis', kind: 'int', value: 0 }]]);
      nodes.push({ name: made, opType, domain: '', inputs, outputs: [made], attributes });
      return made;
    };
    for (let k = 0; k < wanted.length;) {
      let end = k + 1;
      while (end < wanted.length && (wanted[end] === undefined) === (wanted[k] === undefined)) end++;
      const part = wanted.slice(k, end);
      if (wanted[k] === undefined) {
        const places = this.addConstant(
          vector(
            '',
            part.map((_, p) => k + p),
          ),
          name,
        );
        pieces.push(add('Gather', [name, places]));
      } else {
        const numbers = part.map((w) => w ?? 0);
        pieces.push(this.addConstant(integers({ name, dataType, dims: [] }, [numbers.length], numbers), name));
      }
      k = end;
    }
    return pieces.length === 1 ? pieces[0]! : add('Concat', pieces);
  }

  private replaceConstant(name: string, tensor: Tensor): void {
    if (this.graph.initializers.has(name)) {
      this.initializers.set(name, tensor);
      return;
    }
    const at = this.analysis.producers.get(name)!;
    const node = this.node(at);
    const attributes = new Map<string, Attribute>([['value', { name: 'value', kind: 'tensor', value: tensor }]]);
    this.nodes.set(at, { ...node, attributes });
  }

  private addConstant(tensor: Tensor, stem: string): string {
    this.names ??= allNames(this.graph);
    const name = freshName(this.names, `${stem}_cut`);
    this.names.add(name);
    const named = { ...tensor, name };
    if (this.analysis.model.irVersion >= 4) this.initializers.set(name, named);
    else {
      // before IR 4 initializers have to be inputs; a Constant node need not
      const attributes = new Map<string, Attribute>([['value', { name: 'value', kind: 'tensor', value: named }]]);
      this.prelude.push({ name: '', opType: 'Constant', domain: '', inputs: [], outputs: [name], attributes });
    }
    return name;
  }

  private setInput(index: number, i: number, name: string): void {
    const node = this.node(index);
    const inputs = [...node.inputs];
    while (inputs.length < i) inputs.push('');
    inputs[i] = name;
    this.nodes.set(index, { ...node, inputs });
  }

  private node(index: number): Node {
    return this.nodes.get(index) ?? this.graph.nodes[index]!;
  }

  private constant(name: string): Tensor | undefined {
    const tensor = this.graph.initializers.get(name);
    if (tensor !== undefined) return tensor;
    const at = this.analysis.producers.get(name);
    const node = at === undefined ? undefined : this.graph.nodes[at];
    return node?.opType === 'Constant' && node.domain === '' ? constantOfNode(node) : undefined;
  }

  private retype(v: ValueInfo): ValueInfo {
    const tensor = this.initializers.get(v.name);
    if (tensor === undefined || v.type?.kind !== 'tensor') return v;
    return { ...v, type: { ...v.type, shape: tensor.dims } };
  }

  /** Declared types of values that shrink follow; those of constants that nodes compute are dropped. */
  private valueInfo(): ReadonlyMap<string, ValueInfo> {
    const declared = this.graph.valueInfo;
    if (declared.size === 0) return declared;
    const result = new Map<string, ValueInfo>();
    for (const [name, info] of declared) {
      const placed = this.analysis.plan.values.get(name);
      const keep = placed === undefined ? undefined : this.fate.keep(placed.line);
      if (placed !== undefined && keep !== undefined) {
        if (info.type?.kind !== 'tensor' || info.type.shape === undefined) continue;
        const shape = info.type.shape.map((d, k) => (k === placed.axis ? keep.length : d));
        result.set(name, { ...info, type: { ...info.type, shape } });
      } else if (!this.analysis.computedConstants.has(name)) result.set(name, info);
    }
    return result;
  }
}

const WALKED: ReadonlySet<string> = new Set(['Concat', 'Mul']);
const THROUGH: ReadonlySet<string> = new Set(['Cast', 'Identity', 'Unsqueeze', 'Squeeze', 'Reshape']);

function vector(name: string, values: Wanted): Tensor {
  return int64Tensor(
    name,
    values.map((v) => v ?? 0),
  );
}

function integers(
  like: Pick<Tensor, 'name' | 'dataType' | 'dims'>,
  dims: readonly number[],
  values: readonly number[],
): Tensor {
  if (like.dataType === DataType.INT64) return int64Tensor(like.name, values, dims);
  const bytes = bytesOf(like.dataType, values);
  if (bytes === undefined) {
    throw new PareError(`"${like.name}": numbers made from shapes are kept in a type that a cut cannot rewrite`);
  }
  return { name: like.name, dataType: like.dataType, dims, bytes: () => bytes };
}

function bytesOf(dataType: number, values: readonly number[]): Uint8Array | undefined {
  switch (dataType) {
    case DataType.FLOAT:
      return new Uint8Array(Float32Array.from(values).buffer);
    case DataType.DOUBLE:
      return new Uint8Array(Float64Array.from(values).buffer);
    case DataType.FLOAT16:
      return new Uint8Array(Uint16Array.from(values, floatToHalf).buffer);
    case DataType.INT32:
      return new Uint8Array(Int32Array.from(values).buffer);
    case DataType.BOOL:
    case DataType.UINT8:
      return Uint8Array.from(values);
    default:
      return undefined;
  }
}

function sameNumbers(a: Wanted | undefined, b: Wanted): boolean {
  return a !== undefined && a.length === b.length && a.every((v, k) => v === b[k]);
}

function describe(node: Node): string {
  return node.name === '' ? (node.outputs[0] ?? node.opType) : node.name;
}
