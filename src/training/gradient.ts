// Reverse-mode differentiation, graph to graph: each operator's rule emits ordinary ONNX nodes, so the gradient of a graph is
// a graph that any runtime executes, and can be differentiated again.
import { inferShapes, concreteShape, type Binding, type ModelParts, type Shapes } from '../analysis/shapes.js';
import { PareError } from '../errors.js';
import { describeNode, type Attribute, type Graph, type Node } from '../ir/graph.js';
import { DataType, floatTensor, int64Tensor, type Tensor } from '../ir/tensor.js';
import { allNames } from '../ir/walk.js';
import type { EmitAttribute, GradientContext, OpTable } from '../ops/op.js';

export interface Gradients {
  /** The graph with the gradient nodes behind its own; outputs are unchanged. */
  readonly graph: Graph;
  /** value name -> name of the gradient of the loss with respect to it; absent where the loss does not depend on it. */
  readonly of: ReadonlyMap<string, string>;
}

/**
 * Appends the gradient of the scalar value `loss` (one element) with respect to the values `wrt` (weights, inputs or
 * intermediate values). Every shape on the way must be known under `binding`. Throws PareError that names an operator
 * without a gradient rule.
 */
export function appendGradients(
  model: ModelParts,
  table: OpTable,
  loss: string,
  wrt: readonly string[],
  binding: Binding,
): Gradients {
  const shapes = inferShapes(model, table, binding);
  const { graph } = model;
  const emitter = createEmitter(graph);
  const wanted = reachedFrom(graph.nodes, wrt);
  const pending = new Map<string, string[]>([[loss, [emitter.float(1, shapeOf(shapes, loss))]]]);
  const total = (name: string): string | undefined => {
    const parts = pending.get(name);
    if (parts === undefined || parts.length === 0) return undefined;
    const sum = parts.length === 1 ? parts[0]! : emitter.emit('Sum', parts);
    pending.set(name, [sum]);
    return sum;
  };
  for (let i = graph.nodes.length - 1; i >= 0; i--) {
    const node = graph.nodes[i]!;
    if (!node.inputs.some((name) => wanted.has(name))) continue;
    const gradients = node.outputs.map(total);
    if (gradients.every((g) => g === undefined)) continue;
    const opset = model.opsets.get(node.domain) ?? 1;
    const rule = table.lookup(node.domain, node.opType, opset)?.gradient;
    if (rule === undefined) {
      throw new PareError(
        `${describeNode(node)} has no gradient rule: add one to its entry in src/ops, or freeze the weights before it`,
      );
    }
    const parts = rule(contextOf(node, opset, shapes, graph, gradients, wanted, emitter));
    node.inputs.forEach((name, k) => {
      const part = parts[k];
      if (part === undefined || !wanted.has(name)) return;
      const list = pending.get(name);
      if (list === undefined) pending.set(name, [part]);
      else list.push(part);
    });
  }
  const of = new Map<string, string>();
  for (const name of wrt) {
    const g = total(name);
    if (g !== undefined) of.set(name, g);
  }
  return { graph: emitter.extended(graph), of };
}

/** The names in `wrt` and every value computed from them. */
function reachedFrom(nodes: readonly Node[], wrt: readonly string[]): Set<string> {
  const reached = new Set(wrt);
  for (const node of nodes) {
    if (node.inputs.some((name) => reached.has(name))) for (const o of node.outputs) reached.add(o);
  }
  return reached;
}

function shapeOf(shapes: Shapes, name: string): readonly number[] {
  const shape = concreteShape(shapes, name);
  if (shape === undefined) {
    throw new PareError(
      `the shape of "${name}" is not known, and its gradient needs it: give the input shapes (--input name:1x3x224x224)`,
    );
  }
  return shape;
}

function contextOf(
  node: Node,
  opset: number,
  shapes: Shapes,
  graph: Graph,
  gradients: readonly (string | undefined)[],
  wanted: ReadonlySet<string>,
  emitter: Emitter,
): GradientContext {
  const nameOf = (i: number): string => node.inputs[i] ?? '';
  const type = (i: number) => shapes.types.get(nameOf(i));
  return {
    node,
    opset,
    arity: node.inputs.length,
    type,
    shape: (i) => {
      const t = type(i);
      return t?.kind === 'tensor' ? t.shape : undefined;
    },
    elemType: (i) => {
      const t = type(i);
      return t?.kind === 'tensor' ? t.elemType : 0;
    },
    value: (i) => shapes.values.get(nameOf(i)),
    constant: (i) => graph.initializers.get(nameOf(i)),
    subgraph: () => [],
    subgraphValues: () => [],
    inputShape: (i) => shapeOf(shapes, nameOf(i)),
    outputShape: (i) => shapeOf(shapes, node.outputs[i] ?? ''),
    input: nameOf,
    output: (i) => node.outputs[i] ?? '',
    gradient: (i) => gradients[i],
    needed: (i) => wanted.has(nameOf(i)),
    ...emitter,
  };
}

type Emitter = Pick<GradientContext, 'emit' | 'emitAll' | 'float' | 'ints'> & { extended(graph: Graph): Graph };

/** Collects nodes and constants under names that the graph does not use. Equal constants are added once. */
export function createEmitter(graph: Graph, prefix = 'grad'): Emitter {
  const taken = allNames(graph);
  const nodes: Node[] = [];
  const constants = new Map<string, Tensor>();
  let counter = 0;
  const fresh = (stem: string): string => {
    for (;;) {
      const name = `${prefix}/${stem}_${counter++}`;
      if (!taken.has(name)) return name;
    }
  };
  const constant = (key: string, make: (name: string) => Tensor): string => {
    const known = constants.get(key);
    if (known !== undefined) return known.name;
    const tensor = make(fresh('constant'));
    constants.set(key, tensor);
    return tensor.name;
  };
  const emitAll: Emitter['emitAll'] = (opType, inputs, outputs, attributes = {}) => {
    const names = Array.from({ length: outputs }, () => fresh(opType));
    const list = Object.entries(attributes).map(([name, value]) => [name, emitAttribute(name, value)] as const);
    nodes.push({ name: names[0] ?? '', opType, domain: '', inputs, outputs: names, attributes: new Map(list) });
    return names;
  };
  return {
    emitAll,
    emit: (opType, inputs, attributes) => emitAll(opType, inputs, 1, attributes)[0]!,
    float: (values, dims) => {
      const list = typeof values === 'number' ? [values] : values;
      const shape = dims ?? (typeof values === 'number' ? [] : [list.length]);
      return constant(`f${shape.join('x')}:${list.join(',')}`, (name) => floatTensor(name, shape, filled(list, shape)));
    },
    ints: (values) => constant(`i${values.join(',')}`, (name) => int64Tensor(name, values)),
    extended: (base) => ({
      ...base,
      nodes: [...base.nodes, ...nodes],
      initializers: new Map([...base.initializers, ...[...constants.values()].map((t) => [t.name, t] as const)]),
    }),
  };
}

function filled(values: readonly number[], dims: readonly number[]): Float32Array {
  const n = dims.reduce((a, b) => a * b, 1);
  return values.length === 1 ? new Float32Array(n).fill(values[0]!) : Float32Array.from(values);
}

function emitAttribute(name: string, value: EmitAttribute): Attribute {
  if (typeof value === 'number') return { name, kind: 'int', value };
  if (typeof value === 'string') return { name, kind: 'string', value };
  if ('float' in value) return { name, kind: 'float', value: value.float };
  return { name, kind: 'ints', value };
}

/** FLOAT: the only type that is trained. */
export const TRAINED_TYPE = DataType.FLOAT;
