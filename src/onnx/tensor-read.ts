// TensorProto -> Tensor: dims as numbers, data as a lazy view. Packing of the typed fields: onnx.proto, TensorProto.
import { fail } from '../errors.js';
import { byteLength, DataType, elementBits, elementCount, type Tensor, type TensorBytes } from '../ir/tensor.js';
import type { SparseTensor } from '../ir/graph.js';
import { has, toNumber, unpackedPayload, type Longish } from './codec.js';
import { locate, readExternal } from './external.js';
import type { SparseTensorProto, TensorProto } from './messages.js';
import { Source } from './source.js';
import { once } from '../once.js';

export interface ReadContext {
  /** The folder that external data are relative to. */
  readonly directory?: string | undefined;
  /** Absent data files make placeholders instead of an error. */
  readonly allowMissingData?: boolean | undefined;
  /** Collects the real paths of the data files. */
  readonly dataFiles?: Set<string> | undefined;
}

export function readTensor(m: TensorProto, context: ReadContext): Tensor {
  const dims = readDims(m.dims, `tensor "${m.name}"`);
  return Source.attach(m, { name: m.name, dataType: m.dataType, dims, ...readData(m, dims, context) });
}

export function readSparse(m: SparseTensorProto, context: ReadContext): SparseTensor {
  const values = readTensor(m.values ?? fail('a sparse tensor has no values'), context);
  const indices = readTensor(m.indices ?? fail(`sparse tensor "${values.name}" has no indices`), context);
  const dims = readDims(m.dims, `sparse tensor "${values.name}"`);
  return Source.attach(m, { name: values.name, dims, values, indices });
}

/** Whether the data are in another file. */
export function isExternal(m: TensorProto): boolean {
  return m.dataLocation === 1;
}

/** The typed field that holds the data of a type, with its number and what its packed bytes are. */
export function typedField(m: TensorProto): {
  readonly field: number;
  readonly parts: readonly Uint8Array[];
  readonly width: number;
} {
  // width: bytes of one packed value, 0 for varints
  switch (m.dataType) {
    case DataType.FLOAT:
    case DataType.COMPLEX64:
      return { field: 4, parts: m.floatData, width: 4 };
    case DataType.DOUBLE:
    case DataType.COMPLEX128:
      return { field: 10, parts: m.doubleData, width: 8 };
    case DataType.INT64:
      return { field: 7, parts: m.int64Data, width: 0 };
    case DataType.UINT32:
    case DataType.UINT64:
      return { field: 11, parts: m.uint64Data, width: 0 };
    default:
      return { field: 5, parts: m.int32Data, width: 0 };
  }
}

const MAX_RANK = 256;

function readDims(dims: readonly Longish[], what: string): readonly number[] {
  if (dims.length > MAX_RANK) fail(`${what} has ${dims.length} dimensions: Pare reads up to ${MAX_RANK}`);
  const numbers = dims.map(toNumber);
  const count = elementCount(numbers);
  if (numbers.some((d) => d < 0)) fail(`${what}: dims [${numbers.join(', ')}] hold a negative length`);
  if (!numbers.every(Number.isSafeInteger) || count > 2 ** 53) {
    fail(`${what}: dims [${numbers.join(', ')}] are more elements than any file holds`);
  }
  return numbers;
}

function readData(m: TensorProto, dims: readonly number[], context: ReadContext): Pick<Tensor, 'bytes' | 'strings'> {
  const count = elementCount(dims);
  if (m.dataType === DataType.STRING) {
    const n = m.stringData.length;
    if (isExternal(m)) fail(`tensor "${m.name}": strings cannot be external data`);
    if (n === 0 && count > 0) return {};
    if (n !== count) fail(`tensor "${m.name}": ${n} strings, but dims [${dims.join(', ')}] are ${count} elements`);
    return { strings: m.stringData };
  }
  const needed = byteLength(m.dataType, dims);
  if (isExternal(m)) return readExternalData(m, needed, context);
  if (m.segment !== null)
    return { bytes: () => fail(`tensor "${m.name}" is stored in segments, which Pare does not join`) };
  if (has(m, 'rawData') && m.rawData.length > 0) {
    checkLength(m, dims, m.rawData.length);
    const raw = plain(m.rawData);
    return { bytes: () => raw };
  }
  return readTyped(m, dims, count);
}

