// Model, graph, node and attribute -> messages. Each starts from the message it was read from and replaces only the
// fields that were edited since; what nobody edited is that message itself, and is written as its original bytes.
import { fail } from '../errors.js';
import type { Attribute, FunctionDef, Graph, Model, Node } from '../ir/graph.js';
import { create, override, toLong, toNumber } from './codec.js';
import type {
  AttributeProto,
  EntryProto,
  FunctionProto,
  GraphProto,
  Messages,
  ModelProto,
  NodeProto,
  OperatorSetIdProto,
} from './messages.js';
import { normalDomain } from './read.js';
import { Source } from './source.js';
import { sparseMessage, tensorMessage, type WriteContext } from './tensor-write.js';
import { valueInfoMessage } from './type-write.js';

export function modelMessage(model: Model, context: WriteContext): ModelProto {
  const source = Source.of<Model, ModelProto>(model);
  if (source?.origin === model && !context.relocating) return source.message;
  const { message, origin } = source ?? {};
  const next = changes(message, {
    irVersion: model.irVersion === origin?.irVersion ? undefined : toLong(model.irVersion),
    producerName: edited(model.producerName, origin?.producerName),
    producerVersion: edited(model.producerVersion, origin?.producerVersion),
    graph: graphMessage(model.graph, context),
    opsetImport: model.opsets === origin?.opsets ? undefined : opsetMessages(model.opsets, message?.opsetImport ?? []),
    metadataProps:
      model.metadata === origin?.metadata ? undefined : entryMessages(model.metadata, message?.metadataProps ?? []),
    functions: list(model.functions, message?.functions, (f) => functionMessage(f, context)),
  });
  return finish('ModelProto', message, next);
}

export function graphMessage(graph: Graph, context: WriteContext): GraphProto {
  const source = Source.of<Graph, GraphProto>(graph);
  if (source?.origin === graph && !context.relocating) return source.message;
  const { message, origin } = source ?? {};
  const keep = (field: keyof Graph): boolean => graph[field] === origin?.[field] && !context.relocating;
  const initializers = [...graph.initializers].map(([name, t]) => (t.name === name ? t : { ...t, name }));
  const sparse = [...graph.sparseInitializers].map(([name, s]) => (s.name === name ? s : { ...s, name }));
  const next = changes(message, {
    name: edited(graph.name, origin?.name),
    node: keep('nodes') ? undefined : list(graph.nodes, message?.node, (n) => nodeMessage(n, context)),
    initializer: keep('initializers')
      ? undefined
      : list(initializers, message?.initializer, (t) => tensorMessage(t, context)),
    sparseInitializer: keep('sparseInitializers')
      ? undefined
      : list(sparse, message?.sparseInitializer, (s) => sparseMessage(s, context)),
    input: keep('inputs') ? undefined : list(graph.inputs, message?.input, valueInfoMessage),
    output: keep('outputs') ? undefined : list(graph.outputs, message?.output, valueInfoMessage),
    valueInfo: keep('valueInfo')
      ? undefined
      : list([...graph.valueInfo.values()], message?.valueInfo, valueInfoMessage),
  });
  return finish('GraphProto', message, next);
}

function nodeMessage(node: Node, context: WriteContext): NodeProto {
  const source = Source.of<Node, NodeProto>(node);
  if (source?.origin === node && !context.relocating) return source.message;
  const { message, origin } = source ?? {};
  const attributes = [...node.attributes].map(([name, a]) => (a.name === name ? a : { ...a, name }));
  const next = changes(message, {
    input: edited(node.inputs, origin?.inputs),
    output: edited(node.outputs, origin?.outputs),
    name: edited(node.name, origin?.name ?? ''),
    opType: edited(node.opType, origin?.opType),
    domain: edited(node.domain, origin?.domain ?? ''),
    overload: edited(node.overload ?? '', origin?.overload ?? ''),
    attribute:
      node.attributes === origin?.attributes && !context.relocating
        ? undefined
        : list(attributes, message?.attribute, (a) => attributeMessage(a, context)),
  });
  if (message !== undefined && Object.keys(next).length > 0 && message.deviceConfigurations.length > 0) {
    // a hint on how to divide the node's tensors over devices, which may no longer fit them: it may be left out
    return override('NodeProto', message, { ...next, deviceConfigurations: undefined });
  }
  return finish('NodeProto', message, next);
}

function functionMessage(f: FunctionDef, context: WriteContext): FunctionProto {
  const source = Source.of<FunctionDef, FunctionProto>(f);
  if (source?.origin === f && !context.relocating) return source.message;
  const { message, origin } = source ?? {};
  const next = changes(message, {
    name: edited(f.name, origin?.name),
    domain: edited(f.domain, origin?.domain),
    overload: edited(f.overload, origin?.overload ?? ''),
    input: edited(f.inputs, origin?.inputs),
    output: edited(f.outputs, origin?.outputs),
    attribute: edited(f.attributes, origin?.attributes),
    attributeProto: list([...f.attributeDefaults.values()], message?.attributeProto, (a) =>
      attributeMessage(a, context),
    ),
    node: list(f.nodes, message?.node, (n) => nodeMessage(n, context)),
    opsetImport: f.opsets === origin?.opsets ? undefined : opsetMessages(f.opsets, message?.opsetImport ?? []),
  });
  return finish('FunctionProto', message, next);
}

