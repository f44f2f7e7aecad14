// reduce-resolution: 'stride': a Conv takes over the stride of the Conv or pool that alone uses its result, so that what lies between is computed
// at the lower resolution (dims behind stay as they were); 'pool': from some value on everything is computed at half the resolution, where
// a global pool in front of the head makes that possible.
import { orNothing, PareError } from '../../src/errors.js';
import { countCost } from '../../src/analysis/cost.js';
import { concreteShape, inferShapes, type Shapes } from '../../src/analysis/shapes.js';
import {
  attrInt,
  attrInts,
  attrString,
  intsAttribute,
  withAttributes,
  type Attribute,
  type Dim,
  type Graph,
  type Model,
  type Node,
} from '../../src/ir/graph.js';
import { indexGraph, usedNames, type GraphIndex } from '../../src/ir/walk.js';
import { windowsOf } from '../../src/recovery/layers.js';
import { staticValues } from '../../src/recovery/walk.js';
import type { Analysis } from '../../src/analysis/analyse.js';
import type { Rng } from '../../src/rng.js';
import type { Json } from '../genome.js';
import { editModel } from './edit.js';
import type { Mutation, MutationContext, Place } from './mutation.js';
import { recordOf } from './params.js';

const REDUCE_RESOLUTION = 'reduce-resolution';

/** 'stride': the value of the Conv that takes the stride over; 'pool': the value that is pooled. */
interface ReduceParams {
  readonly kind: 'stride' | 'pool';
  readonly value: string;
}

export function reduceResolution(): Mutation {
  return {
    name: REDUCE_RESOLUTION,
    summary: 'computes part of the network at half the resolution',
    law: 'approximate',
    propose(context: MutationContext, rng: Rng): Json | undefined {
      const view = viewOf(context);
      const drawn = rng.shuffle(candidates(view));
      for (const one of drawn) if (savingOf(view, one) !== undefined) return { ...one };
      return undefined;
    },
    places(context): readonly Place[] {
      const view = viewOf(context);
      return candidates(view).flatMap((params) => {
        const saving = savingOf(view, params);
        return saving === undefined ? [] : [{ params: { ...params }, site: params.value, saving }];
      });
    },
    apply(params: Json, context: MutationContext): Model {
      const { kind, value } = readParams(params);
      const view = viewOf(context);
      const made = kind === 'stride' ? strideEarlier(view, value) : pooled(view, value);
      if (made !== undefined) return made.model();
      throw new PareError(
        `${REDUCE_RESOLUTION}: ${kind === 'stride' ? 'no stride can be moved to the Conv that makes' : 'the network does not fit together behind a smaller'} "${value}"`,
      );
    },
  };
}

function readParams(params: Json): ReduceParams {
  const record = recordOf(params);
  const [kind, value] = [record?.['kind'], record?.['value']];
  if ((kind === 'stride' || kind === 'pool') && typeof value === 'string') return { kind, value };
  throw new PareError(
    `${REDUCE_RESOLUTION}: parameters must be {"kind": "stride" or "pool", "value": name}, not ${JSON.stringify(params)}`,
  );
}

interface View {
  readonly context: MutationContext;
  readonly analysis: Analysis;
  readonly graph: Graph;
  readonly index: GraphIndex;
  readonly outputs: ReadonlySet<string>;
  /** Where the resolution may be halved; found once. */
  readonly waists: () => readonly string[];
}

function viewOf(context: MutationContext): View {
  const { analysis } = context;
  const { graph } = analysis.model;
  let found: readonly string[] | undefined;
  const view: View = {
    context,
    analysis,
    graph,
    index: indexGraph(graph),
    outputs: new Set(graph.outputs.map((v) => v.name)),
    waists: () => (found ??= waists(view)),
  };
  return view;
}

interface Made {
  readonly model: () => Model;
  readonly saving: number;
}

/** Each place for 'pool' costs a pass over the network: only so many are looked at. */
const POOLS = 4;