function readTyped(m: TensorProto, dims: readonly number[], count: number): Pick<Tensor, 'bytes'> {
  const { field, parts, width } = typedField(m);
  const loose = unpackedPayload(m, field);
  const all = loose === undefined ? parts : [...parts, loose];
  const packedBytes = all.reduce((n, part) => n + part.length, 0);
  if (packedBytes === 0) {
    if (count > 0) return {};
    const none = new Uint8Array(0);
    return { bytes: () => none };
  }
  const joined = (): Uint8Array => plain(all.length === 1 ? all[0]! : Buffer.concat(all));
  if (width > 0) {
    checkLength(m, dims, packedBytes);
    return { bytes: once(joined) };
  }
  const size = varintElementBytes(m);
  const values = all.reduce((n, part) => n + countVarints(part), 0);
  checkLength(m, dims, values * size);
  return { bytes: once(() => varintsToRaw(joined(), values, size)) };
}

function readExternalData(m: TensorProto, needed: number, context: ReadContext): Pick<Tensor, 'bytes'> {
  const { directory } = context;
  if (directory === undefined) {
    return { bytes: () => fail(`tensor "${m.name}" has its data in another file: read the model from its folder`) };
  }
  const data = locate(m.name, m.externalData, directory, needed);
  if (data === undefined) {
    if (context.allowMissingData === true) return {};
    const location = m.externalData.find((e) => e.key === 'location')?.value;
    return fail(`tensor "${m.name}": its data file "${location}" is not in the model's folder: put it there`);
  }
  context.dataFiles?.add(data.path);
  // read anew each time and held by nobody: a WeakRef would keep all of a 3 GB model until the current task ends
  const bytes: TensorBytes = Object.assign(() => readExternal(m.name, data), {
    part: (offset: number, length: number) =>
      readExternal(m.name, { path: data.path, offset: data.offset + offset, length }),
  });
  return { bytes };
}

function checkLength(m: TensorProto, dims: readonly number[], length: number): void {
  if (elementBits(m.dataType) === 0) return;
  const needed = byteLength(m.dataType, dims);
  if (length !== needed) {
    fail(
      `tensor "${m.name}": ${length} bytes of data, but its data type ${m.dataType} and dims [${dims.join(', ')}] need ${needed}`,
    );
  }
}

/** Bytes of the raw form of one value of int32_data, int64_data or uint64_data; packed types have one raw byte a value. */
function varintElementBytes(m: TensorProto): number {
  return Math.max(1, elementBits(m.dataType) / 8);
}

function countVarints(packed: Uint8Array): number {
  let n = 0;
  for (let i = 0; i < packed.length; i++) if (packed[i]! < 128) n++;
  return n;
}

function varintsToRaw(packed: Uint8Array, count: number, size: number): Uint8Array {
  const raw = new Uint8Array(count * size);
  let at = 0;
  for (let i = 0; i < count; i++) {
    // 64 bits in two halves, cut to `size` little-endian bytes
    let low = 0;
    let high = 0;
    let shift = 0;
    for (;;) {
      const byte = packed[at++]!;
      const bits = byte & 127;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high |= bits >>> 4;
      } else if (shift < 64) high |= bits << (shift - 32);
      shift += 7;
      if (byte < 128) break;
    }
    for (let b = 0; b < size; b++) raw[i * size + b] = b < 4 ? (low >>> (8 * b)) & 255 : (high >>> (8 * (b - 4))) & 255;
  }
  return raw;
}

/** protobufjs gives Buffers, whose `slice` does not copy: everyone else expects a Uint8Array's. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
