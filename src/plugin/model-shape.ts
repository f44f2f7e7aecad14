// Is this value, which came from foreign code, a Model as src/ir/graph.ts describes it? Parts that were sent out and came back as they
// were are trusted; whether the graph makes sense is for ir/check.
import { PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import { elementBits } from '../ir/tensor.js';

type Look = (value: unknown, where: string) => void;
type Fields = Readonly<Record<string, unknown>>;

/** Throws PareError that says which part is not as it should be. */
export function asModel(value: unknown, isKnown: (object: object) => boolean): Model {
  const record =
    (look: (r: Fields, where: string) => void): Look =>
    (v, where) => {
      if (typeof v !== 'object' || v === null || Array.isArray(v) || v instanceof Map) wrong(where, 'an object', v);
      // the cast: just seen to be an object, whose fields `look` looks at
      if (!isKnown(v)) look(v as Fields, where);
    };

  const tensor = record((t, where) => {
    text(t['name'], `${where}.name`);
    whole(t['dataType'], `${where}.dataType`);
    list(whole)(t['dims'], `${where}.dims`);
    if (t['bytes'] !== undefined && typeof t['bytes'] !== 'function') wrong(`${where}.bytes`, 'a function', t['bytes']);
    if (t['bytes'] !== undefined && elementBits(Number(t['dataType'])) === 0) {
      throw new PareError(`${where}: data type ${String(t['dataType'])} has no bytes`);
    }
    if (t['strings'] !== undefined) list(bytes)(t['strings'], `${where}.strings`);
  });
  const type: Look = record((t, where) => {
    switch (t['kind']) {
      case 'tensor':
      case 'sparse':
        whole(t['elemType'], `${where}.elemType`);
        if (t['shape'] !== undefined) list(dim)(t['shape'], `${where}.shape`);
        return;
      case 'sequence':
      case 'optional':
        optional(type)(t['elem'], `${where}.elem`);
        return;
      case 'map':
        whole(t['keyType'], `${where}.keyType`);
        optional(type)(t['value'], `${where}.value`);
        return;
      case 'opaque':
        return;
      default:
        wrong(`${where}.kind`, 'a kind of type', t['kind']);
    }
  });
  const info = record((v, where) => {
    text(v['name'], `${where}.name`);
    optional(type)(v['type'], `${where}.type`);
  });
  const attribute = record((a, where) => {
    text(a['name'], `${where}.name`);
    const looks: Readonly<Record<string, Look>> = {
      float: number,
      int: number,
      string: text,
      tensor,
      graph,
      floats: list(number),
      ints: list(number),
      strings: list(text),
      tensors: list(tensor),
      graphs: list(graph),
      ref: text,
      opaque: () => undefined,
    };
    const look = typeof a['kind'] === 'string' && Object.hasOwn(looks, a['kind']) ? looks[a['kind']] : undefined;
    if (look === undefined) wrong(`${where}.kind`, `one of ${Object.keys(looks).join(', ')}`, a['kind']);
    else look(a['value'], `${where}.value`);
  });
  const node = record((n, where) => {
    for (const key of ['name', 'opType', 'domain']) text(n[key], `${where}.${key}`);
    list(text)(n['inputs'], `${where}.inputs`);
    list(text)(n['outputs'], `${where}.outputs`);
    named(attribute)(n['attributes'], `${where}.attributes`);
    optional(text)(n['overload'], `${where}.overload`);
  });
  const sparse = record((s, where) => {
    text(s['name'], `${where}.name`);
    list(whole)(s['dims'], `${where}.dims`);
    tensor(s['values'], `${where}.values`);
    tensor(s['indices'], `${where}.indices`);
  });
  const graph: Look = record((g, where) => {
    text(g['name'], `${where}.name`);
    list(node)(g['nodes'], `${where}.nodes`);
    named(tensor)(g['initializers'], `${where}.initializers`);
    named(sparse)(g['sparseInitializers'], `${where}.sparseInitializers`);
    list(info)(g['inputs'], `${where}.inputs`);
    list(info)(g['outputs'], `${where}.outputs`);
    named(info)(g['valueInfo'], `${where}.valueInfo`);
  });
  const functionDef = record((f, where) => {
    for (const key of ['name', 'domain', 'overload']) text(f[key], `${where}.${key}`);
    for (const key of ['inputs', 'outputs', 'attributes']) list(text)(f[key], `${where}.${key}`);
    named(attribute)(f['attributeDefaults'], `${where}.attributeDefaults`);
    list(node)(f['nodes'], `${where}.nodes`);
    map(whole)(f['opsets'], `${where}.opsets`);
  });
  const model = record((m, where) => {
    whole(m['irVersion'], `${where}.irVersion`);
    map(whole)(m['opsets'], `${where}.opsets`);
    for (const key of ['producerName', 'producerVersion']) text(m[key], `${where}.${key}`);
    map(text)(m['metadata'], `${where}.metadata`);
    list(functionDef)(m['functions'], `${where}.functions`);
    graph(m['graph'], `${where}.graph`);
  });
  model(value, 'model');
  // the cast: every field has been looked at
  return value as Model;
}

function wrong(where: string, wanted: string, got: unknown): never {
  const shown =
    got === undefined
      ? 'absent'
      : got === null
        ? 'null'
        : Array.isArray(got)
          ? 'an array'
          : got instanceof Map
            ? 'a Map'
            : typeof got;
  throw new PareError(`${where} must be ${wanted}, not ${shown}`);
}

const text: Look = (v, where) => (typeof v === 'string' ? undefined : wrong(where, 'a string', v));
const number: Look = (v, where) => (typeof v === 'number' ? undefined : wrong(where, 'a number', v));
const bytes: Look = (v, where) => (v instanceof Uint8Array ? undefined : wrong(where, 'bytes', v));
const whole: Look = (v, where) =>
  typeof v === 'number' && Number.isSafeInteger(v) && v >= 0 ? undefined : wrong(where, 'a whole number', v);
const dim: Look = (v, where) =>
  v === undefined || typeof v === 'string' || Number.isSafeInteger(v) ? undefined : wrong(where, 'a dimension', v);

function optional(look: Look): Look {
  return (v, where) => (v === undefined ? undefined : look(v, where));
}

function list(look: Look): Look {
  return (v, where) => {
    if (!Array.isArray(v)) wrong(where, 'an array', v);
    // the cast: Array.isArray gives any
    (v as readonly unknown[]).forEach((item, i) => look(item, `${where}[${i}]`));
  };
}

function map(look: Look): Look {
  return (v, where) => {
    if (!(v instanceof Map)) wrong(where, 'a Map', v);
    // the cast: instanceof gives Map<any, any>
    for (const [key, item] of v as Map<unknown, unknown>) {
      text(key, `a key of ${where}`);
      look(item, `${where}.get("${String(key)}")`);
    }
  };
}

/** A map from names to things of that name. */
function named(look: Look): Look {
  return (v, where) => {
    map(look)(v, where);
    // the casts: `look` has found objects, and each has a name that is a string
    for (const [key, item] of v as Map<string, { readonly name: string }>) {
      if (item.name !== key) throw new PareError(`${where}.get("${key}") is called "${item.name}"`);
    }
  };
}
