// Models and graphs from ONNX's text syntax (onnx/docs/Syntax.md): six lines make a model in a test.
//
//   <ir_version: 8, opset_import: ["" : 17]>
//   agraph (float[N,3,32,32] x) => (float[N,16,32,32] y) <float[16,3,3,3] w, float[2] b = {1.0, 2.0}>
//   { y = Conv <pads=[1,1,1,1]> (x, w) }
//
// In the list after the outputs, a name with data is an initializer; without data it is value_info when a node makes it
// and otherwise an initializer without data, a placeholder. `float[2]` has a shape, `float` is a scalar, `float[]` has
// no known rank. Names with other characters than letters, digits and _ stand in quotes. Beyond the official syntax:
// `?` for an unknown dimension inside names' lists, `nan` and `inf` as data, a function's overload.
import { fail } from '../errors.js';
import type { Attribute, Dim, FunctionDef, Graph, Model, Node, ValueInfo, ValueType } from './graph.js';
import { elementCount, type Tensor } from './tensor.js';
import { tensorOf } from './text-data.js';
import { TYPE_NAMES } from './text-print.js';

export { printGraph, printModel, printNode } from './text-print.js';

export function parseModelText(text: string): Model {
  const t = tokens(text);
  const fields = t.peek('<') ? parseFields(t) : new Map<string, Field>();
  const graph = graphBody(t);
  const functions: FunctionDef[] = [];
  while (!t.atEnd()) functions.push(parseFunction(t));
  const text_ = (name: string): string => {
    const value = fields.get(name);
    return typeof value === 'string' ? value : '';
  };
  const irVersion = fields.get('ir_version');
  return {
    irVersion: typeof irVersion === 'number' ? irVersion : 8,
    opsets: opsetsOf(fields) ?? new Map([['', 17]]),
    producerName: text_('producer_name'),
    producerVersion: text_('producer_version'),
    metadata: new Map([...entriesOf(fields, 'metadata_props')].map(([k, v]) => [k, String(v)])),
    functions,
    graph,
  };
}

export function parseGraph(text: string): Graph {
  const t = tokens(text);
  const graph = graphBody(t);
  if (!t.atEnd()) t.refuse('the end');
  return graph;
}

interface Tokens {
  /** Takes the next token if it is this one. */
  take(token: string): boolean;
  peek(token: string, ahead?: number): boolean;
  need(token: string): void;
  /** An identifier or a quoted name. */
  name(): string;
  /** The next token whatever it is. */
  next(): string;
  current(): string;
  atEnd(): boolean;
  refuse(expected: string): never;
}

type Field = string | number | ReadonlyMap<string, string | number>;

