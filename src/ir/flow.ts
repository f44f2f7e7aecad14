// A graph with the bodies of some nodes (branches of an If, loops) laid open between marks, under names that are unique in the whole
// graph: what runs along values then runs through bodies too. `close` puts an edited one back into the form it came from.
import type { Attribute, Graph, Model, Node, ValueInfo } from './graph.js';
import { renamed } from './inline.js';
import type { Tensor } from './tensor.js';
import { allNames, subgraphs } from './walk.js';

/** Domain of the marks, which no file has. */
export const FLOW = 'pare.flow';

/**
 * A body laid open. In front of it stands a mark `If body`: (inputs of the node; the token of the body before) -> (token, inputs of the
 * body). The mark behind the last body of a node has the node's name: (token, outputs of the bodies) -> (outputs of the node); that of
 * a loop then has the body's inputs and the node's among its own.
 */
export interface Body {
  /** The node as the model has it. */
  readonly node: Node;
  readonly attribute: string;
  readonly graph: Graph;
  /** Body that the node lies in; -1 = the main graph. */
  readonly parent: number;
  /** The first body of its node. */
  readonly first: number;
  /** First output of its mark. */
  readonly token: string;
  /** The node as it would stand in the open graph were it closed. */
  readonly flat: Node;
}

export interface Flow {
  readonly model: Model;
  /** Outer ones before inner ones, those of one node side by side, then_branch first. */
  readonly bodies: readonly Body[];
  /** The body that each node lies in; -1 = the main graph. A mark lies where its node lay. */
  readonly homes: Int32Array;
  /** The node of the model that a node stands for. */
  readonly originOf: (node: Node) => Node;
  /** An edited `model` with its bodies where they were; what was not edited is the same object. */
  readonly close: (edited: Model) => Model;
}

/** The model itself where nothing is opened. */
export function layOpen(model: Model, open: (node: Node) => boolean): Flow {
  const state: State = {
    taken: allNames(model.graph),
    used: topNames(model.graph),
    bodies: [],
    tokens: new Map(),
    nodes: [],
    homes: [],
    initializers: new Map(model.graph.initializers),
    valueInfo: new Map(model.graph.valueInfo),
    back: new Map(),
    origins: new Map(),
    names: [],
    open,
  };
  for (const node of model.graph.nodes) visit(state, node, undefined, -1);
  const { bodies, origins } = state;
  const flat: Model =
    bodies.length === 0
      ? model
      : {
          ...model,
          opsets: new Map(model.opsets).set(FLOW, 1),
          graph: {
            ...model.graph,
            nodes: state.nodes,
            initializers: state.initializers,
            valueInfo: state.valueInfo,
          },
        };
  return {
    model: flat,
    bodies,
    homes: Int32Array.from(state.homes),
    originOf: (node) => origins.get(node) ?? node,
    close: (edited) => (bodies.length === 0 ? edited : closed(model, state, edited)),
  };
}

/** In this order. */
const BODIES = ['then_branch', 'else_branch', 'body'] as const;

interface State {
  /** Every name of the model and those made here. */
  readonly taken: Set<string>;
  /** Names that are given in the open graph. */
  readonly used: Set<string>;
  readonly bodies: Body[];
  /** Token -> its body. */
  readonly tokens: Map<string, number>;
  readonly nodes: Node[];
  readonly homes: number[];
  readonly initializers: Map<string, Tensor>;
  readonly valueInfo: Map<string, ValueInfo>;
  /** New names -> the old ones. */
  readonly back: Map<string, string>;
  readonly origins: Map<Node, Node>;
  /** The names of each body. */
  readonly names: Names[];
  readonly open: (node: Node) => boolean;
}

/** New names of a body and of those around it. */
interface Names {
  readonly own: ReadonlyMap<string, string>;
  readonly outer: Names | undefined;
}

function find(names: Names | undefined, name: string): string {
  for (let n = names; n !== undefined; n = n.outer) {
    const found = n.own.get(name);
    if (found !== undefined) return found;
  }
  return name;
}

function topNames(graph: Graph): Set<string> {
  const names = new Set([...graph.inputs.map((v) => v.name), ...graph.initializers.keys()]);
  for (const name of graph.sparseInitializers.keys()) names.add(name);
  for (const node of graph.nodes) for (const name of [...node.inputs, ...node.outputs]) names.add(name);
  return names;
}

function freshIn({ taken }: State, stem: string): string {
  let made = stem;
  for (let k = 1; taken.has(made); k++) made = `${stem}_${k}`;
  taken.add(made);
  return made;
}

