// How well a network does on a data set: accuracy or another metric with its 95 % interval; against a reference network also
// agreement, KL divergence, relative output error and the paired difference. Streams over batches: no outputs are kept.
import type { Dataset } from '../data/dataset.js';
import { chunksOf, type Chunk } from '../data/batches.js';
import type { MetricName } from '../data/manifest.js';
import { PareError } from '../errors.js';
import type { RuntimeTensor, Session } from '../runtime/runtime.js';
import {
  areProbabilities,
  argmax,
  deviation,
  divergence,
  inTop,
  isClassifier,
  judgedOutput,
  rowLength,
  rowsOf,
  softmax,
  type Outputs,
} from './outputs.js';
import { mean, pairedDifference, proportion, rootRatio, type Estimate } from './statistics.js';

export interface EvaluateOptions {
  /** Samples to use; all when absent. */
  readonly indices?: readonly number[];
  /** Samples a run (32); a network with a fixed batch size decides itself. */
  readonly batch?: number;
  /** The network to compare with, or its recorded outputs for the same samples. */
  readonly reference?: Session | RecordedOutputs;
  /** Runs under way at once: the runtime's `concurrency`. Results do not depend on it. */
  readonly concurrency?: number;
  readonly signal?: AbortSignal;
}

export interface Evaluation extends Estimate {
  readonly metric: MetricName;
  readonly higherIsBetter: boolean;
  /** Samples. */
  readonly n: number;
  /** Samples for which the network gave values that are not finite; they count as wrong. */
  readonly nonFinite: number;
  readonly versus?: Versus;
}

/** Against the reference network. */
export interface Versus {
  /** The metric of the reference, and ours minus its, paired sample by sample; absent for metrics that are themselves comparisons. */
  readonly reference?: Estimate;
  readonly difference?: Estimate;
  /** Share of samples with the same class; absent when the outputs are no class scores. */
  readonly agreement?: Estimate;
  /** KL(reference || network) in nats. */
  readonly kl?: Estimate;
  /** |output - reference| / |reference| over all samples, root mean square over outputs. */
  readonly relativeError: Estimate;
  readonly outputs: ReadonlyMap<string, Estimate>;
}

/** Outputs of a reference, so that many candidates are compared with one run of it. */
export interface RecordedOutputs {
  readonly indices: readonly number[];
  readonly chunks: readonly Outputs[];
  readonly batch: number;
}

export function higherIsBetter(metric: MetricName): boolean {
  return metric === 'top1' || metric === 'top5' || metric === 'agreement';
}

export async function evaluate(session: Session, dataset: Dataset, options: EvaluateOptions = {}): Promise<Evaluation> {
  const indices = options.indices ?? Array.from({ length: dataset.size }, (_, i) => i);
  if (indices.length === 0) throw new PareError(`data ${dataset.name}: no samples to measure on`);
  const { reference } = options;
  const recorded = reference !== undefined && 'chunks' in reference ? reference : undefined;
  const live = reference !== undefined && 'run' in reference ? reference : undefined;
  if (recorded !== undefined && recorded.indices.join() !== indices.join()) {
    throw new Error('the outputs of the reference were recorded for other samples');
  }
  let batch = recorded?.batch ?? (await safeBatch(session, dataset, indices, options.batch ?? 32));
  if (live !== undefined) batch = await safeBatch(live, dataset, indices, batch);
  const chunks = chunksOf(dataset, indices, batch);

  const rows = await eachChunk(chunks, options, async (chunk, at): Promise<ChunkResult> => {
    const { inputs, labels, targets } = dataset.batch(chunk.indices);
    const [outputs, base] = await Promise.all([session.run(inputs), recorded?.chunks[at] ?? live?.run(inputs)]);
    return judge(dataset, chunk, outputs, base, labels, targets);
  });
  return summarize(dataset, rows, indices.length);
}

