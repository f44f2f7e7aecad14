// The closed-form refit: from the base network's Gram matrices alone, without data, the kept columns of every consumer take over
// what they can foretell of the removed ones: W_K += W_D C_DK (C_KK)⁻¹. Inherited weights of every candidate start so.
import type { ChannelGroups, DeadUnits } from '../analysis/groups.js';
import type { Model } from '../ir/graph.js';
import { boundedCache } from './cache.js';
import { withConstants } from './constants.js';
import type { Gram } from './gram.js';
import { addBiases, constantReader, findLayers, readLayer, writeLayer, type Affine, type Layer } from './layers.js';
import { multiplyTransposed, ridgedCholesky, solveRows } from './linear-algebra.js';
import { indexGraph } from '../ir/walk.js';
import { findPairs, writePair } from './pairs.js';
import { aliveAlong, channelAxis, deadAtoms } from './targets.js';

export interface QuickRefit {
  /** `pruned`: the base without the dead units, weights inherited. Layers that do not fit are left as they are. */
  refit(pruned: Model, dead: DeadUnits, groups?: ChannelGroups): Model;
}

/** `grams` by output of the layer. */
export function quickRefits(
  base: Model,
  ownGroups: ChannelGroups,
  grams: ReadonlyMap<string, Gram>,
  ridge = 1e-4,
): QuickRefit {
  const layers = new Map(findLayers(base.graph).map((l) => [l.output, l]));
  const read = constantReader(base.graph);
  const cache = boundedCache<Affine>(CACHE_VALUES);
  const originals = new Map<string, Affine>();

  /** All outputs of the base layer on the kept input channels. */
  const compensated = (layer: Layer, gram: Gram, keep: readonly number[]): Affine => {
    const key = `${layer.output}\n${keep.join(',')}`;
    const known = cache.get(key);
    if (known !== undefined) return known;
    let own = originals.get(layer.output);
    if (own === undefined) originals.set(layer.output, (own = readLayer(layer, read)));
    const made = compensate(layer, own, gram, keep, ridge);
    cache.set(key, made, made.weights.length);
    return made;
  };

  return {
    refit(pruned, dead, groups = ownGroups) {
      const gone = deadAtoms(groups, dead);
      if (gone.size === 0) return pruned;
      const index = indexGraph(pruned.graph);
      const pairs = findPairs(layers, pruned.graph, findLayers(pruned.graph, index), index);
      const todo = new Map<
        string,
        {
          readonly layer: Layer;
          readonly gram: Gram;
          readonly keep: readonly number[];
          readonly rows: readonly number[];
        }
      >();
      for (const [output, gram] of grams) {
        const layer = layers.get(output);
        if (layer === undefined || layer.group !== 1) continue;
        const channels = layer.columns / layer.taps;
        // the input of the network has no labels: all of it stays
        const whole = pairs.has(output) ? Array.from({ length: channels }, (_, c) => c) : undefined;
        const keep = aliveOf(groups, gone, layer, layer.input, channels) ?? whole;
        if (keep === undefined || keep.length === 0) continue;
        if (keep.length === layer.columns / layer.taps && !pairs.has(output)) continue;
        const rows = aliveOf(groups, gone, layer, output, layer.outputs);
        todo.set(output, { layer, gram, keep, rows: rows ?? Array.from({ length: layer.outputs }, (_, i) => i) });
      }
      const fits = (l: Layer): boolean => {
        const t = todo.get(l.output);
        return (
          t !== undefined &&
          l.taps === t.layer.taps &&
          l.columns === t.keep.length * l.taps &&
          l.outputs === t.rows.length
        );
      };
      const fitsPair = (l: Layer): boolean => {
        const t = todo.get(l.output);
        const pair = pairs.get(l.output);
        return (
          t !== undefined &&
          pair !== undefined &&
          pair.dense.columns === t.keep.length * t.layer.taps &&
          l.outputs === t.rows.length
        );
      };
      const model = addBiases(
        pruned,
        findLayers(pruned.graph).filter((l) => fits(l) || fitsPair(l)),
      );
      const own = constantReader(model.graph);
      const changes = new Map<string, Float32Array>();
      const found = findLayers(model.graph);
      const again = findPairs(layers, model.graph, found, indexGraph(model.graph));
      for (const layer of found) {
        const paired = fitsPair(layer);
        if (!paired && !fits(layer)) continue;
        const { layer: origin, gram, keep, rows } = todo.get(layer.output)!;
        const { weights, bias } = rowsOf(compensated(origin, gram, keep), rows, keep.length * origin.taps);
        const pair = paired ? again.get(layer.output) : undefined;
        if (paired && pair === undefined) continue;
        const written =
          pair === undefined
            ? writeLayer(layer, { weights, bias }, own)
            : writePair(pair, { weights, bias }, restricted(gram, keep, origin.taps), own);
        for (const [name, values] of written) changes.set(name, values);
      }
      return withConstants(model, changes);
    },
  };
}

