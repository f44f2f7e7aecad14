// What each layer of a pruned network shall reproduce of the original one: which values, which channels of them, corrected by
// which other branch, and which part of them the following activation cuts off anyway.
import type { ChannelGroups, DeadUnits } from '../analysis/groups.js';
import { attrFloat, type Graph, type Model, type Node } from '../ir/graph.js';
import { readFloats } from '../ir/tensor.js';
import { indexGraph, usedNames, type GraphIndex } from '../ir/walk.js';
import type { Labels } from '../ops/op.js';
import { constantOf } from './constants.js';
import { findLayers, type Layer } from './layers.js';
import { findPairs, type Pair } from './pairs.js';
import { staticValues } from './walk.js';

export interface RefitTarget {
  readonly layer: Layer;
  readonly node: Node;
  /** The layer is two factors of one, to be refitted together; the second factor's own target comes next. */
  readonly pair?: Pair;
  /** The other operand of the Add that alone uses the layer's output: the target takes its errors over. */
  readonly other?: string;
  /** Channels of the original value that are still there; undefined = all. */
  readonly keep?: readonly number[];
  /** An activation that cuts off below 0 (and above `high`) is all that follows. */
  readonly clip?: { readonly high?: number };
}

export interface TargetContext {
  readonly base: Model;
  /** The base without the layers that structural edits brought in (see reference.ts); `base` when absent. */
  readonly original?: Model;
  readonly pruned: Model;
  /** Channel groups of the base and what is dead: needed where outputs have lost channels. */
  readonly groups?: ChannelGroups;
  readonly dead?: DeadUnits;
  /** Refit layers whose input is still exact too (tests). */
  readonly all?: boolean;
}

/** The layers worth refitting, in topological order. O(nodes). */
export function findTargets(context: TargetContext): RefitTarget[] {
  const { base, pruned } = context;
  const graph = pruned.graph;
  const index = indexGraph(graph);
  const layers = findLayers(graph, index);
  const baseIndex = indexGraph(base.graph);
  const baseLayers = byOutput(findLayers(base.graph, baseIndex));
  const clean = cleanValues(base.graph, baseIndex, graph);
  const statics = staticValues(graph);
  const made = baseIndex.producer;
  const outputs = new Set(graph.outputs.map((v) => v.name));
  const latest = latestLayer(graph, layers);
  const origins = context.original === undefined ? baseLayers : byOutput(findLayers(context.original.graph));
  const pairs = findPairs(origins, graph, layers, index);
  const joined = (l: Layer | undefined): boolean => l !== undefined && l.columns <= PAIRED;
  const firsts = new Set([...pairs.values()].flatMap((p) => (joined(p.dense) ? [p.first.output] : [])));
  const targets: RefitTarget[] = [];
  for (const layer of layers) {
    if (statics.has(layer.input) || !made.has(layer.output) || firsts.has(layer.output)) continue;
    const keep = context.groups === undefined ? undefined : aliveChannels(context.groups, context.dead, layer);
    const twin = baseLayers.get(layer.output);
    if (twin !== undefined && (keep?.length ?? twin.outputs) !== layer.outputs) continue;
    const users = outputs.has(layer.output) ? [] : (index.consumers.get(layer.output) ?? []);
    const sum = users.length === 1 ? residualSum(graph, index, layer.output, users[0]!, statics) : undefined;
    // the other branch must be final by now, in both networks
    const other =
      sum !== undefined &&
      !outputs.has(sum.output) &&
      (latest.get(sum.other) ?? -1) < layer.node &&
      made.has(sum.other) &&
      !clean.has(sum.other)
        ? sum.other
        : undefined;
    const untouched =
      clean.has(layer.input) &&
      twin !== undefined &&
      twin.input === layer.input &&
      sameKernel(twin, layer) &&
      other === undefined;
    if (untouched && context.all !== true) continue;
    const clip = activationBehind(graph, index, other === undefined ? layer.output : sum!.output, outputs);
    const all = keep === undefined || keep.length === keepTotal(context.groups, layer);
    const rest = {
      ...(other === undefined ? {} : { other }),
      ...(all ? {} : { keep }),
      ...(clip === undefined ? {} : { clip }),
    };
    const pair = pairs.get(layer.output);
    if (pair !== undefined && joined(pair.dense)) {
      targets.push({ layer: pair.dense, node: pair.node, pair, ...rest });
    }
    targets.push({ layer, node: graph.nodes[layer.node]!, ...rest });
  }
  return targets;
}

function byOutput(layers: readonly Layer[]): ReadonlyMap<string, Layer> {
  return new Map(layers.map((l) => [l.output, l]));
}

/** Above this many columns the first factor stays as it is. */
const PAIRED = 1200;

/** Indices of the channels of the layer's original output whose unit is alive; undefined without labels. */
export function aliveChannels(groups: ChannelGroups, dead: DeadUnits | undefined, layer: Layer): number[] | undefined {
  const labels = groups.labels.get(layer.output);
  if (labels === undefined) return undefined;
  return aliveAlong(groups, deadAtoms(groups, dead), labels, channelAxis(layer, labels.shape.length));
}

/** Representatives of the atoms of dead units. */
export function deadAtoms(groups: ChannelGroups, dead: DeadUnits | undefined): ReadonlySet<number> {
  const atoms = new Set<number>();
  if (dead === undefined || dead.size === 0) return atoms;
  for (const group of groups.groups) {
    for (const unit of dead.get(group.id) ?? [])
      for (const atom of group.units[unit] ?? []) atoms.add(groups.find(atom));
  }
  return atoms;
}