/** Runs the reference once and keeps its outputs: for data of a few thousand samples and small outputs. */
export async function recordOutputs(
  session: Session,
  dataset: Dataset,
  options: Omit<EvaluateOptions, 'reference'> = {},
): Promise<RecordedOutputs> {
  const indices = options.indices ?? Array.from({ length: dataset.size }, (_, i) => i);
  const batch = await safeBatch(session, dataset, indices, options.batch ?? 32);
  const chunks = await eachChunk(chunksOf(dataset, indices, batch), options, (chunk) =>
    session.run(dataset.batch(chunk.indices).inputs),
  );
  return { indices, chunks, batch };
}

/**
 * The batch size that the network can really run: some graphs declare an open batch axis and still hold a 1 inside. Two samples
 * together must give what each gives alone.
 */
export async function safeBatch(
  session: Session,
  dataset: Dataset,
  indices: readonly number[],
  wanted: number,
): Promise<number> {
  if (dataset.fixedBatch !== undefined) return dataset.fixedBatch;
  if (wanted === 1 || indices.length < 2) return 1;
  const [first, second] = [indices[0]!, indices.find((i) => i !== indices[0]) ?? indices[1]!];
  const alone = [await session.run(dataset.batch([first]).inputs), await session.run(dataset.batch([second]).inputs)];
  let both: Outputs;
  try {
    both = await session.run(dataset.batch([first, second]).inputs);
  } catch (error) {
    if (error instanceof PareError) return 1;
    throw error;
  }
  for (const [name, t] of both) {
    if (t.dims[0] !== 2) return 1;
    const halves = rowLength(t, 2);
    if (halves === undefined) return 1;
    for (const [i, single] of alone.entries()) {
      const data = t.data.slice(i * halves, (i + 1) * halves);
      // the cast: a slice of tensor data is tensor data
      const part = { dataType: t.dataType, dims: [1, ...t.dims.slice(1)], data } as RuntimeTensor;
      const d = deviation(part, single.get(name) ?? part, 1, 1);
      if (d === undefined || d.error[0]! > 1e-4 * d.signal[0]! + 1e-8) return 1;
    }
  }
  return wanted;
}

// --- one batch -----------------------------------------------------------------------------------------------------------

interface ChunkResult {
  readonly metric: MetricName;
  /** The metric sample by sample: 1 or 0 for proportions. */
  readonly own: Float64Array;
  readonly reference: Float64Array | undefined;
  readonly agreement: Float64Array | undefined;
  readonly kl: Float64Array | undefined;
  readonly outputs: ReadonlyMap<string, { readonly error: Float64Array; readonly signal: Float64Array }>;
  readonly nonFinite: number;
}

