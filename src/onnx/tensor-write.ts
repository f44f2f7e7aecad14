// Tensor -> TensorProto. What was not edited stays as it was encoded; new data go to raw_data or to an external file.
import { fail } from '../errors.js';
import type { SparseTensor } from '../ir/graph.js';
import { byteLength, elementBits, type Tensor } from '../ir/tensor.js';
import { create, override, toLong } from './codec.js';
import type { EntryProto, SparseTensorProto, TensorProto } from './messages.js';
import { LazyBytes } from './rope.js';
import { Source } from './source.js';
import { isExternal } from './tensor-read.js';

export interface WriteContext {
  /** Whether tensors change their place: unmodified messages must then be looked through too. */
  readonly relocating: boolean;
  /** The place of a tensor's data in the external file; undefined: they stay in the model. */
  readonly place: (t: Tensor, length: number) => Place | undefined;
}

export interface Place {
  readonly location: string;
  readonly offset: number;
  /** SHA-1 of the file, in hex. */
  readonly checksum?: string;
}

export function tensorMessage(t: Tensor, context: WriteContext): TensorProto {
  const source = Source.of<Tensor, TensorProto>(t);
  if (source === undefined) {
    return create('TensorProto', {
      name: t.name,
      dataType: t.dataType,
      dims: t.dims.map(toLong),
      ...dataFields(t, placeOf(t, context)),
    });
  }
  const { message, origin } = source;
  const head = {
    ...(t.name === origin.name ? {} : { name: t.name }),
    ...(t.dims === origin.dims ? {} : { dims: t.dims.map(toLong) }),
    ...(t.dataType === origin.dataType ? {} : { dataType: t.dataType }),
  };
  const edited = t.bytes !== origin.bytes || t.strings !== origin.strings || t.dataType !== origin.dataType;
  const place = placeOf(t, context);
  const moved = context.relocating && (isExternal(message) || place !== undefined);
  if (edited || moved)
    return override('TensorProto', message, { ...head, ...NO_DATA, ...dataFields(t, place) }, DATA_FIELDS);
  return Object.keys(head).length === 0 ? message : override('TensorProto', message, head);
}

export function sparseMessage(s: SparseTensor, context: WriteContext): SparseTensorProto {
  const source = Source.of<SparseTensor, SparseTensorProto>(s);
  const values = tensorMessage(s.values.name === s.name ? s.values : { ...s.values, name: s.name }, context);
  const indices = tensorMessage(s.indices, context);
  if (source === undefined) return create('SparseTensorProto', { values, indices, dims: s.dims.map(toLong) });
  const { message, origin } = source;
  const same = values === message.values && indices === message.indices && s.dims === origin.dims;
  if (same) return message;
  return override('SparseTensorProto', message, {
    values,
    indices,
    ...(s.dims === origin.dims ? {} : { dims: s.dims.map(toLong) }),
  });
}

/** Length of the raw data; unknown types must be asked. */
export function dataLength(t: Tensor): number {
  if (t.bytes === undefined) return 0;
  return elementBits(t.dataType) === 0 ? t.bytes().length : byteLength(t.dataType, t.dims);
}

const NO_DATA = {
  segment: undefined,
  rawData: undefined,
  floatData: undefined,
  int32Data: undefined,
  stringData: undefined,
  int64Data: undefined,
  doubleData: undefined,
  uint64Data: undefined,
  externalData: undefined,
  dataLocation: undefined,
} as const;

/** Fields of TensorProto that hold data, for those that were encoded in an unexpected way. */
const DATA_FIELDS = [3, 4, 5, 6, 7, 9, 10, 11, 13, 14];

function placeOf(t: Tensor, context: WriteContext): Place | undefined {
  return t.bytes === undefined ? undefined : context.place(t, dataLength(t));
}

function dataFields(t: Tensor, place: Place | undefined): Partial<TensorProto> {
  if (t.strings !== undefined) return { stringData: t.strings };
  if (t.bytes === undefined) return {};
  const length = dataLength(t);
  if (place === undefined) {
    if (length >= 2 ** 31)
      fail(`tensor "${t.name}" has ${length} bytes, more than a protobuf file holds: write external data`);
    // the cast: the rope takes lazy bytes wherever protobufjs' writers take bytes
    return { rawData: new LazyBytes(t.name, length, t.bytes) as unknown as Uint8Array };
  }
  return {
    dataLocation: 1,
    externalData: [
      entry('location', place.location),
      entry('offset', String(place.offset)),
      entry('length', String(length)),
      ...(place.checksum === undefined ? [] : [entry('checksum', place.checksum)]),
    ],
  };
}

function entry(key: string, value: string): EntryProto {
  return create('StringStringEntryProto', { key, value });
}