function rowsOf(all: Affine, rows: readonly number[], columns: number): Affine {
  const weights = new Float64Array(rows.length * columns);
  rows.forEach((row, i) => weights.set(all.weights.subarray(row * columns, (row + 1) * columns), i * columns));
  return { weights, bias: Float64Array.from(rows, (row) => all.bias[row]!) };
}

/** The moments of the kept input channels alone. */
function restricted(gram: Gram, keep: readonly number[], taps: number): Gram {
  const { kind, size, covariance, mean, group } = gram;
  const channels = kind === 'exact' ? size / taps : size;
  if (keep.length === channels) return gram;
  const at = kind === 'exact' ? keep.flatMap((c) => Array.from({ length: taps }, (_, t) => c * taps + t)) : [...keep];
  const n = at.length;
  const own = new Float32Array(kind === 'diagonal' ? n : n * n);
  if (kind === 'diagonal') at.forEach((c, i) => (own[i] = covariance[c]!));
  else at.forEach((r, i) => at.forEach((c, j) => (own[i * n + j] = covariance[r * size + c]!)));
  return { kind, group, size: n, covariance: own, mean: Float32Array.from(at, (c) => mean[c]!) };
}

/** Float64 values kept: 256 MB. */
const CACHE_VALUES = 2 ** 25;

function aliveOf(
  groups: ChannelGroups,
  gone: ReadonlySet<number>,
  layer: Layer,
  value: string,
  length: number,
): number[] | undefined {
  const labels = groups.labels.get(value);
  if (labels === undefined) return undefined;
  const axis = channelAxis(layer, labels.shape.length);
  return labels.shape[axis] === length ? aliveAlong(groups, gone, labels, axis) : undefined;
}

/** The layer restricted to the input channels `keep`, compensated by what the Gram matrix says of the others. */
export function compensate(layer: Layer, own: Affine, gram: Gram, keep: readonly number[], ridge: number): Affine {
  const { taps, columns, outputs } = layer;
  const channels = columns / taps;
  const kept = new Set(keep);
  const lost = Array.from({ length: channels }, (_, c) => c).filter((c) => !kept.has(c));
  // as matrices of rows over the Gram matrix's columns: [outputs, columns], or by channel [outputs · taps, channels]
  const byChannel = gram.kind !== 'exact';
  const spread = (list: readonly number[]): number[] =>
    byChannel ? [...list] : list.flatMap((c) => Array.from({ length: taps }, (_, t) => c * taps + t));
  const [k, d] = [spread(keep), spread(lost)];
  const rows = byChannel ? outputs * taps : outputs;
  const at = (row: number, column: number): number =>
    byChannel
      ? own.weights[Math.floor(row / taps) * columns + column * taps + (row % taps)]!
      : own.weights[row * columns + column]!;
  const fitted = new Float64Array(rows * k.length);
  for (let r = 0; r < rows; r++) for (let j = 0; j < k.length; j++) fitted[r * k.length + j] = at(r, k[j]!);
  if (gram.kind !== 'diagonal') {
    const { size, covariance } = gram;
    const removed = new Float64Array(rows * d.length);
    for (let r = 0; r < rows; r++) for (let j = 0; j < d.length; j++) removed[r * d.length + j] = at(r, d[j]!);
    const kd = new Float64Array(k.length * d.length);
    const kk = new Float64Array(k.length * k.length);
    for (let i = 0; i < k.length; i++) {
      const row = k[i]! * size;
      for (let j = 0; j < d.length; j++) kd[i * d.length + j] = covariance[row + d[j]!]!;
      for (let j = 0; j < k.length; j++) kk[i * k.length + j] = covariance[row + k[j]!]!;
    }
    const rhs = multiplyTransposed(removed, rows, d.length, kd, k.length);
    const change = solveRows(ridgedCholesky(kk, k.length, ridge).factor, k.length, rhs, rows);
    for (let i = 0; i < change.length; i++) fitted[i] = fitted[i]! + change[i]!;
  }
  const bias = own.bias.slice();
  const weights = byChannel ? new Float64Array(outputs * k.length * taps) : fitted;
  for (let r = 0; r < rows; r++) {
    const o = byChannel ? Math.floor(r / taps) : r;
    let shift = 0;
    for (let j = 0; j < gram.size; j++) shift += at(r, j) * gram.mean[j]!;
    for (let j = 0; j < k.length; j++) {
      const value = fitted[r * k.length + j]!;
      shift -= value * gram.mean[k[j]!]!;
      if (byChannel) weights[(o * k.length + j) * taps + (r % taps)] = value;
    }
    bias[o] = bias[o]! + shift;
  }
  return { weights, bias };
}
