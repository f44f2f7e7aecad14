// AZ-NAS' features of a network fed with noise: how evenly each block's output fills its channels (methods.md §5.1).
import { DataType } from '../../ir/tensor.js';
import { symmetricEigen } from '../../recovery/eigen.js';
import { floatData, floatsOf, type RuntimeTensor } from '../../runtime/runtime.js';
import { createEmitter, type Emitter } from '../../training/emitter.js';
import { blockOutputs, type BlockOutput } from './blocks.js';
import { withOutputs } from './network.js';
import type { Probe } from './probe.js';

/** One a block. */
export async function entropies(probe: Pick<Probe, 'network' | 'run' | 'batch' | 'rng'>): Promise<number[]> {
  const { model } = probe.network;
  const blocks = blockOutputs(probe.network);
  const m = createEmitter(model.graph, 'entropy', model.opsets.get('') ?? 17);
  const covariances = blocks.map((block) => {
    const flat = byChannel(m, block.name, block);
    const centred = m.emit('Sub', [flat, m.emit('ReduceMean', [flat, m.ints([1])], { keepdims: 1 })]);
    const positions = block.dims.reduce((a, b) => a * b, 1) / block.dims[block.channelAxis]!;
    const shared = m.emit('Mul', [centred, m.float(1 / Math.sqrt(positions))]);
    return m.emit('MatMul', [shared, m.emit('Transpose', [shared], { perm: [1, 0] })]);
  });
  const made = withOutputs(model, { graph: m.extended(model.graph), opsets: model.opsets }, covariances);
  const found = await probe.run(made, covariances, noiseInput(probe));
  return blocks.map(({ dims, channelAxis }, i) =>
    entropyOf(Float64Array.from(floatsOf(found.get(covariances[i]!)!)), dims[channelAxis]!),
  );
}

/** Entropy of the principal components' shares of the variance, 0 <= H <= ln channels; `covariance` [n, n]. */
export function entropyOf(covariance: Float64Array, n: number): number {
  if (!covariance.every((x) => Number.isFinite(x))) return NaN;
  const values = symmetricEigen(covariance, n).values.map((v) => Math.max(0, v));
  const total = values.reduce((a, b) => a + b, 0);
  return values.reduce((h, v) => h - (v / total) * Math.log(v / total + 1e-8), 0);
}

/** Standard normal numbers in place of the batch. */
export function noiseInput({ batch, rng }: Pick<Probe, 'batch' | 'rng'>): ReadonlyMap<string, RuntimeTensor> {
  const stream = rng.fork('az-nas');
  const noisy = new Map<string, RuntimeTensor>();
  for (const [name, t] of batch.inputs) {
    if (t.dataType === DataType.FLOAT) {
      noisy.set(
        name,
        floatData(
          t.dims,
          Float32Array.from({ length: t.data.length }, () => stream.normal()),
        ),
      );
    }
  }
  return noisy;
}

/** A value as a matrix [channels, positions]. */
export function byChannel(
  m: Emitter,
  name: string,
  { dims, channelAxis }: Pick<BlockOutput, 'dims' | 'channelAxis'>,
): string {
  const perm = [channelAxis, ...[...dims.keys()].filter((k) => k !== channelAxis)];
  return m.emit('Reshape', [m.emit('Transpose', [name], { perm }), m.ints([dims[channelAxis]!, -1])]);
}
