// Ways through a graph: who makes a value, who uses it, what is captured by subgraphs, what nobody needs.
import type { Attribute, Graph, Node } from './graph.js';

export interface GraphIndex {
  /** value name -> index of the node that makes it. */
  readonly producer: ReadonlyMap<string, number>;
  /** value name -> indices of the nodes that use it, captures by their subgraphs included. */
  readonly consumers: ReadonlyMap<string, readonly number[]>;
}

export function indexGraph(graph: Graph): GraphIndex {
  const producer = new Map<string, number>();
  const consumers = new Map<string, number[]>();
  graph.nodes.forEach((node, i) => {
    for (const o of node.outputs) if (o !== '') producer.set(o, i);
    for (const name of usedNames(node)) {
      const users = consumers.get(name);
      if (users === undefined) consumers.set(name, [i]);
      else if (users[users.length - 1] !== i) users.push(i);
    }
  });
  return { producer, consumers };
}

/** Whether a node has any: cheaper than listing them. */
export function hasSubgraphs(node: Node): boolean {
  if (node.attributes.size === 0) return false;
  for (const a of node.attributes.values()) if (a.kind === 'graph' || a.kind === 'graphs') return true;
  return false;
}

export function subgraphs(node: Node): Graph[] {
  const found: Graph[] = [];
  for (const a of node.attributes.values()) {
    if (a.kind === 'graph') found.push(a.value);
    else if (a.kind === 'graphs') found.push(...a.value);
  }
  return found;
}

/** Names of the outer scope that a subgraph uses. */
export function capturedNames(graph: Graph): Set<string> {
  const own = new Set<string>(graph.inputs.map((v) => v.name));
  for (const name of graph.initializers.keys()) own.add(name);
  for (const name of graph.sparseInitializers.keys()) own.add(name);
  const captured = new Set<string>();
  for (const node of graph.nodes) {
    for (const name of usedNames(node)) if (!own.has(name)) captured.add(name);
    for (const o of node.outputs) own.add(o);
  }
  for (const v of graph.outputs) if (!own.has(v.name)) captured.add(v.name);
  return captured;
}

/** Inputs of the node and what its subgraphs capture. */
export function usedNames(node: Node): Iterable<string> {
  const graphs = subgraphs(node);
  const direct = node.inputs.filter((n) => n !== '');
  if (graphs.length === 0) return direct;
  const all = new Set(direct);
  for (const g of graphs) for (const name of capturedNames(g)) all.add(name);
  return all;
}

/** Without the nodes that no output needs, and without the initializers and value_info that nobody names any more. */
export function removeDead(graph: Graph): Graph {
  const needed = new Set(graph.outputs.map((v) => v.name));
  const kept: Node[] = [];
  for (let i = graph.nodes.length - 1; i >= 0; i--) {
    const node = graph.nodes[i]!;
    if (!node.outputs.some((o) => needed.has(o))) continue;
    kept.push(node);
    for (const name of usedNames(node)) needed.add(name);
  }
  kept.reverse();
  const inputs = new Set(graph.inputs.map((v) => v.name));
  const made = new Set(kept.flatMap((n) => n.outputs));
  const initializers = new Map([...graph.initializers].filter(([name]) => needed.has(name) || inputs.has(name)));
  const valueInfo = new Map([...graph.valueInfo].filter(([name]) => made.has(name) || needed.has(name)));
  return { ...graph, nodes: kept, initializers, valueInfo };
}

/** A new name that the graph does not use yet. */
export function freshName(taken: ReadonlySet<string>, stem: string): string {
  if (!taken.has(stem)) return stem;
  let i = 1;
  while (taken.has(`${stem}_${i}`)) i++;
  return `${stem}_${i}`;
}

/** Every value and initializer name of the graph, its subgraphs included. */
export function allNames(graph: Graph, into = new Set<string>()): Set<string> {
  for (const v of graph.inputs) into.add(v.name);
  for (const name of graph.initializers.keys()) into.add(name);
  for (const name of graph.sparseInitializers.keys()) into.add(name);
  for (const node of graph.nodes) {
    for (const name of node.inputs) into.add(name);
    for (const name of node.outputs) into.add(name);
    for (const g of subgraphs(node)) allNames(g, into);
  }
  return into;
}

/** Applies `edit` to each graph inside an attribute. */
export function mapGraphs(attribute: Attribute, edit: (g: Graph) => Graph): Attribute {
  if (attribute.kind === 'graph') return { ...attribute, value: edit(attribute.value) };
  if (attribute.kind === 'graphs') return { ...attribute, value: attribute.value.map(edit) };
  return attribute;
}
