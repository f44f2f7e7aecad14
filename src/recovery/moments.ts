// Second moments of a layer: the unfolded inputs at sampled positions, as rows X [samples, columns], give XᵀX, XᵀY and the
// means. The products run in onnxruntime in float32, batch by batch; sums over batches are float64.
import { graphBuilder, type GraphBuilder } from '../ir/builder.js';
import type { Node } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import { floatData, floatsOf, type Runtime, type RuntimeTensor } from '../runtime/runtime.js';
import type { Rng } from '../rng.js';
import { windowsOf, type Layer } from './layers.js';

/** Sums over `n` samples. Groups of a grouped Conv lie behind each other; columns are channel-major as in the weights. */
export interface Moments {
  readonly n: number;
  /** [group, columns, columns] */
  readonly xx: Float64Array;
  /** [group, columns] */
  readonly x: Float64Array;
}

/** Moments of the residuals R = target - what the layer gives now: small numbers, so that float32 products are exact enough. */
export interface ResidualMoments {
  readonly n: number;
  /** RᵀX [outputs, columns]: of each output with the columns of its group. */
  readonly rx: Float64Array;
  readonly r: Float64Array;
  /** Sums of squares of the residuals. */
  readonly rr: Float64Array;
  /** Sums of the targets and of their squares. */
  readonly y: Float64Array;
  readonly yy: Float64Array;
}

/** Which rows of the layer's input stand for an image: the same for all images of a batch, different in every batch. */
export interface Positions {
  /** Conv: indices into the padded input plane, [positions, taps]; Gemm and MatMul: rows. */
  readonly input: RuntimeTensor;
  /** Conv: indices into the output plane; Gemm and MatMul: rows. */
  readonly output: RuntimeTensor;
  readonly count: number;
}

/** Draws at most `limit` positions per image (rows per batch image for Gemm and MatMul), all of them when there are no more. */
export function drawPositions(layer: Layer, node: Node, dims: readonly number[], limit: number, rng: Rng): Positions {
  if (layer.kind !== 'conv') {
    const rows = dims.slice(0, -1).reduce((a, b) => a * b, 1);
    const wanted = Math.min(rows, Math.max(1, limit) * (dims[0] ?? 1));
    const chosen =
      wanted === rows ? Array.from({ length: rows }, (_, i) => i) : rng.sample(rows, wanted).sort(ascending);
    const tensor = indexTensor(chosen);
    return { input: tensor, output: tensor, count: chosen.length };
  }
  const w = windowsOf(node, layer.dims, dims);
  const total = w.output.reduce((a, b) => a * b, 1);
  const wanted = Math.min(total, Math.max(1, limit));
  const chosen =
    wanted === total ? Array.from({ length: total }, (_, i) => i) : rng.sample(total, wanted).sort(ascending);
  const padded = w.input.map((length, d) => length + w.begin[d]! + w.end[d]!);
  const kernel = offsets(w.kernel);
  const input = new Float64Array(chosen.length * kernel.length);
  chosen.forEach((position, i) => {
    const at = unravel(position, w.output);
    kernel.forEach((tap, t) => {
      let flat = 0;
      for (let d = 0; d < at.length; d++) flat = flat * padded[d]! + at[d]! * w.strides[d]! + tap[d]! * w.dilations[d]!;
      input[i * kernel.length + t] = flat;
    });
  });
  return { input: indexTensor(input), output: indexTensor(chosen), count: chosen.length };
}

/** Turns batches into sums. Batches may run side by side; `add` decides the order of the sums. */
export interface Collector<T> {
  run(feeds: ReadonlyMap<string, RuntimeTensor>): Promise<RawSums>;
  add(sums: RawSums): void;
  /** The sums since the last call. */
  take(): T;
  release(): Promise<void>;
}

/** What one batch gave, by output name, float32. */
export type RawSums = ReadonlyMap<string, RuntimeTensor>;

