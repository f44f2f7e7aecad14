// Neural capacitance (arXiv 2201.04194; methods.md §8): the mean-field degree beta of the graph by which the weights of consecutive
// dense layers drive each other in training. It falls to 0 as errors vanish, so accuracy regressed on beta, read at beta = 0, foretells
// where a short fine-tune will end. The strengths of the edges are our working definition, as methods.md states it.
// Measured on 12 pruned variants of the shipped example (`npm run bench -- capacitance`): Spearman with the final accuracy .944 and .942
// after 4 and 5 short epochs against .888 and .909 of the last accuracy seen, but .867 against .944 after 3. Of distillations that start where a refit ended
// (`npm run bench -- early-stop`) it foretells the gain worse than the last likeness seen, so search/early-stop.ts goes by that.
import { PareError } from '../errors.js';
import { attrInt, type Model, type Node } from '../ir/graph.js';
import { DataType, floatTensor, readFloats } from '../ir/tensor.js';
import { allNames, freshName } from '../ir/walk.js';
import type { Rng } from '../rng.js';
import { fitBayesianRidge, type RidgeBelief } from './bayesian-ridge.js';

/** 1'PP1 / 1'P1 of a weighted graph P [n, n]; 0 where nothing acts on anything. */
export function effectiveDegree(p: readonly ArrayLike<number>[]): number {
  const out = p.map((row) => Array.from(row).reduce((a, b) => a + b, 0));
  const into = p.map((_, j) => p.reduce((sum, row) => sum + row[j]!, 0));
  const whole = out.reduce((a, b) => a + b, 0);
  return whole === 0 ? 0 : into.reduce((sum, x, j) => sum + x * out[j]!, 0) / whole;
}

/** Consecutive dense layers, Relu between them: z = W a + b. */
export interface DenseHead {
  /** Of the input, then of each layer's output. */
  readonly sizes: readonly number[];
  /** [outputs, inputs] by layer. */
  readonly weights: readonly ArrayLike<number>[];
  readonly biases: readonly ArrayLike<number>[];
}

export interface CapacitanceOptions {
  /** With their signs the strengths of softmax with cross-entropy cancel at the outputs; without, the default, they do not. */
  readonly signed?: boolean;
}

/**
 * beta of a head on a batch, cross-entropy with these labels. Sums over the line graph factorise, so that it costs one forward and
 * backward pass. It takes at least three layers for an edge to act on an edge that acts on another.
 */
export function neuralCapacitance(
  head: DenseHead,
  features: ArrayLike<number>,
  labels: ArrayLike<number>,
  { signed = false }: CapacitanceOptions = {},
): number {
  const { sizes } = head;
  const depth = head.weights.length;
  if (depth < 3)
    throw new PareError(`neural capacitance needs a head of three dense layers, and this one has ${depth}`);
  const size = (x: number): number => (signed ? x : Math.abs(x));
  const batch = labels.length;
  let acting = 0;
  // by layer, sums over the batch of T and U, by pairs of units
  const pairs = (l: number, reach: number): Float64Array =>
    new Float64Array(l + reach < sizes.length ? sizes[l + 1]! * sizes[l + 2]! : 0);
  const t = sizes.map((_, l) => pairs(l, 2));
  const u = sizes.map((_, l) => pairs(l, 3));
  for (let b = 0; b < batch; b++) {
    const { activations, slopes, errors } = passes(head, features, b, labels[b]!);
    const sumOf = (values: Float64Array): number => values.reduce((s, x) => s + size(x), 0);
    for (let l = 0; l + 2 <= depth; l++) {
      const [a, slope, error] = [sumOf(activations[l]!), slopes[l + 1]!, errors[l + 2]!];
      acting += (a * slope.reduce((s, x) => s + x, 0) * sumOf(error)) / batch;
      const width = sizes[l + 2]!;
      slope.forEach((s, j) => error.forEach((d, k) => (t[l]![j * width + k]! += (a * s * size(d)) / batch)));
      if (l + 3 > depth) continue;
      const [next, later, far] = [activations[l + 1]!, slopes[l + 2]!, sumOf(errors[l + 3]!)];
      next.forEach((x, j) => later.forEach((s, k) => (u[l]![j * width + k]! += (size(x) * s * far) / batch)));
    }
  }
  if (acting === 0) return 0;
  let twice = 0;
  for (let l = 0; l + 3 <= depth; l++) t[l]!.forEach((x, i) => (twice += x * u[l]![i]!));
  return twice / acting;
}

export interface Passes {
  /** a of layer l: the input is layer 0. */
  readonly activations: readonly Float64Array[];
  /** Derivative of the Relu at z of layer l (1 at the last layer). */
  readonly slopes: readonly Float64Array[];
  /** dC/dz of layer l. */
  readonly errors: readonly Float64Array[];
}

