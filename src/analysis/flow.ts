// The graph that channels are looked for in: that of the model, with the branches of its Ifs laid open. What cannot be opened stays one
// node, which freezes what it touches.
import { PareError } from '../errors.js';
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

/** `shapes`: of the model, with that binding. `decided`: also Ifs of which the branch is known that runs with these dims. */
export function openFlow(model: Model, table: OpTable, binding: Binding, shapes: Shapes, decided: boolean): OpenFlow {
  const opened = new Set<Node>();
  let now: OpenFlow = { flow: layOpen(model, () => false), table, shapes };
  const wider = (more: readonly Node[]): OpenFlow => {
    const all = new Set([...opened, ...more.map(now.flow.originOf)]);
    const flow = layOpen(model, (node) => all.has(node));
    const rules = now.table === table ? table.with(flowOps) : now.table;
    return { flow, table: rules, shapes: inferShapes(flow.model, rules, binding) };
  };
  const closed = new Set<Node>();
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const ifs = now.flow.model.graph.nodes.filter((n) => canOpen(model, n) && !closed.has(now.flow.originOf(n)));
    const isKnown = (node: Node): boolean => now.shapes.values.get(node.inputs[0]!)?.elems[0] !== undefined;
    const unsure = ifs.filter((node) => !isKnown(node));
    const known = decided ? ifs.filter(isKnown) : [];
    let next = known.length === 0 ? undefined : orNothing(() => wider([...unsure, ...known]));
    if (next === undefined) for (const node of known) closed.add(now.flow.originOf(node));
    else for (const node of known) opened.add(now.flow.originOf(node));
    if (next === undefined && unsure.length > 0) next = wider(unsure);
    if (next === undefined) break;
    for (const node of unsure) opened.add(now.flow.originOf(node));
    now = next;
  }
  return now;
}

/** The branch that does not run may not even fit the dims at hand. */
function orNothing<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch (error) {
    if (error instanceof PareError) return undefined;
    throw error;
  }
}

function canOpen(model: Model, node: Node): boolean {
  if (node.opType !== 'If' || node.domain !== '' || node.inputs.length !== 1 || node.outputs.length === 0) return false;
  const bodies = subgraphs(node);
  return (
    // before IR 4 the initializers of a branch are its inputs
    model.irVersion >= 4 &&
    bodies.length === 2 &&
    bodies.every(
      (b) => b.inputs.length === 0 && b.sparseInitializers.size === 0 && b.outputs.length === node.outputs.length,
    )
  );
}