/**
 * Feeds: x, xi. 'channels': taps count as samples, so that columns are the input channels of a group; 'squares': so too, and of
 * XᵀX only the diagonal [group, columns] is summed.
 */
export function inputMoments(
  runtime: Runtime,
  layer: Layer,
  node: Node,
  dims: readonly number[],
  what: 'columns' | 'channels' | 'squares' = 'columns',
): Promise<Collector<Moments>> {
  const p = graphBuilder();
  const channels = what !== 'columns';
  const seen = channels ? { ...layer, columns: layer.columns / layer.taps, taps: 1 } : layer;
  let x = sampledRows(p, layer, node, dims);
  if (channels)
    x = p.op('Reshape', [x, p.ints(layer.group === 1 ? [-1, seen.columns] : [layer.group, -1, seen.columns])]);
  emitInputMoments(p, seen, x, what === 'squares');
  return collector(runtime, layer, p, what === 'squares' ? squareSums(seen) : momentSums(seen));
}

export interface TargetOptions {
  /** Rank of the output value. */
  readonly rank: number;
  /** The target is corrected by what another branch got wrong: y + other - otherPruned. */
  readonly residual: boolean;
  /** Channels of the original output that the pruned layer still has; undefined = all. */
  readonly keep?: readonly number[];
  /** What follows at once: values below 0 (and above `high`) do not matter. */
  readonly clip?: { readonly high?: number };
  /** The moments of the input are wanted as well. */
  readonly input?: boolean;
}

/** Feeds: x, xi, y, yi and, with a residual, other and otherPruned. */
export interface FitMoments {
  /** Absent when only residuals were asked for. */
  readonly input?: Moments;
  readonly residual: ResidualMoments;
}

/**
 * Feeds: x, xi, y, yi, w and b (see `programWeights`), with another branch also other and otherPruned. With `clip` the targets
 * know of the activation behind: where it cuts the original off, whatever the layer gives below the cut now is right.
 */
export function fitMoments(
  runtime: Runtime,
  layer: Layer,
  node: Node,
  dims: readonly number[],
  target: TargetOptions,
): Promise<Collector<FitMoments>> {
  const p = graphBuilder();
  const x = sampledRows(p, layer, node, dims);
  const { sum, other } = sampledTarget(p, layer, target);
  const w = anyRank(p, 'w', layer.group === 1 ? 2 : 3);
  const b = anyRank(p, 'b', 1);
  let now = p.op('MatMul', [x, w]);
  if (layer.group > 1) now = ungroup(p, now, layer);
  now = p.op('Add', [now, b]);
  if (other !== undefined) now = p.op('Add', [now, other]);
  let wanted = sum;
  if (target.clip !== undefined) {
    const zero = p.floats(0);
    wanted = p.op('Where', [p.op('Greater', [sum, zero]), sum, p.op('Min', [now, zero])]);
    const { high } = target.clip;
    if (high !== undefined) {
      const top = p.floats(high);
      wanted = p.op('Where', [p.op('GreaterOrEqual', [sum, top]), p.op('Max', [now, top]), wanted]);
    }
  }
  emitResidualMoments(p, layer, x, p.op('Sub', [wanted, now]), wanted);
  const residual = residualSums(layer);
  if (target.input !== true)
    return collector(runtime, layer, p, { add: residual.add, take: () => ({ residual: residual.take() }) });
  emitInputMoments(p, layer, x);
  const input = momentSums(layer);
  return collector(runtime, layer, p, {
    add: (sums) => {
      input.add(sums);
      residual.add(sums);
    },
    take: () => ({ input: input.take(), residual: residual.take() }),
  });
}

