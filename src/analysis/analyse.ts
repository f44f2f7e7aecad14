// Everything that is known of one model, computed once and shared.
import type { Model } from '../ir/graph.js';
import type { OpTable } from '../ops/op.js';
import { runLabels } from './channels.js';
import { countCost, type Cost } from './cost.js';
import { groupChannels } from './grouping.js';
import type { ChannelGroups } from './groups.js';
import { planCuts, type ChannelPlan } from './plan.js';
import { shapeChains, type ShapeChains } from './shape-chains.js';
import { inferShapes, type Binding, type Shapes } from './shapes.js';

export interface Analysis {
  readonly model: Model;
  readonly table: OpTable;
  /** With dynamic dims bound (batch 1 unless told otherwise). */
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
  const shapes = options.shapes ?? inferShapes(model, table, { dynamic: 1, ...options.binding });
  const openShapes = isDynamic(model) ? inferShapes(model, table) : shapes;
  const cost = countCost(model, table, shapes);
  const channels = runLabels(model, table, shapes);
  const plan = planCuts(channels);
  const producers = new Map<string, number>();
  const constantUses = new Map<string, (readonly [number, number])[]>();
  const use = (name: string, node: number, input: number): void => {
    if (!channels.constants.has(name)) return;
    const list = constantUses.get(name);
    if (list === undefined) constantUses.set(name, [[node, input]]);
    else list.push([node, input]);
  };
  model.graph.nodes.forEach((node, i) => {
    for (const o of node.outputs) if (o !== '') producers.set(o, i);
    node.inputs.forEach((name, k) => use(name, i, k));
  });
  for (const v of model.graph.outputs) use(v.name, -1, 0);
  for (const name of channels.captured) use(name, -1, 0);
  const computedConstants = new Set<string>();
  for (const name of channels.constants) {
    const at = producers.get(name);
    if (at !== undefined && model.graph.nodes[at]!.opType !== 'Constant') computedConstants.add(name);
  }
  return {
    model,
    table,
    shapes,
    openShapes,
    cost,
    groups: groupChannels(model, shapes, cost, channels, plan),
    plan,
    producers,
    constantUses,
    computedConstants,
    shapeChains: shapeChains(model, table, shapes, openShapes, plan, producers, channels.constants),
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