function candidates(view: View): readonly ReduceParams[] {
  const values = view.waists();
  const few = values.length <= POOLS;
  const some = Array.from({ length: POOLS }, (_, i) => values[Math.floor(((i + 0.5) * values.length) / POOLS)]!);
  return [
    ...strided(view).map((value): ReduceParams => ({ kind: 'stride', value })),
    ...(few ? values : some).map((value): ReduceParams => ({ kind: 'pool', value })),
  ];
}

/** Undefined where the network would not fit together, or would lose more than it may. */
function savingOf(view: View, { kind, value }: ReduceParams): number | undefined {
  const saving = (kind === 'stride' ? strideEarlier(view, value) : pooled(view, value))?.saving ?? 0;
  const { cost } = view.analysis;
  return saving <= 0 || saving > view.context.maxRatio * cost.macs ? undefined : saving;
}

/** The new model's shapes with inputs as long as in the analysis. */
function shapesOf(model: Model, table: Analysis['table'], before: Shapes): Shapes {
  const inputs = new Map<string, readonly number[]>();
  for (const v of model.graph.inputs) {
    const dims = model.graph.initializers.has(v.name) ? undefined : concreteShape(before, v.name);
    if (dims !== undefined) inputs.set(v.name, dims);
  }
  return inferShapes(model, table, { dynamic: 1, inputs });
}

function ignored({ ignore }: MutationContext, node: Node): boolean {
  return ignore(node.name) || node.inputs.some(ignore) || node.outputs.some(ignore);
}

// --- a stride earlier ------------------------------------------------------------------------------------------------------

/** Values of Convs that might take over a stride. */
function strided(view: View): string[] {
  const found: string[] = [];
  for (const node of view.graph.nodes) {
    if (node.opType !== 'Conv' || node.outputs.length !== 1) continue;
    const behind = strideBehind(view, node.outputs[0]!);
    if (behind !== undefined && !ignored(view.context, node) && !ignored(view.context, view.graph.nodes[behind]!)) {
      found.push(node.outputs[0]!);
    }
  }
  return found;
}

/** The Conv or pool with a stride that follows, with nothing between but what works on each element alone. */
function strideBehind({ graph, index, outputs, analysis }: View, value: string): number | undefined {
  const first = graph.nodes[index.producer.get(value) ?? -1];
  if (first === undefined || first.opType !== 'Conv' || !all(attrInts(first, 'strides'), 1)) return undefined;
  let now = value;
  for (let steps = 0; steps < 8; steps++) {
    const users = index.consumers.get(now) ?? [];
    if (users.length !== 1 || outputs.has(now)) return undefined;
    const node = graph.nodes[users[0]!]!;
    if (node.inputs[0] === now && STRIDED.has(node.opType) && node.outputs.length === 1) {
      return all(attrInts(node, 'strides'), 1) ? undefined : users[0];
    }
    if (!POINTWISE.has(node.opType) || node.outputs.length !== 1) return undefined;
    // a constant must be one for each channel: not one for each place
    const others = node.opType === 'BatchNormalization' ? [] : node.inputs.filter((n) => n !== now && n !== '');
    if (!others.every((n) => alongChannels(concreteShape(analysis.shapes, n)))) return undefined;
    now = node.outputs[0]!;
  }
  return undefined;
}

function alongChannels(dims: readonly number[] | undefined): boolean {
  return dims !== undefined && dims.slice(-2).every((d) => d === 1);
}

const STRIDED: ReadonlySet<string> = new Set(['Conv', 'MaxPool', 'AveragePool']);
const POINTWISE: ReadonlySet<string> = new Set(
  'Relu Clip LeakyRelu PRelu Elu Selu Celu Sigmoid HardSigmoid HardSwish Swish Mish Gelu Tanh BatchNormalization Add Mul Identity Dropout'.split(
    ' ',
  ),
);

function all(list: readonly number[] | undefined, value: number): boolean {
  return list?.every((v) => v === value) ?? true;
}

