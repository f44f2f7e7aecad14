// Edits of a model, collected and then made in one pass over its nodes: what all mutations share.
import type { Graph, Model, Node, ValueInfo } from '../../src/ir/graph.js';
import type { Tensor } from '../../src/ir/tensor.js';
import { allNames, capturedNames, indexGraph, mapGraphs, removeDead, subgraphs } from '../../src/ir/walk.js';

export interface ModelEditor {
  /** A name that nothing has; it counts as taken from now on. */
  fresh(stem: string): string;
  /** A new constant, named after its tensor, that the node at `before` and all later ones may use. */
  constant(tensor: Tensor, before: number): string;
  /** Other contents of a constant that keeps its name: of an initializer, or of a Constant node. */
  change(tensor: Tensor): void;
  /** Other nodes in the place of one; none removes it. */
  replace(index: number, nodes: readonly Node[]): void;
  /** Every use of a value becomes a use of another one; `from` must not be an output of the graph. */
  redirect(from: string, to: string): void;
  /** The value that a node makes gets another name, that of an output of the graph whose node goes. */
  rename(value: string, name: string): void;
  /** What the file says of this value's shape does not hold any more. */
  forget(value: string): void;
  /** The model with all edits, without what nobody needs any more. */
  model(): Model;
}

export function editModel(base: Model): ModelEditor {
  const { graph } = base;
  const taken = allNames(graph);
  const initializers: Tensor[] = [];
  const constants = new Map<number, Node[]>();
  const changed = new Map<string, Tensor>();
  const renamed = new Map<string, string>();
  const replaced = new Map<number, readonly Node[]>();
  const redirected = new Map<string, string>();
  const forgotten = new Set<string>();
  const fresh = (stem: string): string => {
    let name = stem;
    for (let i = 1; taken.has(name); i++) name = `${stem}_${i}`;
    taken.add(name);
    return name;
  };
  const target = (name: string): string => {
    let to = name;
    for (let next = redirected.get(to); next !== undefined; next = redirected.get(to)) to = next;
    return to;
  };
  return {
    fresh,
    constant(tensor, before) {
      const named = { ...tensor, name: fresh(tensor.name) };
      // before IR 4 every initializer is an input of the graph, which would change its signature
      if (base.irVersion >= 4) initializers.push(named);
      else constants.set(before, [...(constants.get(before) ?? []), constantNode(named)]);
      return named.name;
    },
    change: (tensor) => void changed.set(tensor.name, tensor),
    rename(value, name) {
      renamed.set(value, name);
      redirected.set(value, name);
    },
    replace: (index, nodes) => void replaced.set(index, nodes),
    redirect: (from, to) => void redirected.set(from, to),
    forget: (value) => void forgotten.add(value),
    model() {
      const named = uniqueNames(graph.nodes, replaced);
      const nodes = graph.nodes.flatMap((node, i) => [
        ...(constants.get(i) ?? []),
        ...(replaced.get(i) ?? [node]).map((n) =>
          renameOutputs(renameInputs(changeConstant(named(n), changed), target), renamed),
        ),
      ]);
      const made: Graph = {
        ...graph,
        nodes,
        // a constant that is an input too declares its dims there
        inputs: changed.size === 0 ? graph.inputs : graph.inputs.map((v) => redeclared(v, changed.get(v.name))),
        initializers: new Map(
          [...graph.initializers.values(), ...initializers].map((t) => [t.name, changed.get(t.name) ?? t]),
        ),
        valueInfo:
          forgotten.size === 0
            ? graph.valueInfo
            : new Map([...graph.valueInfo].filter(([name]) => !forgotten.has(name))),
      };
      return { ...base, graph: withoutUnused(graph, removeDead(made)) };
    },
  };
}

/** New nodes get names that no node that stays has: onnxruntime refuses two nodes of one name. */
function uniqueNames(nodes: readonly Node[], replaced: ReadonlyMap<number, readonly Node[]>): (node: Node) => Node {
  const taken = new Set(nodes.filter((_, i) => !replaced.has(i)).map((n) => n.name));
  const names = new Map<Node, string>();
  for (const list of replaced.values()) {
    for (const node of list) {
      if (node.name === '') continue;
      let name = node.name;
      for (let k = 1; taken.has(name); k++) name = `${node.name}_${k}`;
      taken.add(name);
      if (name !== node.name) names.set(node, name);
    }
  }
  return (node) => {
    const name = names.get(node);
    return name === undefined ? node : { ...node, name };
  };
}

function constantNode(t: Tensor): Node {
  return {
    name: t.name,
    opType: 'Constant',
    domain: '',
    inputs: [],
    outputs: [t.name],
    attributes: new Map([['value', { name: 'value', kind: 'tensor', value: t }]]),
  };
}

function changeConstant(node: Node, changed: ReadonlyMap<string, Tensor>): Node {
  const to = node.opType === 'Constant' ? changed.get(node.outputs[0] ?? '') : undefined;
  if (to === undefined) return node;
  return { ...node, attributes: new Map([['value', { name: 'value', kind: 'tensor', value: to }]]) };
}

function redeclared(v: ValueInfo, to: Tensor | undefined): ValueInfo {
  return to === undefined ? v : { name: v.name, type: { kind: 'tensor', elemType: to.dataType, shape: to.dims } };
}

function renameOutputs(node: Node, renamed: ReadonlyMap<string, string>): Node {
  if (!node.outputs.some((o) => renamed.has(o))) return node;
  return { ...node, outputs: node.outputs.map((o) => renamed.get(o) ?? o) };
}

/** Initializers that are inputs too, and that lost their last use, go with their input. */
function withoutUnused(before: Graph, after: Graph): Graph {
  const inputs = after.inputs.filter((v) => after.initializers.has(v.name));
  if (inputs.length === 0) return after;
  const { consumers } = indexGraph(after);
  const outputs = new Set(after.outputs.map((v) => v.name));
  const used = (name: string): boolean => consumers.has(name) || outputs.has(name);
  const unused = inputs.filter((v) => !used(v.name));
  if (unused.length === 0) return after;
  const were = indexGraph(before).consumers;
  const gone = new Set(unused.map((v) => v.name).filter((name) => were.has(name)));
  return {
    ...after,
    inputs: after.inputs.filter((v) => !gone.has(v.name)),
    initializers: new Map([...after.initializers].filter(([name]) => !gone.has(name))),
  };
}

/** The node with other names for its inputs, and for what its subgraphs capture. */
function renameInputs(node: Node, target: (name: string) => string): Node {
  const direct = node.inputs.some((name) => target(name) !== name);
  const inner = subgraphs(node).length > 0;
  if (!direct && !inner) return node;
  const attributes = inner
    ? new Map([...node.attributes].map(([name, a]) => [name, mapGraphs(a, (g) => renameCaptures(g, target))]))
    : node.attributes;
  return { ...node, inputs: node.inputs.map(target), attributes };
}

function renameCaptures(graph: Graph, target: (name: string) => string): Graph {
  const captured = [...capturedNames(graph)].filter((name) => target(name) !== name);
  if (captured.length === 0) return graph;
  const names = new Map(captured.map((name) => [name, target(name)]));
  const to = (name: string): string => names.get(name) ?? name;
  const direct = graph.outputs.find((v) => names.has(v.name));
  if (direct !== undefined) {
    // the outer value is handed out as it is: the subgraph needs a node that gives it the old name
    throw new Error(`the subgraph "${graph.name}" hands out "${direct.name}" of the outer graph: keep that value`);
  }
  return { ...graph, nodes: graph.nodes.map((n) => renameInputs(n, to)) };
}
