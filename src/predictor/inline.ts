// A model without functions of its own: each call is replaced by the function's nodes, under new names.
import type { Attribute, FunctionDef, Graph, Model, Node } from '../ir/graph.js';
import { allNames, hasSubgraphs, mapGraphs } from '../ir/walk.js';

/** The same model when it has no functions. Calls inside subgraphs stay. */
export function inlineFunctions(model: Model): Model {
  if (model.functions.length === 0) return model;
  const functions = new Map(model.functions.map((f) => [keyOf(f.domain, f.name, f.overload), f]));
  const taken = allNames(model.graph);
  let calls = 0;
  const nodes: Node[] = [];
  const expand = (node: Node, calling: ReadonlySet<string>): void => {
    const key = keyOf(node.domain, node.opType, node.overload ?? '');
    const def = functions.get(key);
    if (def === undefined || calling.has(key)) {
      nodes.push(node);
      return;
    }
    const names = new Map<string, string>();
    def.inputs.forEach((name, i) => names.set(name, node.inputs[i] ?? ''));
    def.outputs.forEach((name, i) => {
      const outer = node.outputs[i] ?? '';
      if (outer !== '') names.set(name, outer);
    });
    const call = ++calls;
    const rename = (name: string): string => {
      if (name === '') return '';
      const known = names.get(name);
      if (known !== undefined) return known;
      let made = `${name}_call_${call}`;
      while (taken.has(made)) made += '_';
      taken.add(made);
      names.set(name, made);
      return made;
    };
    const inside = new Set(calling).add(key);
    for (const inner of def.nodes) expand(renamed(inner, rename, node, def), inside);
    // an output that is an input: nothing makes it, so a copy does
    def.outputs.forEach((name, i) => {
      const outer = node.outputs[i] ?? '';
      const source = def.inputs.indexOf(name);
      if (outer === '' || source < 0) return;
      const inputs = [node.inputs[source] ?? ''];
      nodes.push({ name: outer, opType: 'Identity', domain: '', inputs, outputs: [outer], attributes: new Map() });
    });
  };
  for (const node of model.graph.nodes) expand(node, new Set());
  const opsets = new Map(model.opsets);
  for (const f of model.functions) {
    for (const [domain, version] of f.opsets) if (!opsets.has(domain)) opsets.set(domain, version);
  }
  return { ...model, opsets, functions: [], graph: { ...model.graph, nodes } };
}

function keyOf(domain: string, name: string, overload: string): string {
  return `${domain}:${name}:${overload}`;
}

function renamed(node: Node, rename: (name: string) => string, call: Node, def: FunctionDef): Node {
  const attributes = new Map<string, Attribute>();
  for (const [name, a] of node.attributes) {
    const bound = a.kind === 'ref' ? (call.attributes.get(a.value) ?? def.attributeDefaults.get(a.value)) : a;
    if (bound !== undefined)
      attributes.set(
        name,
        mapGraphs({ ...bound, name }, (g) => renamedGraph(g, rename)),
      );
  }
  return {
    name: node.name === '' ? '' : rename(node.name),
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
