// The IR in ONNX's text syntax (onnx/docs/Syntax.md), for tests and messages. What is printed parses back (text.ts), but for
// the data of large tensors, which are left out.
import type { Attribute, Dim, FunctionDef, Graph, Model, Node, ValueInfo, ValueType } from './graph.js';
import { DataType, elementCount, readNumbers, type Tensor } from './tensor.js';

export interface PrintOptions {
  /** Tensors up to this many elements are printed with their data. */
  readonly maxElements?: number;
}

/** The syntax's names of the data types: ONNX's in lower case. */
export const TYPE_NAMES: ReadonlyMap<string, number> = new Map(
  Object.entries(DataType).map(([name, id]) => [name.toLowerCase(), id]),
);

export function printModel(model: Model, options: PrintOptions = {}): string {
  const fields = [`ir_version: ${model.irVersion}`, `opset_import: ${printOpsets(model.opsets)}`];
  if (model.producerName !== '') fields.push(`producer_name: ${quote(model.producerName)}`);
  if (model.producerVersion !== '') fields.push(`producer_version: ${quote(model.producerVersion)}`);
  if (model.metadata.size > 0) {
    fields.push(`metadata_props: [${[...model.metadata].map(([k, v]) => `${quote(k)}: ${quote(v)}`).join(', ')}]`);
  }
  const functions = model.functions.map((f) => printFunction(f, options));
  return [`<${fields.join(', ')}>`, printGraph(model.graph, options), ...functions].join('\n');
}

export function printGraph(graph: Graph, options: PrintOptions = {}): string {
  return graphText(graph, options, '');
}

export function printNode(node: Node, options: PrintOptions = {}): string {
  return nodeText(node, options, '');
}

export function printType(type: ValueType | undefined): string {
  if (type === undefined) return 'undefined[]';
  switch (type.kind) {
    case 'tensor':
      return tensorType(type.elemType, type.shape);
    case 'sparse':
      return `sparse_tensor(${tensorType(type.elemType, type.shape)})`;
    case 'sequence':
      return `seq(${printType(type.elem)})`;
    case 'optional':
      return `optional(${printType(type.elem)})`;
    case 'map':
      return `map(${typeName(type.keyType)}, ${printType(type.value)})`;
    case 'opaque':
      return 'opaque()';
  }
}

/** As an identifier where that is possible, in quotes otherwise. */
export function printName(name: string): string {
  return /^[a-z_][a-z0-9_]*$/i.test(name) ? name : quote(name);
}

function graphText(graph: Graph, options: PrintOptions, indent: string): string {
  const values = (list: readonly ValueInfo[]): string =>
    list.map((v) => `${printType(v.type)} ${printName(v.name)}`).join(', ');
  const constants = [...graph.initializers.values()].map((t) => {
    const data = tensorData(t, options);
    return `${tensorType(t.dataType, t.dims)} ${printName(t.name)}${data === undefined ? '' : ` = ${data}`}`;
  });
  const infos = graph.valueInfo.size === 0 ? [] : [values([...graph.valueInfo.values()])];
  const declared = [...constants, ...infos];
  const inner = `${indent}  `;
  return [
    `${printName(graph.name)} (${values(graph.inputs)}) => (${values(graph.outputs)})`,
    ...(declared.length === 0 ? [] : [`${indent}<${declared.join(', ')}>`]),
    `${indent}{`,
    ...graph.nodes.map((n) => inner + nodeText(n, options, inner)),
    `${indent}}`,
  ].join('\n');
}

function nodeText(node: Node, options: PrintOptions, indent: string): string {
  const label = node.name === '' ? '' : `[${quote(node.name)}] `;
  const operator = `${node.domain === '' ? '' : `${node.domain}.`}${node.opType}${node.overload === undefined ? '' : `:${node.overload}`}`;
  const attributes = [...node.attributes.values()].map((a) => attributeText(a, options, indent)).join(', ');
  const outputs = node.outputs.map(printName).join(', ');
  return `${label}${outputs} = ${operator}${attributes === '' ? '' : ` <${attributes}>`} (${node.inputs.map(printName).join(', ')})`;
}

