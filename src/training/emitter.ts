// Collects nodes and constants behind a graph, under names that it does not use. Equal nodes and equal constants are added
// once; nodes are asked for in the form of opset 18 and written in that of the graph.
import { PareError } from '../errors.js';
import type { Attribute, Graph, Node } from '../ir/graph.js';
import { DataType, int64Tensor, floatToHalf, type Tensor } from '../ir/tensor.js';
import { allNames } from '../ir/walk.js';
import type { EmitAttribute, EmitContext } from '../ops/op.js';

export interface Emitter extends Omit<EmitContext, 'float'> {
  /** A constant, FLOAT unless told otherwise; a scalar or a vector by default. */
  float(values: number | readonly number[], dims?: readonly number[], dataType?: number): string;
  /** The name of output i of a node of the graph that leaves it out; the graph returned later has it. */
  outputOf(node: Node, i: number): string;
  /** The nodes added since the last call; they are then left out of `extended`. */
  take(): Node[];
  /** The graph with what was added; of the added nodes only those that `needed` needs, when it is given. */
  extended(graph: Graph, needed?: readonly string[]): Graph;
}

export function createEmitter(graph: Graph, prefix = 'grad', opset = 17): Emitter {
  const taken = allNames(graph);
  const known = new Map<string, readonly string[]>();
  for (const node of graph.nodes) {
    const key = deterministic(node) ? keyOf(node.opType, node.inputs, [...node.attributes.values()]) : undefined;
    if (key !== undefined) known.set(key, node.outputs);
  }
  let nodes: Node[] = [];
  const constants = new Map<string, Tensor>();
  const values = new Map<string, readonly number[]>();
  const added = new Map<Node, string[]>();
  let counter = 0;
  const fresh = (stem: string): string => {
    for (;;) {
      const name = `${prefix}/${stem}_${counter++}`;
      if (taken.has(name)) continue;
      return name;
    }
  };
  const constant = (key: string, make: (name: string) => Tensor): string => {
    const old = constants.get(key);
    if (old !== undefined) return old.name;
    const tensor = make(fresh('constant'));
    constants.set(key, tensor);
    return tensor.name;
  };
  const emitAll: Emitter['emitAll'] = (opType, inputs, outputs, attributes = {}) => {
    const form = formOf(opType, inputs, attributes, opset, values);
    const list = Object.entries(form.attributes).map(([name, value]) => emitAttribute(name, value));
    const key = keyOf(opType, form.inputs, list);
    const old = known.get(key);
    if (old !== undefined && old.length >= outputs && old.slice(0, outputs).every((o) => o !== '')) return old;
    const names = Array.from({ length: outputs }, () => fresh(opType));
    const byName = new Map(list.map((a) => [a.name, a] as const));
    nodes.push({ name: names[0] ?? '', opType, domain: '', inputs: form.inputs, outputs: names, attributes: byName });
    known.set(key, names);
    return names;
  };
  return {
    emitAll,
    emit: (opType, inputs, attributes) => emitAll(opType, inputs, 1, attributes)[0]!,
    float: (given, dims, dataType = DataType.FLOAT) => {
      const list = typeof given === 'number' ? [given] : given;
      const shape = dims ?? (typeof given === 'number' ? [] : [list.length]);
      const key = `${dataType}/${shape.join('x')}:${list.join(',')}`;
      return constant(key, (name) => floatsOfType(name, dataType, shape, list));
    },
    ints: (list, dims = [list.length]) => {
      const name = constant(`i${dims.join('x')}:${list.join(',')}`, (n) => int64Tensor(n, list, dims));
      values.set(name, list);
      return name;
    },
    outputOf(node, i) {
      const names = added.get(node) ?? [];
      added.set(node, names);
      return (names[i] ??= fresh(`${node.opType}_output`));
    },
    take() {
      const made = nodes;
      nodes = [];
      return made;
    },
    extended(base, needed) {
      const kept = needed === undefined ? nodes : neededNodes(nodes, needed);
      const used = needed === undefined ? undefined : new Set([...needed, ...kept.flatMap((n) => n.inputs)]);
      const tensors = [...constants.values()].filter((t) => used?.has(t.name) ?? true);
      const own = added.size === 0 ? base.nodes : base.nodes.map((n) => withOutputs(n, added.get(n), used));
      return {
        ...base,
        nodes: [...own, ...kept],
        initializers: new Map([...base.initializers, ...tensors.map((t) => [t.name, t] as const)]),
      };
    },
  };
}

