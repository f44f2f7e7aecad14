// remove-block: a residual branch is bypassed (y = x + f(x) becomes y = x, or the longer way of a sum goes), or a chain of nodes whose input
// and output have the same dims. What follows is refitted by recovery.
import { PareError } from '../../src/errors.js';
import type { Dim, Graph, Model, Node } from '../../src/ir/graph.js';
import { indexGraph, usedNames, type GraphIndex } from '../../src/ir/walk.js';
import { constantOf } from '../../src/recovery/constants.js';
import { staticValues } from '../../src/recovery/walk.js';
import type { Analysis } from '../../src/analysis/analyse.js';
import type { Rng } from '../../src/rng.js';
import type { Json } from '../genome.js';
import { editModel } from './edit.js';
import { proposeOne, type Mutation, type MutationContext, type Place } from './mutation.js';
import { recordOf } from './params.js';

const REMOVE_BLOCK = 'remove-block';

/** Every use of `to` becomes a use of `from`; what only `to` needed is gone. */
export interface Bypass {
  readonly from: string;
  readonly to: string;
}

export function removeBlock(): Mutation {
  return {
    name: REMOVE_BLOCK,
    summary: 'bypasses a residual branch, or a chain of layers that keeps the dims',
    law: 'approximate',
    propose: (context: MutationContext, rng: Rng): Json | undefined => proposeOne(findBypasses(context), rng),
    places: findBypasses,
    join: (params) => ({ blocks: params.flatMap((p) => blocksOf(p)).map(({ from, to }) => ({ from, to })) }),
    apply(params: Json, context: MutationContext): Model {
      const { model } = context.analysis;
      const known = new Set(findBypasses(context).map((p) => JSON.stringify(p.params)));
      const outputs = new Set(model.graph.outputs.map((v) => v.name));
      const { producer } = indexGraph(model.graph);
      const edit = editModel(model);
      for (const { from, to } of blocksOf(params)) {
        if (!known.has(JSON.stringify({ from, to }))) {
          throw new PareError(`${REMOVE_BLOCK}: "${from}" cannot stand for "${to}" in this network`);
        }
        if (outputs.has(to)) {
          const at = producer.get(to)!;
          edit.replace(at, [identity(model.graph.nodes[at]!, from, to)]);
        } else edit.redirect(to, from);
      }
      return edit.model();
    },
  };
}

function identity(node: Node, from: string, to: string): Node {
  return { name: node.name, opType: 'Identity', domain: '', inputs: [from], outputs: [to], attributes: new Map() };
}

function blocksOf(params: Json): readonly Bypass[] {
  const list = recordOf(params)?.['blocks'];
  // the cast: Array.isArray does not narrow readonly arrays
  return (Array.isArray(list) ? (list as readonly Json[]) : [params]).map((p) => {
    const record = recordOf(p);
    const [from, to] = [record?.['from'], record?.['to']];
    if (typeof from !== 'string' || typeof to !== 'string') {
      throw new PareError(
        `${REMOVE_BLOCK}: parameters must be {"from": value, "to": value}, or {"blocks": [such, ...]}, not ${JSON.stringify(p)}`,
      );
    }
    return { from, to };
  });
}

interface View {
  readonly analysis: Analysis;
  readonly graph: Graph;
  readonly index: GraphIndex;
  readonly outputs: ReadonlySet<string>;
  readonly statics: ReadonlySet<string>;
  /** MACs by node. */
  readonly macs: readonly number[];
  readonly ignore: (name: string) => boolean;
}

/** Nodes of a chain at most. */
const LONGEST = 16;

function findBypasses(context: MutationContext): Place[] {
  const { analysis, ignore } = context;
  const { graph } = analysis.model;
  const view: View = {
    analysis,
    graph,
    index: indexGraph(graph),
    outputs: new Set(graph.outputs.map((v) => v.name)),
    statics: staticValues(graph),
    macs: macsByNode(analysis),
    ignore,
  };
  const found = new Map<string, Place>();
  const offer = (from: string, to: string): void => {
    if (found.has(`${from}\n${to}`) || usedInside(view, from) || usedInside(view, to)) return;
    const gone = deadWithout(view, to, from);
    const saving = gone.reduce((sum, i) => sum + view.macs[i]!, 0);
    if (saving <= 0 || saving > context.maxRatio * analysis.cost.macs) return;
    if (gone.some((i) => touches(graph.nodes[i]!, ignore))) return;
    found.set(`${from}\n${to}`, { params: { from, to }, site: to, saving });
  };
  graph.nodes.forEach((node) => {
    if (node.domain !== '' && node.domain !== 'ai.onnx') return;
    if (node.opType === 'Add') offerOperands(view, node, offer);
    for (const [from, to] of chainsFrom(view, node)) offer(from, to);
  });
  return [...found.values()];
}

function touches(node: Node, ignore: (name: string) => boolean): boolean {
  return ignore(node.name) || node.inputs.some(ignore) || node.outputs.some(ignore);
}

/** MACs of each node, by its index. */
function macsByNode({ model, cost }: Analysis): number[] {
  let next = 0;
  // the cost lists every node but Constants, in order
  return model.graph.nodes.map((n) =>
    n.opType === 'Constant' && n.domain === '' ? 0 : (cost.nodes[next++]?.macs ?? 0),
  );
}

/** Used by a subgraph: such values stay. */
function usedInside({ index, graph }: View, value: string): boolean {
  return (index.consumers.get(value) ?? []).some((i) => !graph.nodes[i]!.inputs.includes(value));
}