function attributeText(a: Attribute, options: PrintOptions, indent: string): string {
  const list = <T>(values: readonly T[], print: (v: T) => string): string => `[${values.map(print).join(', ')}]`;
  switch (a.kind) {
    case 'float':
      return `${printName(a.name)}: float = ${printFloat(a.value)}`;
    case 'int':
      return `${printName(a.name)} = ${a.value}`;
    case 'string':
      return `${printName(a.name)} = ${quote(a.value)}`;
    case 'floats':
      return `${printName(a.name)}: floats = ${list(a.value, printFloat)}`;
    case 'ints':
      return `${printName(a.name)}: ints = ${list(a.value, String)}`;
    case 'strings':
      return `${printName(a.name)}: strings = ${list(a.value, quote)}`;
    case 'tensor':
      return `${printName(a.name)} = ${tensorText(a.value, options)}`;
    case 'tensors':
      return `${printName(a.name)}: tensors = ${list(a.value, (t) => tensorText(t, options))}`;
    case 'graph':
      return `${printName(a.name)}: graph = ${graphText(a.value, options, indent)}`;
    case 'graphs':
      return `${printName(a.name)}: graphs = ${list(a.value, (g) => graphText(g, options, indent))}`;
    case 'ref':
      return `${printName(a.name)} = @${printName(a.value)}`;
    case 'opaque':
      return `${printName(a.name)} = ?`;
  }
}

function printFunction(f: FunctionDef, options: PrintOptions): string {
  const attributes = [
    ...f.attributes.map(printName),
    ...[...f.attributeDefaults.values()].map((a) => attributeText(a, options, '')),
  ];
  const fields = [`domain: ${quote(f.domain)}`, `opset_import: ${printOpsets(f.opsets)}`];
  if (f.overload !== '') fields.push(`overload: ${quote(f.overload)}`);
  return [
    `<${fields.join(', ')}>`,
    `${printName(f.name)}${attributes.length === 0 ? '' : ` <${attributes.join(', ')}>`} (${f.inputs.map(printName).join(', ')}) => (${f.outputs.map(printName).join(', ')})`,
    '{',
    ...f.nodes.map((n) => `  ${nodeText(n, options, '  ')}`),
    '}',
  ].join('\n');
}

function printOpsets(opsets: ReadonlyMap<string, number>): string {
  return `[${[...opsets].map(([domain, version]) => `${quote(domain)}: ${version}`).join(', ')}]`;
}

function tensorText(t: Tensor, options: PrintOptions): string {
  return `${tensorType(t.dataType, t.dims)} ${printName(t.name)} ${tensorData(t, options) ?? '{}'}`;
}

/** Undefined when there are no data, or too many. */
function tensorData(t: Tensor, { maxElements = 16 }: PrintOptions): string | undefined {
  if (elementCount(t.dims) > maxElements) return undefined;
  if (t.strings !== undefined) return `{${t.strings.map((s) => quote(Buffer.from(s).toString('utf8'))).join(', ')}}`;
  if (t.bytes === undefined || !READABLE.has(t.dataType)) return undefined;
  const isFloat = FLOATS.has(t.dataType);
  return `{${[...readNumbers(t)].map((v) => (isFloat ? printFloat(v) : String(v))).join(', ')}}`;
}

/** Types whose elements the parser can make. */
const READABLE: ReadonlySet<number> = new Set([1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13]);
const FLOATS: ReadonlySet<number> = new Set([1, 10, 11]);

function tensorType(elemType: number, shape: readonly Dim[] | undefined): string {
  const name = typeName(elemType);
  // a bare type is a scalar, empty brackets are a tensor of unknown rank
  if (shape === undefined) return `${name}[]`;
  return shape.length === 0 ? name : `${name}[${shape.map(printDim).join(',')}]`;
}

function typeName(elemType: number): string {
  for (const [name, id] of TYPE_NAMES) if (id === elemType) return name;
  return 'undefined';
}

function printDim(d: Dim): string {
  if (d === undefined) return '?';
  return typeof d === 'number' ? String(d) : printName(d);
}

/** With a point or exponent, so that it reads as a float. */
function printFloat(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf';
  const text = Object.is(value, -0) ? '-0' : String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

function quote(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}