export function passes(
  { sizes, weights, biases }: DenseHead,
  features: ArrayLike<number>,
  sample: number,
  label: number,
): Passes {
  const depth = weights.length;
  const [inputs = 0] = sizes;
  const activations = [Float64Array.from({ length: inputs }, (_, i) => features[sample * inputs + i]!)];
  const slopes = [new Float64Array(inputs).fill(1)];
  for (let l = 1; l <= depth; l++) {
    const before = activations[l - 1]!;
    const w = weights[l - 1]!;
    const z = Float64Array.from({ length: sizes[l]! }, (_, j) =>
      before.reduce((sum, a, i) => sum + w[j * before.length + i]! * a, biases[l - 1]![j]!),
    );
    slopes.push(z.map((x) => (l === depth || x > 0 ? 1 : 0)));
    activations.push(l === depth ? z : z.map((x) => Math.max(0, x)));
  }
  const scores = activations[depth]!;
  const top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const total = scores.reduce((sum, z) => sum + Math.exp(z - top), 0);
  const errors: Float64Array[] = [];
  errors[depth] = scores.map((z, k) => Math.exp(z - top) / total - (k === label ? 1 : 0));
  for (let l = depth - 1; l >= 1; l--) {
    const after = errors[l + 1]!;
    const w = weights[l]!;
    const width = sizes[l]!;
    errors[l] = slopes[l]!.map((s, j) => (s === 0 ? 0 : after.reduce((sum, d, k) => sum + d * w[k * width + j]!, 0)));
  }
  return { activations, slopes, errors };
}

export interface Observation {
  readonly beta: number;
  /** On held-out samples. */
  readonly accuracy: number;
}

/** Accuracy at beta = 0 by Bayesian ridge regression; of a single observation, itself. */
export function extrapolated(history: readonly Observation[]): RidgeBelief {
  const fitted = fitBayesianRidge(
    history.map((o) => [o.beta]),
    history.map((o) => o.accuracy),
  );
  const { mean, deviation } = fitted.predict([0]);
  return { mean: Math.min(1, Math.max(0, mean)), deviation: Math.hypot(deviation, fitted.noise) };
}

export interface ProbedModel {
  readonly model: Model;
  /** The value that the probe reads, [N, features]. */
  readonly features: string;
  /** Weight and bias of each layer of the probe. */
  readonly layers: readonly (readonly [string, string])[];
}

/** The network with its last Gemm replaced by a fresh head of three dense layers: the probe whose capacitance is measured. */
export function withProbe(model: Model, rng: Rng, widths: readonly [number, number] = [32, 32]): ProbedModel {
  const { graph } = model;
  const at = graph.nodes.findLastIndex((n) => n.opType === 'Gemm' && n.domain === '');
  const last = graph.nodes[at];
  const weight = graph.initializers.get(last?.inputs[1] ?? '');
  if (last === undefined || weight === undefined || attrInt(last, 'transA', 0) === 1) {
    throw new PareError('neural capacitance puts a probe in place of the last Gemm, and this network has none');
  }
  const across = attrInt(last, 'transB', 0) === 1;
  const [inputs, classes] = across ? [weight.dims[1]!, weight.dims[0]!] : [weight.dims[0]!, weight.dims[1]!];
  const sizes = [inputs, ...widths, classes];
  const taken = allNames(graph);
  const fresh = (stem: string): string => {
    const name = freshName(taken, stem);
    taken.add(name);
    return name;
  };
  const initializers = new Map(graph.initializers);
  const nodes: Node[] = [];
  const layers: (readonly [string, string])[] = [];
  let value = last.inputs[0]!;
  for (let l = 0; l < 3; l++) {
    const [w, b] = [fresh(`probe/weight_${l}`), fresh(`probe/bias_${l}`)];
    const [from, to] = [sizes[l]!, sizes[l + 1]!];
    const stream = rng.fork(`probe/${l}`);
    const values = Float32Array.from({ length: from * to }, () => Math.sqrt(2 / from) * stream.normal());
    initializers.set(w, floatTensor(w, [to, from], values));
    initializers.set(b, floatTensor(b, [to], new Float32Array(to)));
    layers.push([w, b]);
    const output = l === 2 ? last.outputs[0]! : fresh(`probe/layer_${l}`);
    const attributes = new Map([['transB', { name: 'transB', kind: 'int', value: 1 } as const]]);
    nodes.push({ name: output, opType: 'Gemm', domain: '', inputs: [value, w, b], outputs: [output], attributes });
    if (l === 2) break;
    value = fresh(`probe/relu_${l}`);
    nodes.push({ name: value, opType: 'Relu', domain: '', inputs: [output], outputs: [value], attributes: new Map() });
  }
  const all = [...graph.nodes.slice(0, at), ...nodes, ...graph.nodes.slice(at + 1)];
  return { model: { ...model, graph: { ...graph, nodes: all, initializers } }, features: last.inputs[0]!, layers };
}

/** The probe's weights as they are in a model (before, during or after training). */
export function headOf({ graph }: Model, layers: ProbedModel['layers']): DenseHead {
  const read = (name: string): Float32Array => readFloats(graph.initializers.get(name)!);
  const dims = layers.map(([w]) => graph.initializers.get(w)!.dims);
  return {
    sizes: [dims[0]![1]!, ...dims.map((d) => d[0]!)],
    weights: layers.map(([w]) => read(w)),
    biases: layers.map(([, b]) => read(b)),
  };
}

/** The model that gives the probe's features instead of scores. */
export function featuresOf({ model, features }: ProbedModel): Model {
  const output = { name: features, type: { kind: 'tensor', elemType: DataType.FLOAT } as const };
  return { ...model, graph: { ...model.graph, outputs: [output] } };
}