function strideEarlier(view: View, value: string): Made | undefined {
  const { graph, index, analysis } = view;
  const at = index.producer.get(value);
  const behind = strideBehind(view, value);
  if (at === undefined || behind === undefined) return undefined;
  const [conv, user] = [graph.nodes[at]!, graph.nodes[behind]!];
  const strides = attrInts(user, 'strides')!;
  const faster = withAttributes(conv, { strides: intsAttribute('strides', strides) });
  const kernel = attrInts(user, 'kernel_shape');
  // a pool whose windows do not overlap has nothing left to pool
  const blocks =
    user.opType !== 'Conv' &&
    kernel?.join() === strides.join() &&
    all(attrInts(user, 'pads'), 0) &&
    attrInt(user, 'ceil_mode', 0) === 0 &&
    ['NOTSET', 'VALID'].includes(attrString(user, 'auto_pad', 'NOTSET'));
  const slower = blocks ? identity(user) : withAttributes(user, { strides: undefined });
  const plane = planeBetween(view, faster, slower, user);
  if (plane === undefined) return undefined;
  const model = (): Model => {
    const edit = editModel(analysis.model);
    edit.replace(at, [faster]);
    edit.replace(behind, [slower]);
    for (let now = value; now !== user.outputs[0];) {
      edit.forget(now);
      now = graph.nodes[index.consumers.get(now)![0]!]!.outputs[0]!;
    }
    return edit.model();
  };
  // the Conv's MACs go with its plane; what lies behind makes what it made
  const [dims = [], weight = []] = [value, conv.inputs[1]!].map((n) => concreteShape(analysis.shapes, n));
  const each = dims.slice(0, 2).reduce((n, d) => n * d, 1) * weight.slice(1).reduce((n, d) => n * d, 1);
  const places = (list: readonly number[]): number => list.reduce((n, d) => n * d, 1);
  return { model, saving: each * (places(dims.slice(2)) - places(plane)) };
}

function identity(node: Node): Node {
  return { ...node, opType: 'Identity', inputs: [node.inputs[0]!], attributes: new Map<string, Attribute>() };
}

/** The plane between the two, when the user still makes what it made at every size that the network is declared for. */
function planeBetween({ analysis }: View, conv: Node, user: Node, before: Node): readonly number[] | undefined {
  const [input, wanted] = [conv.inputs[0]!, before.outputs[0]!].map((n) => fixedPlane(analysis, n));
  const dims = concreteShape(analysis.shapes, conv.inputs[1] ?? '');
  if (input === undefined || wanted === undefined || dims === undefined) return undefined;
  const between = windowsOf(conv, dims, [1, 1, ...input]).output;
  if (user.opType === 'Identity') return between.join() === wanted.join() ? between : undefined;
  if (attrInt(user, 'ceil_mode', 0) !== 0) return undefined;
  const kernel =
    user.opType === 'Conv'
      ? concreteShape(analysis.shapes, user.inputs[1] ?? '')?.slice(2)
      : attrInts(user, 'kernel_shape');
  if (kernel === undefined) return undefined;
  const made = windowsOf(user, [1, 1, ...kernel], [1, 1, ...between]).output;
  return made.join() === wanted.join() ? between : undefined;
}

/** Spatial lengths that do not depend on what the user feeds. */
function fixedPlane({ openShapes }: Analysis, value: string): readonly number[] | undefined {
  const type = openShapes.types.get(value);
  const plane = type?.kind === 'tensor' ? type.shape?.slice(2) : undefined;
  return plane !== undefined && plane.length > 0 && plane.every((d) => typeof d === 'number') ? plane : undefined;
}

// --- half the resolution from here on ----------------------------------------------------------------------------------------

