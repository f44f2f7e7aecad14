// Is this a valid model? Names, order, captures, opsets, functions and the sizes of weights, in linear time. Source:
// IR.md of ONNX (static single assignment, topological order, no shadowing) and onnx.checker.
import { fail } from '../errors.js';
import { describeNode, type Attribute, type FunctionDef, type Graph, type Model, type Node } from './graph.js';
import { byteLength, elementBits, elementCount, hasData, type Tensor } from './tensor.js';
import { subgraphs } from './walk.js';

export interface CheckOptions {
  /** Tensors with a shape and no data are allowed: enough for analysis, not for running. */
  readonly placeholders?: boolean;
  /** Also compare the length of every tensor's data with its dims. Reads all data; reading a file has checked it already. */
  readonly data?: boolean;
}

/** Throws a PareError for the first problem. */
export function checkModel(model: Model, options: CheckOptions = {}): void {
  const functions = new Map<string, FunctionDef>();
  for (const f of model.functions) {
    const key = functionKey(f.domain, f.name, f.overload);
    if (functions.has(key)) fail(`function "${f.name}" of domain "${f.domain}" is defined twice`);
    functions.set(key, f);
  }
  checkRecursion(functions);
  for (const f of model.functions) checkFunction(f, options);
  if (model.graph.outputs.length === 0) fail(`graph "${model.graph.name}" has no outputs: nothing would be computed`);
  // before IR version 3 there was no opset_import
  checkScope(model.graph, undefined, { ...options, opsets: model.irVersion < 3 ? undefined : model.opsets }, 0);
}

/** protobuf allows 100 nested messages: 33 graphs. */
const MAX_DEPTH = 33;

interface Rules extends CheckOptions {
  readonly opsets: ReadonlyMap<string, number> | undefined;
}

interface Scope {
  readonly names: Set<string>;
  readonly parent: Scope | undefined;
}

function checkScope(graph: Graph, parent: Scope | undefined, rules: Rules, depth: number): void {
  if (depth >= MAX_DEPTH) fail(`graph "${graph.name}": subgraphs are nested more than ${MAX_DEPTH} deep`);
  const scope: Scope = { names: new Set(), parent };
  for (const v of graph.inputs) define(v.name, scope, () => `an input of graph "${graph.name}"`);
  const inputs = new Set(scope.names);
  for (const [name, t] of graph.initializers) {
    // an initializer may give an input its default
    if (!inputs.has(name)) define(name, scope, () => `an initializer of graph "${graph.name}"`);
    checkTensor(t, rules);
  }
  for (const [name, s] of graph.sparseInitializers) {
    if (!inputs.has(name)) define(name, scope, () => `a sparse initializer of graph "${graph.name}"`);
    checkTensor(s.values, rules);
    checkTensor(s.indices, rules);
  }
  checkNodes(graph.nodes, scope, rules, depth);
  const outputs = new Set<string>();
  for (const { name } of graph.outputs) {
    if (outputs.has(name)) fail(`graph "${graph.name}": "${name}" is listed twice among the outputs`);
    outputs.add(name);
    if (!visible(name, scope)) fail(`graph "${graph.name}": nothing makes its output "${name}"`);
  }
}

function checkNodes(nodes: readonly Node[], scope: Scope, rules: Rules, depth: number): void {
  for (const node of nodes) {
    if (node.opType === '') fail(`the node that makes "${node.outputs[0] ?? ''}" has no operator`);
    if (rules.opsets !== undefined && !rules.opsets.has(node.domain)) {
      const domain = node.domain === '' ? 'ai.onnx' : node.domain;
      fail(`${describeNode(node)} is of domain "${domain}", for which opset_import gives no version`);
    }
    for (const name of node.inputs) {
      if (name !== '' && !visible(name, scope)) fail(explainAbsent(node, name, nodes));
    }
    for (const a of node.attributes.values()) checkAttribute(a, rules);
    for (const g of subgraphs(node)) checkScope(g, scope, rules, depth + 1);
    for (const name of node.outputs) if (name !== '') define(name, scope, () => `an output of ${describeNode(node)}`);
  }
}

function define(name: string, scope: Scope, what: () => string): void {
  if (name === '') fail(`${what()} has no name`);
  if (scope.names.has(name)) fail(`"${name}" is made twice, the second time as ${what()}: every value has one origin`);
  if (visible(name, scope))
    fail(`${what()} is called "${name}", like a value of the graph around it: rename one of them`);
  scope.names.add(name);
}

