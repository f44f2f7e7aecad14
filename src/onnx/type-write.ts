// ValueInfo -> ValueInfoProto. Denotations and documentation of what was read are kept.
import { fail } from '../errors.js';
import type { Dim, ValueInfo, ValueType } from '../ir/graph.js';
import { create, has, override, toLong } from './codec.js';
import type { DimensionProto, TensorTypeProto, TypeProto, ValueInfoProto } from './messages.js';
import { Source } from './source.js';

export function valueInfoMessage(v: ValueInfo): ValueInfoProto {
  const source = Source.of<ValueInfo, ValueInfoProto>(v);
  if (source === undefined) {
    const type = v.type === undefined ? undefined : typeMessage(v.type, null, v.name);
    return create('ValueInfoProto', { name: v.name, ...(type === undefined ? {} : { type }) });
  }
  const { message, origin } = source;
  if (v.name === origin.name && v.type === origin.type) return message;
  return override('ValueInfoProto', message, {
    ...(v.name === origin.name ? {} : { name: v.name }),
    ...(v.type === origin.type
      ? {}
      : { type: v.type === undefined ? undefined : typeMessage(v.type, message.type, v.name) }),
  });
}

/** The message of a type; `source` is the one it replaces, whose denotations stay where they still fit. */
function typeMessage(type: ValueType, source: TypeProto | null, name: string): TypeProto {
  const value = typeFields(type, source, name);
  if (source === null) return create('TypeProto', value);
  return override('TypeProto', source, { ...NO_TYPE, ...value });
}

const NO_TYPE = {
  tensorType: undefined,
  sparseTensorType: undefined,
  sequenceType: undefined,
  optionalType: undefined,
  mapType: undefined,
  opaqueType: undefined,
} as const;

function typeFields(type: ValueType, source: TypeProto | null, name: string): Partial<TypeProto> {
  const inner = (
    elem: ValueType | undefined,
    from: TypeProto | null | undefined,
  ): { readonly elemType: TypeProto | null } => ({
    elemType: elem === undefined ? null : typeMessage(elem, from ?? null, name),
  });
  switch (type.kind) {
    case 'tensor':
      return { tensorType: tensorType(type, source?.tensorType ?? null, name) };
    case 'sparse':
      return { sparseTensorType: tensorType(type, source?.sparseTensorType ?? null, name) };
    case 'sequence':
      return { sequenceType: inner(type.elem, source?.sequenceType?.elemType) };
    case 'optional':
      return { optionalType: inner(type.elem, source?.optionalType?.elemType) };
    case 'map': {
      const value = inner(type.value, source?.mapType?.valueType).elemType;
      return { mapType: { keyType: type.keyType, valueType: value } };
    }
    case 'opaque':
      return { opaqueType: source?.opaqueType ?? fail(`value "${name}": an opaque type can only be kept, not made`) };
  }
}

function tensorType(
  type: { readonly elemType: number; readonly shape?: readonly Dim[] },
  source: TensorTypeProto | null,
  name: string,
): TensorTypeProto {
  if (type.shape === undefined) return { elemType: type.elemType, shape: null };
  const before = source?.shape?.dim ?? [];
  const sameRank = before.length === type.shape.length;
  return {
    elemType: type.elemType,
    shape: { dim: type.shape.map((d, i) => dim(d, sameRank ? before[i]! : null, name)) },
  };
}

function dim(d: Dim, source: Partial<DimensionProto> | null, name: string): Partial<DimensionProto> {
  if (typeof d === 'number' && !(Number.isSafeInteger(d) && d >= 0)) fail(`value "${name}": ${d} is no dimension`);
  return {
    ...(d === undefined ? {} : typeof d === 'number' ? { dimValue: toLong(d) } : { dimParam: d }),
    ...(source !== null && has(source, 'denotation') ? { denotation: source.denotation } : {}),
  };
}