/** Either operand of a sum may stand for it. */
function offerOperands(view: View, node: Node, offer: (from: string, to: string) => void): void {
  const [a = '', b = ''] = node.inputs;
  const sum = node.outputs[0]!;
  if (a === b || view.statics.has(a) || view.statics.has(b)) return;
  for (const from of [a, b]) {
    if (!sameDims(view, from, sum)) continue;
    const next = onlyUser(view, sum);
    // an activation that the operand went through already has nothing to do any more
    offer(from, next !== undefined && repeats(view, from, next) ? next.outputs[0]! : sum);
  }
}

/** The one node that uses a value that is no output. */
function onlyUser({ index, graph, outputs }: View, value: string): Node | undefined {
  const users = index.consumers.get(value) ?? [];
  return users.length === 1 && !outputs.has(value) ? graph.nodes[users[0]!] : undefined;
}

/** Whether the node is an activation that changes nothing of what `value` went through. */
function repeats({ index, graph }: View, value: string, node: Node): boolean {
  const before = graph.nodes[index.producer.get(value) ?? -1];
  if (before === undefined || before.opType !== node.opType || (node.opType !== 'Relu' && node.opType !== 'Clip'))
    return false;
  if (before.inputs.slice(1).join('\n') !== node.inputs.slice(1).join('\n'))
    return boundsMatch(graph, index, before, node);
  return ['min', 'max'].every((n) => before.attributes.get(n)?.value === node.attributes.get(n)?.value);
}

/** Clips with bounds in constants of their own. */
function boundsMatch(graph: Graph, { producer }: GraphIndex, a: Node, b: Node): boolean {
  const bytes = (name: string | undefined): string | undefined => {
    if (name === undefined || name === '') return '';
    const tensor = graph.initializers.get(name) ?? constantOf(graph.nodes[producer.get(name) ?? -1]);
    return tensor?.bytes === undefined ? undefined : Buffer.from(tensor.bytes()).toString('hex');
  };
  return [1, 2].every((i) => {
    const [x, y] = [bytes(a.inputs[i]), bytes(b.inputs[i])];
    return x !== undefined && x === y;
  });
}

/** [from, to] along the single path that starts with this node, when it has a weight. */
function chainsFrom(view: View, first: Node): readonly (readonly [string, string])[] {
  const { statics } = view;
  const from = first.inputs[0] ?? '';
  if (!LAYERS.has(first.opType) || from === '' || statics.has(from)) return [];
  const found: [string, string][] = [];
  let node = first;
  for (let steps = 0; steps < LONGEST; steps++) {
    const moving = [...usedNames(node)].filter((n) => !statics.has(n));
    if (moving.length !== 1 || node.outputs.filter((o) => o !== '').length !== 1) break;
    const to = node.outputs[0]!;
    const next = onlyUser(view, to);
    if (next === undefined || isEnd(view, from, node, next)) {
      if (sameDims(view, from, to)) found.push([from, to]);
    }
    if (next === undefined) break;
    node = next;
  }
  return found;
}

const LAYERS: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul']);

/** Whether a block may end behind `node`: not between a layer and its bias or normalisation, and with the activations that it needs. */
function isEnd(view: View, from: string, node: Node, next: Node): boolean {
  if (next.opType === 'BatchNormalization') return false;
  const bias = next.opType === 'Add' && next.inputs.some((n) => view.statics.has(n));
  if (bias) return false;
  // the activation goes along exactly when the input has been through it
  if (repeats(view, from, next)) return false;
  return !ACTIVATIONS.has(node.opType) || repeats(view, from, node);
}

const ACTIVATIONS: ReadonlySet<string> = new Set(
  'Relu Clip LeakyRelu PRelu Elu Selu Celu Sigmoid HardSigmoid HardSwish Swish Mish Gelu Tanh Softplus Softsign'.split(
    ' ',
  ),
);

/** Of one type and the same dims, whatever the batch. */
function sameDims({ analysis }: View, a: string, b: string): boolean {
  const equal = (one: readonly Dim[] | undefined, two: readonly Dim[] | undefined, open: boolean): boolean =>
    one !== undefined &&
    one.length === two?.length &&
    one.every((d, i) => d === two[i] && (open || typeof d === 'number'));
  const shapeOf = (name: string, from: Analysis['shapes']): readonly Dim[] | undefined => {
    const type = from.types.get(name);
    return type?.kind === 'tensor' ? type.shape : undefined;
  };
  const typeOf = (name: string): number | undefined => {
    const type = analysis.shapes.types.get(name);
    return type?.kind === 'tensor' ? type.elemType : undefined;
  };
  const { shapes, openShapes } = analysis;
  if (typeOf(a) === undefined || typeOf(a) !== typeOf(b)) return false;
  if (!equal(shapeOf(a, shapes), shapeOf(b, shapes), false)) return false;
  return equal(shapeOf(a, openShapes), shapeOf(b, openShapes), true);
}

/** Nodes that nobody needs once `from` stands for `value`. */
function deadWithout({ index, graph, outputs }: View, value: string, from: string): number[] {
  const left = new Map<string, number>();
  const gone: number[] = [];
  const queue: string[] = [value];
  const isOutput = outputs.has(value);
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    const at = index.producer.get(name);
    // `from` is used wherever `value` was
    if (at === undefined || name === from || (outputs.has(name) && !(isOutput && name === value))) continue;
    const node = graph.nodes[at]!;
    const others = node.outputs.filter((o) => o !== '' && o !== name);
    if (others.some((o) => index.consumers.has(o) || outputs.has(o))) continue;
    gone.push(at);
    for (const used of usedNames(node)) {
      const count = (left.get(used) ?? index.consumers.get(used)?.length ?? 0) - 1;
      left.set(used, count);
      if (count === 0) queue.push(used);
    }
  }
  return gone;
}
