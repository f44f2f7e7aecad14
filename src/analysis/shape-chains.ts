// Shape operands that a network computes (Shape -> Gather -> Concat -> Reshape): what they will be after a cut, by running
// inference over just those nodes, so that only what comes out wrong is replaced.
import type { Dim, Graph, Model, Node, ValueInfo, ValueType } from '../ir/graph.js';
import { usedNames } from '../ir/walk.js';
import type { OpTable, PartialValue } from '../ops/op.js';
import type { Fate } from './fate.js';
import type { ChannelPlan } from './plan.js';
import { inferShapes, type Shapes } from './shapes.js';

type Values = ReadonlyMap<string, PartialValue>;

export interface ShapeChains {
  /**
   * Contents of the computed operands once the dead channels are gone. `open`: elements that depend on the batch are unknown;
   * `bound`: with the dynamic dims of the analysis.
   */
  values(fate: Fate): { readonly open: Values; readonly bound: Values };
  /** Contents that are the same for other dynamic dims, found by trying some: what `open` leaves unknown may still not depend on the batch. */
  readonly steady: (name: string) => readonly (number | undefined)[];
  /**
   * Places [node, input] where numbers made from the shapes of labelled values leave the chains: what no recount changes there has
   * to be what it was before a cut (a scale of 1 / sqrt(C), a shape borrowed from another value).
   */
  readonly leaves: () => readonly (readonly [number, number])[];
}

export function shapeChains(
  model: Model,
  table: OpTable,
  bound: Shapes,
  open: Shapes,
  plan: ChannelPlan,
  producers: ReadonlyMap<string, number>,
  constants: ReadonlySet<string>,
): ShapeChains {
  let chain: Chain | undefined;
  let leaves: readonly (readonly [number, number])[] | undefined;
  const leave = (): readonly (readonly [number, number])[] =>
    (leaves ??= leavesOf(model.graph, plan, bound.values, constants));
  const evaluate = (found: Chain, shapes: Shapes, fate: Fate): Values => {
    const types = new Map<string, ValueType>();
    let changed = false;
    for (const name of found.measured) {
      const type = shapes.types.get(name);
      if (type === undefined) continue;
      const placed = plan.values.get(name);
      const keep = placed === undefined ? undefined : fate.keep(placed.line);
      if (placed === undefined || keep === undefined || type.kind !== 'tensor' || type.shape === undefined) {
        types.set(name, type);
        continue;
      }
      changed = true;
      // heads folded into the batch: a dim that is unknown stays unknown
      const cut = (d: Dim, k: number): Dim => (k === placed.axis && typeof d === 'number' ? keep.length : d);
      types.set(name, { ...type, shape: type.shape.map(cut) });
    }
    if (!changed) return shapes.values;
    return inferShapes({ graph: found.graph, opsets: model.opsets }, table, { types }).values;
  };
  let others: readonly Values[] | undefined;
  return {
    leaves: leave,
    steady(name) {
      if (others === undefined) {
        try {
          others = [2, 3].map((dynamic) => inferShapes(model, table, { dynamic }).values);
        } catch {
          // a network that does not bear these dims shows nothing
          others = [];
        }
      }
      const found = others;
      const own = bound.values.get(name)?.elems ?? [];
      return own.map((v, k) => (found.length > 0 && found.every((o) => o.get(name)?.elems[k] === v) ? v : undefined));
    },
    values(fate) {
      chain ??= chainOf(model.graph, plan, producers, leave());
      const first = evaluate(chain, bound, fate);
      return { bound: first, open: open === bound ? first : evaluate(chain, open, fate) };
    },
  };
}

interface Chain {
  readonly graph: Graph;
  /** Values whose shape is asked for. */
  readonly measured: readonly string[];
}

function leavesOf(graph: Graph, plan: ChannelPlan, values: Values, constants: ReadonlySet<string>): [number, number][] {
  const derived = new Set<string>();
  const leaves: [number, number][] = [];
  graph.nodes.forEach((node, i) => {
    const measures = node.domain === '' && (node.opType === 'Shape' || node.opType === 'Size');
    if (measures ? plan.values.has(node.inputs[0] ?? '') : node.inputs.some((name) => derived.has(name))) {
      const inside = measures || node.outputs.every((o) => o === '' || (constants.has(o) && values.has(o)));
      if (!inside) {
        node.inputs.forEach((name, k) => {
          if (derived.has(name) && values.has(name)) leaves.push([i, k]);
        });
      }
      for (const o of node.outputs) if (constants.has(o)) derived.add(o);
    }
  });
  return leaves;
}

function chainOf(
  graph: Graph,
  plan: ChannelPlan,
  producers: ReadonlyMap<string, number>,
  leaves: readonly (readonly [number, number])[],
): Chain {
  const needed = new Set<number>();
  const measured = new Set<string>();
  const visited = new Set<string>();
  const pending: string[] = [];
  for (const { node } of plan.recounts) pending.push(...graph.nodes[node]!.inputs.slice(1));
  for (const { node } of plan.recounts)
    if (graph.nodes[node]!.opType === 'ConstantOfShape') pending.push(graph.nodes[node]!.inputs[0]!);
  for (const [node, input] of leaves) pending.push(graph.nodes[node]!.inputs[input]!);
  while (pending.length > 0) {
    const name = pending.pop()!;
    if (name === '' || visited.has(name)) continue;
    visited.add(name);
    const at = producers.get(name);
    if (at === undefined) continue;
    const node: Node = graph.nodes[at]!;
    if (plan.values.has(name)) {
      measured.add(name);
      continue;
    }
    needed.add(at);
    if (node.opType === 'Shape' || node.opType === 'Size') measured.add(node.inputs[0]!);
    else pending.push(...usedNames(node));
  }
  const nodes = [...needed].sort((a, b) => a - b).map((i) => graph.nodes[i]!);
  const used = new Set(nodes.flatMap((n) => n.inputs));
  const initializers = new Map([...graph.initializers].filter(([name]) => used.has(name)));
  const inputs: ValueInfo[] = [...measured].filter((n) => !initializers.has(n)).map((name) => ({ name }));
  return {
    graph: {
      name: 'shapes',
      nodes,
      initializers,
      sparseInitializers: new Map(),
      inputs,
      outputs: [],
      valueInfo: new Map(),
    },
    measured: [...measured],
  };
}
