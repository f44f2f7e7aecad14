// The graph that channels are looked for in: that of the model, with the branches of its Ifs and the bodies of its loops laid open. What
// cannot be opened stays one node, which freezes what it touches.
import { orNothing } from '../errors.js';
import { FLOW, layOpen, type Body, type Flow } from '../ir/flow.js';
import { attrInt, opsetOf, type Model, type Node, type ValueType } from '../ir/graph.js';
import { subgraphs } from '../ir/walk.js';
import { flowOps } from '../ops/flow.js';
import type { OpTable } from '../ops/op.js';
import { inferShapes, type Binding, type Shapes } from './shapes.js';

export interface OpenFlow {
  readonly flow: Flow;
  /** With the rules for marks, where there are any. */
  readonly table: OpTable;
  /** Of every value of the open graph, for each binding. */
  readonly shapes: readonly Shapes[];
}

export interface OpenOptions {
  readonly bindings: readonly Binding[];
  /** Shapes of the model with these bindings. */
  readonly shapes: readonly Shapes[];
  /** Open Ifs as well of which the branch is known that runs with the first binding. */
  readonly decided: boolean;
}

/** Bodies within bodies are opened in rounds. */
const MOST_ROUNDS = 16;

export function openFlow(model: Model, table: OpTable, options: OpenOptions): OpenFlow {
  const opened = new Set<Node>();
  const closed = new Set<Node>();
  let now: OpenFlow = { flow: layOpen(model, () => false), table, shapes: options.shapes };
  const opening = (more: readonly Node[]): OpenFlow => {
    const all = new Set([...opened, ...more]);
    const flow = layOpen(model, (node) => all.has(node));
    const rules = table.with(flowOps(table, opsetOf(model), flow.bodies));
    return { flow, table: rules, shapes: options.bindings.map((b) => inferShapes(flow.model, rules, b)) };
  };
  const accept = (next: OpenFlow, more: readonly Node[]): void => {
    for (const node of more) opened.add(node);
    now = next;
  };
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const unsure: Node[] = [];
    const risky: Node[] = [];
    for (const node of now.flow.model.graph.nodes) {
      const origin = now.flow.originOf(node);
      if (closed.has(origin) || !canOpen(model, node)) continue;
      const known = node.opType === 'If' && now.shapes[0]!.values.get(node.inputs[0]!)?.elems[0] !== undefined;
      if (!known && node.opType === 'If') unsure.push(origin);
      else if (!known || options.decided) risky.push(origin);
    }
    if (unsure.length + risky.length === 0) break;
    let more = [...unsure, ...risky];
    let next = risky.length === 0 ? opening(more) : orNothing(() => opening(more));
    // states that change their shapes, and branches that do not fit the dims at hand
    const bad = next === undefined ? risky : [...unsteady(next)].filter((node) => risky.includes(node));
    if (bad.length > 0) {
      for (const node of bad) closed.add(node);
      more = more.filter((node) => !closed.has(node));
      next = more.length === 0 ? undefined : opening(more);
    }
    if (next !== undefined) accept(next, more);
  }
  return now;
}

function canOpen(model: Model, node: Node): boolean {
  // before IR 4 the initializers of a body are its inputs
  if (node.domain !== '' || node.outputs.length === 0 || model.irVersion < 4) return false;
  const bodies = subgraphs(node);
  if (bodies.some((b) => b.sparseInitializers.size > 0 || b.inputs.some((v) => b.initializers.has(v.name))))
    return false;
  const [first] = bodies;
  switch (node.opType) {
    case 'If':
      return (
        node.inputs.length === 1 &&
        bodies.length === 2 &&
        bodies.every((b) => b.inputs.length === 0 && b.outputs.length === node.outputs.length)
      );
    case 'Loop':
    case 'Scan':
      return (
        bodies.length === 1 &&
        (node.opType === 'Loop' || opsetOf(model) >= 9) &&
        first!.inputs.length === node.inputs.length &&
        first!.outputs.length === node.outputs.length + (node.opType === 'Loop' ? 1 : 0)
      );
    default:
      return false;
  }
}

/** Loops whose states do not have the same type in every iteration. */
function unsteady({ flow, shapes }: OpenFlow): Set<Node> {
  const byToken = new Map(flow.bodies.map((b): [string, Body] => [b.token, b]));
  const found = new Set<Node>();
  for (const mark of flow.model.graph.nodes) {
    if (mark.domain !== FLOW || (mark.opType !== 'Loop' && mark.opType !== 'Scan')) continue;
    const body = byToken.get(mark.inputs[0]!)!;
    const { inputs, outputs } = body.graph;
    // a Loop's body has the iteration and the condition before its states
    const [given, made] = mark.opType === 'Loop' ? [2, 1] : [0, 0];
    const states = inputs.length - given - attrInt(mark, 'num_scan_inputs', 0);
    for (let k = 0; k < states; k++) {
      const before = mark.inputs[1 + outputs.length + given + k]!;
      const after = mark.inputs[1 + made + k]!;
      if (!shapes.every(({ types }) => isSteady(types.get(before), types.get(after)))) found.add(body.node);
    }
  }
  return found;
}

/** What is said of the state holds after an iteration, too; of a dim that is no number nothing is said. */
function isSteady(before: ValueType | undefined, after: ValueType | undefined): boolean {
  if (before?.kind !== 'tensor' || after?.kind !== 'tensor') return false;
  const dims = after.shape;
  if (before.elemType !== after.elemType || before.shape === undefined) return false;
  return dims?.length === before.shape.length && before.shape.every((d, k) => typeof d !== 'number' || d === dims[k]);
}
