// One level of a graph while its shapes are found: what is known of each name, and the context the operators' rules see.
import { PareError } from '../errors.js';
import type { Attribute, Dim, FunctionDef, Graph, Node, ValueType } from '../ir/graph.js';
import { attrTensor, describeNode } from '../ir/graph.js';
import { DataType, elementBits, elementCount, floatTensor, hasData, int64Tensor, readNumbers } from '../ir/tensor.js';
import type { Tensor } from '../ir/tensor.js';
import type { CostContext, OpDef, OpTable, PartialValue } from '../ops/op.js';

/** What all levels of one model share. */
export interface World {
  readonly table: OpTable;
  readonly opsets: ReadonlyMap<string, number>;
  readonly functions: ReadonlyMap<string, FunctionDef>;
  /** Functions whose bodies are being looked into. */
  readonly calling: ReadonlySet<string>;
  /** Filled as nodes are met: operators without a rule, or whose rule could not tell a shape. */
  readonly unknown: Set<string>;
}

/** What the file itself says of a value, used where the rules cannot tell. */
export type Declared = (name: string) => ValueType | undefined;

const MAX_CONSTANT = 65_536;
const MAX_RESULT = 4_096;
const NO_NODE: Node = { name: '', opType: '', domain: '', inputs: [], outputs: [], attributes: new Map() };

/**
 * The context of the rules for one node after another: `enter` moves it. One object per graph level, not per node,
 * because a search asks for shapes hundreds of times a second.
 */
export class Scope implements CostContext {
  readonly types: Map<string, ValueType>;
  readonly values: Map<string, PartialValue>;
  readonly constants = new Map<string, Tensor>();
  node: Node = NO_NODE;
  opset = 1;
  arity = 0;
  private inputs: readonly string[] = [];
  /** Types that the current node's rule gave its subgraphs: cost rules name the graph only. */
  private readonly bodies = new Map<Graph, readonly (ValueType | undefined)[]>();
  private readonly bodyValues = new Map<Graph, readonly (PartialValue | undefined)[]>();

  readonly world: World;
  readonly parent: Scope | undefined;
  private readonly countGraph: (scope: Scope, graph: Graph) => number;

  constructor(
    world: World,
    parent: Scope | undefined,
    countGraph: (scope: Scope, graph: Graph) => number = () => 0,
    types = new Map<string, ValueType>(),
    values = new Map<string, PartialValue>(),
  ) {
    this.world = world;
    this.parent = parent;
    this.countGraph = countGraph;
    this.types = types;
    this.values = values;
  }

  enter(node: Node): void {
    this.node = node;
    this.inputs = node.inputs;
    this.arity = node.inputs.length;
    this.opset = this.world.opsets.get(node.domain) ?? (node.domain === '' ? 1 : 0);
  }

  type(i: number): ValueType | undefined {
    const name = this.inputs[i];
    return name === undefined || name === '' ? undefined : this.typeOf(name);
  }

  shape(i: number): readonly Dim[] | undefined {
    const type = this.type(i);
    return type !== undefined && (type.kind === 'tensor' || type.kind === 'sparse') ? type.shape : undefined;
  }

  elemType(i: number): number {
    const type = this.type(i);
    return type !== undefined && (type.kind === 'tensor' || type.kind === 'sparse') ? type.elemType : 0;
  }

  value(i: number): PartialValue | undefined {
    const name = this.inputs[i];
    return name === undefined || name === '' ? undefined : this.valueOf(name);
  }

  constant(i: number): Tensor | undefined {
    const name = this.inputs[i];
    return name === undefined || name === '' ? undefined : this.constantOf(name);
  }

  subgraph(graph: Graph, inputs: readonly (ValueType | undefined)[]): (ValueType | undefined)[] {
    this.bodies.set(graph, inputs);
    const inner = this.open(graph, inputs);
    inferNodes(inner, graph.nodes, declaredBy(graph));
    this.bodyValues.set(
      graph,
      graph.outputs.map((o) => inner.valueOf(o.name)),
    );
    return graph.outputs.map((o) => inner.typeOf(o.name) ?? o.type);
  }