/** Weights [outputs, columns] as the programs want them: [columns, outputs] tap-major, one matrix per group. */
export function programWeights(layer: Layer, weights: Float64Array): RuntimeTensor {
  const { group, columns, outputs } = layer;
  const perGroup = outputs / group;
  const order = tapMajor(layer);
  const data = new Float32Array(outputs * columns);
  for (let o = 0; o < outputs; o++) {
    const g = Math.floor(o / perGroup);
    for (let j = 0; j < columns; j++) {
      data[(g * columns + j) * perGroup + (o - g * perGroup)] = weights[o * columns + order[j]!]!;
    }
  }
  return floatData(group === 1 ? [columns, outputs] : [group, columns, perGroup], data);
}

/** A value in the number format of the programs. */
export function asFloat(t: RuntimeTensor): RuntimeTensor {
  return t.dataType === DataType.FLOAT ? t : floatData(t.dims, floatsOf(t));
}

/** Covariance of the columns of one group; with `centred` false plain second moments (layers without a constant term). */
export function covariance(m: Moments, group: number, columns: number, centred: boolean): Float64Array {
  const at = group * columns * columns;
  const c = m.xx.slice(at, at + columns * columns);
  const n = Math.max(1, m.n);
  for (let i = 0; i < columns; i++) {
    const xi = centred ? m.x[group * columns + i]! / n : 0;
    for (let j = 0; j < columns; j++) {
      c[i * columns + j] = c[i * columns + j]! / n - (centred ? (xi * m.x[group * columns + j]!) / n : 0);
    }
  }
  return c;
}

// --- programs ----------------------------------------------------------------------------------------------------------

/** X: [samples, columns], or [group, samples, columns] for grouped Convs; columns tap-major: channels lie closest together. */
function sampledRows(p: GraphBuilder, layer: Layer, node: Node, dims: readonly number[]): string {
  let x = anyRank(p, 'x', dims.length);
  const xi = anyRank(p, 'xi', 1, DataType.INT64);
  if (layer.kind !== 'conv')
    return p.op('Gather', [p.op('Reshape', [x, p.ints([-1, layer.columns])]), xi], { axis: 0 });
  const w = windowsOf(node, layer.dims, dims);
  const channels = dims[1]!;
  if ([...w.begin, ...w.end].some((v) => v !== 0)) x = p.op('Pad', [x, p.ints([0, 0, ...w.begin, 0, 0, ...w.end])]);
  x = p.op('Reshape', [x, p.ints([0, channels, -1])]);
  x = p.op('Transpose', [x], { perm: [0, 2, 1] });
  x = p.op('Gather', [x, xi], { axis: 1 });
  if (layer.group === 1) return p.op('Reshape', [x, p.ints([-1, layer.columns])]);
  const each = channels / layer.group;
  x = p.op('Reshape', [x, p.ints([-1, layer.taps, layer.group, each])]);
  x = p.op('Transpose', [x], { perm: [2, 0, 1, 3] });
  return p.op('Reshape', [x, p.ints([layer.group, -1, layer.columns])]);
}

/** The wanted sum [samples, outputs] in front of what follows, and the other branch of the pruned network. */
function sampledTarget(
  p: GraphBuilder,
  layer: Layer,
  target: TargetOptions,
): { readonly sum: string; readonly other: string | undefined } {
  const yi = anyRank(p, 'yi', 1, DataType.INT64);
  const keep = target.keep === undefined ? undefined : p.ints(target.keep);
  const sample = (value: string, cut: boolean): string => {
    if (layer.kind !== 'conv') {
      const all = cut && keep !== undefined ? p.op('Gather', [value, keep], { axis: target.rank - 1 }) : value;
      return p.op('Gather', [p.op('Reshape', [all, p.ints([-1, layer.outputs])]), yi], { axis: 0 });
    }
    const all = cut && keep !== undefined ? p.op('Gather', [value, keep], { axis: 1 }) : value;
    const flat = p.op('Transpose', [p.op('Reshape', [all, p.ints([0, layer.outputs, -1])])], { perm: [0, 2, 1] });
    return p.op('Reshape', [p.op('Gather', [flat, yi], { axis: 1 }), p.ints([-1, layer.outputs])]);
  };
  const y = sample(anyRank(p, 'y', target.rank), true);
  if (!target.residual) return { sum: y, other: undefined };
  const original = sample(anyRank(p, 'other', target.rank), true);
  return { sum: p.op('Add', [y, original]), other: sample(anyRank(p, 'otherPruned', target.rank), false) };
}