/** Values that all later ones depend on alone, with planes that halve: each in front of a Conv. */
function waists({ graph, index, outputs, analysis, context }: View): string[] {
  const statics = staticValues(graph);
  const left = new Map<string, number>();
  const live = new Set<string>();
  const found: string[] = [];
  for (const v of graph.inputs) if (!statics.has(v.name) && index.consumers.has(v.name)) live.add(v.name);
  graph.nodes.forEach((node, i) => {
    if (node.outputs.every((o) => o === '' || statics.has(o))) return;
    for (const name of usedNames(node)) {
      const count = (left.get(name) ?? index.consumers.get(name)?.length ?? 0) - 1;
      left.set(name, count);
      if (count === 0 && !outputs.has(name)) live.delete(name);
    }
    for (const o of node.outputs) if (o !== '' && (index.consumers.has(o) || outputs.has(o))) live.add(o);
    const value = node.outputs[0]!;
    if (live.size !== 1 || !live.has(value) || outputs.has(value) || ignored(context, node)) return;
    const users = index.consumers.get(value) ?? [];
    const type = analysis.shapes.types.get(value);
    const plane = fixedPlane(analysis, value);
    const floating = type?.kind === 'tensor' && type.elemType === 1 && type.shape?.length === 4;
    if (!floating || plane?.every((d) => d >= 4 && d % 2 === 0) !== true) return;
    if (i + 1 < graph.nodes.length && users.some((u) => graph.nodes[u]!.opType === 'Conv')) found.push(value);
  });
  return found;
}

function pooled(view: View, value: string): Made | undefined {
  const { graph, index, analysis, outputs } = view;
  const at = index.producer.get(value);
  if (at === undefined || !view.waists().includes(value)) return undefined;
  const edit = editModel(analysis.model);
  const full = edit.fresh(`${value}.full`);
  const maker = graph.nodes[at]!;
  edit.replace(at, [
    { ...maker, outputs: maker.outputs.map((o) => (o === value ? full : o)) },
    {
      name: `${value}.pool`,
      opType: 'AveragePool',
      domain: '',
      inputs: [full],
      outputs: [value],
      attributes: new Map(['kernel_shape', 'strides'].map((name) => [name, intsAttribute(name, [2, 2])])),
    },
  ]);
  graph.nodes.forEach((node, i) => {
    if (i < at) return;
    for (const o of node.outputs) if (!outputs.has(o)) edit.forget(o);
    // a pool over the whole plane stays one
    const plane = fixedPlane(analysis, node.inputs[0] ?? '');
    if (i > at && node.opType === 'AveragePool' && plane !== undefined && coversAll(node, plane)) {
      edit.replace(i, [{ ...node, opType: 'GlobalAveragePool', attributes: new Map<string, Attribute>() }]);
    }
  });
  const model = edit.model();
  const macs = macsTogether(analysis, model);
  return macs === undefined ? undefined : { model: () => model, saving: analysis.cost.macs - macs };
}

function coversAll(node: Node, plane: readonly number[]): boolean {
  const kernel = attrInts(node, 'kernel_shape');
  return kernel?.join() === plane.join() && all(attrInts(node, 'pads'), 0);
}

/** MACs, when all rules agree and every output keeps its dims, at the sizes of the analysis and with dynamic ones left open. */
function macsTogether({ model, table, shapes, openShapes }: Analysis, made: Model): number | undefined {
  return orNothing(() => {
    const now = shapesOf(made, table, shapes);
    const open = openShapes === shapes ? now : inferShapes(made, table);
    const same = (before: Shapes, after: Shapes): boolean =>
      model.graph.outputs.every(({ name }) => {
        const [a, b] = [dimsOf(before, name), dimsOf(after, name)];
        return a !== undefined && b !== undefined && a.length === b.length && a.every((dim, i) => dim === b[i]);
      });
    return same(shapes, now) && same(openShapes, open) ? countCost(made, table, now).macs : undefined;
  });
}

function dimsOf(shapes: Shapes, name: string): readonly Dim[] | undefined {
  const type = shapes.types.get(name);
  return type?.kind === 'tensor' ? type.shape : undefined;
}
