// A constant tensor: type, dims and bytes that are read only when someone asks. Data types and packing: onnx.proto, TensorProto.
import { PareError } from '../errors.js';

/** TensorProto.DataType, by ONNX's own names and numbers. */
export const DataType = {
  UNDEFINED: 0,
  FLOAT: 1,
  UINT8: 2,
  INT8: 3,
  UINT16: 4,
  INT16: 5,
  INT32: 6,
  INT64: 7,
  STRING: 8,
  BOOL: 9,
  FLOAT16: 10,
  DOUBLE: 11,
  UINT32: 12,
  UINT64: 13,
  COMPLEX64: 14,
  COMPLEX128: 15,
  BFLOAT16: 16,
  FLOAT8E4M3FN: 17,
  FLOAT8E4M3FNUZ: 18,
  FLOAT8E5M2: 19,
  FLOAT8E5M2FNUZ: 20,
  UINT4: 21,
  INT4: 22,
  FLOAT4E2M1: 23,
  FLOAT8E8M0: 24,
  UINT2: 25,
  INT2: 26,
} as const;

/** Pieces that large data are read and written in. */
export const PIECE_BYTES = 2 ** 25;

export interface TensorBytes {
  (): Uint8Array;
  /** A piece without the rest, where the data lie outside memory: offset and length in bytes. */
  readonly part?: (offset: number, length: number) => Uint8Array;
}

/**
 * Readonly everywhere. `bytes` gives little-endian raw data (sub-byte types packed as in onnx.proto, lowest bits first);
 * it is a function so that external, sliced and refitted data cost nothing until they are read. The bytes returned are
 * never to be written to. Absent `bytes` and `strings`: a placeholder with a shape and no data; analysis must not need it.
 */
export interface Tensor {
  readonly name: string;
  readonly dataType: number;
  readonly dims: readonly number[];
  readonly bytes?: TensorBytes;
  /** STRING tensors only: the raw bytes of each element. */
  readonly strings?: readonly Uint8Array[];
  /** What it was read from; only src/onnx looks inside, so that unmodified things are written back exactly. */
  readonly source?: object;
}

/** Bits of one element; 0 for strings and unknown types. */
export function elementBits(dataType: number): number {
  return BITS[dataType] ?? 0;
}

export function elementCount(dims: readonly number[]): number {
  let n = 1;
  for (const d of dims) n *= d;
  return n;
}

/** Size of the raw data in bytes (last byte of packed types padded). */
export function byteLength(dataType: number, dims: readonly number[]): number {
  return Math.ceil((elementCount(dims) * elementBits(dataType)) / 8);
}

export function hasData(t: Tensor): boolean {
  return t.bytes !== undefined || t.strings !== undefined || elementCount(t.dims) === 0;
}

/** A FLOAT tensor over existing values (not copied). */
export function floatTensor(name: string, dims: readonly number[], values: Float32Array): Tensor {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return { name, dataType: DataType.FLOAT, dims, bytes: () => bytes };
}

/** An INT64 tensor; dims default to a vector. */
export function int64Tensor(
  name: string,
  values: readonly number[],
  dims: readonly number[] = [values.length],
): Tensor {
  const data = BigInt64Array.from(values, (v) => (v >= 2 ** 63 ? 2n ** 63n - 1n : BigInt(v)));
  const bytes = new Uint8Array(data.buffer);
  return { name, dataType: DataType.INT64, dims, bytes: () => bytes };
}

/** The elements as numbers (int64 rounds beyond 2^53); a Float32Array view without copying where FLOAT data are aligned. */
export function readNumbers(t: Tensor): Float32Array | Float64Array | Int32Array {
  if (t.bytes === undefined) {
    if (elementCount(t.dims) === 0) return new Float64Array(0);
    throw new PareError(`tensor "${t.name}" has no data: it is a placeholder; fill it before running or refitting`);
  }
  const raw = t.bytes();
  const n = elementCount(t.dims);
  if (raw.byteLength < byteLength(t.dataType, t.dims)) {
    throw new PareError(
      `tensor "${t.name}": ${raw.byteLength} bytes, but its dims [${t.dims.join(', ')}] need ${byteLength(t.dataType, t.dims)}`,
    );
  }
  const read = READERS[t.dataType];
  if (read === undefined) throw new PareError(`tensor "${t.name}": data type ${t.dataType} cannot be read as numbers`);
  return read(raw, n);
}

