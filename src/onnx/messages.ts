// The shapes of the protobuf messages as protobufjs decodes them (onnx.proto in camelCase). An absent field reads as its
// default from the prototype; whether it is present says `Object.hasOwn`. Fields that Pare never looks at are not
// listed: they stay in the message and are written back.
import type { Longish } from './codec.js';

export interface ModelProto {
  readonly irVersion: Longish;
  readonly producerName: string;
  readonly producerVersion: string;
  readonly graph: GraphProto | null;
  readonly opsetImport: readonly OperatorSetIdProto[];
  readonly metadataProps: readonly EntryProto[];
  readonly trainingInfo: readonly TrainingInfoProto[];
  readonly functions: readonly FunctionProto[];
}

export interface OperatorSetIdProto {
  readonly domain: string;
  readonly version: Longish;
}

export interface EntryProto {
  readonly key: string;
  readonly value: string;
}

export interface TrainingInfoProto {
  readonly initialization: GraphProto | null;
  readonly algorithm: GraphProto | null;
}

export interface GraphProto {
  readonly name: string;
  readonly node: readonly NodeProto[];
  readonly initializer: readonly TensorProto[];
  readonly sparseInitializer: readonly SparseTensorProto[];
  readonly input: readonly ValueInfoProto[];
  readonly output: readonly ValueInfoProto[];
  readonly valueInfo: readonly ValueInfoProto[];
}

export interface NodeProto {
  readonly input: readonly string[];
  readonly output: readonly string[];
  readonly name: string;
  readonly opType: string;
  readonly attribute: readonly AttributeProto[];
  readonly domain: string;
  readonly overload: string;
  readonly deviceConfigurations: readonly object[];
}

export interface AttributeProto {
  readonly name: string;
  readonly type: number;
  readonly refAttrName: string;
  readonly f: number;
  readonly i: Longish;
  readonly s: Uint8Array;
  readonly t: TensorProto | null;
  readonly g: GraphProto | null;
  readonly floats: readonly number[];
  readonly ints: readonly Longish[];
  readonly strings: readonly Uint8Array[];
  readonly tensors: readonly TensorProto[];
  readonly graphs: readonly GraphProto[];
  readonly sparseTensor: SparseTensorProto | null;
  readonly sparseTensors: readonly SparseTensorProto[];
}

export interface ValueInfoProto {
  readonly name: string;
  readonly type: TypeProto | null;
}

export interface TypeProto {
  readonly tensorType: TensorTypeProto | null;
  readonly sparseTensorType: TensorTypeProto | null;
  readonly sequenceType: { readonly elemType: TypeProto | null } | null;
  readonly optionalType: { readonly elemType: TypeProto | null } | null;
  readonly mapType: { readonly keyType: number; readonly valueType: TypeProto | null } | null;
  readonly opaqueType: object | null;
}

export interface TensorTypeProto {
  readonly elemType: number;
  readonly shape: { readonly dim: readonly Partial<DimensionProto>[] } | null;
}

export interface DimensionProto {
  readonly dimValue: Longish;
  readonly dimParam: string;
  readonly denotation: string;
}

export interface TensorProto {
  readonly name: string;
  readonly dataType: number;
  readonly dims: readonly Longish[];
  readonly segment: object | null;
  readonly rawData: Uint8Array;
  readonly floatData: readonly Uint8Array[];
  readonly int32Data: readonly Uint8Array[];
  readonly int64Data: readonly Uint8Array[];
  readonly doubleData: readonly Uint8Array[];
  readonly uint64Data: readonly Uint8Array[];
  readonly stringData: readonly Uint8Array[];
  readonly externalData: readonly EntryProto[];
  readonly dataLocation: number;
}

export interface SparseTensorProto {
  readonly values: TensorProto | null;
  readonly indices: TensorProto | null;
  readonly dims: readonly Longish[];
}

export interface FunctionProto {
  readonly name: string;
  readonly domain: string;
  readonly overload: string;
  readonly input: readonly string[];
  readonly output: readonly string[];
  readonly attribute: readonly string[];
  readonly attributeProto: readonly AttributeProto[];
  readonly node: readonly NodeProto[];
  readonly opsetImport: readonly OperatorSetIdProto[];
}

export interface SequenceProto {
  readonly name: string;
  readonly elemType: number;
  readonly tensorValues: readonly TensorProto[];
  readonly sequenceValues: readonly SequenceProto[];
  readonly optionalValues: readonly OptionalProto[];
}

export interface OptionalProto {
  readonly name: string;
  readonly elemType: number;
  readonly tensorValue: TensorProto | null;
  readonly sequenceValue: SequenceProto | null;
  readonly optionalValue: OptionalProto | null;
}

/** Every message type by its name, for the functions of codec.ts. */
export interface Messages {
  readonly ModelProto: ModelProto;
  readonly OperatorSetIdProto: OperatorSetIdProto;
  readonly StringStringEntryProto: EntryProto;
  readonly TrainingInfoProto: TrainingInfoProto;
  readonly GraphProto: GraphProto;
  readonly NodeProto: NodeProto;
  readonly AttributeProto: AttributeProto;
  readonly ValueInfoProto: ValueInfoProto;
  readonly TypeProto: TypeProto;
  readonly TensorProto: TensorProto;
  readonly SparseTensorProto: SparseTensorProto;
  readonly FunctionProto: FunctionProto;
  readonly SequenceProto: SequenceProto;
  readonly OptionalProto: OptionalProto;
}
