// What calibration data taught about the base network, computed once per run and shared by proposals, refits and signals.
import type { Analysis } from '../analysis/analyse.js';
import type { ChannelGroups, DeadUnits } from '../analysis/groups.js';
import { concreteShape } from '../analysis/shapes.js';
import type { Model } from '../ir/graph.js';
import type { Rng } from '../rng.js';
import type { Runtime } from '../runtime/runtime.js';
import { boundedCache } from './cache.js';
import { findConsumers, type Consumer } from './consumers.js';
import { collectGrams, type Gram } from './gram.js';
import { constantReader, findLayers, readLayer, type Layer } from './layers.js';
import { quickRefits } from './quick-refit.js';
import { prepareGram, removalOrder, type PreparedGram, type Removal, type RemovalConsumer } from './removal.js';
import { staticValues, type Feeds } from './walk.js';

export interface Knowledge {
  /**
   * Order in which units of a group are best removed under the optimal least-squares refit (cheapest first), and the relative
   * reconstruction error of the consumers after removing the first k units, errors[k], k = 0..size, weighted by
   * where in the network they are (see `importances`).
   */
  removal(groupId: string): Removal | undefined;
  /** |W| times the root mean square of the inputs, summed by unit over the consumers (their sums made 1). */
  activation(groupId: string): Float64Array | undefined;
  /** Closed-form refit of the base without the dead units, without data; see quick-refit.ts. `groups`: those that `dead` speaks of, when
   * structural edits came before the cut. */
  quickRefit(pruned: Model, dead: DeadUnits, groups?: ChannelGroups): Model;
  /** Moments of the inputs of the layer that makes this value: for mutations that put other layers in its place. */
  gram(output: string): Gram | undefined;
  /** What relative errors of this layer's output weigh, as in `removal`. */
  importance(output: string): number;
}

/** Plain data, so that it can be stored, and shared between threads. */
export interface LearntData {
  /** By the output value of the layer. */
  readonly grams: ReadonlyMap<string, Gram>;
  /** By group id. */
  readonly removals: ReadonlyMap<string, Removal>;
}

export interface LearnOptions {
  readonly runtime: Runtime;
  readonly rng: Rng;
  /** Positions drawn per image. */
  readonly positions?: number;
  readonly signal?: AbortSignal;
}

export interface LearnReport {
  readonly stage: 'moments' | 'removal';
  readonly index: number;
  readonly of: number;
}

/** Streams calibration batches through the base network once. */
export async function* learn(
  base: Analysis,
  feeds: readonly Feeds[],
  options: LearnOptions,
): AsyncGenerator<LearnReport, LearntData> {
  const { model, groups } = base;
  const found = findLayers(model.graph);
  const consumers = findConsumers(groups, found);
  const grams = new Map<string, Gram>();
  const layers = worthLearning(model, found, consumers);
  for await (const [layer, gram] of collectGrams(model, layers, feeds, { positions: 64, ...options })) {
    grams.set(layer.output, gram);
    yield { stage: 'moments', index: grams.size - 1, of: layers.length };
  }
  const read = constantReader(model.graph);
  const prepare = preparer();
  const importance = importances(base, layers);
  const removals = new Map<string, Removal>();
  for (const [index, group] of groups.groups.entries()) {
    options.signal?.throwIfAborted();
    const { exact, fixed } = removalConsumers(index, group.size, consumers, { grams, read, prepare, importance });
    if (exact.length > 0 || fixed.some((v) => v > 0))
      removals.set(group.id, removalOrder(group.size, exact, { fixed }));
    yield { stage: 'removal', index, of: groups.groups.length };
  }
  return { grams, removals };
}

/** Consumers of groups, and dense layers that mutations may factorise. */
function worthLearning(model: Model, layers: readonly Layer[], consumers: readonly Consumer[]): Layer[] {
  const statics = staticValues(model.graph);
  const consuming = new Set(consumers.map((c) => c.layer.output));
  return layers.filter((l) => consuming.has(l.output) || (l.group === 1 && !statics.has(l.input)));
}

export function knowledgeOf(base: Analysis, data: LearntData): Knowledge {
  const refits = quickRefits(base.model, base.groups, data.grams);
  const importance = importances(base, findLayers(base.model.graph));
  return {
    removal: (id) => data.removals.get(id),
    activation: (id) => activation(base, data.grams, id),
    quickRefit: (pruned, dead, groups) => refits.refit(pruned, dead, groups),
    gram: (output) => data.grams.get(output),
    importance: (output) => importance.get(output) ?? 1,
  };
}

interface ConsumerContext {
  readonly grams: ReadonlyMap<string, Gram>;
  readonly read: (name: string) => Float32Array;
  readonly prepare: (key: string, covariance: Float32Array, n: number) => PreparedGram;
  readonly importance: ReadonlyMap<string, number>;
}

/** Float64 values: 512 MB. */
const PREPARED_VALUES = 2 ** 26;

/** A layer that several groups share (behind a residual sum) is inverted once. */
function preparer(): ConsumerContext['prepare'] {
  const known = boundedCache<PreparedGram>(PREPARED_VALUES);
  return (key, covariance, n) => {
    let made = known.get(key);
    if (made === undefined) known.set(key, (made = prepareGram(covariance, n)), 2 * n * n);
    return made;
  };
}

/**
 * The same relative error weighs more where fewer positions are left to average it out: square root of the largest number of
 * positions over the layer's own (1, 2, 4 in the stages of a residual network).
 */