function neededNodes(nodes: readonly Node[], outputs: readonly string[]): Node[] {
  const needed = new Set(outputs);
  const kept = nodes.toReversed().filter((node) => {
    if (!node.outputs.some((o) => needed.has(o))) return false;
    for (const name of node.inputs) needed.add(name);
    return true;
  });
  return kept.reverse();
}

function withOutputs(node: Node, names: readonly string[] | undefined, used: ReadonlySet<string> | undefined): Node {
  if (names === undefined) return node;
  const outputs = [...node.outputs];
  names.forEach((name, i) => {
    if (name === undefined || used?.has(name) === false) return;
    while (outputs.length < i) outputs.push('');
    outputs[i] = name;
  });
  return { ...node, outputs };
}

/** Reductions took their axes as an attribute until opset 18 (ReduceSum until 13, which no graph here is older than). */
function formOf(
  opType: string,
  inputs: readonly string[],
  attributes: Readonly<Record<string, EmitAttribute>>,
  opset: number,
  values: ReadonlyMap<string, readonly number[]>,
): { readonly inputs: readonly string[]; readonly attributes: Readonly<Record<string, EmitAttribute>> } {
  const axes = inputs[1];
  if (opset >= 18 || axes === undefined || !opType.startsWith('Reduce') || opType === 'ReduceSum') {
    return { inputs, attributes };
  }
  const known = values.get(axes);
  // a defect of a rule, not of the user's model
  if (known === undefined) throw new Error(`${opType}: its axes must come from ints()`);
  return { inputs: inputs.slice(0, 1), attributes: { ...attributes, axes: known } };
}

/** Nodes whose results may be taken again: no chance, no state, no graphs inside. */
function deterministic(node: Node): boolean {
  if (node.domain !== '' || node.overload !== undefined) return false;
  if (/^(Random|Multinomial|Bernoulli|Dropout|Constant$)/.test(node.opType)) return false;
  for (const { kind } of node.attributes.values()) {
    if (kind !== 'int' && kind !== 'ints' && kind !== 'float' && kind !== 'string') return false;
  }
  return true;
}

function keyOf(opType: string, inputs: readonly string[], attributes: readonly Attribute[]): string {
  const list = attributes.map((a) => `${a.name}=${a.kind}:${JSON.stringify(a.value)}`).sort();
  return [opType, ...list, '', ...inputs].join('\n');
}

function floatsOfType(name: string, dataType: number, dims: readonly number[], values: readonly number[]): Tensor {
  const n = dims.reduce((a, b) => a * b, 1);
  const numbers = values.length === 1 ? Array.from({ length: n }, () => values[0]!) : values;
  const bytes = new Uint8Array(packed(dataType, numbers).buffer);
  return { name, dataType, dims, bytes: () => bytes };
}

function packed(dataType: number, values: readonly number[]): Float32Array | Float64Array | Uint16Array {
  switch (dataType) {
    case DataType.FLOAT:
      return Float32Array.from(values);
    case DataType.DOUBLE:
      return Float64Array.from(values);
    case DataType.FLOAT16:
      return Uint16Array.from(values, floatToHalf);
    case DataType.BFLOAT16: {
      const wide = new Uint32Array(Float32Array.from(values).buffer);
      return Uint16Array.from(wide, (bits) => (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
    }
    default:
      throw new PareError(`gradients of data type ${dataType} are not supported: only floating-point values have one`);
  }
}

function emitAttribute(name: string, value: EmitAttribute): Attribute {
  if (typeof value === 'number') return { name, kind: 'int', value };
  if (typeof value === 'string') return { name, kind: 'string', value };
  if ('float' in value) return { name, kind: 'float', value: value.float };
  return { name, kind: 'ints', value };
}
