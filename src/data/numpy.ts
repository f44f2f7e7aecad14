// One NumPy array file (.npy, the members of .npz). https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
import { PareError } from '../errors.js';
import { DataType } from '../ir/tensor.js';
import type { Numbers } from './source.js';

export interface NumpyArray {
  readonly dataType: number;
  readonly dims: readonly number[];
  /** In C order. */
  readonly data: Numbers;
}

export function parseNumpy(bytes: Uint8Array, name: string): NumpyArray {
  const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
  if (bytes.length < 10 || magic.some((m, i) => bytes[i] !== m)) throw new PareError(`${name} is no NumPy array`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const short = bytes[6] === 1;
  const from = short ? 10 : 12;
  const start = from + (short ? view.getUint16(8, true) : view.getUint32(8, true));
  const header = new TextDecoder().decode(bytes.subarray(from, start));
  const descr = /'descr'\s*:\s*'([<>|=]?)([a-zA-Z]\d*)'/.exec(header);
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(header);
  const shape = /'shape'\s*:\s*\(([^)]*)\)/.exec(header);
  const type = TYPES[descr?.[2] ?? ''];
  if (type === undefined) {
    const said = /'descr'\s*:\s*(\[.*?\]|'[^']*')/.exec(header)?.[1] ?? header.trim();
    throw new PareError(`${name} has NumPy type ${said}, which cannot be read: use float, integer or bool arrays`);
  }
  if (order === null || shape === null)
    throw new PareError(`${name}: its NumPy header cannot be read: ${header.trim()}`);
  const dims = (shape[1] ?? '')
    .split(',')
    .filter((s) => s.trim() !== '')
    .map(Number);
  const count = dims.reduce((a, b) => a * b, 1);
  if (!dims.every((d) => Number.isSafeInteger(d) && d >= 0) || !Number.isSafeInteger(count)) {
    throw new PareError(`${name}: its NumPy header gives it the shape (${shape[1]}), which is no list of sizes`);
  }
  const size = type.array.BYTES_PER_ELEMENT;
  if (bytes.length - start < count * size) {
    throw new PareError(
      `${name}: its header says [${dims.join(', ')}], ${count * size} bytes, but ${bytes.length - start} follow`,
    );
  }
  // a copy: aligned, and apart from the archive's buffer
  const raw = bytes.slice(start, start + count * size);
  if (descr?.[1] === '>' && size > 1) {
    for (let i = 0; i < raw.length; i += size) raw.subarray(i, i + size).reverse();
  }
  const data = new type.array(raw.buffer, 0, count);
  return { dataType: type.dataType, dims, data: order[1] === 'True' ? toRowMajor(data, dims) : data };
}

function toRowMajor(data: Numbers, dims: readonly number[]): Numbers {
  const out = data.slice();
  // walk the result in C order, keep the offset in Fortran order
  const strides: number[] = [];
  let stride = 1;
  for (const d of dims) {
    strides.push(stride);
    stride *= d;
  }
  const index = dims.map(() => 0);
  let from = 0;
  for (let to = 0; to < data.length; to++) {
    out[to] = data[from]!;
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      index[axis]!++;
      from += strides[axis]!;
      if (index[axis]! < dims[axis]!) break;
      from -= strides[axis]! * dims[axis]!;
      index[axis] = 0;
    }
  }
  return out;
}

interface ArrayType {
  readonly dataType: number;
  readonly array: {
    readonly BYTES_PER_ELEMENT: number;
    new (buffer: ArrayBuffer, offset: number, length: number): Numbers;
  };
}

const TYPES: Readonly<Record<string, ArrayType>> = {
  f2: { dataType: DataType.FLOAT16, array: Uint16Array },
  f4: { dataType: DataType.FLOAT, array: Float32Array },
  f8: { dataType: DataType.DOUBLE, array: Float64Array },
  i1: { dataType: DataType.INT8, array: Int8Array },
  i2: { dataType: DataType.INT16, array: Int16Array },
  i4: { dataType: DataType.INT32, array: Int32Array },
  i8: { dataType: DataType.INT64, array: BigInt64Array },
  u1: { dataType: DataType.UINT8, array: Uint8Array },
  u2: { dataType: DataType.UINT16, array: Uint16Array },
  u4: { dataType: DataType.UINT32, array: Uint32Array },
  u8: { dataType: DataType.UINT64, array: BigUint64Array },
  b1: { dataType: DataType.BOOL, array: Uint8Array },
};