function emitInputMoments(p: GraphBuilder, layer: Layer, x: string, squares = false): void {
  const grouped = layer.group > 1;
  const samples = p.ints([grouped ? 1 : 0]);
  const xx = squares
    ? p.op('ReduceSum', [p.op('Mul', [x, x]), samples], { keepdims: 0 })
    : grouped
      ? p.op('MatMul', [p.op('Transpose', [x], { perm: [0, 2, 1] }), x])
      : p.op('Gemm', [x, x], { transA: 1 });
  give(p, xx, 'xx');
  give(p, p.op('ReduceSum', [x, p.ints([grouped ? 1 : 0])], { keepdims: 0 }), 'sx');
  give(p, p.op('Cast', [p.op('Shape', [x])], { to: DataType.FLOAT }), 'shape');
}

function emitResidualMoments(p: GraphBuilder, layer: Layer, x: string, r: string, y: string): void {
  const zero = p.ints([0]);
  if (layer.group === 1) give(p, p.op('Gemm', [r, x], { transA: 1 }), 'rx');
  else {
    const each = layer.outputs / layer.group;
    const grouped = p.op('Transpose', [p.op('Reshape', [r, p.ints([-1, layer.group, each])])], { perm: [1, 2, 0] });
    give(p, p.op('MatMul', [grouped, x]), 'rx');
  }
  const total = (value: string): string => p.op('ReduceSum', [value, zero], { keepdims: 0 });
  give(p, total(r), 'r');
  give(p, total(p.op('Mul', [r, r])), 'rr');
  give(p, total(y), 'ty');
  give(p, total(p.op('Mul', [y, y])), 'tyy');
  give(p, p.op('Cast', [p.op('Shape', [r])], { to: DataType.FLOAT }), 'rshape');
}

/** A FLOAT input of this rank, lengths open. */
function anyRank(p: GraphBuilder, name: string, rank: number, elemType: number = DataType.FLOAT): string {
  return p.input(
    name,
    elemType,
    Array.from({ length: rank }, () => undefined),
  );
}

/** Makes the value an output of this name. */
function give(p: GraphBuilder, value: string, name: string): void {
  p.output(p.op('Identity', [value], {}, { outputs: [name] }), DataType.FLOAT);
}

function ungroup(p: GraphBuilder, value: string, layer: Layer): string {
  return p.op('Reshape', [p.op('Transpose', [value], { perm: [1, 0, 2] }), p.ints([-1, layer.outputs])]);
}

interface Sums<T> {
  readonly add: (sums: RawSums) => void;
  readonly take: () => T;
}

/** Sums stay in the programs' column order until they are taken. */
function momentSums(layer: Layer): Sums<Moments> {
  const { group, columns } = layer;
  const empty = (): Moments => ({
    n: 0,
    xx: new Float64Array(group * columns * columns),
    x: new Float64Array(group * columns),
  });
  let sums = empty();
  return {
    add(raw) {
      const shape = numbers(raw, 'shape');
      sums = { ...sums, n: sums.n + shape[shape.length - 2]! };
      addInto(sums.xx, numbers(raw, 'xx'));
      addInto(sums.x, numbers(raw, 'sx'));
    },
    take() {
      const order = tapMajor(layer);
      const taken = { ...empty(), n: sums.n };
      for (let g = 0; g < group; g++) {
        const at = g * columns * columns;
        for (let i = 0; i < columns; i++) {
          const row = at + order[i]! * columns;
          taken.x[g * columns + order[i]!] = sums.x[g * columns + i]!;
          for (let j = 0; j < columns; j++) taken.xx[row + order[j]!] = sums.xx[at + i * columns + j]!;
        }
      }
      sums = empty();
      return taken;
    },
  };
}