  subgraphValues(graph: Graph): readonly (PartialValue | undefined)[] {
    return this.bodyValues.get(graph) ?? [];
  }

  outputShape(i: number): readonly number[] | undefined {
    const name = this.node.outputs[i];
    return name === undefined || name === '' ? undefined : this.concreteShape(name);
  }

  inputShape(i: number): readonly number[] | undefined {
    const name = this.inputs[i];
    return name === undefined || name === '' ? undefined : this.concreteShape(name);
  }

  /** MACs of one run of a subgraph of the current node, with the input types that the node's shape rule gives it. */
  subgraphMacs(graph: Graph): number {
    if (!this.bodies.has(graph)) this.world.table.lookup(this.node.domain, this.node.opType, this.opset)?.shape(this);
    return this.countGraph(this.open(graph, this.bodies.get(graph) ?? []), graph);
  }

  typeOf(name: string): ValueType | undefined {
    return this.types.get(name) ?? this.parent?.typeOf(name);
  }

  constantOf(name: string): Tensor | undefined {
    return this.constants.get(name) ?? this.parent?.constantOf(name);
  }

  valueOf(name: string): PartialValue | undefined {
    const known = this.values.get(name);
    if (known !== undefined) return known;
    const tensor = this.constants.get(name);
    if (tensor === undefined) return this.parent?.valueOf(name);
    const value = smallValue(tensor);
    if (value !== undefined) this.values.set(name, value);
    return value;
  }

  /** Whether `valueOf` may tell something, without decoding anything. */
  mayKnow(name: string): boolean {
    return this.values.has(name) || this.constants.has(name) || (this.parent?.mayKnow(name) ?? false);
  }

  setConstant(name: string, tensor: Tensor): void {
    this.constants.set(name, tensor);
    this.types.set(name, { kind: 'tensor', elemType: tensor.dataType, shape: tensor.dims });
  }

  /** A level below this one, for a subgraph: outer names stay visible. */
  open(graph: Graph, inputs: readonly (ValueType | undefined)[]): Scope {
    const inner = new Scope(this.world, this, this.countGraph);
    addConstants(inner, graph);
    graph.inputs.forEach((v, i) => {
      const type = inputs[i] ?? v.type;
      if (type !== undefined && !inner.constants.has(v.name)) inner.types.set(v.name, type);
    });
    return inner;
  }

  /** The body of a function for the current node: its own names only, its attributes filled in. */
  openFunction(def: FunctionDef): { readonly scope: Scope; readonly nodes: readonly Node[] } {
    const key = functionKey(def.domain, def.name, def.overload);
    if (this.world.calling.has(key)) {
      throw new PareError(
        `function "${operatorName(this.node)}" calls itself, which ONNX forbids: no shape can be told`,
      );
    }
    const calling = new Set([...this.world.calling, key]);
    const world: World = { ...this.world, opsets: def.opsets, calling };
    const inner = new Scope(world, undefined, this.countGraph);
    def.inputs.forEach((name, i) => {
      const type = this.type(i);
      if (type !== undefined) inner.types.set(name, type);
      const outer = this.inputs[i] ?? '';
      const constant = this.constantOf(outer);
      const value = this.values.get(outer);
      if (constant !== undefined) inner.constants.set(name, constant);
      if (value !== undefined) inner.values.set(name, value);
    });
    const given = new Map([...def.attributeDefaults, ...this.node.attributes]);
    return { scope: inner, nodes: def.nodes.map((n) => fillReferences(n, given)) };
  }

  /** The table's entry for the current node. */
  entry(): OpDef | undefined {
    return this.world.table.lookup(this.node.domain, this.node.opType, this.opset);
  }

  /** The model's own function for the current node. */
  functionDef(): FunctionDef | undefined {
    if (this.world.functions.size === 0) return undefined;
    return this.world.functions.get(functionKey(this.node.domain, this.node.opType, this.node.overload ?? ''));
  }

