// Constants seen another way - transposed, sliced, joined, reshaped, cast: lazy, computed once when somebody asks for the bytes.
import { DataType, byteLength, elementBits, elementCount, floatToHalf, readNumbers, type Tensor } from './tensor.js';
import { once } from '../once.js';

/** The same elements in the same order. */
export function reshapeTensor(t: Tensor, name: string, dims: readonly number[]): Tensor {
  const { dataType, bytes, strings } = t;
  return { name, dataType, dims, ...(bytes && { bytes }), ...(strings && { strings }) };
}

/** Element p of the result is element `offset + sum p x strides` of `t`: transposes, slices, steps back. Undefined for packed types. */
export function stridedTensor(
  t: Tensor,
  name: string,
  dims: readonly number[],
  strides: readonly number[],
  offset: number,
): Tensor | undefined {
  const size = elementBits(t.dataType) / 8;
  if (t.strings !== undefined || !Number.isInteger(size) || size === 0) return undefined;
  return lazy(t, name, dims, (raw) => copyStrided(raw, size, dims, strides, offset));
}

/** Tensors of one type, joined along an axis. Undefined for packed types and strings. */
export function concatTensors(
  parts: readonly Tensor[],
  name: string,
  axis: number,
  dims: readonly number[],
): Tensor | undefined {
  const first = parts[0];
  if (first === undefined) return undefined;
  const size = elementBits(first.dataType) / 8;
  if (!Number.isInteger(size) || size === 0) return undefined;
  if (parts.some((p) => p.dataType !== first.dataType || p.strings !== undefined)) return undefined;
  const whole = parts.every((p) => p.bytes !== undefined || elementCount(p.dims) === 0);
  const { dataType } = first;
  if (!whole) return { name, dataType, dims };
  return {
    name,
    dataType,
    dims,
    bytes: once(() => {
      const out = new Uint8Array(byteLength(dataType, dims));
      const outer = elementCount(dims.slice(0, axis));
      const run = elementCount(dims.slice(axis)) * size;
      let at = 0;
      for (const part of parts) {
        const raw = part.bytes?.() ?? new Uint8Array(0);
        const own = elementCount(part.dims.slice(axis)) * size;
        for (let o = 0; o < outer; o++) out.set(raw.subarray(o * own, (o + 1) * own), o * run + at);
        at += own;
      }
      return out;
    }),
  };
}

/** Another element type; undefined where the result would not be the runtime's to the last bit. */
export function castTensor(t: Tensor, name: string, dataType: number): Tensor | undefined {
  if (dataType === t.dataType) return reshapeTensor(t, name, t.dims);
  const exact = EXACT_CASTS.get(t.dataType)?.includes(dataType) === true;
  if (!exact) return undefined;
  return { ...lazy(t, name, t.dims, () => encode(dataType, readNumbers(t))), dataType };
}

/** Numbers as the little-endian elements of a tensor; undefined when one of them does not fit the type exactly. */
export function numbersTensor(
  name: string,
  dataType: number,
  dims: readonly number[],
  values: readonly number[],
): Tensor | undefined {
  const limits = LIMITS.get(dataType);
  if (limits === undefined) {
    if (dataType !== DataType.FLOAT && dataType !== DataType.DOUBLE) return undefined;
    if (dataType === DataType.FLOAT && values.some((v) => !Object.is(Math.fround(v), v))) return undefined;
  } else if (values.some((v) => !Number.isInteger(v) || v < limits[0] || v > limits[1])) return undefined;
  const bytes = encode(dataType, values);
  return { name, dataType, dims, bytes: () => bytes };
}

const { FLOAT, DOUBLE, FLOAT16, BFLOAT16, INT8, UINT8, INT16, UINT16, INT32, INT64, BOOL } = DataType;