/** No taps are left in such a layer: columns are in their own order. */
function squareSums({ group, columns }: Layer): Sums<Moments> {
  const empty = (): Moments => ({ n: 0, xx: new Float64Array(group * columns), x: new Float64Array(group * columns) });
  let sums = empty();
  return {
    add(raw) {
      const shape = numbers(raw, 'shape');
      sums = { ...sums, n: sums.n + shape[shape.length - 2]! };
      addInto(sums.xx, numbers(raw, 'xx'));
      addInto(sums.x, numbers(raw, 'sx'));
    },
    take() {
      const taken = sums;
      sums = empty();
      return taken;
    },
  };
}

function residualSums(layer: Layer): Sums<ResidualMoments> {
  const { outputs, columns } = layer;
  const vector = (): Float64Array => new Float64Array(outputs);
  const empty = (): ResidualMoments => ({
    n: 0,
    rx: new Float64Array(outputs * columns),
    r: vector(),
    rr: vector(),
    y: vector(),
    yy: vector(),
  });
  let sums = empty();
  return {
    add(raw) {
      sums = { ...sums, n: sums.n + numbers(raw, 'rshape')[0]! };
      for (const name of ['rx', 'r', 'rr'] as const) addInto(sums[name], numbers(raw, name));
      addInto(sums.y, numbers(raw, 'ty'));
      addInto(sums.yy, numbers(raw, 'tyy'));
    },
    take() {
      const order = tapMajor(layer);
      const taken = { ...sums, rx: new Float64Array(outputs * columns) };
      for (let o = 0; o < outputs; o++) {
        for (let j = 0; j < columns; j++) taken.rx[o * columns + order[j]!] = sums.rx[o * columns + j]!;
      }
      sums = empty();
      return taken;
    },
  };
}

async function collector<T>(runtime: Runtime, layer: Layer, p: GraphBuilder, sums: Sums<T>): Promise<Collector<T>> {
  const session = await runtime.load(p.model(), { label: `the moments of ${layer.label}` });
  return { run: (feeds) => session.run(feeds), add: sums.add, take: sums.take, release: () => session.release() };
}

function numbers(raw: RawSums, name: string): Float32Array {
  const tensor = raw.get(name);
  if (tensor === undefined) throw new Error(`a program gave no "${name}"`);
  return floatsOf(tensor);
}

/** Column of the weights (channel-major) behind column j of the programs (tap-major). */
function tapMajor(layer: Layer): Int32Array {
  const { taps, columns } = layer;
  const channels = columns / taps;
  return Int32Array.from({ length: columns }, (_, j) => (j % channels) * taps + Math.floor(j / channels));
}

function offsets(kernel: readonly number[]): number[][] {
  return Array.from({ length: kernel.reduce((a, b) => a * b, 1) }, (_, t) => unravel(t, kernel));
}

function unravel(flat: number, dims: readonly number[]): number[] {
  const at = dims.map(() => 0);
  let rest = flat;
  for (let d = dims.length - 1; d >= 0; d--) {
    at[d] = rest % dims[d]!;
    rest = Math.floor(rest / dims[d]!);
  }
  return at;
}

function indexTensor(values: ArrayLike<number>): RuntimeTensor {
  return {
    dataType: DataType.INT64,
    dims: [values.length],
    data: BigInt64Array.from({ length: values.length }, (_, i) => BigInt(values[i]!)),
  };
}

function addInto(into: Float64Array, more: Float32Array): void {
  for (let i = 0; i < into.length; i++) into[i] = into[i]! + more[i]!;
}

function ascending(a: number, b: number): number {
  return a - b;
}
