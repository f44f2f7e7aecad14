// A model without functions and branches: each call is replaced by the function's nodes and each If by the nodes of one of its
// branches, under new names. Loops stay: their bodies run at other shapes each time.
import type { Attribute, Graph, Model, Node } from './graph.js';
import type { Tensor } from './tensor.js';
import { allNames, hasSubgraphs, mapGraphs, subgraphs } from './walk.js';

/** The branch of an If that stands for it; undefined leaves the If as it is. */
export type BranchChoice = (node: Node) => Graph | undefined;

/** The branch with more nodes: what the network does when it does most. */
export const largerBranch: BranchChoice = (node) => {
  const [first, second] = subgraphs(node);
  return first !== undefined && second !== undefined && sizeOf(second) > sizeOf(first) ? second : first;
};

/** The same model when it has neither. Calls and branches inside loops stay, and so do functions of other opsets than the model's. */
export function inlined(model: Model, choose: BranchChoice = largerBranch): Model {
  const callable = model.functions.filter((f) =>
    [...f.opsets].every(([domain, v]) => (model.opsets.get(domain) ?? v) === v),
  );
  const branches = model.graph.nodes.some((n) => n.opType === 'If' && n.domain === '' && choose(n) !== undefined);
  if (callable.length === 0 && !branches) return model;
  const functions = new Map(callable.map((f) => [keyOf(f.domain, f.name, f.overload), f]));
  const taken = allNames(model.graph);
  const nodes: Node[] = [];
  const initializers = new Map<string, Tensor>(model.graph.initializers);
  let calls = 0;
  const fresh = (stem: string): string => {
    let made = stem;
    while (taken.has(made)) made += '_';
    taken.add(made);
    return made;
  };
  const copy = (from: string, to: string): void => {
    nodes.push({ name: to, opType: 'Identity', domain: '', inputs: [from], outputs: [to], attributes: new Map() });
  };
  const expand = (node: Node, calling: ReadonlySet<string>): void => {
    if (node.opType === 'If' && node.domain === '') {
      branch(node, calling);
      return;
    }
    const key = keyOf(node.domain, node.opType, node.overload ?? '');
    const def = functions.get(key);
    if (def === undefined || calling.has(key)) {
      nodes.push(node);
      return;
    }
    const names = new Map(def.inputs.map((name, i) => [name, node.inputs[i] ?? '']));
    def.outputs.forEach((name, i) => {
      const outer = node.outputs[i] ?? '';
      if (outer !== '') names.set(name, outer);
    });
    const call = ++calls;
    const rename = (name: string): string => {
      if (name === '') return '';
      const known = names.get(name);
      if (known !== undefined) return known;
      const made = fresh(`${name}_call_${call}`);
      names.set(name, made);
      return made;
    };
    const bind = (a: Attribute): Attribute | undefined =>
      a.kind === 'ref' ? (node.attributes.get(a.value) ?? def.attributeDefaults.get(a.value)) : a;
    const inside = new Set(calling).add(key);
    for (const inner of def.nodes) expand(renamed(inner, rename, bind), inside);
    // an output that is an input: nothing makes it, so a copy does
    def.outputs.forEach((name, i) => {
      const outer = node.outputs[i] ?? '';
      const source = def.inputs.indexOf(name);
      if (outer !== '' && source >= 0) copy(node.inputs[source] ?? '', outer);
    });
  };
  const branch = (node: Node, calling: ReadonlySet<string>): void => {
    const body = choose(node);
    if (body === undefined || body.sparseInitializers.size > 0) {
      nodes.push(node);
      return;
    }
    const call = ++calls;
    const names = new Map<string, string>();
    const define = (name: string): void => {
      if (name !== '') names.set(name, fresh(`${name}_if_${call}`));
    };
    for (const name of body.initializers.keys()) define(name);
    for (const inner of body.nodes) for (const o of inner.outputs) define(o);
    // names that the branch does not define are those around it
    const rename = (name: string): string => names.get(name) ?? name;
    for (const [name, t] of body.initializers) initializers.set(rename(name), { ...t, name: rename(name) });
    for (const inner of body.nodes)
      expand(
        renamed(inner, rename, (a) => a),
        calling,
      );
    body.outputs.forEach((o, i) => {
      const outer = node.outputs[i] ?? '';
      if (outer !== '') copy(rename(o.name), outer);
    });
  };
  for (const node of model.graph.nodes) expand(node, new Set());
  const opsets = new Map(model.opsets);
  for (const f of model.functions) {
    for (const [domain, version] of f.opsets) if (!opsets.has(domain)) opsets.set(domain, version);
  }
  const used = new Set<string>();
  const look = (list: readonly Node[]): void => {
    for (const n of list) {
      used.add(keyOf(n.domain, n.opType, n.overload ?? ''));
      for (const g of subgraphs(n)) look(g.nodes);
    }
  };
  look(nodes);
  // a function that is still called somewhere (in a loop) may call others
  const kept = model.functions.some((f) => used.has(keyOf(f.domain, f.name, f.overload))) ? model.functions : [];
  return { ...model, opsets, functions: kept, graph: { ...model.graph, nodes, initializers } };
}

function keyOf(domain: string, name: string, overload: string): string {
  return `${domain}:${name}:${overload}`;
}

/** Nodes, those of inner graphs included. */
function sizeOf(graph: Graph): number {
  return graph.nodes.reduce((n, node) => n + 1 + subgraphs(node).reduce((m, g) => m + sizeOf(g), 0), 0);
}

export function renamed(
  node: Node,
  rename: (name: string) => string,
  bind: (attribute: Attribute) => Attribute | undefined,
): Node {
  const attributes = new Map<string, Attribute>();
  for (const [name, a] of node.attributes) {
    const bound = bind(a);
    if (bound !== undefined)
      attributes.set(
        name,
        mapGraphs({ ...bound, name }, (g) => renamedGraph(g, rename)),
      );
  }
  return {
    name: node.name,
    opType: node.opType,
    domain: node.domain,
    inputs: node.inputs.map(rename),
    outputs: node.outputs.map(rename),
    attributes,
    ...(node.overload === undefined ? {} : { overload: node.overload }),
  };
}

/** Names of an inner graph are renamed with those outside, which keeps captures right. */
function renamedGraph(graph: Graph, rename: (name: string) => string): Graph {
  const value = <T extends { readonly name: string }>(v: T): T => ({ ...v, name: rename(v.name) });
  return {
    name: graph.name,
    nodes: graph.nodes.map((node) => {
      const attributes = hasSubgraphs(node)
        ? new Map([...node.attributes].map(([k, a]) => [k, mapGraphs(a, (g) => renamedGraph(g, rename))]))
        : node.attributes;
      const { source: _, ...plain } = node;
      return { ...plain, inputs: node.inputs.map(rename), outputs: node.outputs.map(rename), attributes };
    }),
    initializers: new Map([...graph.initializers].map(([name, t]) => [rename(name), { ...t, name: rename(name) }])),
    sparseInitializers: new Map([...graph.sparseInitializers].map(([name, t]) => [rename(name), value(t)])),
    inputs: graph.inputs.map(value),
    outputs: graph.outputs.map(value),
    valueInfo: new Map(),
  };
}
