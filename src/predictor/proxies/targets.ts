// What the loss of the gradient proxies aims at: labels; without them what the network itself says, as given, of the same batch.
import { PareError } from '../../errors.js';
import type { Model } from '../../ir/graph.js';
import { elementCount } from '../../ir/tensor.js';
import type { Rng } from '../../rng.js';
import { floatsOf, type RuntimeTensor } from '../../runtime/runtime.js';
import type { Loss } from '../../training/loss.js';
import { withOutputs, type Network, type WeightSource } from './network.js';
import type { Probe, ProbeBatch } from './probe.js';

/** 'own classes': the likeliest class by the network as given; 'own outputs': its outputs (with noise where they are met exactly). */
export type TargetKind = 'labels' | 'own classes' | 'own outputs';

export interface Targets {
  readonly kind: TargetKind;
  readonly loss: Loss;
  /** As many as the scores. */
  readonly values: Float32Array;
}

interface Sources {
  readonly given: Model;
  readonly network: Network;
  readonly batch: ProbeBatch;
  readonly weights: WeightSource;
  readonly rng: Rng;
  readonly run: Probe['run'];
}

export async function ownTargets({ given, network, batch, weights, rng, run }: Sources): Promise<Targets> {
  const { dims } = network.scores;
  const classes = dims.length === 2 && dims[1]! > 1;
  if (batch.labels !== undefined && classes) {
    return { kind: 'labels', loss: { kind: 'cross-entropy' }, values: oneHot(batch.labels, dims) };
  }
  const own = await scoresAsGiven(given, network, batch, run);
  if (classes) {
    const width = dims[1]!;
    const labels = Int32Array.from({ length: dims[0]! }, (_, n) => argmax(own.subarray(n * width, (n + 1) * width)));
    return { kind: 'own classes', loss: { kind: 'cross-entropy' }, values: oneHot(labels, dims) };
  }
  if (weights === 'fresh') return { kind: 'own outputs', loss: { kind: 'mse' }, values: own };
  // outputs met exactly have no gradient: a step of their own size away from them has
  const size = Math.sqrt(own.reduce((sum, x) => sum + x * x, 0) / Math.max(1, own.length));
  const noise = rng.fork('targets');
  return { kind: 'own outputs', loss: { kind: 'mse' }, values: own.map((x) => x + size * noise.normal()) };
}

/** The same value of the network as it was given: its own weights, stored statistics. */
async function scoresAsGiven(
  given: Model,
  network: Network,
  batch: ProbeBatch,
  run: Probe['run'],
): Promise<Float32Array> {
  const { name, dims } = network.scores;
  const inputs = given.graph.inputs.map((v) => {
    const own = batch.inputs.get(v.name)?.dims;
    return own === undefined || v.type?.kind !== 'tensor' ? v : { ...v, type: { ...v.type, shape: own } };
  });
  const parts = { graph: { ...given.graph, inputs, valueInfo: new Map() }, opsets: given.opsets };
  const found: RuntimeTensor = (await run(withOutputs(given, parts, [name]), [name])).get(name)!;
  if (found.data.length !== elementCount(dims)) {
    throw new PareError(`"${name}" is [${found.dims.join(', ')}] and not [${dims.join(', ')}]`);
  }
  return floatsOf(found);
}

function oneHot(labels: Int32Array, dims: readonly number[]): Float32Array {
  const [rows = 0, width = 0] = dims;
  if (labels.length !== rows) throw new PareError(`there are ${labels.length} labels for ${rows} samples`);
  const values = new Float32Array(rows * width);
  labels.forEach((label, n) => {
    if (label < 0 || label >= width)
      throw new PareError(`there is a label ${label}, and the network has ${width} classes`);
    values[n * width + label] = 1;
  });
  return values;
}

function argmax(row: Float32Array): number {
  let best = 0;
  row.forEach((v, i) => {
    if (v > row[best]!) best = i;
  });
  return best;
}
