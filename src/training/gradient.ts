// Reverse-mode differentiation, graph to graph: each operator's rule emits ordinary ONNX nodes, so the gradient of a graph is
// a graph that any runtime executes, and can be differentiated again.
import { inferShapes, concreteShape, type Binding, type ModelParts, type Shapes } from '../analysis/shapes.js';
import { PareError } from '../errors.js';
import { describeNode, type Graph, type Node } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import { hasSubgraphs, usedNames } from '../ir/walk.js';
import type { EmitContext, ExpandContext, GradientContext, OpDef, OpTable } from '../ops/op.js';
import { createEmitter, type Emitter } from './emitter.js';
import { modernized } from './modernize.js';

export { createEmitter } from './emitter.js';

export interface Gradients {
  /** The graph with the gradient nodes behind its own; outputs are unchanged. */
  readonly graph: Graph;
  /** Versions that the graph is written in: a model older than opset 17 is brought up to it. */
  readonly opsets: ReadonlyMap<string, number>;
  /** value name -> name of the gradient of the loss with respect to it; absent where the loss does not depend on it. */
  readonly of: ReadonlyMap<string, string>;
}

/**
 * Appends the gradient of the scalar value `loss` (one element) with respect to the values `wrt` (weights, inputs or
 * intermediate values). Every shape on the way must be known under `binding`. Only what those gradients need is added, and
 * nothing twice. Throws PareError that names the operators without a gradient rule.
 */
