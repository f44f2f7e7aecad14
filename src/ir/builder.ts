// Graphs in code: architecture spaces, gradient graphs, Gram graphs, probes on a user's model. Values are their names.
//
//   const g = graphBuilder();
//   const x = g.input('x', DataType.FLOAT, ['N', 3, 32, 32]);
//   const y = g.op('Conv', [x, g.constant(weight)], { pads: [1, 1, 1, 1] });
//   g.output(g.op('LeakyRelu', [y], { alpha: float(0.1) }), DataType.FLOAT, ['N', 16, 32, 32]);
//   const model = g.model();
//
// Attributes: a plain number is an int and must be whole, a list of numbers is ints; floats are said: `float(0.1)`,
// `floats([1, 2])`. Booleans are 0 and 1. undefined leaves an attribute out.
import { fail } from '../errors.js';
import type { Attribute, Dim, Graph, Model, Node, ValueInfo } from './graph.js';
import { DataType, floatTensor, int64Tensor, type Tensor } from './tensor.js';
import { allNames } from './walk.js';

export type AttributeValue =
  | number
  | boolean
  | string
  | readonly number[]
  | readonly string[]
  | Tensor
  | Graph
  | readonly Graph[]
  | Float
  | Attribute
  | undefined;

interface Float {
  readonly float: number | readonly number[];
}

/** A float attribute. */
export function float(value: number): Float {
  return { float: value };
}

/** A floats attribute. */
export function floats(values: readonly number[]): Float {
  return { float: values };
}

export interface OpOptions {
  /** Stem of the node's and its outputs' names; the operator's name by default. Made unique. */
  readonly name?: string;
  /** Exact names of the outputs ('' leaves one out); they must be new. */
  readonly outputs?: readonly string[];
  readonly domain?: string;
}

export interface GraphBuilder {
  /** A graph input; the name must be new. */
  input(name: string, dataType: number, shape?: readonly Dim[]): string;
  /** An initializer: its name is made unique. */
  constant(tensor: Tensor): string;
  /** A FLOAT initializer; dims default to a vector, a single number to a scalar. */
  floats(values: number | readonly number[] | Float32Array, dims?: readonly number[], name?: string): string;
  /** An INT64 initializer; dims default to a vector, a single number to a scalar. */
  ints(values: number | readonly number[], dims?: readonly number[], name?: string): string;
  /** A node; returns its first output. '' among the inputs leaves an optional one out. */
  op(
    opType: string,
    inputs: readonly string[],
    attributes?: Readonly<Record<string, AttributeValue>>,
    options?: OpOptions,
  ): string;
  /** A node with `count` outputs. */
  ops(
    opType: string,
    inputs: readonly string[],
    count: number,
    attributes?: Readonly<Record<string, AttributeValue>>,
    options?: Omit<OpOptions, 'outputs'>,
  ): readonly string[];
  /** Adds a graph output; a value that is one already stays so. */
  output(value: string, dataType?: number, shape?: readonly Dim[]): void;
  /** A name that nothing has; it counts as taken from now on. */
  fresh(stem: string): string;
  /** Whether the value exists. */
  has(value: string): boolean;
  graph(): Graph;
  model(): Model;
}

export interface BuilderOptions {
  /** Version of ai.onnx; 17 by default, which every runtime of the last years knows. */
  readonly opset?: number;
  readonly irVersion?: number;
  readonly name?: string;
  /** Further domains and their versions. */
  readonly domains?: Readonly<Record<string, number>>;
}

/** A builder of a new graph. */
export function graphBuilder(options: BuilderOptions = {}): GraphBuilder {
  const graph: Graph = {
    name: options.name ?? 'graph',
    nodes: [],
    initializers: new Map(),
    sparseInitializers: new Map(),
    inputs: [],
    outputs: [],
    valueInfo: new Map(),
  };
  return extendModel({
    irVersion: options.irVersion ?? 8,
    opsets: new Map([['', options.opset ?? 17], ...Object.entries(options.domains ?? {})]),
    producerName: 'pare',
    producerVersion: '',
    metadata: new Map(),
    functions: [],
    graph,
  });
}

