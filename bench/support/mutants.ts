// Damage to files, drawn from a seed: bits, lengths, fields and their order, names, sizes, nesting, paths; to manifests, their values.
import type { Rng } from '../../src/rng.js';
import { encodeWire, parseWire, varintBytes, type Field, type Message } from './wire.js';

/** A file to damage, and what is drawn from it. */
export interface Sample {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly tree: Message | undefined;
  /** Names and other short texts of the file. */
  readonly texts: readonly Uint8Array[];
}

export function sampleOf(name: string, bytes: Uint8Array): Sample {
  const tree = parseWire('model', bytes);
  const texts: Uint8Array[] = [];
  const walk = (message: Message): void => {
    for (const { value } of message.fields) {
      if (value instanceof Uint8Array) {
        if (value.length < 100 && texts.length < 2000) texts.push(value);
      } else if (typeof value !== 'bigint') walk(value);
    }
  };
  if (tree !== undefined) walk(tree);
  return { name, bytes, tree, texts };
}

const NUMBERS: readonly bigint[] = [
  0n,
  1n,
  2n,
  7n,
  127n,
  255n,
  65_535n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 40n,
  2n ** 53n,
  2n ** 62n,
  2n ** 63n - 1n,
  -1n,
  -2n,
  -(2n ** 31n),
  -(2n ** 63n),
];

const TEXTS: readonly string[] = [
  '',
  '\0',
  'a'.repeat(100_000),
  '../outside.bin',
  '/etc/passwd',
  '..\\outside.bin',
  'link-to-file',
  'link-to-folder/passwd',
  'pipe',
  '.',
  'weights/../../outside.bin',
  'C:\\windows\\win.ini',
  'file:///etc/passwd',
  '-1',
  '99999999999999999999',
  '1e9',
  '0x10',
  '__proto__',
  'constructor',
  'location',
  'offset',
  'length',
  'Loop',
  'If',
  'Scan',
  'Conv',
  'Reshape',
  'com.microsoft',
  '\u202e\ud83d\ude00',
];

export function mutate(sample: Sample, rng: Rng): Uint8Array {
  let { bytes } = sample;
  const dice = rng.next();
  if (sample.tree !== undefined && dice < 0.75) {
    let tree = sample.tree;
    for (let i = 1 + rng.int(3); i > 0; i--) tree = damage(tree, sample, rng);
    bytes = encodeWire(tree);
    if (rng.next() < 0.9) return bytes;
  }
  return damageBytes(bytes, rng);
}

function damageBytes(bytes: Uint8Array, rng: Rng): Uint8Array {
  const copy = Uint8Array.from(bytes);
  if (copy.length === 0) return copy;
  switch (rng.int(5)) {
    case 0:
      return copy.subarray(0, rng.int(copy.length));
    case 1: {
      for (let i = 1 + rng.int(8); i > 0; i--) copy[rng.int(copy.length)]! ^= 1 << rng.int(8);
      return copy;
    }
    case 2: {
      // headers are at the front
      for (let i = 1 + rng.int(8); i > 0; i--) copy[rng.int(Math.min(256, copy.length))] = rng.int(256);
      return copy;
    }
    case 3: {
      const [from, to] = [rng.int(copy.length), rng.int(copy.length)];
      return Buffer.concat([copy.subarray(0, from), copy.subarray(to)]);
    }
    default: {
      const at = rng.int(copy.length);
      copy.fill(rng.next() < 0.5 ? 255 : 0, at, at + 1 + rng.int(64));
      return copy;
    }
  }
}

/** One field, anywhere; the way down is chosen at random. */
function damage(message: Message, sample: Sample, rng: Rng): Message {
  const { fields } = message;
  if (fields.length === 0) return message;
  const at = rng.int(fields.length);
  const field = fields[at]!;
  if (typeof field.value !== 'bigint' && !(field.value instanceof Uint8Array) && rng.next() < 0.8) {
    const inner = { ...field, value: damage(field.value, sample, rng) };
    return { ...message, fields: fields.with(at, inner) };
  }
  return { ...message, fields: damagedFields(message, at, sample, rng) };
}

function damagedFields({ fields, kind }: Message, at: number, sample: Sample, rng: Rng): readonly Field[] {
  const field = fields[at]!;
  switch (rng.int(9)) {
    case 0:
      return fields.toSpliced(at, 1);
    case 1:
      return fields.toSpliced(at, 0, field);
    case 2: {
      const other = rng.int(fields.length);
      return fields.with(at, fields[other]!).with(other, field);
    }
    case 3:
      return fields.with(at, { ...field, number: 1 + rng.int(26) });
    case 4: {
      const other = fields[rng.int(fields.length)]!;
      return fields.with(at, { ...field, value: other.value, wire: other.wire });
    }
    case 5:
      // within reason: a file of a gigabyte needs a gigabyte
      if (rng.next() < 0.05) {
        const size =
          field.value instanceof Uint8Array ? field.value.length : typeof field.value === 'bigint' ? 8 : 4096;
        return Array.from({ length: Math.min(3000, Math.ceil(4e6 / (size + 1))) }, () => field);
      }
      return fields.with(at, { ...field, wire: rng.int(6) });
    case 6:
      if (rng.next() < 0.05) return fields.with(at, { number: field.number, wire: 2, value: nested(kind, rng) });
      break;
    default:
  }
  const { value } = field;
  if (typeof value === 'bigint') {
    const near = [value + 1n, value - 1n, value * 2n, -value];
    return fields.with(at, { ...field, value: rng.next() < 0.8 ? rng.pick(NUMBERS) : rng.pick(near) });
  }
  if (value instanceof Uint8Array) return fields.with(at, { ...field, value: otherText(value, sample, rng) });
  return fields.with(at, { ...field, value: { ...value, fields: [] } });
}