export function appendGradients(
  model: ModelParts,
  table: OpTable,
  loss: string,
  wrt: readonly string[],
  binding: Binding,
): Gradients {
  const { parts, shapes, way } = prepared(model, table, loss, wrt, binding);
  const { graph, opsets } = parts;
  refuseMissing(way, opsets, table);
  const emitter = createEmitter(graph, 'grad', opsets.get('') ?? 17);
  const lossType = floatTypeOf(shapes, loss) ?? DataType.FLOAT;
  const seed = emitter.float(1, shapeOf(shapes, loss), lossType);
  const pending = new Map<string, string[]>([[loss, [seed]]]);
  const total = (name: string): string | undefined => {
    const list = pending.get(name);
    if (list === undefined) return undefined;
    const sum = list.length === 1 ? list[0]! : emitter.emit('Sum', list);
    pending.set(name, [sum]);
    return sum;
  };
  for (const { node, def, opset } of way.nodes.toReversed()) {
    const gradients = node.outputs.map(total);
    if (gradients.every((g) => g === undefined)) continue;
    const rule = def?.gradient;
    // refuseMissing has seen to it that there is one
    if (rule === undefined) continue;
    const ways = rule(gradientContext(node, opset, shapes, graph, gradients, way.wanted, emitter));
    node.inputs.forEach((name, k) => {
      const part = ways[k];
      if (part === undefined || !way.wanted.has(name)) return;
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
  return { graph: emitter.extended(graph, [...of.values()]), opsets, of };
}

/**
 * The nodes between `wrt` and `loss` that have no gradient rule, in their order: what {@link appendGradients} would refuse.
 * Freezing weights means to leave them out of `wrt`.
 */
export function withoutGradient(
  model: ModelParts,
  table: OpTable,
  loss: string,
  wrt: readonly string[],
  binding: Binding,
): readonly Node[] {
  const { way } = prepared(model, table, loss, wrt, binding);
  return missing(way);
}

interface OnTheWay {
  readonly node: Node;
  readonly def: OpDef | undefined;
  readonly opset: number;
}

interface Way {
  /** Values that depend on `wrt` in a way that can be differentiated. */
  readonly wanted: ReadonlySet<string>;
  /** The nodes that a gradient passes through, in topological order. */
  readonly nodes: readonly OnTheWay[];
}

interface Prepared {
  readonly parts: ModelParts;
  readonly shapes: Shapes;
  readonly way: Way;
}

/** In modern form, and with the operators on the way that are made of simpler ones written out. */
function prepared(model: ModelParts, table: OpTable, loss: string, wrt: readonly string[], binding: Binding): Prepared {
  let parts = modernized(model);
  for (;;) {
    const shapes = inferShapes(parts, table, binding);
    const way = wayFrom(parts, table, shapes, loss, wrt);
    const composed = new Map(
      way.nodes.filter(({ def }) => def?.gradient === undefined && def?.expand !== undefined).map((n) => [n.node, n]),
    );
    if (composed.size === 0) return { parts, shapes, way };
    parts = { ...parts, graph: writtenOut(parts, composed, shapes) };
  }
}

function writtenOut(parts: ModelParts, composed: ReadonlyMap<Node, OnTheWay>, shapes: Shapes): Graph {
  const { graph } = parts;
  const emitter = createEmitter(graph, 'simple', parts.opsets.get('') ?? 17);
  const nodes = graph.nodes.flatMap((node) => {
    const found = composed.get(node);
    const expand = found?.def?.expand;
    if (found === undefined || expand === undefined) return [node];
    const names = expand(contextOf(node, found.opset, shapes, graph, emitter));
    const made = emitter.take();
    const passed = node.outputs.flatMap((output, i): Node[] => {
      const name = names[i];
      if (output === '') return [];
      if (name !== undefined) return [identity(name, output)];
      throw new PareError(`${describeNode(node)}: gradients do not reach its output ${i}, "${output}"`);
    });
    return [...made, ...passed];
  });
  return emitter.extended({ ...graph, nodes });
}

function identity(from: string, to: string): Node {
  return { name: to, opType: 'Identity', domain: '', inputs: [from], outputs: [to], attributes: new Map() };
}

const floating: ReadonlySet<number> = new Set([DataType.FLOAT, DataType.DOUBLE, DataType.FLOAT16, DataType.BFLOAT16]);

function wayFrom(parts: ModelParts, table: OpTable, shapes: Shapes, loss: string, wrt: readonly string[]): Way {
  const { nodes } = parts.graph;
  const carries = (name: string): boolean => {
    const type = shapes.types.get(name);
    return name !== '' && (type === undefined || type.kind !== 'tensor' || floating.has(type.elemType));
  };
  const wanted = new Set(wrt);
  const reached: Node[] = [];
  for (const node of nodes) {
    if (!some(inputsOf(node), wanted)) continue;
    reached.push(node);
    for (const o of node.outputs) if (carries(o)) wanted.add(o);
  }
  const useful = new Set([loss]);
  const found: OnTheWay[] = [];
  for (const node of reached.toReversed()) {
    if (!node.outputs.some((o) => useful.has(o) && wanted.has(o))) continue;
    const opset = parts.opsets.get(node.domain) ?? 1;
    found.push({ node, def: table.lookup(node.domain, node.opType, opset), opset });
    for (const name of inputsOf(node)) if (wanted.has(name)) useful.add(name);
  }
  return { wanted, nodes: found.reverse() };
}

function inputsOf(node: Node): Iterable<string> {
  return hasSubgraphs(node) ? usedNames(node) : node.inputs;
}

function some(names: Iterable<string>, of: ReadonlySet<string>): boolean {
  for (const name of names) if (of.has(name)) return true;
  return false;
}

function missing(way: Way): Node[] {
  return way.nodes.filter(({ def }) => def?.gradient === undefined).map(({ node }) => node);
}

function refuseMissing(way: Way, opsets: ReadonlyMap<string, number>, table: OpTable): void {
  const nodes = missing(way);
  const [first] = nodes;
  if (first === undefined) return;
  const others = new Set(nodes.map((n) => n.opType));
  others.delete(first.opType);
  const more = others.size === 0 ? '' : `, nor have ${[...others].join(', ')}`;
  if (hasSubgraphs(first)) {
    throw new PareError(
      `${describeNode(first)}: gradients do not flow through the graphs inside ${first.opType}${more}: freeze the weights before and inside it`,
    );
  }
  const known = table.lookup(first.domain, first.opType, opsets.get(first.domain) ?? 1) !== undefined;
  const where = known ? 'add one to its entry in src/ops' : 'give the operator an entry';
  throw new PareError(`${describeNode(first)} has no gradient rule${more}: freeze the weights before it, or ${where}`);
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

function floatTypeOf(shapes: Shapes, name: string): number | undefined {
  const type = shapes.types.get(name);
  return type?.kind === 'tensor' && floating.has(type.elemType) ? type.elemType : undefined;
}

function contextOf(node: Node, opset: number, shapes: Shapes, graph: Graph, emitter: Emitter): ExpandContext {
  const nameOf = (i: number): string => node.inputs[i] ?? '';
  const type = (i: number) => shapes.types.get(nameOf(i));
  const typed = node.outputs.map((o) => floatTypeOf(shapes, o)).find((t) => t !== undefined);
  const emit: EmitContext = {
    emit: emitter.emit,
    emitAll: emitter.emitAll,
    float: (values, dims) => emitter.float(values, dims, typed ?? DataType.FLOAT),
    ints: emitter.ints,
  };
  return {
    ...emit,
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
  };
}

function gradientContext(
  node: Node,
  opset: number,
  shapes: Shapes,
  graph: Graph,
  gradients: readonly (string | undefined)[],
  wanted: ReadonlySet<string>,
  emitter: Emitter,
): GradientContext {
  return {
    ...contextOf(node, opset, shapes, graph, emitter),
    output: (i) => {
      const name = node.outputs[i];
      return name === undefined || name === '' ? emitter.outputOf(node, i) : name;
    },
    gradient: (i) => gradients[i],
    needed: (i) => {
      const name = node.inputs[i];
      return name !== undefined && wanted.has(name);
    },
  };
}
