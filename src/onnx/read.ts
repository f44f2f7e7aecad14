// Reading ONNX: files, bytes and single tensors become the readonly IR. Weights stay views on the bytes read. What comes
// in is not trusted: any file ends in a model or in one PareError.
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { fail, failAt } from '../errors.js';
import type { Attribute, FunctionDef, Graph, Model, Node, SparseTensor, ValueInfo } from '../ir/graph.js';
import type { Tensor } from '../ir/tensor.js';
import { decode, has, toNumber } from './codec.js';
import type * as proto from './messages.js';
import { Source } from './source.js';
import { readSparse, readTensor, type ReadContext } from './tensor-read.js';
import { readValueInfo } from './type-read.js';

export interface ParseOptions {
  /** Where external data are; without it they cannot be read. */
  readonly directory?: string;
  /** For messages. */
  readonly name?: string;
  /** Absent data files leave tensors without data, instead of an error: enough for counting. */
  readonly allowMissingData?: boolean;
}

/** protobuf's own limit: 2 GiB - 1. */
export const MAX_PROTOBUF_BYTES = 2 ** 31 - 1;

/** Reads a model; its external data, if any, are beside it and are read tensor by tensor when asked for. */
export function readModel(path: string, options: Pick<ParseOptions, 'allowMissingData'> = {}): Model {
  return parseModel(readWhole(path), { ...options, directory: dirname(path), name: basename(path) });
}

/** Parses a model. The bytes are not copied: they must not be written to afterwards. */
export function parseModel(bytes: Uint8Array, options: ParseOptions = {}): Model {
  const what = options.name ?? 'the model';
  const m = decode('ModelProto', bytes, what);
  if (bytes.length === 0) fail(`${what} is empty (0 bytes); export or download it again`);
  if (m.graph === null) fail(`${what} is not an ONNX model: it has no graph`);
  const irVersion = toNumber(m.irVersion);
  if (irVersion < 1 || !Number.isSafeInteger(irVersion))
    fail(`${what} is not an ONNX model: its ir_version is ${irVersion}`);
  const dataFiles = new Set<string>();
  const context: ReadContext = { ...options, dataFiles };
  const model: Model = {
    irVersion,
    opsets: readOpsets(m.opsetImport),
    producerName: m.producerName,
    producerVersion: m.producerVersion,
    metadata: new Map(m.metadataProps.map((e) => [e.key, e.value])),
    functions: m.functions.map((f) => readFunction(f, context)),
    graph: readGraph(m.graph, context),
  };
  return Source.attach(m, model, dataFiles);
}

/** Real paths of the files that the model's external data are read from. */
export function dataFilesOf(model: Model): ReadonlySet<string> {
  return Source.of(model)?.dataFiles ?? new Set();
}

/** Parses a single TensorProto, as the conformance cases store inputs and outputs. */
export function parseTensor(bytes: Uint8Array, name = 'the tensor'): Tensor {
  return readTensor(decode('TensorProto', bytes, name), {});
}

/** A value at run time: a tensor, a list of values, or an optional with or without one. */
export type Value =
  | { readonly kind: 'tensor'; readonly tensor: Tensor }
  | { readonly kind: 'sequence'; readonly values: readonly Value[] }
  | { readonly kind: 'optional'; readonly value: Value | undefined };

/** Parses a SequenceProto. */
export function parseSequence(bytes: Uint8Array, name = 'the sequence'): Value {
  return readSequence(decode('SequenceProto', bytes, name));
}

/** Parses an OptionalProto. */
export function parseOptional(bytes: Uint8Array, name = 'the optional'): Value {
  return readOptional(decode('OptionalProto', bytes, name));
}

/** SHA-256 of a file in hex, streamed. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    // the cast: a stream without an encoding gives Buffers
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  } catch (error) {
    failAt('read', path, error);
  }
  return hash.digest('hex');
}

/** 'ai.onnx' is the long form of ''. */
export function normalDomain(domain: string): string {
  return domain === 'ai.onnx' ? '' : domain;
}

/** IR of a GraphProto. */
export function readGraph(m: proto.GraphProto, context: ReadContext): Graph {
  const initializers = new Map<string, Tensor>();
  for (const t of m.initializer) {
    if (initializers.has(t.name))
      fail(`graph "${m.name}": two initializers are called "${t.name}": names must be unique`);
    initializers.set(t.name, readTensor(t, context));
  }
  const sparseInitializers = new Map<string, SparseTensor>();
  for (const s of m.sparseInitializer) {
    const sparse = readSparse(s, context);
    if (sparseInitializers.has(sparse.name)) fail(`graph "${m.name}": two initializers are called "${sparse.name}"`);
    sparseInitializers.set(sparse.name, sparse);
  }
  const valueInfo = new Map<string, ValueInfo>();
  for (const v of m.valueInfo) valueInfo.set(v.name, readValueInfo(v));
  return Source.attach(m, {
    name: m.name,
    nodes: m.node.map((n) => readNode(n, context)),
    initializers,
    sparseInitializers,
    inputs: m.input.map(readValueInfo),
    outputs: m.output.map(readValueInfo),
    valueInfo,
  });
}

