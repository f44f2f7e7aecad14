// Everything that is known of one model, computed once and shared.
import type { Flow } from '../ir/flow.js';
import type { Graph, Model } from '../ir/graph.js';
import type { OpTable } from '../ops/op.js';
import { runLabels } from './channels.js';
import { countCost, type Cost } from './cost.js';
import { openFlow } from './flow.js';
import { groupChannels } from './grouping.js';
import type { ChannelGroups } from './groups.js';
import { planCuts, type ChannelPlan } from './plan.js';
import { shapeChains, type ShapeChains } from './shape-chains.js';
import { inferShapes, type Binding, type Shapes } from './shapes.js';

export interface Analysis {
  readonly model: Model;
  /**
   * The graph with the branches of undecided Ifs laid open between marks: `plan`, `groups`, `producers` and `constantUses` number its
   * nodes and name its values. The model's own graph where there are none.
   */
  readonly graph: Graph;
  readonly flow: Flow;
  readonly table: OpTable;
  /** With dynamic dims bound (batch 1 unless told otherwise); values in open branches too. */
  readonly shapes: Shapes;
  /** With dynamic dims left unknown: what is unknown here depends on the batch. The same object where nothing is dynamic. */
  readonly openShapes: Shapes;
  readonly cost: Cost;
  readonly groups: ChannelGroups;
  readonly plan: ChannelPlan;
  /** Value -> index of the node that makes it. */
  readonly producers: ReadonlyMap<string, number>;
  /** Places [node, input] where a constant is used; node -1: outside the nodes' own inputs. */
  readonly constantUses: ReadonlyMap<string, readonly (readonly [number, number])[]>;
  /** Constants that nodes compute from others. */
  readonly computedConstants: ReadonlySet<string>;
  readonly shapeChains: ShapeChains;
}

export interface AnalyseOptions {
  /** Concrete dims of inputs, and of all other dynamic dims (default 1). */
  readonly binding?: Binding;
  /** Shapes already inferred with that binding. */
  readonly shapes?: Shapes;
}

export function analyse(model: Model, table: OpTable, options: AnalyseOptions = {}): Analysis {
  const binding: Binding = { dynamic: 1, ...options.binding };
  const outer = options.shapes ?? inferShapes(model, table, binding);
  const cost = countCost(model, table, outer);
  const dynamic = isDynamic(model);
  const outerOpen = dynamic ? inferShapes(model, table) : outer;
  const bindings = dynamic ? [binding, {}] : [binding];
  const open = openFlow(model, table, { bindings, shapes: dynamic ? [outer, outerOpen] : [outer], decided: true });
  const { flow, table: rules } = open;
  const shapes = open.shapes[0]!;
  const { graph } = flow.model;
  const openShapes = open.shapes[1] ?? shapes;
  const channels = runLabels(flow.model, rules, shapes);
  const plan = planCuts(channels);
  const producers = new Map<string, number>();
  const constantUses = new Map<string, (readonly [number, number])[]>();
  const use = (name: string, node: number, input: number): void => {
    if (!channels.constants.has(name)) return;
    const list = constantUses.get(name);
    if (list === undefined) constantUses.set(name, [[node, input]]);
    else list.push([node, input]);
  };
  graph.nodes.forEach((node, i) => {
    for (const o of node.outputs) if (o !== '') producers.set(o, i);
    node.inputs.forEach((name, k) => use(name, i, k));
  });
  for (const v of graph.outputs) use(v.name, -1, 0);
  for (const name of channels.captured) use(name, -1, 0);
  const computedConstants = new Set<string>();
  for (const name of channels.constants) {
    const at = producers.get(name);
    if (at !== undefined && graph.nodes[at]!.opType !== 'Constant') computedConstants.add(name);
  }
  return {
    model,
    graph,
    flow,
    table,
    shapes,
    openShapes,
    cost,
    groups: groupChannels(
      flow,
      shapes,
      flow.model === model ? cost : countCost(flow.model, rules, shapes),
      channels,
      plan,
    ),
    plan,
    producers,
    constantUses,
    computedConstants,
    shapeChains: shapeChains(flow.model, rules, shapes, openShapes, plan, producers, channels.constants),
  };
}

function isDynamic(model: Model): boolean {
  return model.graph.inputs.some(
    (v) =>
      !model.graph.initializers.has(v.name) &&
      (v.type?.kind !== 'tensor' ||
        v.type.shape === undefined ||
        v.type.shape.some((d) => typeof d !== 'number' || d < 0)),
  );
}