function visit(state: State, node: Node, names: Names | undefined, home: number): void {
  const rename = (name: string): string => find(names, name);
  if (!state.open(node)) {
    push(state, names === undefined ? node : renamedAsNeeded(node, rename), node, home);
    return;
  }
  const inputs = node.inputs.map(rename);
  const flat = names === undefined ? node : renamedAsNeeded(node, rename);
  const behind: string[] = [];
  const given: string[] = [];
  let token = '';
  const first = state.bodies.length;
  for (const attribute of BODIES) {
    const a = node.attributes.get(attribute);
    if (a?.kind !== 'graph') continue;
    const body = state.bodies.length;
    const graph = a.value;
    const own = namesOf(state, graph, names);
    state.names.push(own);
    const before = token;
    token = freshIn(state, `${node.name || (node.outputs[0] ?? '')}_${attribute}`);
    state.bodies.push({ node, attribute, graph, parent: home, first, token, flat });
    state.tokens.set(token, body);
    const outputs = [token, ...graph.inputs.map((v) => find(own, v.name))];
    push(state, mark(node, `${node.opType} body`, body === first ? inputs : [before], outputs), node, home);
    for (const [name, t] of graph.initializers) {
      const now = find(own, name);
      state.initializers.set(now, now === name ? t : { ...t, name: now });
    }
    for (const v of [...graph.inputs, ...graph.outputs, ...graph.valueInfo.values()]) {
      const name = find(own, v.name);
      if (v.type !== undefined && !state.valueInfo.has(name)) state.valueInfo.set(name, { ...v, name });
    }
    for (const inner of graph.nodes) visit(state, inner, own, body);
    given.push(...graph.outputs.map((v) => find(own, v.name)));
    if (attribute === 'body') behind.push(...graph.inputs.map((v) => find(own, v.name)), ...inputs);
  }
  push(state, mark(node, node.opType, [token, ...given, ...behind], node.outputs.map(rename)), node, home);
}

/** Names that a body gives; those that are given elsewhere already are changed. */
function namesOf(state: State, graph: Graph, outer: Names | undefined): Names {
  const own = new Map<string, string>();
  const give = (name: string): void => {
    if (name === '') return;
    let now = name;
    if (state.used.has(name)) {
      now = freshIn(state, name);
      state.back.set(now, name);
    }
    state.used.add(now);
    // a name that shadows one around it is not that one
    if (now !== name || find(outer, name) !== name) own.set(name, now);
  };
  for (const v of graph.inputs) give(v.name);
  for (const name of graph.initializers.keys()) give(name);
  for (const node of graph.nodes) for (const o of node.outputs) give(o);
  return { own, outer };
}

function renamedAsNeeded(node: Node, rename: (name: string) => string): Node {
  const same = (name: string): boolean => rename(name) === name;
  if (node.inputs.every(same) && node.outputs.every(same) && subgraphs(node).every((g) => every(g, same))) return node;
  return renamed(node, rename, (a) => a);
}

function every(graph: Graph, test: (name: string) => boolean): boolean {
  for (const name of allNames(graph)) if (!test(name)) return false;
  return graph.outputs.every((v) => test(v.name));
}

function mark(node: Node, opType: string, inputs: readonly string[], outputs: readonly string[]): Node {
  const attributes = new Map([...node.attributes].filter(([, a]) => a.kind !== 'graph'));
  return { name: node.name, opType, domain: FLOW, inputs, outputs, attributes };
}

function push(state: State, node: Node, origin: Node, home: number): void {
  state.nodes.push(node);
  state.homes.push(home);
  if (node !== origin) state.origins.set(node, origin);
}

interface Frame {
  /** The first mark of the node, as edited. */
  readonly begin: Node | undefined;
  readonly bodies: number[];
  readonly lists: Node[][];
}

function closed(model: Model, state: State, edited: Model): Model {
  const { graph } = edited;
  const old = (name: string): string => state.back.get(name) ?? name;
  const taken = allNames(graph, new Set(state.taken));
  const put = (node: Node): Node => state.origins.get(node) ?? renamedAsNeeded(node, old);
  const frames: Frame[] = [{ begin: undefined, bodies: [], lists: [[]] }];
  for (const node of graph.nodes) {
    const top = frames.at(-1)!;
    const body = node.domain === FLOW ? state.tokens.get(node.outputs[0] ?? '') : undefined;
    if (node.domain !== FLOW) top.lists.at(-1)!.push(put(node));
    else if (body === undefined) {
      frames.pop();
      frames
        .at(-1)!
        .lists.at(-1)!
        .push(closedNode(state, taken, edited, top, node));
    } else if (state.bodies[body]!.first === body) frames.push({ begin: node, bodies: [body], lists: [[]] });
    else {
      top.bodies.push(body);
      top.lists.push([]);
    }
  }
  const inside = new Set<string>();
  state.bodies.forEach((body, i) => {
    for (const name of ownNames(body.graph)) inside.add(find(state.names[i], name));
  });
  const outside = <T>(all: ReadonlyMap<string, T>, before: ReadonlyMap<string, T>): ReadonlyMap<string, T> =>
    sameOr(before, new Map([...all].filter(([name]) => before.has(name) || !inside.has(name))));
  const made: Graph = {
    ...graph,
    nodes: sameList(model.graph.nodes, frames[0]!.lists[0]!),
    initializers: outside(graph.initializers, model.graph.initializers),
    valueInfo: outside(graph.valueInfo, model.graph.valueInfo),
  };
  return made.nodes === model.graph.nodes && made.initializers === model.graph.initializers
    ? model
    : { ...edited, opsets: sameOr(model.opsets, new Map([...edited.opsets].filter(([d]) => d !== FLOW))), graph: made };
}

