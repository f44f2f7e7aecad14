// Fills placeholders with random numbers, so that graphs that come without weights can be run.

import type { Model } from '../../src/ir/graph.js';
import { DataType, elementCount, hasData, readNumbers, type Tensor } from '../../src/ir/tensor.js';
import type { Rng } from '../../src/rng.js';

/** Matrices of small gain (products stay tame: no chaos between rounding errors), vectors around 1 (so that they serve as variances too). Weights that ConstantOfShape makes become initializers. */
export function fillRandom(model: Model, rng: Rng): Model {
  const { graph } = model;
  const initializers = new Map<string, Tensor>();
  for (const [name, t] of graph.initializers) initializers.set(name, hasData(t) ? t : randomTensor(t, rng));
  const nodes = graph.nodes.filter((node) => {
    const shape = initializers.get(node.inputs[0] ?? '');
    if (node.opType !== 'ConstantOfShape' || shape === undefined) return true;
    const name = node.outputs[0]!;
    initializers.set(name, randomTensor({ name, dataType: DataType.FLOAT, dims: Array.from(readNumbers(shape)) }, rng));
    return false;
  });
  return { ...model, graph: { ...graph, nodes, initializers } };
}

function randomTensor(t: Tensor, rng: Rng): Tensor {
  const { name, dataType, dims } = t;
  const n = elementCount(dims);
  let bytes: Uint8Array | undefined;
  return {
    name,
    dataType,
    dims,
    bytes: () => (bytes ??= numbers(dataType, dims, n, rng.fork(name === '' ? 'unnamed' : name))),
  };
}

function numbers(dataType: number, dims: readonly number[], n: number, rng: Rng): Uint8Array {
  if (dataType === DataType.INT64) return new Uint8Array(BigInt64Array.from({ length: n }, () => 0n).buffer);
  const wide = dims.filter((d) => d > 1).length > 1;
  const gain = 0.3 * Math.sqrt(3 / Math.max(1, n / (dims[0] ?? 1)));
  // a table of random numbers, walked with a drawn stride: fast for hundreds of megabytes
  const table = Float32Array.from({ length: 4093 }, () => (wide ? (2 * rng.next() - 1) * gain : 0.5 + rng.next()));
  const step = 1 + rng.int(4000);
  const data = new Float32Array(n);
  for (let i = 0, p = rng.int(4093); i < n; i++) {
    data[i] = table[p]!;
    p += step;
    if (p >= 4093) p -= 4093;
    if (i % 4093 === 4092) p = (p + 1) % 4093;
  }
  return new Uint8Array(data.buffer);
}