/** A builder that adds to a model: nodes after its own, inputs, outputs and initializers. The model given stays as it is. */
export function extendModel(base: Model): GraphBuilder {
  const nodes: Node[] = [];
  const inputs: ValueInfo[] = [];
  const outputs: ValueInfo[] = [];
  const initializers: Tensor[] = [];
  const taken = allNames(base.graph);
  const known = definedNames(base.graph);
  const outputNames = new Set(base.graph.outputs.map((v) => v.name));
  const counters = new Map<string, number>();

  const fresh = (stem: string): string => {
    let name = stem;
    // the counter of each stem goes on where it stopped: many equal stems cost no more than different ones
    let n = counters.get(stem) ?? 0;
    while (name === '' || taken.has(name)) name = `${stem}_${++n}`;
    counters.set(stem, n);
    taken.add(name);
    return name;
  };
  const claim = (name: string): string => {
    if (taken.has(name)) fail(`the graph has a value "${name}" already: choose another name`);
    taken.add(name);
    known.add(name);
    return name;
  };
  const defined = (name: string): string => {
    known.add(name);
    return name;
  };
  const addNode: GraphBuilder['ops'] = (opType, from, count, attributes = {}, options: OpOptions = {}) => {
    for (const name of from) {
      if (name !== '' && !known.has(name)) fail(`${opType}: its input "${name}" is no value of the graph yet`);
    }
    const stem = options.name ?? opType;
    const made =
      options.outputs?.map((name) => (name === '' ? '' : claim(name))) ??
      Array.from({ length: count }, () => defined(fresh(stem)));
    const held = new Map<string, Attribute>();
    for (const name of Object.keys(attributes)) {
      const attribute = toAttribute(name, attributes[name], opType);
      if (attribute !== undefined) held.set(name, attribute);
    }
    nodes.push({
      name: options.name ?? made[0] ?? '',
      opType,
      domain: options.domain ?? '',
      inputs: [...from],
      outputs: made,
      attributes: held,
    });
    return made;
  };

  const builder: GraphBuilder = {
    input(name, dataType, shape) {
      inputs.push(valueInfo(claim(name), dataType, shape));
      return name;
    },
    constant(tensor) {
      const name = defined(fresh(tensor.name === '' ? 'constant' : tensor.name));
      initializers.push(name === tensor.name ? tensor : { ...tensor, name });
      return name;
    },
    floats(values, dims, name = 'constant') {
      const data = typeof values === 'number' ? Float32Array.of(values) : Float32Array.from(values);
      return builder.constant(floatTensor(name, dims ?? (typeof values === 'number' ? [] : [data.length]), data));
    },
    ints(values, dims, name = 'constant') {
      const data = typeof values === 'number' ? [values] : values;
      return builder.constant(int64Tensor(name, data, dims ?? (typeof values === 'number' ? [] : [data.length])));
    },
    op: (opType, from, attributes, options) => addNode(opType, from, 1, attributes, options)[0] ?? '',
    ops: addNode,
    output(value, dataType = DataType.FLOAT, shape) {
      if (!known.has(value)) fail(`output "${value}" is no value of the graph yet`);
      if (outputNames.has(value)) return;
      outputNames.add(value);
      outputs.push(valueInfo(value, dataType, shape));
    },
    fresh,
    has: (value) => known.has(value),
    graph: () => ({
      ...base.graph,
      nodes: [...base.graph.nodes, ...nodes],
      initializers: new Map([...base.graph.initializers, ...initializers.map((t) => [t.name, t] as const)]),
      inputs: [...base.graph.inputs, ...inputs],
      outputs: [...base.graph.outputs, ...outputs],
    }),
    model: () => ({ ...base, graph: builder.graph() }),
  };
  return builder;
}

/** An attribute from a plain value, by the rule at the head of this file; undefined for undefined. */
export function toAttribute(name: string, value: AttributeValue, owner = 'attribute'): Attribute | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'number') return { name, kind: 'int', value: whole(value, name, owner) };
  if (typeof value === 'boolean') return { name, kind: 'int', value: value ? 1 : 0 };
  if (typeof value === 'string') return { name, kind: 'string', value };
  if (isList(value)) return listAttribute(name, value, owner);
  if ('float' in value) {
    return typeof value.float === 'number'
      ? { name, kind: 'float', value: value.float }
      : { name, kind: 'floats', value: value.float };
  }
  if ('kind' in value) return { ...value, name };
  if ('nodes' in value) return { name, kind: 'graph', value };
  return { name, kind: 'tensor', value };
}

function listAttribute(
  name: string,
  value: readonly number[] | readonly string[] | readonly Graph[],
  owner: string,
): Attribute {
  const [first] = value;
  // the casts: the lists of AttributeValue are of one kind, which the first element tells
  if (typeof first === 'string') return { name, kind: 'strings', value: value as readonly string[] };
  if (typeof first === 'object') return { name, kind: 'graphs', value: value as readonly Graph[] };
  return { name, kind: 'ints', value: (value as readonly number[]).map((v) => whole(v, name, owner)) };
}

/** Array.isArray does not narrow readonly lists. */
function isList(value: object): value is readonly number[] | readonly string[] | readonly Graph[] {
  return Array.isArray(value);
}

function whole(value: number, name: string, owner: string): number {
  if (Number.isInteger(value)) return value;
  return fail(`${owner}: ${name} = ${value} is not whole, so say float(${value})`);
}

function valueInfo(name: string, dataType: number, shape: readonly Dim[] | undefined): ValueInfo {
  return { name, type: { kind: 'tensor', elemType: dataType, ...(shape === undefined ? {} : { shape }) } };
}

function definedNames(graph: Graph): Set<string> {
  const names = new Set(graph.inputs.map((v) => v.name));
  for (const name of graph.initializers.keys()) names.add(name);
  for (const name of graph.sparseInitializers.keys()) names.add(name);
  for (const n of graph.nodes) for (const o of n.outputs) if (o !== '') names.add(o);
  return names;
}