function tokens(text: string): Tokens {
  const found = [
    ...text.matchAll(/#[^\n]*|"(?:[^"\\]|\\.)*"|=>|[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|-inf|[a-z_][\w]*|\S/gi),
  ].filter((m) => !m[0].startsWith('#'));
  let at = 0;
  const current = (): string => found[at]?.[0] ?? '';
  const t: Tokens = {
    take: (token) => {
      if (current() !== token) return false;
      at++;
      return true;
    },
    peek: (token, ahead = 0) => (found[at + ahead]?.[0] ?? '') === token,
    need: (token) => {
      if (!t.take(token)) t.refuse(`"${token}"`);
    },
    name: () => {
      const token = current();
      if (token.startsWith('"')) return unquote(t.next());
      if (!/^[a-z_]/i.test(token)) t.refuse('a name');
      return t.next();
    },
    next: () => {
      const token = current();
      if (token === '') t.refuse('more');
      at++;
      return token;
    },
    current,
    atEnd: () => at >= found.length,
    refuse: (expected) => {
      const line = text.slice(0, found[at]?.index ?? text.length).split('\n').length;
      const got = current() === '' ? 'the end' : `"${current()}"`;
      return fail(`ONNX text, line ${line}: expected ${expected}, found ${got}`);
    },
  };
  return t;
}

function unquote(token: string): string {
  return token.slice(1, -1).replace(/\\(.)/g, '$1');
}

/** `item, item, ...` up to the closing token, which is taken. */
function list<T>(t: Tokens, close: string, item: () => T): T[] {
  const items: T[] = [];
  while (!t.take(close)) {
    items.push(item());
    if (!t.take(',') && !t.peek(close)) t.refuse(`"," or "${close}"`);
  }
  return items;
}

function parseFields(t: Tokens): Map<string, Field> {
  t.need('<');
  const value = (): string | number => (t.current().startsWith('"') ? unquote(t.next()) : parseNumber(t));
  return new Map(
    list(t, '>', (): readonly [string, Field] => {
      const name = t.name();
      t.need(':');
      if (!t.take('[')) return [name, value()];
      const entries = list(t, ']', () => {
        const key = t.name();
        t.need(':');
        return [key, value()] as const;
      });
      return [name, new Map(entries)];
    }),
  );
}

function parseFunction(t: Tokens): FunctionDef {
  const fields = parseFields(t);
  const text = (name: string): string => {
    const value = fields.get(name);
    return typeof value === 'string' ? value : '';
  };
  const name = t.name();
  const attributes: string[] = [];
  const defaults: Attribute[] = [];
  if (t.take('<')) {
    list(t, '>', () => {
      const hasDefault = t.peek('=', 1) || t.peek(':', 1);
      if (hasDefault) defaults.push(parseAttribute(t));
      else attributes.push(t.name());
    });
  }
  t.need('(');
  const inputs = list(t, ')', () => t.name());
  t.need('=>');
  t.need('(');
  const outputs = list(t, ')', () => t.name());
  return {
    name,
    domain: text('domain'),
    overload: text('overload'),
    inputs,
    outputs,
    attributes,
    attributeDefaults: new Map(defaults.map((a) => [a.name, a])),
    nodes: nodeList(t),
    opsets: opsetsOf(fields) ?? new Map(),
  };
}

function entriesOf(fields: ReadonlyMap<string, Field>, name: string): ReadonlyMap<string, string | number> {
  const value = fields.get(name);
  return typeof value === 'object' ? value : new Map();
}

function opsetsOf(fields: ReadonlyMap<string, Field>): Map<string, number> | undefined {
  if (!fields.has('opset_import')) return undefined;
  return new Map([...entriesOf(fields, 'opset_import')].map(([k, v]) => [k === 'ai.onnx' ? '' : k, Number(v)]));
}

function graphBody(t: Tokens): Graph {
  const name = t.name();
  const defaults: Tensor[] = [];
  t.need('(');
  const inputs = list(t, ')', () => declaration(t, defaults));
  t.need('=>');
  t.need('(');
  const outputs = list(t, ')', () => declaration(t, undefined));
  const withData = [...defaults];
  const declared = t.take('<') ? list(t, '>', () => declaration(t, withData)) : [];
  const nodes = nodeList(t);
  const filled = new Map(withData.map((w) => [w.name, w]));
  const made = new Set(nodes.flatMap((n) => n.outputs));
  const initializers = new Map(defaults.map((w) => [w.name, w]));
  const valueInfo = new Map<string, ValueInfo>();
  for (const v of declared) {
    const weight = filled.get(v.name) ?? (made.has(v.name) ? undefined : placeholder(v));
    if (weight === undefined) valueInfo.set(v.name, v);
    else initializers.set(v.name, weight);
  }
  return { name, nodes, initializers, sparseInitializers: new Map(), inputs, outputs, valueInfo };
}

/** `type name` and, where `filled` is given, `= {data}`. */
function declaration(t: Tokens, filled: Tensor[] | undefined): ValueInfo {
  const type = parseType(t);
  const name = t.name();
  const info: ValueInfo = { name, ...(type === undefined ? {} : { type }) };
  if (filled !== undefined && t.take('=')) {
    const { elemType, dims } = fixedShape(type, name);
    filled.push(tensorOf(name, elemType, dims, data(t)));
  }
  return info;
}

function placeholder(v: ValueInfo): Tensor {
  const { elemType, dims } = fixedShape(v.type, v.name);
  return { name: v.name, dataType: elemType, dims };
}

function fixedShape(type: ValueType | undefined, name: string): { elemType: number; dims: number[] } {
  const shape = type?.kind === 'tensor' ? type.shape : undefined;
  const dims = shape?.filter((d) => typeof d === 'number');
  if (type?.kind !== 'tensor' || dims === undefined || dims.length !== shape?.length) {
    fail(`ONNX text: initializer "${name}" needs a tensor type with every dimension a number`);
  }
  return { elemType: type.elemType, dims };
}

function parseType(t: Tokens): ValueType | undefined {
  const name = t.name();
  if (name === 'seq' || name === 'optional' || name === 'sparse_tensor') {
    t.need('(');
    const inner = parseType(t);
    t.need(')');
    if (name === 'seq') return { kind: 'sequence', elem: inner };
    if (name === 'optional') return { kind: 'optional', elem: inner };
    return inner?.kind === 'tensor' ? { ...inner, kind: 'sparse' } : t.refuse('a tensor type in sparse_tensor');
  }
  if (name === 'map') {
    t.need('(');
    const keyType = elementType(t.name(), t);
    t.need(',');
    const value = parseType(t);
    t.need(')');
    return { kind: 'map', keyType, value };
  }
  const elemType = elementType(name, t);
  if (!t.take('[')) return { kind: 'tensor', elemType, shape: [] };
  if (t.take(']')) return elemType === 0 ? undefined : { kind: 'tensor', elemType };
  return { kind: 'tensor', elemType, shape: list(t, ']', () => parseDim(t)) };
}

function elementType(name: string, t: Tokens): number {
  return TYPE_NAMES.get(name) ?? t.refuse(`a type before this (${name} is none)`);
}

function parseDim(t: Tokens): Dim {
  if (t.take('?')) return undefined;
  return /^\d+$/.test(t.current()) ? Number(t.next()) : t.name();
}

function nodeList(t: Tokens): Node[] {
  t.need('{');
  const nodes: Node[] = [];
  while (!t.take('}')) nodes.push(parseNode(t));
  return nodes;
}

function parseNode(t: Tokens): Node {
  let name = '';
  if (t.take('[')) {
    name = t.name();
    t.need(']');
  }
  const outputs = list(t, '=', () => t.name());
  let opType = t.name();
  const domain: string[] = [];
  while (t.take('.')) {
    domain.push(opType);
    opType = t.name();
  }
  const overload = t.take(':') ? t.name() : undefined;
  const attributes = attributeList(t);
  t.need('(');
  // nothing between two commas is an input left out
  const inputs = list(t, ')', () => (t.peek(',') ? '' : t.name()));
  const all = [...attributes, ...attributeList(t)];
  return {
    name,
    opType,
    domain: domain.join('.') === 'ai.onnx' ? '' : domain.join('.'),
    inputs,
    outputs,
    attributes: new Map(all.map((a) => [a.name, a])),
    ...(overload === undefined ? {} : { overload }),
  };
}

function attributeList(t: Tokens): Attribute[] {
  return t.take('<') ? list(t, '>', () => parseAttribute(t)) : [];
}

function parseAttribute(t: Tokens): Attribute {
  const name = t.name();
  const kind = t.take(':') ? t.name() : undefined;
  t.need('=');
  if (t.take('@')) return { name, kind: 'ref', value: t.name() };
  if (t.take('[')) {
    return listOf(
      t,
      name,
      kind,
      list(t, ']', () => single(t, name, kind?.replace(/s$/, ''))),
    );
  }
  return single(t, name, kind);
}

function single(t: Tokens, name: string, kind: string | undefined): Attribute {
  const token = t.current();
  if (token.startsWith('"') && kind !== 'graph') return { name, kind: 'string', value: unquote(t.next()) };
  if (/^[-+.\d]/.test(token) || (/^(nan|inf)$/.test(token) && kind === 'float')) {
    const value = parseNumber(t);
    const isFloat = kind === undefined ? /[.e]|inf|nan/i.test(token) : kind === 'float';
    return { name, kind: isFloat ? 'float' : 'int', value };
  }
  const isTensor = kind === 'tensor' || (kind === undefined && TYPE_NAMES.has(token) && !t.peek('(', 1));
  if (isTensor) return { name, kind: 'tensor', value: tensorLiteral(t) };
  return { name, kind: 'graph', value: graphBody(t) };
}

function listOf(t: Tokens, name: string, kind: string | undefined, items: readonly Attribute[]): Attribute {
  const wanted = kind ?? `${items.find((a) => a.kind === 'float')?.kind ?? items[0]?.kind ?? 'int'}s`;
  const pick = <V>(test: (a: Attribute) => V | undefined): V[] =>
    items.map((a) => test(a) ?? t.refuse(`${wanted} in the list of ${name} before this`));
  if (wanted === 'ints') return { name, kind: 'ints', value: pick((a) => (a.kind === 'int' ? a.value : undefined)) };
  if (wanted === 'floats') {
    return { name, kind: 'floats', value: pick((a) => (a.kind === 'float' || a.kind === 'int' ? a.value : undefined)) };
  }
  if (wanted === 'strings')
    return { name, kind: 'strings', value: pick((a) => (a.kind === 'string' ? a.value : undefined)) };
  if (wanted === 'tensors')
    return { name, kind: 'tensors', value: pick((a) => (a.kind === 'tensor' ? a.value : undefined)) };
  return { name, kind: 'graphs', value: pick((a) => (a.kind === 'graph' ? a.value : undefined)) };
}

/** `float[2] {1.0, 2.0}`, with a name between them if one likes. */
function tensorLiteral(t: Tokens): Tensor {
  const type = parseType(t);
  const name = t.peek('{') || t.peek('=') ? '' : t.name();
  t.take('=');
  const { elemType, dims } = fixedShape(type, name);
  const values = data(t);
  if (values.length === 0 && elementCount(dims) > 0) return { name, dataType: elemType, dims };
  return tensorOf(name, elemType, dims, values);
}

function data(t: Tokens): (number | string)[] {
  t.need('{');
  return list(t, '}', () => (t.current().startsWith('"') ? unquote(t.next()) : parseNumber(t)));
}

function parseNumber(t: Tokens): number {
  const special = new Map([
    ['nan', NaN],
    ['inf', Infinity],
    ['-inf', -Infinity],
  ]).get(t.current());
  const value = special ?? (/^[-+.\d]/.test(t.current()) ? Number(t.current()) : NaN);
  if (special === undefined && Number.isNaN(value)) t.refuse('a number');
  t.next();
  return value;
}