function visible(name: string, scope: Scope): boolean {
  for (let s: Scope | undefined = scope; s !== undefined; s = s.parent) if (s.names.has(name)) return true;
  return false;
}

/** Looked into only when something is wrong. */
function explainAbsent(node: Node, name: string, nodes: readonly Node[]): string {
  const maker = nodes.find((n) => n.outputs.includes(name));
  const use = `${describeNode(node)} uses "${name}"`;
  if (maker === undefined) return `${use}, which nothing makes`;
  if (dependsOn(maker, node, nodes)) return `${use}, which depends on that node's own output: the graph has a cycle`;
  return `${use} before ${describeNode(maker)} makes it: nodes must be in topological order`;
}

function dependsOn(node: Node, other: Node, nodes: readonly Node[]): boolean {
  const makers = new Map(nodes.flatMap((n) => n.outputs.map((o) => [o, n] as const)));
  const seen = new Set<Node>([node]);
  // grows while it is walked
  for (const n of seen) {
    if (n === other) return true;
    for (const input of n.inputs) {
      const maker = makers.get(input);
      if (maker !== undefined) seen.add(maker);
    }
  }
  return false;
}

function checkAttribute(a: Attribute, rules: Rules): void {
  if (a.kind === 'tensor') checkTensor(a.value, rules);
  else if (a.kind === 'tensors') for (const t of a.value) checkTensor(t, rules);
}

function checkTensor(t: Tensor, rules: Rules): void {
  const count = elementCount(t.dims);
  if (!t.dims.every((d) => Number.isSafeInteger(d) && d >= 0)) {
    fail(`tensor "${t.name}": dims [${t.dims.join(', ')}] must be whole numbers, none negative`);
  }
  if (!hasData(t)) {
    if (rules.placeholders === true) return;
    fail(`tensor "${t.name}" has no data: it can be analysed, but not run`);
  }
  if (t.strings !== undefined && t.strings.length !== count) {
    fail(`tensor "${t.name}": ${t.strings.length} strings, but dims [${t.dims.join(', ')}] are ${count} elements`);
  }
  if (rules.data !== true || t.bytes === undefined || elementBits(t.dataType) === 0) return;
  const [length, needed] = [t.bytes().length, byteLength(t.dataType, t.dims)];
  if (length !== needed)
    fail(`tensor "${t.name}": ${length} bytes of data, but dims [${t.dims.join(', ')}] need ${needed}`);
}

function checkFunction(f: FunctionDef, options: CheckOptions): void {
  const scope: Scope = { names: new Set(), parent: undefined };
  for (const name of f.inputs) define(name, scope, () => `an input of function "${f.name}"`);
  checkNodes(f.nodes, scope, { ...options, opsets: f.opsets }, 0);
  for (const name of f.outputs) {
    if (!scope.names.has(name)) fail(`function "${f.name}": nothing makes its output "${name}"`);
  }
}

function functionKey(domain: string, name: string, overload = ''): string {
  return JSON.stringify([domain, name, overload]);
}

/** Depth first over the calls, with a stack of its own: a hostile chain of calls may be long. */
function checkRecursion(functions: ReadonlyMap<string, FunctionDef>): void {
  const state = new Map<string, 'open' | 'done'>();
  for (const start of functions.keys()) {
    const stack = [start];
    while (stack.length > 0) {
      const key = stack.at(-1)!;
      if (state.get(key) === undefined) {
        state.set(key, 'open');
        for (const callee of calls(functions.get(key)!.nodes)) {
          if (!functions.has(callee)) continue;
          if (state.get(callee) === 'open')
            fail(`function "${functions.get(callee)!.name}" calls itself, directly or through others`);
          if (state.get(callee) === undefined) stack.push(callee);
        }
      } else {
        state.set(key, 'done');
        stack.pop();
      }
    }
  }
}

function calls(nodes: readonly Node[]): Set<string> {
  const found = new Set<string>();
  for (const n of nodes) {
    found.add(functionKey(n.domain, n.opType, n.overload));
    for (const g of subgraphs(n)) for (const key of calls(g.nodes)) found.add(key);
  }
  return found;
}
