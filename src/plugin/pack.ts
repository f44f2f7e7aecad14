// Graphs on their way to the plug-ins' process and back. Objects are numbered: what the other side has seen goes as its number, so a
// graph that shares structure with the last one costs what differs, and what comes back unchanged is the very object that was sent.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PareError } from '../errors.js';
import { byteLength, type Tensor } from '../ir/tensor.js';

/** Plain data for the structured clone. Everything that is no primitive or typed array is a tagged tuple. */
export type Packed =
  | undefined
  | null
  | string
  | number
  | boolean
  | bigint
  | NumberArray
  | readonly ['r', number]
  | readonly ['a', readonly Packed[]]
  | readonly ['m', readonly (readonly [Packed, Packed])[]]
  /** A number (0: not to be remembered), its fields, and the number of the object whose `source` it keeps (0: none). */
  | readonly ['o', number, Readonly<Record<string, Packed>>, number]
  | readonly ['t', number, PackedTensor, number];

export type NumberArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array;

export interface PackedTensor {
  readonly name: string;
  readonly dataType: number;
  readonly dims: readonly number[];
  readonly bytes?: Uint8Array;
  /** Large data lie in a file. */
  readonly file?: string;
  readonly strings?: readonly Uint8Array[];
}

/** Larger data go by a file, which the other side reads when someone asks. */
const INLINE_BYTES = 65_536;
/** What the files may hold together; tensors beyond that go without data. */
const MAX_FILE_BYTES = 2 ** 31;
const MAX_DEPTH = 200;

export interface Sender {
  pack(value: unknown): Packed;
  /** What came back, by reference where it is unchanged. Throws PareError where it is no plain data. */
  unpack(packed: Packed): unknown;
  /** Whether the object is one that was sent, as it was. */
  isKnown(value: object): boolean;
  /** The other side has begun anew and knows nothing. */
  forget(): void;
  close(): void;
}

/** The side that owns the graphs. */
export function createSender(): Sender {
  const numbers = new WeakMap<object, number>();
  const objects = new Map<number, WeakRef<object>>();
  const files = new Map<number, string>();
  let sent = new Set<number>();
  let next = 1;
  let folder: string | undefined;
  let fileBytes = 0;

  const fileOf = (number: number, bytes: Uint8Array): string | undefined => {
    const known = files.get(number);
    if (known !== undefined) return known;
    if (fileBytes + bytes.length > MAX_FILE_BYTES) return undefined;
    folder ??= mkdtempSync(join(tmpdir(), 'pare-plugins-'));
    const path = join(folder, `${number}.bin`);
    writeFileSync(path, bytes);
    fileBytes += bytes.length;
    files.set(number, path);
    return path;
  };
  const tensor = (t: Tensor, number: number): PackedTensor => {
    const { name, dataType, dims, strings } = t;
    const plain = { name, dataType, dims: [...dims], ...(strings === undefined ? {} : { strings: [...strings] }) };
    if (t.bytes === undefined) return plain;
    const known = files.get(number);
    if (known !== undefined) return { ...plain, file: known };
    const bytes = t.bytes();
    if (bytes.length <= INLINE_BYTES) return { ...plain, bytes: Uint8Array.from(bytes) };
    const file = fileOf(number, bytes);
    return file === undefined ? plain : { ...plain, file };
  };

  const pack = (value: unknown): Packed => {
    if (typeof value !== 'object' || value === null) return primitive(value, 'the graph');
    if (isNumberArray(value)) return value;
    if (Array.isArray(value)) return ['a', value.map(pack)];
    if (value instanceof Map) return ['m', [...value].map(([k, v]): [Packed, Packed] => [pack(k), pack(v)])];
    let number = numbers.get(value);
    if (number === undefined) {
      number = next++;
      numbers.set(value, number);
      objects.set(number, new WeakRef(value));
    }
    if (sent.has(number)) return ['r', number];
    sent.add(number);
    const source = 'source' in value && value.source !== undefined ? number : 0;
    // the cast: what has a type, dims and a function that gives bytes is a tensor
    if (isTensorLike(value)) return ['t', number, tensor(value as Tensor, number), source];
    return ['o', number, fieldsOf(value, pack), source];
  };

  const seen = (number: number): object => {
    const object = objects.get(number)?.deref();
    if (object === undefined) throw new PareError('it refers to something that it was not given');
    return object;
  };
  const kept = (number: number, kind: string): { readonly source?: object } => {
    if (number === 0) return {};
    const original = seen(number);
    const { source } = original as { readonly source?: object }; // every object of a graph may have one
    return source === undefined || kindOf(original) !== kind ? {} : { source };
  };
  const unpack = (packed: Packed, depth = 0): unknown => {
    if (depth > MAX_DEPTH) throw new PareError('it is nested too deep');
    if (!Array.isArray(packed)) return packed;
    // the cast: Array.isArray does not narrow readonly tuples
    const tuple = packed as Extract<Packed, readonly unknown[]>;
    switch (tuple[0]) {
      case 'r':
        return seen(tuple[1]);
      case 'a':
        return tuple[1].map((p) => unpack(p, depth + 1));
      case 'm':
        return new Map(tuple[1].map(([k, v]) => [unpack(k, depth + 1), unpack(v, depth + 1)]));
      case 'o': {
        const made = Object.fromEntries(Object.entries(tuple[2]).map(([k, v]) => [k, unpack(v, depth + 1)]));
        return { ...made, ...kept(tuple[3], kindOf(made)) };
      }
      case 't':
        return { ...tensorOf(tuple[2]), ...kept(tuple[3], 'tensor') };
    }
  };

  return {
    pack,
    unpack: (packed) => unpack(packed),
    isKnown: (value) => numbers.has(value),
    forget: () => {
      sent = new Set();
    },
    close: () => {
      if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
      folder = undefined;
      files.clear();
    },
  };
}

