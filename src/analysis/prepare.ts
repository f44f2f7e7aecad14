// What is done to every model before channels are looked for in it, and changes nothing that it computes: calls of the model's own
// functions become the functions' nodes, an If whose condition is known becomes its branch, and constants that nodes compute in ways
// that no cut can be carried back through are computed once (standardised weights but for their last bits). A model that has nothing
// of this stays the same object.
import type { Graph, Model, Node } from '../ir/graph.js';
import { inlined } from '../ir/inline.js';
import { hasSubgraphs } from '../ir/walk.js';
import type { OpTable } from '../ops/op.js';
import { withComputedWeights } from './computed-weights.js';
import { foldConstants } from './fold.js';
import { openFlow } from './flow.js';
import { inferShapes, type Shapes } from './shapes.js';

/** Branches within branches are found in rounds. */
const MOST_ROUNDS = 16;

/** Operators that take weights apart: a cut of their result is carried back only where the rest of the weight is unused (see constant-chains.ts), so they are computed once. */
const OPAQUE: ReadonlySet<string> = new Set(['Slice', 'Split', 'Gather', 'Tile']);

export function prepare(model: Model, table: OpTable): Model {
  let now = model;
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const next = inOpenBranches(now, table, (open, { values }) => {
      const choices = knownBranches(open, values);
      const made = inlined(open, (node) => choices.get(node));
      return choices.size === 0 && made.graph.nodes.length === open.graph.nodes.length ? open : made;
    });
    if (next === now) break;
    now = next;
  }
  return inOpenBranches(now, table, (open, _, rules) => {
    const whole = withComputedWeights(open, rules);
    return hasOpaqueConstants(whole) ? foldConstants(whole, rules) : whole;
  });
}

/** Edits the graph with the branches of undecided Ifs and the bodies of loops laid open. Dynamic dims are left open: what holds here holds for every batch. */
function inOpenBranches(
  model: Model,
  table: OpTable,
  edit: (open: Model, shapes: Pick<Shapes, 'values'>, table: OpTable) => Model,
): Model {
  if (!model.graph.nodes.some(hasSubgraphs)) return edit(model, { values: new Map() }, table);
  const options = { bindings: [{}], shapes: [inferShapes(model, table)], decided: false };
  const { flow, shapes, table: rules } = openFlow(model, table, options);
  const made = edit(flow.model, shapes[0]!, rules);
  return made === flow.model ? model : flow.close(made);
}

function isIf(node: Node): boolean {
  return node.opType === 'If' && node.domain === '';
}

function knownBranches({ graph, irVersion }: Model, values: Shapes['values']): Map<Node, Graph> {
  const found = new Map<Node, Graph>();
  // before IR 4 initializers are inputs: those of a branch have no place outside
  if (irVersion < 4) return found;
  for (const node of graph.nodes.filter(isIf)) {
    const taken = values.get(node.inputs[0] ?? '')?.elems[0];
    if (taken === undefined) continue;
    const branch = node.attributes.get(taken === 0 ? 'else_branch' : 'then_branch');
    if (branch?.kind === 'graph') found.set(node, branch.value);
  }
  return found;
}

function hasOpaqueConstants({ graph, irVersion }: Model): boolean {
  const inputs = new Set(irVersion < 4 ? [] : graph.inputs.map((v) => v.name));
  const constants = new Set(graph.initializers.keys());
  const weights = new Set<string>();
  for (const [name, t] of graph.initializers) if (t.dims.length > 1 && !inputs.has(name)) weights.add(name);
  for (const node of graph.nodes) {
    if (node.opType === 'Constant' && node.domain === '') {
      constants.add(node.outputs[0] ?? '');
      const value = node.attributes.get('value');
      if (value?.kind === 'tensor' && value.value.dims.length > 1) weights.add(node.outputs[0] ?? '');
    } else if (weights.has(node.inputs[0] ?? '') && node.domain === '') {
      const rest = node.inputs.slice(1);
      if (OPAQUE.has(node.opType) && rest.every((n) => n === '' || constants.has(n))) return true;
      if (PASSING.has(node.opType) && rest.every((n) => n === '' || constants.has(n))) {
        for (const o of node.outputs) {
          weights.add(o);
          constants.add(o);
        }
      }
    }
  }
  return false;
}

/** Behind these a weight is still one. */
const PASSING: ReadonlySet<string> = new Set([
  'Transpose',
  'Unsqueeze',
  'Squeeze',
  'Reshape',
  'Identity',
  'Cast',
  'Concat',
]);