  private concreteShape(name: string): readonly number[] | undefined {
    const type = this.typeOf(name);
    if (type === undefined || (type.kind !== 'tensor' && type.kind !== 'sparse') || type.shape === undefined) {
      return undefined;
    }
    for (const d of type.shape) if (typeof d !== 'number') return undefined;
    // the cast: every dim was just seen to be a number
    return type.shape as readonly number[];
  }
}

export function functionKey(domain: string, name: string, overload: string): string {
  return `${domain}:${name}:${overload}`;
}

/** Initializers of a graph (those that are inputs too: their defaults). */
export function addConstants(scope: Scope, graph: Graph): void {
  for (const [name, tensor] of graph.initializers) scope.setConstant(name, tensor);
  for (const [name, sparse] of graph.sparseInitializers) {
    scope.types.set(name, { kind: 'tensor', elemType: sparse.values.dataType, shape: sparse.dims });
  }
}

export function declaredBy(graph: Graph): Declared {
  const outputs = new Map(graph.outputs.map((o) => [o.name, o.type]));
  return (name) => outputs.get(name) ?? graph.valueInfo.get(name)?.type;
}

/** Types and small values of what the nodes make, in their order. */
export function inferNodes(scope: Scope, nodes: readonly Node[], declared: Declared | undefined): void {
  for (const node of nodes) inferNode(scope, node, declared);
}

function inferNode(scope: Scope, node: Node, declared: Declared | undefined): void {
  scope.enter(node);
  if (node.opType === 'Constant' && node.domain === '') {
    const tensor = constantOfNode(node);
    const name = node.outputs[0];
    if (tensor !== undefined && name !== undefined) {
      scope.setConstant(name, tensor);
      return;
    }
  }
  const def = scope.entry();
  const found = def === undefined ? inferCall(scope) : def.shape(scope);
  const outputs = node.outputs;
  let complete = true;
  for (let i = 0; i < outputs.length; i++) {
    const name = outputs[i]!;
    if (name === '') continue;
    let type = found?.[i];
    if (!isComplete(type)) {
      if (declared !== undefined) type = refine(type, declared(name));
      if (type === undefined || (type.kind === 'tensor' && type.shape === undefined)) complete = false;
    }
    if (type === undefined) continue;
    expectLengths(node, type);
    scope.types.set(name, type);
  }
  if (!complete || found === undefined) scope.world.unknown.add(operatorName(node));
  if (def?.value !== undefined) evaluate(scope, def, found ?? []);
}

/** No rule may end in a length that is none: strides of 0, windows larger than their input, sizes that contradict each other. */
function expectLengths(node: Node, type: ValueType): void {
  if (type.kind !== 'tensor' || type.shape === undefined) return;
  for (const d of type.shape) {
    if (typeof d === 'number' && !(d >= 0 && Number.isSafeInteger(d))) {
      const shape = type.shape.map((x) => x ?? '?').join(', ');
      throw new PareError(
        `${describeNode(node)}: its output would have dims [${shape}]; its attributes do not fit its inputs`,
      );
    }
  }
}

function evaluate(scope: Scope, def: OpDef, types: readonly (ValueType | undefined)[]): void {
  const { inputs, outputs } = scope.node;
  const first = outputs[0] ?? '';
  // cheap refusals first: feature maps are large, and a rule without any known input has nothing to say
  if (first !== '' && !isSmall(scope.types.get(first))) return;
  if (def.category !== 'shape' && !inputs.some((name) => name !== '' && scope.mayKnow(name))) return;
  const values = def.value!(scope, types);
  for (let i = 0; i < outputs.length; i++) {
    const value = values[i];
    if (value === undefined || outputs[i] === '' || value.elems.length > MAX_RESULT) continue;
    scope.values.set(outputs[i]!, value);
  }
}

function inferCall(scope: Scope): readonly (ValueType | undefined)[] | undefined {
  const def = scope.functionDef();
  if (def === undefined) return undefined;
  const { scope: inner, nodes } = scope.openFunction(def);
  inferNodes(inner, nodes, undefined);
  def.outputs.forEach((name, i) => {
    const value = inner.values.get(name);
    const outer = scope.node.outputs[i];
    if (value !== undefined && outer !== undefined && outer !== '') scope.values.set(outer, value);
  });
  return def.outputs.map((name) => inner.typeOf(name));
}

