// The capacitance of a network that is being trained, beside the training: a small fresh head learns classes from the network's features,
// the longer the further the training is, so that its beta falls as that of a probe trained along with the network does (methods.md §8),
// and the training itself is as it would be without it. A pure function of features, classes, steps and seed: resumed runs see the same.
import type { Watched } from '../../search/early-stop.js';
import { chunksOf } from '../../src/data/batches.js';
import type { Model } from '../../src/ir/graph.js';
import { argmax, judgedOutput, rowLength, rowsOf } from '../../src/measure/outputs.js';
import { featuresOf, neuralCapacitance, passes, withProbe, type DenseHead } from '../../src/predictor/capacitance.js';
import type { Rng } from '../../src/rng.js';
import { floatsOf, withSession } from '../../src/runtime/runtime.js';

const SAMPLES = 128;
const WIDTHS = [32, 32] as const;
const RATE = 0.003;

/** beta of a probe on a classifier that ends in a Gemm; classes are the original's. */
export async function betaOf(model: Model, steps: number, watched: Watched, rng: Rng): Promise<number> {
  const { dataset, runtime, reference } = watched;
  const probed = withProbe(model, rng);
  const labels: number[] = [];
  const features: number[] = [];
  let classes = 0;
  await withSession(runtime, featuresOf(probed), {}, async (session) => {
    for (const [k, { indices }] of chunksOf(dataset, reference.indices, reference.batch).entries()) {
      if (labels.length >= SAMPLES) return;
      const theirs = reference.chunks[k]!;
      const judged = theirs.get(judgedOutput(theirs, indices.length, dataset.output)!)!;
      classes = rowLength(judged, indices.length)!;
      const rows = rowsOf(judged, classes);
      indices.forEach((_, i) => labels.push(argmax(rows(i))));
      features.push(...floatsOf((await session.run(dataset.batch(indices).inputs)).get(probed.features)!));
    }
  });
  return capacitanceOf(features, labels, classes, steps, rng);
}

/** beta of a fresh head on features [samples, width] after so many steps of Adam on all of them. Features are standardised first. */
function capacitanceOf(
  features: ArrayLike<number>,
  labels: ArrayLike<number>,
  classes: number,
  steps: number,
  rng: Rng,
): number {
  const samples = labels.length;
  const width = features.length / samples;
  const x = standardised(features, samples, width);
  const sizes = [width, ...WIDTHS, classes];
  const parameters = sizes.slice(1).flatMap((to, l) => {
    const from = sizes[l]!;
    const stream = rng.fork(`probe/${l}`);
    return [
      Float64Array.from({ length: to * from }, () => Math.sqrt(2 / from) * stream.normal()),
      new Float64Array(to),
    ];
  });
  const head: DenseHead = {
    sizes,
    weights: parameters.filter((_, i) => i % 2 === 0),
    biases: parameters.filter((_, i) => i % 2 === 1),
  };
  const means = parameters.map((p) => new Float64Array(p.length));
  const squares = parameters.map((p) => new Float64Array(p.length));
  for (let step = 1; step <= steps; step++) {
    const gradients = gradientsOf(head, x, labels);
    parameters.forEach((p, k) => {
      const [g, m, v] = [gradients[k]!, means[k]!, squares[k]!];
      for (let i = 0; i < p.length; i++) {
        m[i] = 0.9 * m[i]! + 0.1 * g[i]!;
        v[i] = 0.999 * v[i]! + 0.001 * g[i]! ** 2;
        p[i]! -= (RATE * (m[i]! / (1 - 0.9 ** step))) / (Math.sqrt(v[i]! / (1 - 0.999 ** step)) + 1e-8);
      }
    });
  }
  return neuralCapacitance(head, x, labels);
}

/** Of the mean cross-entropy, weights and biases of each layer in turn. */
function gradientsOf(head: DenseHead, x: Float64Array, labels: ArrayLike<number>): readonly Float64Array[] {
  const { sizes } = head;
  const gradients = head.weights.flatMap((w, l) => [new Float64Array(w.length), new Float64Array(sizes[l + 1]!)]);
  for (let b = 0; b < labels.length; b++) {
    const { activations, errors } = passes(head, x, b, labels[b]!);
    for (let l = 1; l < sizes.length; l++) {
      const [into, bias] = [gradients[2 * l - 2]!, gradients[2 * l - 1]!];
      const before = activations[l - 1]!;
      errors[l]!.forEach((d, j) => {
        if (d === 0) return;
        bias[j]! += d / labels.length;
        const row = j * before.length;
        for (let i = 0; i < before.length; i++) into[row + i]! += (d * before[i]!) / labels.length;
      });
    }
  }
  return gradients;
}

/** Each feature with mean 0 and variance 1 over the samples; one that is constant is 0. */
function standardised(features: ArrayLike<number>, samples: number, width: number): Float64Array {
  const x = Float64Array.from(features);
  for (let j = 0; j < width; j++) {
    let [mean, square] = [0, 0];
    for (let b = 0; b < samples; b++) mean += x[b * width + j]! / samples;
    for (let b = 0; b < samples; b++) square += (x[b * width + j]! - mean) ** 2 / samples;
    const scale = square > 1e-12 ? 1 / Math.sqrt(square) : 0;
    for (let b = 0; b < samples; b++) x[b * width + j] = (x[b * width + j]! - mean) * scale;
  }
  return x;
}