function otherText(value: Uint8Array, sample: Sample, rng: Rng): Uint8Array {
  const dice = rng.next();
  if (dice < 0.4 && sample.texts.length > 0) return rng.pick(sample.texts);
  if (dice < 0.6) return Buffer.from(rng.pick(TEXTS));
  if (dice < 0.75) return value.subarray(0, rng.int(value.length + 1));
  if (dice < 0.85) return Buffer.concat(Array.from({ length: 1 + rng.int(4) }, () => varintBytes(rng.pick(NUMBERS))));
  const copy = Uint8Array.from(value);
  if (copy.length > 0) copy[rng.int(copy.length)] = rng.int(256);
  return copy;
}

/** Messages in messages, 10 to 100,000 deep. */
function nested(kind: Message['kind'], rng: Rng): Uint8Array {
  const tag = { model: 7, graph: 1, node: 5, attribute: 6, function: 7, type: 4, elem: 1 } as const;
  // the cast: other kinds hold themselves in field 1, which is as good as any
  const field = (tag as Readonly<Record<string, number>>)[kind] ?? 1;
  const depth = 10 ** (1 + rng.int(5));
  // from the inside out, written backwards: quadratic copying would take minutes
  const reversed: number[] = [];
  for (let i = 0; i < depth; i++) {
    const length = varintBytes(BigInt(reversed.length));
    for (let k = length.length - 1; k >= 0; k--) reversed.push(length[k]!);
    reversed.push(field * 8 + 2);
  }
  return Uint8Array.from(reversed).reverse();
}

const VALUES: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1e308,
  2 ** 53,
  0.5,
  '',
  'x',
  '../../../etc/passwd',
  '/dev/zero',
  '/dev/stdin',
  '.',
  'a'.repeat(100_000),
  '\0',
  '__proto__',
  [],
  {},
  [[[]]],
  { array: 'x' },
  { __proto__: 1 },
];

/** A JSON value with something in it replaced, removed or added. */
export function mutateJson(value: unknown, rng: Rng): unknown {
  const record = typeof value === 'object' && value !== null;
  if (!record || rng.next() < 0.15) return rng.next() < 0.02 ? deep(100_000) : rng.pick(VALUES);
  const entries: [string, unknown][] = Object.entries(value);
  const dice = rng.next();
  if (Array.isArray(value)) {
    const list = value as readonly unknown[]; // the cast: Array.isArray gives any
    if (list.length === 0 || dice < 0.2) return [...list, rng.pick(VALUES)];
    if (dice < 0.3) return [];
    const at = rng.int(list.length);
    return list.with(at, mutateJson(list[at], rng));
  }
  if (entries.length === 0 || dice < 0.15) {
    const keys = [
      'limit',
      'classes',
      'inputs',
      'labels',
      'resize',
      'crop',
      'metric',
      'input',
      'augment',
      'unknown',
      '__proto__',
    ];
    return { ...value, [rng.pick(keys)]: rng.pick(VALUES) };
  }
  const [key, inner] = rng.pick(entries);
  if (dice < 0.3) return Object.fromEntries(entries.filter(([k]) => k !== key));
  if (dice < 0.4) {
    const formats: readonly unknown[] = ['npz', 'idx', 'images', 'cifar10-binary', 'csv'];
    return { ...value, format: rng.pick(formats) };
  }
  return { ...value, [key]: mutateJson(inner, rng) };
}

function deep(levels: number): unknown {
  let value: unknown = [];
  for (let i = 0; i < levels; i++) value = [value];
  return value;
}

/** What a plug-in might export by mistake. */
export function wrongExports(rng: Rng, depth = 0): unknown {
  const fs: readonly unknown[] = [
    () => undefined,
    () => 1,
    class {},
    Symbol('s'),
    7n,
    new Map(),
    new Set(),
    new Date(0),
  ];
  const dice = rng.next();
  if (depth > 3 || dice < 0.25) return rng.next() < 0.5 ? rng.pick(fs) : rng.pick(VALUES);
  const names = [
    'mutations',
    'operators',
    'criteria',
    'fitness',
    'name',
    'summary',
    'law',
    'propose',
    'apply',
    'places',
    'opType',
    'domain',
    'since',
    'category',
    'shape',
    'macs',
    'channels',
    'create',
    'needsGraph',
    'nodes',
    'graph',
    'kind',
    'value',
  ];
  if (dice < 0.45) return Array.from({ length: rng.int(4) }, () => wrongExports(rng, depth + 1));
  const words = ['a', 'exact', 'masked', 'approximate', 'other', 'Foo', 'tensor', 'int'];
  const pairs = Array.from({ length: rng.int(6) }, () => [
    rng.pick(names),
    rng.next() < 0.4 ? rng.pick(words) : wrongExports(rng, depth + 1),
  ]);
  return Object.fromEntries(pairs);
}