/** Fields of an object as they travel: without `source`, and without what is undefined. */
export function fieldsOf(value: object, pack: (v: unknown) => Packed): Record<string, Packed> {
  const fields: Record<string, Packed> = {};
  for (const [key, v] of Object.entries(value)) if (key !== 'source' && v !== undefined) fields[key] = pack(v);
  return fields;
}

export function isTensorLike(value: object): boolean {
  return 'dataType' in value && 'dims' in value && 'name' in value && !('values' in value);
}

export function isNumberArray(value: object): value is NumberArray {
  return ArrayBuffer.isView(value) && !(value instanceof DataView);
}

/** What may stand for itself; a function, a symbol or the like is no data. */
export function primitive(value: unknown, where: string): Packed {
  if (value === null || value === undefined) return value;
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  if (typeof value === 'bigint') return value;
  throw new TypeError(`${where} holds a ${typeof value}, which is no data`);
}

/** Which part of a graph it is, by what it has: a source goes from like to like only. */
function kindOf(value: object): string {
  if ('opType' in value) return 'node';
  if (isTensorLike(value)) return 'tensor';
  if ('graph' in value) return 'model';
  if ('initializers' in value) return 'graph';
  if ('attributeDefaults' in value) return 'function';
  if ('indices' in value) return 'sparse';
  if ('kind' in value) return 'attribute';
  return 'other';
}

function tensorOf({ name, dataType, dims, bytes, strings }: PackedTensor): Tensor {
  if (!(bytes instanceof Uint8Array)) return { name, dataType, dims, ...(strings === undefined ? {} : { strings }) };
  const needed = Array.isArray(dims) ? byteLength(dataType, dims) : 0;
  if (bytes.length !== needed) {
    throw new PareError(
      `tensor "${name}" has ${bytes.length} bytes, but its type and dims [${dims.join(', ')}] need ${needed}`,
    );
  }
  // on its own memory and aligned, whatever the message gave
  const own = new Uint8Array(bytes);
  return { name, dataType, dims, bytes: () => own };
}