function readNode(m: proto.NodeProto, context: ReadContext): Node {
  const attributes = readAttributes(m.attribute, context, () => `${m.opType} "${m.name}"`);
  return Source.attach(m, {
    name: m.name,
    opType: m.opType,
    domain: normalDomain(m.domain),
    inputs: m.input,
    outputs: m.output,
    attributes,
    ...(m.overload === '' ? {} : { overload: m.overload }),
  });
}

/** Shared: most nodes of a large model have none. */
const NO_ATTRIBUTES: ReadonlyMap<string, Attribute> = new Map();

function readAttributes(
  list: readonly proto.AttributeProto[],
  context: ReadContext,
  owner: () => string,
): ReadonlyMap<string, Attribute> {
  if (list.length === 0) return NO_ATTRIBUTES;
  const attributes = new Map<string, Attribute>();
  for (const m of list) {
    if (attributes.has(m.name)) fail(`${owner()}: attribute "${m.name}" is given twice`);
    const content = readAttribute(m, context, owner);
    attributes.set(m.name, Source.attach(m, content));
  }
  return attributes;
}

function readAttribute(m: proto.AttributeProto, context: ReadContext, owner: () => string): Attribute {
  const { name } = m;
  if (m.refAttrName !== '') return { name, kind: 'ref', value: m.refAttrName };
  switch (m.type === 0 ? impliedType(m) : m.type) {
    case 1:
      return { name, kind: 'float', value: m.f };
    case 2:
      return { name, kind: 'int', value: toNumber(m.i) };
    case 3:
      return { name, kind: 'string', value: has(m, 's') ? text(m.s) : '' };
    case 4:
      return { name, kind: 'tensor', value: readTensor(m.t ?? missing(owner, name, 'tensor'), context) };
    case 5:
      return { name, kind: 'graph', value: readGraph(m.g ?? missing(owner, name, 'graph'), context) };
    case 6:
      return { name, kind: 'floats', value: m.floats };
    case 7:
      return { name, kind: 'ints', value: m.ints.map(toNumber) };
    case 8:
      return { name, kind: 'strings', value: m.strings.map(text) };
    case 9:
      return { name, kind: 'tensors', value: m.tensors.map((t) => readTensor(t, context)) };
    case 10:
      return { name, kind: 'graphs', value: m.graphs.map((g) => readGraph(g, context)) };
    default:
      return { name, kind: 'opaque', value: undefined };
  }
}

/** Files of IR version 1 say no type: the field that is present tells. */
function impliedType(m: proto.AttributeProto): number {
  const single = (['f', 'i', 's', 't', 'g'] as const).findIndex((field) => has(m, field));
  if (single >= 0) return single + 1;
  const lists = [m.floats, m.ints, m.strings, m.tensors, m.graphs];
  return lists.findIndex((list) => list.length > 0) + 6;
}

function missing(owner: () => string, name: string, kind: string): never {
  return fail(`${owner()}: attribute "${name}" is declared as a ${kind} but holds none`);
}

function readFunction(m: proto.FunctionProto, context: ReadContext): FunctionDef {
  return Source.attach(m, {
    name: m.name,
    domain: normalDomain(m.domain),
    overload: m.overload,
    inputs: m.input,
    outputs: m.output,
    attributes: m.attribute,
    attributeDefaults: readAttributes(m.attributeProto, context, () => `function "${m.name}"`),
    nodes: m.node.map((n) => readNode(n, context)),
    opsets: readOpsets(m.opsetImport),
  });
}

function readOpsets(list: readonly proto.OperatorSetIdProto[]): ReadonlyMap<string, number> {
  return new Map(list.map((o) => [normalDomain(o.domain), toNumber(o.version)]));
}

function readSequence(m: proto.SequenceProto): Value {
  const values: Value[] = [
    ...m.tensorValues.map((t): Value => ({ kind: 'tensor', tensor: readTensor(t, {}) })),
    ...m.sequenceValues.map(readSequence),
    ...m.optionalValues.map(readOptional),
  ];
  return { kind: 'sequence', values };
}

function readOptional(m: proto.OptionalProto): Value {
  const value: Value | undefined =
    m.tensorValue !== null
      ? { kind: 'tensor', tensor: readTensor(m.tensorValue, {}) }
      : m.sequenceValue !== null
        ? readSequence(m.sequenceValue)
        : m.optionalValue !== null
          ? readOptional(m.optionalValue)
          : undefined;
  return { kind: 'optional', value };
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}

/** The whole file in memory of its own. */
function readWhole(path: string): Uint8Array {
  let file: number;
  try {
    // asked before opening: opening a pipe would wait for its writer
    if (!statSync(path).isFile()) fail(`${path} is no file: name an ONNX model`);
    file = openSync(path, 'r');
  } catch (error) {
    return failAt('read', path, error);
  }
  try {
    const stat = fstatSync(file);
    if (stat.size > MAX_PROTOBUF_BYTES) {
      fail(`${path} has ${stat.size} bytes, but protobuf ends at 2 GiB: save the model with external data`);
    }
    const bytes = Buffer.allocUnsafeSlow(stat.size);
    let done = 0;
    while (done < bytes.length) {
      const n = readSync(file, bytes, done, bytes.length - done, done);
      if (n === 0) fail(`${path} became shorter while it was read`);
      done += n;
    }
    return bytes;
  } finally {
    closeSync(file);
  }
}
