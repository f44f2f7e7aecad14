// TypeProto -> ValueType.
import { fail } from '../errors.js';
import type { Dim, ValueInfo, ValueType } from '../ir/graph.js';
import { has, toNumber } from './codec.js';
import type { DimensionProto, TensorTypeProto, TypeProto, ValueInfoProto } from './messages.js';
import { Source } from './source.js';

export function readValueInfo(m: ValueInfoProto): ValueInfo {
  const type = m.type === null ? undefined : readType(m.type, m.name);
  return Source.attach(m, { name: m.name, ...(type === undefined ? {} : { type }) });
}

/** Undefined when nothing is said. */
export function readType(m: TypeProto, name: string): ValueType | undefined {
  if (m.tensorType !== null) return { kind: 'tensor', ...readTensorType(m.tensorType, name) };
  if (m.sparseTensorType !== null) return { kind: 'sparse', ...readTensorType(m.sparseTensorType, name) };
  if (m.sequenceType !== null) return { kind: 'sequence', elem: elem(m.sequenceType.elemType, name) };
  if (m.optionalType !== null) return { kind: 'optional', elem: elem(m.optionalType.elemType, name) };
  if (m.mapType !== null) return { kind: 'map', keyType: m.mapType.keyType, value: elem(m.mapType.valueType, name) };
  if (m.opaqueType !== null) return { kind: 'opaque' };
  return undefined;
}

function elem(m: TypeProto | null, name: string): ValueType | undefined {
  return m === null ? undefined : readType(m, name);
}

function readTensorType(m: TensorTypeProto, name: string): { elemType: number; shape?: readonly Dim[] } {
  if (m.shape === null) return { elemType: m.elemType };
  return { elemType: m.elemType, shape: m.shape.dim.map((d) => readDim(d, name)) };
}

function readDim(m: Partial<DimensionProto>, name: string): Dim {
  // an empty dim_param says nothing, and neither do the -1 that some exporters write
  if (has(m, 'dimParam')) return m.dimParam === '' ? undefined : m.dimParam;
  if (!has(m, 'dimValue') || m.dimValue === undefined) return undefined;
  const value = toNumber(m.dimValue);
  if (!Number.isSafeInteger(value)) fail(`value "${name}": a dimension of ${value} is more than any file holds`);
  return value < 0 ? undefined : value;
}
