// The graph that channels are looked for in: that of the model, with the branches of every If whose condition nobody knows laid open.
// What cannot be opened stays one node, which freezes what it touches.
import { layOpen, type Flow } from '../ir/flow.js';
import type { Model, Node } from '../ir/graph.js';
import { subgraphs } from '../ir/walk.js';
import { flowOps } from '../ops/flow.js';
import type { OpTable } from '../ops/op.js';
import { inferShapes, type Binding, type Shapes } from './shapes.js';

export interface OpenFlow {
  readonly flow: Flow;
  /** With the rules for marks, where there are any. */
  readonly table: OpTable;
  /** Of every value of the open graph. */
  readonly shapes: Shapes;
}

/** Branches within branches are opened in rounds. */
const MOST_ROUNDS = 16;

/** `shapes`: of the model, with that binding. */
export function openFlow(model: Model, table: OpTable, binding: Binding, shapes: Shapes): OpenFlow {
  const opened = new Set<Node>();
  let now: OpenFlow = { flow: layOpen(model, () => false), table, shapes };
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const next = now.flow.model.graph.nodes.filter((node) => isOpen(model, node, now.shapes));
    if (next.length === 0) break;
    for (const node of next) opened.add(now.flow.originOf(node));
    const flow = layOpen(model, (node) => opened.has(node));
    const wider = round === 0 ? table.with(flowOps) : now.table;
    now = { flow, table: wider, shapes: inferShapes(flow.model, wider, binding) };
  }
  return now;
}

/** A branch that is known to be taken is all there is to an If: see prepare.ts. */
function isOpen(model: Model, node: Node, shapes: Shapes): boolean {
  if (node.opType !== 'If' || node.domain !== '' || node.inputs.length !== 1 || node.outputs.length === 0) return false;
  // before IR 4 the initializers of a branch are its inputs
  if (model.irVersion < 4 || shapes.values.get(node.inputs[0]!)?.elems[0] !== undefined) return false;
  const bodies = subgraphs(node);
  return (
    bodies.length === 2 &&
    bodies.every(
      (b) => b.inputs.length === 0 && b.sparseInitializers.size === 0 && b.outputs.length === node.outputs.length,
    )
  );
}
