// The graph: what an ONNX model says, readonly, without protobuf. Edits return new values that share structure. Source: onnx.proto, IR.md.
import type { Tensor } from './tensor.js';

/** A dimension: a length, a symbolic name (dim_param), or undefined when nothing is said. */
export type Dim = number | string | undefined;

export type ValueType =
  | { readonly kind: 'tensor' | 'sparse'; readonly elemType: number; readonly shape?: readonly Dim[] }
  | { readonly kind: 'sequence' | 'optional'; readonly elem: ValueType | undefined }
  | { readonly kind: 'map'; readonly keyType: number; readonly value: ValueType | undefined }
  | { readonly kind: 'opaque' };

export interface ValueInfo {
  readonly name: string;
  readonly type?: ValueType;
  readonly source?: object;
}

interface Named<K extends string, V> {
  readonly name: string;
  readonly kind: K;
  readonly value: V;
  readonly source?: object;
}

/** `int` values beyond 2^53 are rounded here and still written back exactly while unmodified. `ref` stands in function bodies. */
export type Attribute =
  | Named<'float' | 'int', number>
  | Named<'string', string>
  | Named<'tensor', Tensor>
  | Named<'graph', Graph>
  | Named<'floats' | 'ints', readonly number[]>
  | Named<'strings', readonly string[]>
  | Named<'tensors', readonly Tensor[]>
  | Named<'graphs', readonly Graph[]>
  | Named<'ref', string>
  | Named<'opaque', undefined>;

export interface Node {
  readonly name: string;
  readonly opType: string;
  /** '' for ai.onnx. */
  readonly domain: string;
  /** '' marks an omitted optional input or output. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, Attribute>;
  readonly overload?: string;
  readonly source?: object;
}

export interface SparseTensor {
  readonly name: string;
  readonly dims: readonly number[];
  readonly values: Tensor;
  readonly indices: Tensor;
  readonly source?: object;
}

export interface Graph {
  readonly name: string;
  /** In topological order. */
  readonly nodes: readonly Node[];
  readonly initializers: ReadonlyMap<string, Tensor>;
  readonly sparseInitializers: ReadonlyMap<string, SparseTensor>;
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly valueInfo: ReadonlyMap<string, ValueInfo>;
  readonly source?: object;
}

export interface FunctionDef {
  readonly name: string;
  readonly domain: string;
  readonly overload: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Attributes without a default. */
  readonly attributes: readonly string[];
  readonly attributeDefaults: ReadonlyMap<string, Attribute>;
  readonly nodes: readonly Node[];
  readonly opsets: ReadonlyMap<string, number>;
  readonly source?: object;
}

export interface Model {
  readonly irVersion: number;
  /** domain ('' = ai.onnx) -> opset version. */
  readonly opsets: ReadonlyMap<string, number>;
  readonly producerName: string;
  readonly producerVersion: string;
  readonly metadata: ReadonlyMap<string, string>;
  readonly functions: readonly FunctionDef[];
  readonly graph: Graph;
  readonly source?: object;
}

export function opsetOf(model: Model, domain = ''): number {
  return model.opsets.get(domain) ?? (domain === '' ? 1 : 0);
}

/** Node label for messages: `Conv "layer1.0.conv1"`. */
export function describeNode(node: Node): string {
  return `${node.opType} "${node.name === '' ? (node.outputs[0] ?? '') : node.name}"`;
}

export function attrInt(node: Node, name: string, fallback: number): number;
export function attrInt(node: Node, name: string): number | undefined;
export function attrInt(node: Node, name: string, fallback?: number): number | undefined {
  const a = node.attributes.get(name);
  return a?.kind === 'int' ? a.value : fallback;
}

export function attrFloat(node: Node, name: string, fallback: number): number {
  const a = node.attributes.get(name);
  return a?.kind === 'float' ? a.value : fallback;
}

export function attrString(node: Node, name: string, fallback = ''): string {
  const a = node.attributes.get(name);
  return a?.kind === 'string' ? a.value : fallback;
}

export function attrInts(node: Node, name: string): readonly number[] | undefined {
  const a = node.attributes.get(name);
  return a?.kind === 'ints' ? a.value : undefined;
}

export function attrTensor(node: Node, name: string): Tensor | undefined {
  const a = node.attributes.get(name);
  return a?.kind === 'tensor' ? a.value : undefined;
}

/** A copy of the node with some attributes replaced (undefined removes one). */
export function withAttributes(node: Node, changes: Readonly<Record<string, Attribute | undefined>>): Node {
  const attributes = new Map(node.attributes);
  for (const [name, a] of Object.entries(changes)) {
    if (a === undefined) attributes.delete(name);
    else attributes.set(name, a);
  }
  return { ...node, attributes };
}

export function intAttribute(name: string, value: number): Attribute {
  return { name, kind: 'int', value };
}

export function intsAttribute(name: string, value: readonly number[]): Attribute {
  return { name, kind: 'ints', value };
}