/** Positions along one axis whose atom is alive. */
export function aliveAlong(groups: ChannelGroups, dead: ReadonlySet<number>, labels: Labels, axis: number): number[] {
  const alive: number[] = [];
  const length = labels.shape[axis] ?? 0;
  for (let c = 0; c < length; c++) {
    const atom = labels.atoms[labels.offset + c * (labels.strides[axis] ?? 0)] ?? 0;
    if (atom === 0 || !dead.has(groups.find(atom))) alive.push(c);
  }
  return alive;
}

/** Axis of the channels in a value of this rank that the layer reads or makes. */
export function channelAxis(layer: Layer, rank: number): number {
  return layer.kind === 'conv' ? 1 : rank - 1;
}

function keepTotal(groups: ChannelGroups | undefined, layer: Layer): number {
  const labels = groups?.labels.get(layer.output);
  return labels?.shape[channelAxis(layer, labels.shape.length)] ?? layer.outputs;
}

function sameKernel(a: Layer, b: Layer): boolean {
  return a.kind === b.kind && a.group === b.group && a.columns === b.columns && a.taps === b.taps;
}

function residualSum(
  graph: Graph,
  index: GraphIndex,
  value: string,
  user: number,
  statics: ReadonlySet<string>,
): { readonly other: string; readonly output: string } | undefined {
  const node = graph.nodes[user]!;
  const [a, b] = node.inputs;
  const output = node.outputs[0];
  if (node.opType !== 'Add' || a === undefined || b === undefined || a === b || output === undefined) return undefined;
  const other = a === value ? b : a;
  return statics.has(other) || !index.producer.has(other) ? undefined : { other, output };
}

/** For every value the last refittable layer (node index) it depends on. */
function latestLayer(graph: Graph, layers: readonly Layer[]): ReadonlyMap<string, number> {
  const own = new Set(layers.map((l) => l.node));
  const latest = new Map<string, number>();
  graph.nodes.forEach((node, i) => {
    let last = own.has(i) ? i : -1;
    for (const name of usedNames(node)) last = Math.max(last, latest.get(name) ?? -1);
    for (const o of node.outputs) if (o !== '') latest.set(o, last);
  });
  return latest;
}

function activationBehind(
  graph: Graph,
  index: GraphIndex,
  value: string,
  outputs: ReadonlySet<string>,
): { readonly high?: number } | undefined {
  const users = index.consumers.get(value) ?? [];
  if (users.length === 0 || outputs.has(value)) return undefined;
  let high: number | undefined;
  for (const [i, user] of users.entries()) {
    const cut = cutOf(graph, index, graph.nodes[user]!);
    if (cut === undefined || (i > 0 && cut !== high)) return undefined;
    high = cut;
  }
  return high === undefined || high === Infinity ? {} : { high };
}

/** Upper end of an activation that is 0 below 0 and the identity up to there; undefined for all others. */
function cutOf(graph: Graph, index: GraphIndex, node: Node): number | undefined {
  if (node.opType === 'Relu') return Infinity;
  if (node.opType !== 'Clip') return undefined;
  const scalar = (i: number, name: string, fallback: number): number | undefined => {
    const input = node.inputs[i];
    if (input === undefined || input === '') return attrFloat(node, name, fallback);
    const producer = index.producer.get(input);
    const tensor =
      graph.initializers.get(input) ?? constantOf(producer === undefined ? undefined : graph.nodes[producer]);
    return tensor === undefined ? undefined : readFloats(tensor)[0];
  };
  const low = scalar(1, 'min', -Infinity);
  const high = scalar(2, 'max', Infinity);
  if (low !== 0 || high === undefined) return undefined;
  return high > 1e30 ? Infinity : high;
}

/** Values that both networks compute in the same way from the same constants. */
function cleanValues(base: Graph, baseIndex: GraphIndex, pruned: Graph): ReadonlySet<string> {
  const clean = new Set<string>(pruned.inputs.map((v) => v.name));
  for (const [name, tensor] of pruned.initializers) {
    const old = base.initializers.get(name);
    if (old !== undefined && sameTensor(old, tensor)) clean.add(name);
    else clean.delete(name);
  }
  for (const node of pruned.nodes) {
    const out = node.outputs[0];
    const i = out === undefined ? undefined : baseIndex.producer.get(out);
    const twin = i === undefined ? undefined : base.nodes[i];
    if (twin === undefined || twin.opType !== node.opType || twin.inputs.join('\n') !== node.inputs.join('\n'))
      continue;
    if (![...usedNames(node)].every((n) => clean.has(n)) || !sameAttributes(twin, node)) continue;
    for (const o of node.outputs) if (o !== '') clean.add(o);
  }
  return clean;
}

function sameTensor(a: { readonly dims: readonly number[]; readonly bytes?: () => Uint8Array }, b: typeof a): boolean {
  if (a === b || (a.bytes !== undefined && a.bytes === b.bytes)) return true;
  if (a.dims.join() !== b.dims.join() || a.bytes === undefined || b.bytes === undefined) return false;
  return Buffer.compare(a.bytes(), b.bytes()) === 0;
}

function sameAttributes(a: Node, b: Node): boolean {
  if (a.attributes === b.attributes) return true;
  if (a.attributes.size !== b.attributes.size) return false;
  for (const [name, x] of a.attributes) {
    const y = b.attributes.get(name);
    if (y === undefined || x.kind !== y.kind) return false;
    if (x === y || x.value === y.value) continue;
    if (x.kind === 'tensor' && y.kind === 'tensor') {
      if (!sameTensor(x.value, y.value)) return false;
    } else if (Array.isArray(x.value) && Array.isArray(y.value)) {
      if (x.value.length !== y.value.length || x.value.some((v, i) => v !== (y.value as readonly unknown[])[i]))
        return false;
    } else return false;
  }
  return true;
}
