// What runs a network: load a model, feed tensors, get tensors. Implementations: ort.ts (this thread), threads.ts (several).
import { elementCount, floatToHalf, halfToFloat, DataType, type Tensor } from '../ir/tensor.js';
import type { Model } from '../ir/graph.js';
import { PareError } from '../errors.js';

/** Elements as onnxruntime keeps them: FLOAT16 and BFLOAT16 as their bits in a Uint16Array, BOOL as bytes 0 and 1. */
export type TensorData =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array
  | readonly string[];

export interface RuntimeTensor {
  /** ONNX's number, see DataType. */
  readonly dataType: number;
  readonly dims: readonly number[];
  readonly data: TensorData;
}

export interface ValueMeta {
  readonly name: string;
  /** 0 when the value is no tensor (sequence, map). */
  readonly dataType: number;
  /** A string names a dynamic dimension ('' when it has no name). */
  readonly dims: readonly (number | string)[];
}

export interface LoadOptions {
  /** Threads inside one operator; 1 unless told otherwise, so that results do not depend on the machine. */
  readonly intraOpThreads?: number;
  /** How far the runtime rewrites the graph before it runs; 'all' unless told otherwise. */
  readonly optimization?: 'disabled' | 'basic' | 'extended' | 'all';
  /** What error messages call the model; its path or 'the model' otherwise. */
  readonly label?: string;
}

/** A model in memory, its bytes, or the path of its file (needed where external data lie beside it). */
export type ModelSource = Model | Uint8Array | string;

export interface Session {
  readonly inputs: readonly ValueMeta[];
  readonly outputs: readonly ValueMeta[];
  /** Runs once; only the named outputs when some are named. Rejects with a PareError that carries the runtime's reason. */
  run(
    feeds: ReadonlyMap<string, RuntimeTensor>,
    outputs?: readonly string[],
  ): Promise<ReadonlyMap<string, RuntimeTensor>>;
  /** Frees native memory; the session must not be used afterwards. */
  release(): Promise<void>;
}

export interface Runtime {
  readonly name: string;
  /** How many `run` calls make progress at the same time. */
  readonly concurrency: number;
  load(model: ModelSource, options?: LoadOptions): Promise<Session>;
  /** Ends threads, if any. Sessions must have been released. */
  close(): Promise<void>;
}

/** Loads, uses and always releases. */
export async function withSession<T>(
  runtime: Runtime,
  model: ModelSource,
  options: LoadOptions,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const session = await runtime.load(model, options);
  try {
    return await use(session);
  } finally {
    await session.release();
  }
}

/** A FLOAT tensor over existing values (not copied). */
export function floatData(dims: readonly number[], data: Float32Array): RuntimeTensor {
  return { dataType: DataType.FLOAT, dims, data };
}

/** The elements as float32; a FLOAT tensor's own array, not a copy. */
export function floatsOf(t: RuntimeTensor): Float32Array {
  const { data } = t;
  if (data instanceof Float32Array) return data;
  if (t.dataType === DataType.FLOAT16 && data instanceof Uint16Array) return Float32Array.from(data, halfToFloat);
  if (t.dataType === DataType.BFLOAT16 && data instanceof Uint16Array) {
    return new Float32Array(Uint32Array.from(data, (h) => h << 16).buffer);
  }
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return Float32Array.from(data, Number);
  if (Array.isArray(data)) throw new PareError('a tensor of strings has no numbers');
  // the cast: strings were the last kind that is not a typed array of numbers
  return Float32Array.from(data as Exclude<TensorData, readonly string[] | BigInt64Array | BigUint64Array>);
}

/** Numbers as a tensor of any numeric type: halves are rounded to even, integers towards zero and clamped to their range. */
export function tensorOfNumbers(dataType: number, dims: readonly number[], values: ArrayLike<number>): RuntimeTensor {
  const make = MAKERS[dataType];
  if (make === undefined) throw new PareError(`data type ${dataType} cannot be fed to a network as numbers`);
  return { dataType, dims, data: make(values) };
}