function ownNames(graph: Graph): string[] {
  const made = graph.nodes.flatMap((n) => n.outputs);
  return [...graph.inputs.map((v) => v.name), ...graph.initializers.keys(), ...made].filter((n) => n !== '');
}

/** The node with its bodies, from what stands between its marks. */
function closedNode(state: State, taken: Set<string>, edited: Model, { begin, bodies, lists }: Frame, end: Node): Node {
  const node = state.bodies[bodies[0]!]!.node;
  const attributes = new Map<string, Attribute>(node.attributes);
  let at = 1;
  bodies.forEach((b, k) => {
    const body = state.bodies[b]!;
    const given = end.inputs.slice(at, (at += body.graph.outputs.length));
    const graph = closedGraph(state, taken, edited, b, lists[k]!, given);
    const before = attributes.get(body.attribute);
    if (before?.kind === 'graph' && graph !== before.value) attributes.set(body.attribute, { ...before, value: graph });
  });
  const old = (name: string): string => state.back.get(name) ?? name;
  const inputs = sameList(node.inputs, begin!.inputs.map(old));
  const same = inputs === node.inputs && [...attributes].every(([name, a]) => node.attributes.get(name) === a);
  return same ? node : { ...node, inputs, attributes };
}

function closedGraph(
  state: State,
  taken: Set<string>,
  edited: Model,
  index: number,
  list: readonly Node[],
  given: readonly string[],
): Graph {
  const { graph } = state.bodies[index]!;
  const names = state.names[index];
  const old = (name: string): string => state.back.get(name) ?? name;
  const nodes = [...list];
  const initializers = new Map<string, Tensor>();
  for (const [name, before] of graph.initializers) {
    const now = find(names, name);
    const t = edited.graph.initializers.get(now);
    if (t !== undefined) initializers.set(name, t === state.initializers.get(now) ? before : { ...t, name });
  }
  const typed = (v: ValueInfo, now: string): ValueInfo => {
    if (v.type === undefined) return v;
    const info = edited.graph.valueInfo.get(now);
    if (info?.type !== undefined && info.type === state.valueInfo.get(now)?.type) return v;
    if (info?.type !== undefined) return { ...v, type: info.type };
    const { type } = v;
    return { ...v, type: type.kind === 'tensor' ? { kind: 'tensor', elemType: type.elemType } : type };
  };
  const own = new Set([...graph.inputs.map((v) => v.name), ...initializers.keys(), ...nodes.flatMap((n) => n.outputs)]);
  const outputs = graph.outputs.map((v, k) => {
    const now = given[k]!;
    if (own.has(old(now))) return old(now) === v.name ? typed(v, now) : { ...typed(v, now), name: old(now) };
    // runtimes want what a body gives to be made in it
    let name = `${v.name}_given`;
    while (taken.has(name)) name += '_';
    taken.add(name);
    nodes.push({
      name,
      opType: 'Identity',
      domain: '',
      inputs: [old(now)],
      outputs: [name],
      attributes: new Map(),
    });
    return { ...typed(v, now), name };
  });
  const inputs = graph.inputs.map((v) => typed(v, find(names, v.name)));
  const valueInfo = new Map<string, ValueInfo>();
  for (const [name, v] of graph.valueInfo) {
    const now = find(names, name);
    if (v.type === undefined || edited.graph.valueInfo.has(now)) valueInfo.set(name, typed(v, now));
  }
  const made = {
    nodes: sameList(graph.nodes, nodes),
    initializers: sameOr(graph.initializers, initializers),
    inputs: sameList(graph.inputs, inputs),
    outputs: sameList(graph.outputs, outputs),
    valueInfo: sameOr(graph.valueInfo, valueInfo),
  };
  const same =
    made.nodes === graph.nodes &&
    made.initializers === graph.initializers &&
    made.inputs === graph.inputs &&
    made.outputs === graph.outputs &&
    made.valueInfo === graph.valueInfo;
  return same ? graph : { ...graph, ...made };
}

function sameList<T>(before: readonly T[], now: readonly T[]): readonly T[] {
  return before.length === now.length && before.every((x, i) => x === now[i]) ? before : now;
}

function sameOr<T>(before: ReadonlyMap<string, T>, now: ReadonlyMap<string, T>): ReadonlyMap<string, T> {
  return before.size === now.size && [...now].every(([name, x]) => before.get(name) === x) ? before : now;
}