function judge(
  dataset: Dataset,
  { indices, count }: Chunk,
  outputs: Outputs,
  base: Outputs | undefined,
  labels: Int32Array | undefined,
  targets: Float32Array | undefined,
): ChunkResult {
  const n = indices.length;
  const name = judgedOutput(outputs, n, dataset.output);
  const judged = name === undefined ? undefined : outputs.get(name);
  if (name === undefined || judged === undefined) {
    throw new PareError(
      `data ${dataset.name}: the network has no output "${dataset.output}"; it has ${[...outputs.keys()].join(', ')}`,
    );
  }
  const scores = isClassifier(judged, n);
  const metric = dataset.metric ?? (scores ? 'agreement' : 'relative-error');
  const baseJudged = base?.get(name) ?? [...(base?.values() ?? [])][[...outputs.keys()].indexOf(name)];
  if (base === undefined && (metric === 'agreement' || metric === 'relative-error')) {
    throw new PareError(
      `data ${dataset.name} ${dataset.labels === undefined ? 'have no labels' : `declare metric "${metric}"`}: give a reference network to compare with (--reference)`,
    );
  }

  let nonFinite = 0;
  const classes = (t: RuntimeTensor): Int32Array => {
    const row = rowsOf(t, rowLength(t, n) ?? 0);
    return Int32Array.from({ length: count }, (_, i) => argmax(row(i)));
  };
  const own = scores ? classes(judged) : undefined;
  if (own !== undefined) nonFinite = own.filter((c) => c < 0).length;
  const theirs = scores && baseJudged !== undefined ? classes(baseJudged) : undefined;

  let agreement: Float64Array | undefined;
  let kl: Float64Array | undefined;
  if (own !== undefined && theirs !== undefined && baseJudged !== undefined) {
    agreement = Float64Array.from(own, (c, i) => (c >= 0 && c === theirs[i] ? 1 : 0));
    kl = divergences(judged, baseJudged, n, count);
  }
  const deviations = new Map<string, { error: Float64Array; signal: Float64Array }>();
  for (const [output, t] of base === undefined ? [] : outputs) {
    const other = base?.get(output);
    const d = other === undefined ? undefined : deviation(t, other, n, count);
    if (d === undefined) {
      const said = `[${t.dims.join(', ')}] against [${other?.dims.join(', ') ?? 'nothing'}]`;
      throw new PareError(`output "${output}" cannot be compared with the reference: ${said}`);
    }
    deviations.set(output, d);
    nonFinite = Math.max(nonFinite, d.nonFinite);
  }
  const value = (t: RuntimeTensor): Float64Array => score(dataset, metric, t, n, count, labels, targets, name);
  const comparison = metric === 'agreement' || metric === 'relative-error';
  if (metric === 'agreement' && agreement === undefined) {
    throw new PareError(
      `metric "agreement" compares classes, but output "${name}" has shape [${judged.dims.join(', ')}]; use "relative-error"`,
    );
  }
  return {
    metric,
    own: metric === 'agreement' ? agreement! : comparison ? new Float64Array(count) : value(judged),
    reference: comparison || baseJudged === undefined ? undefined : value(baseJudged),
    agreement,
    kl,
    outputs: deviations,
    nonFinite,
  };
}

function score(
  dataset: Dataset,
  metric: MetricName,
  t: RuntimeTensor,
  n: number,
  count: number,
  labels: Int32Array | undefined,
  targets: Float32Array | undefined,
  name: string,
): Float64Array {
  const width = rowLength(t, n);
  const shape = `output "${name}" of shape [${t.dims.join(', ')}]`;
  if (width === undefined) throw new PareError(`${shape} does not hold one result for each of ${n} samples`);
  const row = rowsOf(t, width);
  if (metric === 'top1' || metric === 'top5') {
    if (labels === undefined) throw new Error(`${metric} without labels`);
    if (!isClassifier(t, n)) {
      throw new PareError(
        `data ${dataset.name}: metric "${metric}" wants one vector of class scores a sample, but ${shape} is none; name another with "output", or another metric`,
      );
    }
    return Float64Array.from({ length: count }, (_, i) => {
      const label = labels[i]!;
      if (label < 0 || label >= width) {
        throw new PareError(
          `data ${dataset.name}: a label is ${label}, but the network has ${width} classes (0 to ${width - 1}); give labels in the network's order, or data of its classes`,
        );
      }
      return (metric === 'top1' ? argmax(row(i)) === label : inTop(row(i), label, 5)) ? 1 : 0;
    });
  }
  if (targets === undefined) throw new Error(`${metric} without targets`);
  if (targets.length !== width * n) {
    throw new PareError(
      `data ${dataset.name}: targets have ${targets.length / n} values a sample, but ${shape} has ${width}`,
    );
  }
  return Float64Array.from({ length: count }, (_, i) => {
    let total = 0;
    const values = row(i);
    for (let j = 0; j < width; j++) {
      const d = values[j]! - targets[i * width + j]!;
      total += metric === 'mse' ? d * d : Math.abs(d);
    }
    return total / width;
  });
}