/** Float32 values of a floating-point tensor (FLOAT without copying where aligned; FLOAT16, BFLOAT16, DOUBLE converted). */
export function readFloats(t: Tensor): Float32Array {
  const values = readNumbers(t);
  return values instanceof Float32Array ? values : Float32Array.from(values);
}

/** IEEE half to number. */
export function halfToFloat(h: number): number {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >> 10) & 0x1f;
  const fraction = h & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Number to IEEE half bits, round to nearest even. */
export function floatToHalf(value: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value);
  const bits = view.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // subnormal half: the value in units of 2^-24, ties to even
    const scaled = Math.abs(value) * 2 ** 24;
    const floor = Math.floor(scaled);
    const rest = scaled - floor;
    return sign | (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor);
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return rounded >= 0x47800000 ? sign | 0x7c00 : sign | ((rounded - 0x38000000) >>> 13);
}

const BITS: Readonly<Record<number, number>> = {
  1: 32,
  2: 8,
  3: 8,
  4: 16,
  5: 16,
  6: 32,
  7: 64,
  9: 8,
  10: 16,
  11: 64,
  12: 32,
  13: 64,
  14: 64,
  15: 128,
  16: 16,
  17: 8,
  18: 8,
  19: 8,
  20: 8,
  21: 4,
  22: 4,
  23: 4,
  24: 8,
  25: 2,
  26: 2,
};

type Reader = (raw: Uint8Array, n: number) => Float32Array | Float64Array | Int32Array;

function viewer<T>(size: number, make: (buffer: ArrayBufferLike, offset: number, n: number) => T) {
  // typed arrays need aligned offsets: copy only when the view is not aligned
  return (raw: Uint8Array, n: number): T => {
    const aligned = raw.byteOffset % size === 0 ? raw : new Uint8Array(raw); // slice() of a Buffer would not copy
    return make(aligned.buffer, aligned.byteOffset, n);
  };
}

const u16 = viewer(2, (b, o, n) => new Uint16Array(b, o, n));

function packed(bits: number, signed: boolean): Reader {
  const perByte = 8 / bits;
  const mask = (1 << bits) - 1;
  const half = 1 << (bits - 1);
  return (raw, n) =>
    Int32Array.from({ length: n }, (_, i) => {
      const v = (raw[Math.floor(i / perByte)]! >> ((i % perByte) * bits)) & mask;
      return signed && v >= half ? v - (1 << bits) : v;
    });
}

const READERS: Readonly<Record<number, Reader>> = {
  1: viewer(4, (b, o, n) => new Float32Array(b, o, n)),
  2: (raw, n) => Int32Array.from(raw.subarray(0, n)),
  3: (raw, n) => Int32Array.from(new Int8Array(raw.buffer, raw.byteOffset, n)),
  4: (raw, n) => Int32Array.from(u16(raw, n)),
  5: viewer(2, (b, o, n) => Int32Array.from(new Int16Array(b, o, n))),
  6: viewer(4, (b, o, n) => new Int32Array(b, o, n)),
  7: viewer(8, (b, o, n) => Float64Array.from(new BigInt64Array(b, o, n), Number)),
  9: (raw, n) => Int32Array.from(raw.subarray(0, n)),
  10: (raw, n) => Float32Array.from(u16(raw, n), halfToFloat),
  11: viewer(8, (b, o, n) => new Float64Array(b, o, n)),
  12: viewer(4, (b, o, n) => Float64Array.from(new Uint32Array(b, o, n))),
  13: viewer(8, (b, o, n) => Float64Array.from(new BigUint64Array(b, o, n), Number)),
  16: (raw, n) => {
    const wide = Uint32Array.from(u16(raw, n), (h) => h << 16);
    return new Float32Array(wide.buffer);
  },
  21: packed(4, false),
  22: packed(4, true),
  25: packed(2, false),
  26: packed(2, true),
};