/** A constant of a graph as something to feed. */
export function runtimeTensor(t: Tensor): RuntimeTensor {
  if (t.strings !== undefined) {
    const decoder = new TextDecoder();
    return { dataType: t.dataType, dims: t.dims, data: t.strings.map((s) => decoder.decode(s)) };
  }
  if (t.bytes === undefined && elementCount(t.dims) > 0) {
    throw new PareError(`tensor "${t.name}" has no data: it is a placeholder; fill it before running`);
  }
  const array = ARRAYS[t.dataType];
  if (array === undefined)
    throw new PareError(`tensor "${t.name}": data type ${t.dataType} cannot be fed to a network`);
  const raw = t.bytes?.() ?? new Uint8Array(0);
  // typed arrays need aligned offsets, onnxruntime refuses shared memory: copy in both cases
  const own = raw.byteOffset % array.BYTES_PER_ELEMENT === 0 && raw.buffer instanceof ArrayBuffer ? raw : raw.slice();
  return {
    dataType: t.dataType,
    dims: t.dims,
    data: new array(own.buffer as ArrayBuffer, own.byteOffset, elementCount(t.dims)),
  };
}

/** A result as a constant of a graph (not copied). */
export function constantTensor(name: string, t: RuntimeTensor): Tensor {
  const { data } = t;
  if (!ArrayBuffer.isView(data)) {
    const encoder = new TextEncoder();
    return { name, dataType: t.dataType, dims: t.dims, strings: data.map((s) => encoder.encode(s)) };
  }
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { name, dataType: t.dataType, dims: t.dims, bytes: () => bytes };
}

const ARRAYS = {
  [DataType.FLOAT]: Float32Array,
  [DataType.UINT8]: Uint8Array,
  [DataType.INT8]: Int8Array,
  [DataType.UINT16]: Uint16Array,
  [DataType.INT16]: Int16Array,
  [DataType.INT32]: Int32Array,
  [DataType.INT64]: BigInt64Array,
  [DataType.BOOL]: Uint8Array,
  [DataType.FLOAT16]: Uint16Array,
  [DataType.DOUBLE]: Float64Array,
  [DataType.UINT32]: Uint32Array,
  [DataType.UINT64]: BigUint64Array,
  [DataType.BFLOAT16]: Uint16Array,
} as const satisfies Readonly<Record<number, unknown>> as Readonly<Record<number, TypedArrayConstructor | undefined>>;

interface TypedArrayConstructor {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBuffer, offset: number, length: number): Exclude<TensorData, readonly string[]>;
}

const clamped =
  (low: number, high: number) =>
  (v: number): number =>
    Number.isNaN(v) ? 0 : Math.trunc(Math.min(high, Math.max(low, v)));

const toInt64 = (v: number): bigint => {
  const whole = clamped(-(2 ** 63), 2 ** 63)(v);
  return whole >= 2 ** 63 ? 2n ** 63n - 1n : BigInt(whole);
};

const toUint64 = (v: number): bigint => {
  const whole = clamped(0, 2 ** 64)(v);
  return whole >= 2 ** 64 ? 2n ** 64n - 1n : BigInt(whole);
};

const toBfloat = (v: number): number => {
  const bits = new Uint32Array(Float32Array.of(v).buffer)[0]!;
  return Number.isNaN(v) ? 0x7fc0 : ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
};

const MAKERS: Readonly<Record<number, ((values: ArrayLike<number>) => TensorData) | undefined>> = {
  [DataType.FLOAT]: (v) => Float32Array.from(v),
  [DataType.UINT8]: (v) => Uint8Array.from(v, clamped(0, 255)),
  [DataType.INT8]: (v) => Int8Array.from(v, clamped(-128, 127)),
  [DataType.UINT16]: (v) => Uint16Array.from(v, clamped(0, 65_535)),
  [DataType.INT16]: (v) => Int16Array.from(v, clamped(-32_768, 32_767)),
  [DataType.INT32]: (v) => Int32Array.from(v, clamped(-(2 ** 31), 2 ** 31 - 1)),
  [DataType.INT64]: (v) => BigInt64Array.from({ length: v.length }, (_, i) => toInt64(v[i]!)),
  [DataType.BOOL]: (v) => Uint8Array.from(v, (x) => (x === 0 ? 0 : 1)),
  [DataType.FLOAT16]: (v) => Uint16Array.from(v, floatToHalf),
  [DataType.DOUBLE]: (v) => Float64Array.from(v),
  [DataType.UINT32]: (v) => Uint32Array.from(v, clamped(0, 2 ** 32 - 1)),
  [DataType.UINT64]: (v) => BigUint64Array.from({ length: v.length }, (_, i) => toUint64(v[i]!)),
  [DataType.BFLOAT16]: (v) => Uint16Array.from(v, toBfloat),
};
