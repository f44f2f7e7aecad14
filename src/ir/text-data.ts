// The data of tensors in ONNX's text syntax: numbers and strings become little-endian bytes.
import { fail } from '../errors.js';
import { DataType, elementCount, floatToHalf, type Tensor } from './tensor.js';

export function tensorOf(
  name: string,
  dataType: number,
  dims: readonly number[],
  values: readonly (number | string)[],
): Tensor {
  if (values.length !== elementCount(dims)) {
    fail(
      `ONNX text: tensor "${name}" has ${values.length} values, but dims [${dims.join(', ')}] are ${elementCount(dims)} elements`,
    );
  }
  if (dataType === DataType.STRING)
    return { name, dataType, dims, strings: values.map((v) => Buffer.from(String(v), 'utf8')) };
  const pack = PACKERS[dataType] ?? fail(`ONNX text: tensor "${name}": data of this type cannot be written as text`);
  if (!FLOATS.has(dataType) && !values.every(Number.isInteger))
    fail(`ONNX text: tensor "${name}" of integers holds other values`);
  const packed = pack(values.map(Number));
  const bytes = new Uint8Array(packed.buffer, packed.byteOffset, packed.byteLength);
  return { name, dataType, dims, bytes: () => bytes };
}

const FLOATS: ReadonlySet<number> = new Set([DataType.FLOAT, DataType.FLOAT16, DataType.DOUBLE]);

const PACKERS: Readonly<Record<number, (v: readonly number[]) => ArrayBufferView>> = {
  [DataType.FLOAT]: (v) => Float32Array.from(v),
  [DataType.UINT8]: (v) => Uint8Array.from(v),
  [DataType.INT8]: (v) => Int8Array.from(v),
  [DataType.UINT16]: (v) => Uint16Array.from(v),
  [DataType.INT16]: (v) => Int16Array.from(v),
  [DataType.INT32]: (v) => Int32Array.from(v),
  [DataType.INT64]: (v) => BigInt64Array.from(v, BigInt),
  [DataType.BOOL]: (v) => Uint8Array.from(v),
  [DataType.FLOAT16]: (v) => Uint16Array.from(v, floatToHalf),
  [DataType.DOUBLE]: (v) => Float64Array.from(v),
  [DataType.UINT32]: (v) => Uint32Array.from(v),
  [DataType.UINT64]: (v) => BigUint64Array.from(v, BigInt),
};