/** Casts that round at most once, to nearest, as runtimes do. */
const EXACT_CASTS: ReadonlyMap<number, readonly number[]> = new Map([
  [FLOAT, [DOUBLE, FLOAT16]],
  [DOUBLE, [FLOAT]],
  [FLOAT16, [FLOAT, DOUBLE]],
  [BFLOAT16, [FLOAT, DOUBLE]],
  [INT8, [FLOAT, DOUBLE, INT32, INT64]],
  [UINT8, [FLOAT, DOUBLE, INT32, INT64]],
  [INT16, [FLOAT, DOUBLE, INT32, INT64]],
  [UINT16, [FLOAT, DOUBLE, INT32, INT64]],
  [INT32, [FLOAT, DOUBLE, INT64]],
  [BOOL, [FLOAT, DOUBLE, INT32, INT64]],
]);

const SAFE = Number.MAX_SAFE_INTEGER;
const LIMITS: ReadonlyMap<number, readonly [number, number]> = new Map([
  [BOOL, [0, 1]],
  [INT8, [-128, 127]],
  [UINT8, [0, 255]],
  [INT16, [-32_768, 32_767]],
  [UINT16, [0, 65_535]],
  [INT32, [-(2 ** 31), 2 ** 31 - 1]],
  [DataType.UINT32, [0, 2 ** 32 - 1]],
  [INT64, [-SAFE, SAFE]],
  [DataType.UINT64, [0, SAFE]],
]);

function encode(dataType: number, values: ArrayLike<number>): Uint8Array {
  const made = typed(dataType, values);
  return new Uint8Array(made.buffer, made.byteOffset, made.byteLength);
}

function typed(dataType: number, values: ArrayLike<number>) {
  switch (dataType) {
    case DOUBLE:
      return Float64Array.from(values);
    case FLOAT16:
      return Uint16Array.from(values, floatToHalf);
    case INT8:
      return Int8Array.from(values);
    case UINT8:
    case BOOL:
      return Uint8Array.from(values);
    case INT16:
      return Int16Array.from(values);
    case UINT16:
      return Uint16Array.from(values);
    case INT32:
      return Int32Array.from(values);
    case DataType.UINT32:
      return Uint32Array.from(values);
    case INT64:
      return BigInt64Array.from(Array.from(values), BigInt);
    case DataType.UINT64:
      return BigUint64Array.from(Array.from(values), BigInt);
    default:
      return Float32Array.from(values);
  }
}

/** A placeholder stays one. */
function lazy(t: Tensor, name: string, dims: readonly number[], make: (raw: Uint8Array) => Uint8Array): Tensor {
  const { dataType, bytes } = t;
  const made = { name, dataType, dims };
  return bytes === undefined ? made : { ...made, bytes: once(() => make(bytes())) };
}

function copyStrided(
  raw: Uint8Array,
  size: number,
  dims: readonly number[],
  strides: readonly number[],
  offset: number,
): Uint8Array {
  // elements wider than four bytes are copied as several words: no detour through doubles, which may rewrite NaNs
  const word = Math.min(size, 4);
  const words = size / word;
  const shape = words === 1 ? dims : [...dims, words];
  const steps = words === 1 ? strides : [...strides.map((s) => s * words), 1];
  const out = new Uint8Array(elementCount(dims) * size);
  const from = wordsOf(raw, word);
  const to = wordsOf(out, word);
  if (to.length === 0) return out;
  const inner = shape.at(-1) ?? 1;
  const step = steps.at(-1) ?? 0;
  const position = shape.slice(0, -1).map(() => 0);
  let base = offset * words;
  for (let w = 0; w < to.length; w += inner) {
    for (let i = 0; i < inner; i++) to[w + i] = from[base + i * step]!;
    for (let axis = position.length - 1; axis >= 0; axis--) {
      base += steps[axis]!;
      if (++position[axis]! < shape[axis]!) break;
      base -= steps[axis]! * shape[axis]!;
      position[axis] = 0;
    }
  }
  return out;
}

function wordsOf(raw: Uint8Array, size: number): Uint8Array | Uint16Array | Uint32Array {
  if (size === 1) return raw;
  const aligned = raw.byteOffset % size === 0 ? raw : raw.slice();
  const n = Math.floor(aligned.byteLength / size);
  return size === 2
    ? new Uint16Array(aligned.buffer, aligned.byteOffset, n)
    : new Uint32Array(aligned.buffer, aligned.byteOffset, n);
}