/** `com.acme:Foo`, or the plain name for ai.onnx. */
export function operatorName(node: Node): string {
  return node.domain === '' || node.domain === 'ai.onnx' ? node.opType : `${node.domain}:${node.opType}`;
}

function fillReferences(node: Node, given: ReadonlyMap<string, Attribute>): Node {
  let changed = false;
  const attributes = new Map<string, Attribute>();
  for (const [name, attribute] of node.attributes) {
    if (attribute.kind === 'ref') {
      changed = true;
      const value = given.get(attribute.value);
      if (value !== undefined) attributes.set(name, { ...value, name });
    } else if (attribute.kind === 'graph') {
      changed = true;
      attributes.set(name, { ...attribute, value: fillGraph(attribute.value, given) });
    } else {
      attributes.set(name, attribute);
    }
  }
  return changed ? { ...node, attributes } : node;
}

function fillGraph(graph: Graph, given: ReadonlyMap<string, Attribute>): Graph {
  return { ...graph, nodes: graph.nodes.map((n) => fillReferences(n, given)) };
}

/** The tensor of a Constant node; undefined for sparse and text ones. */
export function constantOfNode(node: Node): Tensor | undefined {
  const tensor = attrTensor(node, 'value');
  if (tensor !== undefined) return tensor;
  const name = node.outputs[0] ?? '';
  for (const a of node.attributes.values()) {
    if (a.name === 'value_float' && a.kind === 'float') return floatTensor(name, [], Float32Array.of(a.value));
    if (a.name === 'value_floats' && a.kind === 'floats') {
      return floatTensor(name, [a.value.length], Float32Array.from(a.value));
    }
    if (a.name === 'value_int' && a.kind === 'int') return int64Tensor(name, [a.value], []);
    if (a.name === 'value_ints' && a.kind === 'ints') return int64Tensor(name, a.value);
  }
  return undefined;
}

function smallValue(tensor: Tensor): PartialValue | undefined {
  if (tensor.dataType === DataType.STRING || elementBits(tensor.dataType) === 0) return undefined;
  if (elementCount(tensor.dims) > MAX_CONSTANT || !hasData(tensor) || !READABLE.has(tensor.dataType)) return undefined;
  return { dims: tensor.dims, elems: Array.from(readNumbers(tensor)) };
}

// the types that readNumbers reads; complex and 8-bit floats never are shapes
const READABLE: ReadonlySet<number> = new Set([1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 16, 21, 22, 25, 26]);

function isComplete(type: ValueType | undefined): boolean {
  if (type === undefined) return false;
  if (type.kind !== 'tensor' && type.kind !== 'sparse') return true;
  if (type.shape === undefined || type.elemType === 0) return false;
  for (const d of type.shape) if (typeof d !== 'number') return false;
  return true;
}

/** `found` with its unknown parts taken from what the file declares. */
function refine(found: ValueType | undefined, declared: ValueType | undefined): ValueType | undefined {
  if (found === undefined || declared === undefined) return found ?? declared;
  if (found.kind !== 'tensor' || declared.kind !== 'tensor') return found;
  const elemType = found.elemType === 0 ? declared.elemType : found.elemType;
  const theirs = declared.shape;
  if (found.shape === undefined)
    return theirs === undefined ? { ...found, elemType } : { ...found, elemType, shape: theirs };
  if (theirs?.length !== found.shape.length) return { ...found, elemType };
  return { ...found, elemType, shape: found.shape.map((d, k) => (typeof d === 'number' ? d : (theirs[k] ?? d))) };
}

function isSmall(type: ValueType | undefined): boolean {
  if (type === undefined || type.kind !== 'tensor' || type.shape === undefined) return false;
  let n = 1;
  for (const d of type.shape) {
    if (typeof d !== 'number') return false;
    n *= d;
  }
  return n <= MAX_RESULT;
}