function importances(base: Analysis, layers: readonly Layer[]): ReadonlyMap<string, number> {
  const positions = new Map<string, number>();
  for (const layer of layers) {
    const dims = layer.kind === 'conv' ? concreteShape(base.shapes, layer.output)?.slice(2) : undefined;
    if (dims !== undefined)
      positions.set(
        layer.output,
        dims.reduce((a, b) => a * b, 1),
      );
  }
  const largest = Math.max(1, ...positions.values());
  const smallest = Math.min(largest, ...positions.values());
  return new Map(layers.map((l) => [l.output, Math.sqrt(largest / Math.max(1, positions.get(l.output) ?? smallest))]));
}

function activation(base: Analysis, grams: ReadonlyMap<string, Gram>, id: string): Float64Array | undefined {
  const group = base.groups.groups.findIndex((g) => g.id === id);
  if (group < 0) return undefined;
  const read = constantReader(base.model.graph);
  const sums = new Float64Array(base.groups.groups[group]!.size);
  let any = false;
  for (const consumer of findConsumers(base.groups, findLayers(base.model.graph))) {
    const { layer } = consumer;
    const gram = grams.get(layer.output);
    if (gram === undefined || !consumer.group.includes(group)) continue;
    const { weights } = readLayer(layer, read);
    const { taps, columns, outputs } = layer;
    const own = new Float64Array(sums.length);
    let total = 0;
    for (let o = 0; o < outputs; o++) {
      const g = Math.floor(o / (outputs / layer.group));
      for (let k = 0; k < columns; k++) {
        const value = Math.abs(weights[o * columns + k]!) * rootMeanSquare(gram, g, k, taps);
        total += value;
        const channel = (g * columns) / taps + Math.floor(k / taps);
        if (consumer.group[channel] === group) own[consumer.unit[channel]!] = own[consumer.unit[channel]!]! + value;
      }
    }
    if (total > 0) any = true;
    own.forEach((v, u) => (sums[u] = sums[u]! + (total > 0 ? v / total : 0)));
  }
  return any ? sums : undefined;
}

function rootMeanSquare(gram: Gram, g: number, column: number, taps: number): number {
  const i = gram.kind === 'exact' ? column : Math.floor(column / taps);
  const n = gram.size;
  const variance = gram.kind === 'diagonal' ? gram.covariance[g * n + i]! : gram.covariance[(g * n + i) * n + i]!;
  return Math.sqrt(Math.max(0, variance) + gram.mean[g * n + i]! ** 2);
}

/** The layers that consume group number `group`: with their Gram matrices, or as costs that just add up where only variances are known. */
function removalConsumers(
  group: number,
  size: number,
  consumers: readonly Consumer[],
  { grams, read, prepare, importance }: ConsumerContext,
): { readonly exact: readonly RemovalConsumer[]; readonly fixed: Float64Array } {
  const exact: RemovalConsumer[] = [];
  const fixed = new Float64Array(size);
  for (const consumer of consumers) {
    if (!consumer.group.includes(group)) continue;
    const { layer } = consumer;
    const gram = grams.get(layer.output);
    if (gram === undefined) continue;
    const { weights } = readLayer(layer, read);
    const { taps, columns } = layer;
    const channels = columns / taps;
    const perGroup = layer.outputs / layer.group;
    for (let g = 0; g < layer.group; g++) {
      const unitOf = (c: number): number =>
        consumer.group[g * channels + c] === group ? consumer.unit[g * channels + c]! : -1;
      if (!Array.from({ length: channels }, (_, c) => unitOf(c)).some((u) => u >= 0)) continue;
      const own = weights.subarray(g * perGroup * columns, (g + 1) * perGroup * columns);
      if (gram.kind === 'diagonal') {
        addDiagonal(
          fixed,
          own,
          perGroup,
          taps,
          channels,
          gram.covariance.subarray(g * channels, (g + 1) * channels),
          unitOf,
        );
        continue;
      }
      const { size: n } = gram;
      const gramOfGroup = prepare(`${layer.output}/${g}`, gram.covariance.subarray(g * n * n, (g + 1) * n * n), n);
      const common = { columns: n, gram: gramOfGroup, importance: importance.get(layer.output) ?? 1 };
      if (gram.kind === 'exact') {
        const unit = Int32Array.from({ length: n }, (_, k) => unitOf(Math.floor(k / taps)));
        exact.push({ ...common, weights: own, rows: perGroup, unit });
      } else {
        const unit = Int32Array.from({ length: n }, (_, c) => unitOf(c));
        exact.push({ ...common, weights: byTap(own, perGroup, channels, taps), rows: perGroup * taps, unit });
      }
    }
  }
  return { exact, fixed };
}

/** [rows, channels, taps] as [rows · taps, channels]. */
function byTap(weights: Float64Array, rows: number, channels: number, taps: number): Float64Array {
  const out = new Float64Array(weights.length);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < channels; c++) {
      for (let t = 0; t < taps; t++) out[(r * taps + t) * channels + c] = weights[(r * channels + c) * taps + t]!;
    }
  }
  return out;
}

function addDiagonal(
  fixed: Float64Array,
  weights: Float64Array,
  rows: number,
  taps: number,
  channels: number,
  variances: Float32Array,
  unitOf: (channel: number) => number,
): void {
  const cost = new Float64Array(channels);
  let total = 0;
  for (let c = 0; c < channels; c++) {
    for (let r = 0; r < rows; r++) {
      for (let t = 0; t < taps; t++) cost[c] = cost[c]! + weights[(r * channels + c) * taps + t]! ** 2 * variances[c]!;
    }
    total += cost[c]!;
  }
  if (total <= 0) return;
  for (let c = 0; c < channels; c++) {
    const u = unitOf(c);
    if (u >= 0) fixed[u] = fixed[u]! + cost[c]! / total;
  }
}