function attributeMessage(a: Attribute, context: WriteContext): AttributeProto {
  const source = Source.of<Attribute, AttributeProto>(a);
  if (source?.origin === a && !context.relocating) return source.message;
  const { message, origin } = source ?? {};
  const keep = a.value === origin?.value && a.kind === origin?.kind && !(context.relocating && holdsTensors(a));
  const value = keep ? {} : valueFields(a, message, context);
  const next = changes(message, { ...value, name: edited(a.name, origin?.name) });
  if (message === undefined) return create('AttributeProto', next);
  if (Object.keys(next).length === 0) return message;
  return override('AttributeProto', message, keep ? next : { ...NO_VALUE, ...value, name: a.name });
}

function holdsTensors(a: Attribute): boolean {
  return a.kind === 'tensor' || a.kind === 'tensors' || a.kind === 'graph' || a.kind === 'graphs';
}

const NO_VALUE = {
  f: undefined,
  i: undefined,
  s: undefined,
  t: undefined,
  g: undefined,
  floats: undefined,
  ints: undefined,
  strings: undefined,
  tensors: undefined,
  graphs: undefined,
  sparseTensor: undefined,
  sparseTensors: undefined,
  tp: undefined,
  typeProtos: undefined,
  refAttrName: undefined,
} as const;

function valueFields(a: Attribute, before: AttributeProto | undefined, context: WriteContext): Partial<AttributeProto> {
  switch (a.kind) {
    case 'float':
      return { type: 1, f: a.value };
    case 'int':
      return { type: 2, i: toLong(a.value) };
    case 'string':
      return { type: 3, s: Buffer.from(a.value, 'utf8') };
    case 'tensor':
      return { type: 4, t: tensorMessage(a.value, context) };
    case 'graph':
      return { type: 5, g: graphMessage(a.value, context) };
    case 'floats':
      return { type: 6, floats: a.value };
    case 'ints':
      // what stands where it stood keeps its exact value beyond 2^53
      return { type: 7, ints: a.value.map((v, i) => keepExact(v, before?.ints[i])) };
    case 'strings':
      return { type: 8, strings: a.value.map((v) => Buffer.from(v, 'utf8')) };
    case 'tensors':
      return { type: 9, tensors: list(a.value, before?.tensors, (t) => tensorMessage(t, context)) };
    case 'graphs':
      return { type: 10, graphs: list(a.value, before?.graphs, (g) => graphMessage(g, context)) };
    case 'ref':
      return { ...(before === undefined ? {} : { type: before.type }), refAttrName: a.value };
    case 'opaque':
      return fail(`attribute "${a.name}" is of a kind that can only be kept, not made`);
  }
}

function keepExact(value: number, before: AttributeProto['i'] | undefined): AttributeProto['i'] {
  return before !== undefined && toNumber(before) === value ? before : toLong(value);
}

function opsetMessages(
  opsets: ReadonlyMap<string, number>,
  before: readonly OperatorSetIdProto[],
): OperatorSetIdProto[] {
  return [...opsets].map(([domain, version]) => {
    const old = before.find((o) => normalDomain(o.domain) === domain);
    if (old === undefined) return create('OperatorSetIdProto', { domain, version: toLong(version) });
    return toNumber(old.version) === version ? old : override('OperatorSetIdProto', old, { version: toLong(version) });
  });
}

function entryMessages(entries: ReadonlyMap<string, string>, before: readonly EntryProto[]): EntryProto[] {
  const old = new Map(before.map((e) => [e.key, e]));
  return [...entries].map(([key, value]) => {
    const entry = old.get(key);
    return entry !== undefined && entry.value === value ? entry : create('StringStringEntryProto', { key, value });
  });
}

/** The value where it differs from what it was. */
function edited<T>(now: T, before: T | undefined): T | undefined {
  return now === before ? undefined : now;
}

/** The messages of a list; the list they replace itself when they are the same. */
function list<T, M>(items: readonly T[], before: readonly M[] | undefined, make: (item: T) => M): readonly M[] {
  const messages = items.map(make);
  return before !== undefined && equal(before, messages) ? before : messages;
}

function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((v, i) => v === b[i]);
}

/** Without the fields that are undefined or are what the message holds. */
function changes<M extends object>(
  message: M | undefined,
  fields: { readonly [K in keyof M]?: M[K] | undefined },
): Partial<M> {
  const different = Object.entries(fields).filter(
    ([key, value]) => value !== undefined && (message === undefined || message[key as keyof M] !== value),
  );
  // the cast: a part of the entries of a Partial<M>
  return Object.fromEntries(different) as Partial<M>;
}

type Kind = 'ModelProto' | 'GraphProto' | 'NodeProto' | 'FunctionProto' | 'AttributeProto';

function finish<K extends Kind>(kind: K, message: Messages[K] | undefined, next: Partial<Messages[K]>): Messages[K] {
  if (message === undefined) return create(kind, next);
  return Object.keys(next).length === 0 ? message : override(kind, message, next);
}
