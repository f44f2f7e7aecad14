// Made-up inputs of the declared types and shapes: for latency, and for running a network that comes without data.
import { PareError } from '../errors.js';
import { DataType, elementCount } from '../ir/tensor.js';
import type { Rng } from '../rng.js';
import { floatData, tensorOfNumbers, type RuntimeTensor, type ValueMeta } from '../runtime/runtime.js';

export interface FeedOptions {
  /** What an open first dimension becomes (1). */
  readonly batch?: number;
  /** Dims of inputs, for those with other open dimensions. */
  readonly dims?: ReadonlyMap<string, readonly number[]>;
  /** What other open dimensions become; without it they must be given by `dims`. */
  readonly dynamic?: number;
}

/** Standard normal floats, integers 0 or 1 (small enough to index anything), seeded by the input's name. */
export function randomFeeds(
  inputs: readonly ValueMeta[],
  rng: Rng,
  options: FeedOptions = {},
): ReadonlyMap<string, RuntimeTensor> {
  return new Map(inputs.map((input) => [input.name, randomFeed(input, rng.fork(`feed/${input.name}`), options)]));
}

function randomFeed(input: ValueMeta, rng: Rng, { batch = 1, dims: given, dynamic }: FeedOptions): RuntimeTensor {
  if (input.dataType === DataType.UNDEFINED || input.dataType === DataType.STRING) {
    throw new PareError(`input "${input.name}" is no tensor of numbers: give data to run this network`);
  }
  const own = given?.get(input.name);
  if (own !== undefined && own.length !== input.dims.length) {
    throw new PareError(
      `input "${input.name}" has rank ${input.dims.length}, but [${own.join(', ')}] was given for it`,
    );
  }
  const dims = input.dims.map((d, i): number => {
    if (typeof d === 'number') return own?.[i] ?? d;
    const bound = own?.[i] ?? (i === 0 ? batch : dynamic);
    if (bound !== undefined) return bound;
    const example = input.dims.map((v, j) => (typeof v === 'number' ? v : j === 0 ? 1 : 224)).join('x');
    throw new PareError(
      `input "${input.name}" [${input.dims.join(', ')}] leaves dimension ${i} open: give it with --input ${input.name}:${example}`,
    );
  });
  const n = elementCount(dims);
  if (input.dataType === DataType.FLOAT) {
    const values = new Float32Array(n);
    for (let i = 0; i < n; i++) values[i] = rng.normal();
    return floatData(dims, values);
  }
  const float = [DataType.DOUBLE, DataType.FLOAT16, DataType.BFLOAT16].some((t) => t === input.dataType);
  return tensorOfNumbers(
    input.dataType,
    dims,
    Float64Array.from({ length: n }, () => (float ? rng.normal() : rng.int(2))),
  );
}
