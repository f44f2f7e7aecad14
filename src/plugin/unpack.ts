// The plug-ins' side of pack.ts: read-only copies of graphs. Writing to one throws; whether weights that were handed out have been
// written to is looked at after each call.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Tensor } from '../ir/tensor.js';
import { fieldsOf, isNumberArray, isTensorLike, primitive, type Packed, type PackedTensor } from './pack.js';

export interface Receiver {
  unpack(packed: Packed): unknown;
  pack(value: unknown): Packed;
  /** Throws when weights that were handed out since the last look have been written to. */
  checkUntouched(): void;
}

/** Stands where the original has what it was read from: a spread copy keeps it. */
class SourceToken {
  readonly number: number;

  constructor(number: number) {
    this.number = number;
  }
}

class ReadonlyEntries<K, V> extends Map<K, V> {
  // a field of its own, set once the entries are in: the constructor of Map calls `set`
  private readonly sealed = true;

  override set(key: K, value: V): this {
    return this.sealed ? refuse() : super.set(key, value);
  }
  override delete(): boolean {
    return refuse();
  }
  override clear(): void {
    refuse();
  }
}

function refuse(): never {
  throw new TypeError('a graph is read-only: give back a changed copy of it');
}

export function createReceiver(): Receiver {
  const objects = new Map<number, object>();
  const numbers = new WeakMap<object, number>();
  const hashes = new WeakMap<Uint8Array, string>();
  const lent = new Map<Uint8Array, string>();

  const tensor = ({ name, dataType, dims, bytes, file, strings }: PackedTensor): Tensor => {
    const plain = { name, dataType, dims: Object.freeze([...dims]), ...(strings === undefined ? {} : { strings }) };
    if (bytes === undefined && file === undefined) return plain;
    const lend = (): Uint8Array => {
      const own = file === undefined ? bytes! : new Uint8Array(readFileSync(file));
      if (!hashes.has(own)) hashes.set(own, hashOf(own));
      lent.set(own, name);
      return own;
    };
    return { ...plain, bytes: lend };
  };
  const remember = <T extends object>(number: number, object: T): T => {
    if (number > 0) {
      objects.set(number, object);
      numbers.set(object, number);
    }
    return object;
  };
  const sourced = (number: number): { readonly source?: object } =>
    number === 0 ? {} : { source: Object.freeze(new SourceToken(number)) };

  const unpack = (packed: Packed): unknown => {
    if (!Array.isArray(packed)) return packed;
    // the cast: Array.isArray does not narrow readonly tuples
    const tuple = packed as Extract<Packed, readonly unknown[]>;
    switch (tuple[0]) {
      case 'r': {
        const object = objects.get(tuple[1]);
        if (object === undefined) throw new Error(`object ${tuple[1]} was never sent`);
        return object;
      }
      case 'a':
        return Object.freeze(tuple[1].map(unpack));
      case 'm':
        return new ReadonlyEntries(tuple[1].map(([k, v]) => [unpack(k), unpack(v)]));
      case 'o': {
        const made = Object.fromEntries(Object.entries(tuple[2]).map(([k, v]) => [k, unpack(v)]));
        return remember(tuple[1], Object.freeze({ ...made, ...sourced(tuple[3]) }));
      }
      case 't':
        return remember(tuple[1], Object.freeze({ ...tensor(tuple[2]), ...sourced(tuple[3]) }));
    }
  };

  const pack = (value: unknown, depth = 0): Packed => {
    if (depth > 100) throw new TypeError('what it gave is nested too deep, or holds itself');
    if (typeof value !== 'object' || value === null) return primitive(value, 'what it gave');
    const number = numbers.get(value);
    if (number !== undefined) return ['r', number];
    if (isNumberArray(value)) return value;
    // the cast: Array.isArray gives any
    if (Array.isArray(value)) return ['a', (value as unknown[]).map((v) => pack(v, depth + 1))];
    if (value instanceof Map) {
      return ['m', [...value].map(([k, v]): [Packed, Packed] => [pack(k, depth + 1), pack(v, depth + 1)])];
    }
    if (value instanceof Set) throw new TypeError('what it gave holds a Set, which a graph never does');
    const source = 'source' in value && value.source instanceof SourceToken ? value.source.number : 0;
    if (isTensorLike(value)) {
      // the cast: looked at just now, and checked field by field on the other side
      const { name, dataType, dims, bytes, strings } = value as Tensor;
      const data = typeof bytes === 'function' ? bytes() : undefined;
      return [
        't',
        0,
        {
          name,
          dataType,
          dims,
          ...(data === undefined ? {} : { bytes: data }),
          ...(strings === undefined ? {} : { strings }),
        },
        source,
      ];
    }
    return ['o', 0, fieldsOf(value, (v) => pack(v, depth + 1)), source];
  };

  return {
    unpack,
    pack: (value) => pack(value),
    checkUntouched() {
      const changed = [...lent].find(([bytes]) => hashOf(bytes) !== hashes.get(bytes));
      lent.clear();
      if (changed !== undefined) throw new TypeError(`it wrote to the weights of "${changed[1]}", which are read-only`);
    },
  };
}

function hashOf(bytes: Uint8Array): string {
  return createHash('sha1').update(bytes).digest('base64');
}