function divergences(t: RuntimeTensor, base: RuntimeTensor, n: number, count: number): Float64Array {
  const width = rowLength(t, n) ?? 0;
  const [a, b] = [rowsOf(t, width), rowsOf(base, width)];
  const done = areProbabilities(base, n, width) && areProbabilities(t, n, width);
  return Float64Array.from({ length: count }, (_, i) =>
    done ? divergence(b(i), a(i)) : divergence(softmax(b(i)), softmax(a(i))),
  );
}

// --- all batches ---------------------------------------------------------------------------------------------------------

function summarize(dataset: Dataset, rows: readonly ChunkResult[], n: number): Evaluation {
  const first = rows[0]!;
  const { metric } = first;
  const join = (get: (r: ChunkResult) => Float64Array | undefined): Float64Array | undefined => {
    const parts = rows.map(get);
    if (parts.some((p) => p === undefined)) return undefined;
    const all = new Float64Array(n);
    let at = 0;
    for (const part of parts) {
      all.set(part!, at);
      at += part!.length;
    }
    return all;
  };
  const isShare = higherIsBetter(metric);
  const estimate = (values: Float64Array): Estimate =>
    isShare
      ? proportion(
          values.reduce((a, b) => a + b, 0),
          n,
        )
      : mean(values);
  const nonFinite = rows.reduce((a, r) => a + r.nonFinite, 0);

  const outputs = new Map<string, Estimate>();
  for (const name of first.outputs.keys()) {
    const error = join((r) => r.outputs.get(name)?.error);
    const signal = join((r) => r.outputs.get(name)?.signal);
    if (error !== undefined && signal !== undefined) outputs.set(name, rootRatio(error, signal));
  }
  const own = join((r) => r.own)!;
  const relativeError = rootMeanSquare([...outputs.values()]);
  const main = metric === 'relative-error' ? relativeError : estimate(own);
  const basis = { metric, ...main, higherIsBetter: isShare, n, nonFinite };
  if (outputs.size === 0) return basis;

  const reference = join((r) => r.reference);
  const agreement = join((r) => r.agreement);
  const kl = join((r) => r.kl);
  const versus: Versus = {
    relativeError,
    outputs,
    ...(agreement === undefined
      ? {}
      : {
          agreement: proportion(
            agreement.reduce((a, b) => a + b, 0),
            n,
          ),
        }),
    ...(kl === undefined ? {} : { kl: mean(kl) }),
    ...(reference === undefined
      ? {}
      : { reference: estimate(reference), difference: difference(own, reference, isShare) }),
  };
  return { ...basis, versus };
}

function difference(own: Float64Array, reference: Float64Array, isShare: boolean): Estimate {
  if (!isShare) return mean(own.map((v, i) => v - reference[i]!));
  let gained = 0;
  let lost = 0;
  for (const [i, v] of own.entries()) {
    if (v > reference[i]!) gained++;
    else if (v < reference[i]!) lost++;
  }
  return pairedDifference(gained, lost, own.length);
}

function rootMeanSquare(list: readonly Estimate[]): Estimate {
  const rms = (get: (e: Estimate) => number): number =>
    Math.sqrt(list.reduce((a, e) => a + get(e) ** 2, 0) / Math.max(1, list.length));
  return { value: rms((e) => e.value), ci95: [rms((e) => e.ci95[0]), rms((e) => e.ci95[1])] };
}

/** Results in the order of the chunks, a few under way at once. */
async function eachChunk<T>(
  chunks: readonly Chunk[],
  { concurrency = 1, signal }: Pick<EvaluateOptions, 'concurrency' | 'signal'>,
  work: (chunk: Chunk, at: number) => Promise<T>,
): Promise<T[]> {
  const results: T[] = Array.from({ length: chunks.length });
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < chunks.length) {
      signal?.throwIfAborted();
      const at = next++;
      results[at] = await work(chunks[at]!, at);
    }
  };
  // one lane more than threads: the next batch is prepared while the others run
  await Promise.all(Array.from({ length: concurrency === 1 ? 1 : concurrency + 1 }, lane));
  return results;
}
