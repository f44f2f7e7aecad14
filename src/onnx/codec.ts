// protobufjs, tamed: decoding under a budget with unknown fields kept, and encoding in which every message that was read
// and not changed is copied byte for byte, whatever its original encoding looked like.
import { readFileSync } from 'node:fs';
import protobuf from 'protobufjs';
import { fail } from '../errors.js';
import type { Messages } from './messages.js';

/** A 64-bit integer as protobufjs gives (Long) and takes it (a number too, where it is exact). */
export type Longish = number | { readonly low: number; readonly high: number; readonly unsigned: boolean };

/** The bytes a message was read from: present only on messages that are exactly what these bytes say. No object of its own. */
const BYTES = Symbol('bytes');
const START = Symbol('start');
const END = Symbol('end');

/** Bounds on what one file may contain, so that a few bytes never become gigabytes of objects. */
const MAX_MESSAGES = 2_000_000;
const MAX_SCALARS = 8_000_000;

const types = loadTypes();

/** Decodes a message; `what` names the file in errors. */
export function decode<K extends keyof Messages>(kind: K, bytes: Uint8Array, what: string): Messages[K] {
  const reader = new BoundedReader(bytes, what);
  try {
    // the cast: the interfaces of messages.ts describe what protobufjs builds from onnx.proto
    return types[kind].decode(reader) as unknown as Messages[K];
  } catch (error) {
    if (error instanceof protobuf.util.ProtocolError || error instanceof RangeError || isPlainError(error)) {
      const reason = explain(error, reader.pos);
      fail(`${what} is not a valid ONNX file: ${reason}; export or download it again`, { cause: error });
    }
    throw error;
  }
}

/** What `encode` writes to; protobufjs' Writer and the rope of rope.ts both fit. */
export type MessageWriter = protobuf.Writer;

export function encodeInto<K extends keyof Messages>(kind: K, message: Messages[K], writer: MessageWriter): void {
  try {
    types[kind].encode(message, writer);
  } catch (error) {
    if (error instanceof Error && error.message === 'max depth exceeded') {
      fail('the model cannot be written: subgraphs are nested more than 33 deep, protobuf allows 100 nested messages');
    }
    throw error;
  }
}

/** A new message with the fields given. */
export function create<K extends keyof Messages>(kind: K, fields: Partial<Messages[K]>): Messages[K] {
  return types[kind].create(fields) as unknown as Messages[K];
}

/**
 * A copy of a message with some fields replaced, unknown fields included; undefined removes a field. `dropUnknown` are
 * numbers of unknown fields to leave out.
 */
export function override<K extends keyof Messages>(
  kind: K,
  source: Messages[K],
  changes: { readonly [F in keyof Messages[K]]?: Messages[K][F] | undefined },
  dropUnknown: readonly number[] = [],
): Messages[K] {
  const fields: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(source)) fields[key] = value;
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) delete fields[key];
    else fields[key] = value;
  }
  const copy = types[kind].create(fields);
  const unknown = unknownFields(source).filter((field) => !dropUnknown.includes(fieldNumber(field)));
  if (unknown.length > 0) Object.defineProperty(copy, '$unknowns', { value: unknown, enumerable: false });
  return copy as unknown as Messages[K];
}

/** Whether the field was present in the file (or set since). */
export function has<M extends object>(message: M, field: keyof M & string): boolean {
  return Object.hasOwn(message, field);
}

/** The fields that onnx.proto does not know or that had another wire type: tag and payload. */
export function unknownFields(message: object): readonly Uint8Array[] {
  const { $unknowns } = message as protobuf.Message; // every message is one
  return Object.hasOwn(message, '$unknowns') && $unknowns !== undefined ? $unknowns : [];
}

/** Payload bytes of a field that was written unpacked, all its values after one another; undefined when there is none. */
export function unpackedPayload(message: object, field: number): Uint8Array | undefined {
  const parts = unknownFields(message).filter((part) => fieldNumber(part) === field && (part[0]! & 7) !== 2);
  if (parts.length === 0) return undefined;
  return Buffer.concat(parts.map((part) => part.subarray(tagLength(part))));
}

/** A Long as a number, rounded beyond 2^53. */
export function toNumber(value: Longish): number {
  if (typeof value === 'number') return value;
  const low = value.low >>> 0;
  return value.unsigned ? (value.high >>> 0) * 2 ** 32 + low : value.high * 2 ** 32 + low;
}

/** A number as protobufjs writes it exactly, saturated to int64. */
export function toLong(value: number): Longish {
  if (!Number.isInteger(value)) fail(`${value} cannot be written as an ONNX integer: only whole numbers can`);
  if (value >= 2 ** 63) return { low: -1, high: 0x7fffffff, unsigned: false };
  if (value < -(2 ** 63)) return { low: 0, high: -0x80000000, unsigned: false };
  return value;
}

function fieldNumber(part: Uint8Array): number {
  return new protobuf.Reader(part).uint32() >>> 3;
}

function tagLength(part: Uint8Array): number {
  let n = 1;
  while (part[n - 1]! >= 128) n++;
  return n;
}

/** protobufjs throws plain Errors for malformed input; TypeErrors and the like would be defects of ours. */
function isPlainError(error: unknown): error is Error {
  return error instanceof Error && error.constructor === Error;
}

function explain(error: Error, position: number): string {
  if (error.message === 'max depth exceeded')
    return 'it nests more than 100 messages (33 subgraphs), which protobuf forbids';
  if (error instanceof RangeError) return `it is cut short or damaged near byte ${position}`;
  return `its protobuf encoding breaks near byte ${position} (${error.message})`;
}

/** Keeps unknown fields and counts what it makes. Subclassing is protobufjs' way: generated decoders take any Reader. */
class BoundedReader extends protobuf.BufferReader {
  private messages = 0;
  private scalars = 0;
  private readonly what: string;

  constructor(bytes: Uint8Array, what: string) {
    super(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    this.discardUnknown = false;
    this.what = what;
  }

  /** Called for every message decoded. */
  countMessage(): void {
    if (++this.messages > MAX_MESSAGES)
      fail(`${this.what} holds more than ${MAX_MESSAGES} messages: Pare reads no model of that size`);
  }

  private countScalar(weight = 1): void {
    this.scalars += weight;
    if (this.scalars > MAX_SCALARS) {
      fail(
        `${this.what} holds more than ${MAX_SCALARS} numbers and strings outside its tensors: Pare reads no model of that size`,
      );
    }
  }

  override int64(): Long {
    this.countScalar();
    return super.int64();
  }

  override int64s(array: Long[] = []): Long[] {
    // each value is at least a byte: read them one by one, so that the count is kept
    const end = this.size() + this.pos;
    if (end > this.len) throw new RangeError('index out of range');
    const { len } = this;
    this.len = end;
    while (this.pos < end) array.push(this.int64());
    this.len = len;
    return array;
  }

  override float(): number {
    this.countScalar();
    return super.float();
  }

  override string(): string {
    this.countScalar();
    return super.string();
  }

  override raw(start: number, end: number): Uint8Array {
    // byte fields and unknown fields: an object each, worth several numbers
    this.countScalar(8);
    return super.raw(start, end);
  }
}

type Long = ReturnType<protobuf.Reader['int64']>;

function loadTypes(): Readonly<Record<keyof Messages, protobuf.Type>> {
  const text = readFileSync(new URL('./onnx.proto', import.meta.url), 'utf8');
  const { root } = protobuf.parse(text);
  root.resolveAll();
  const all = root.lookup('onnx');
  if (!(all instanceof protobuf.Namespace)) throw new Error('onnx.proto declares no package onnx');
  for (const type of typesIn(all)) keepSpans(type);
  // the cast: every key of Messages is a message of onnx.proto, which the tests of the round trip confirm
  return Object.fromEntries(all.nestedArray.map((t) => [t.name, t])) as unknown as Record<
    keyof Messages,
    protobuf.Type
  >;
}

function typesIn(space: protobuf.NamespaceBase): protobuf.Type[] {
  return space.nestedArray.flatMap((t) => (t instanceof protobuf.Type ? [t, ...typesIn(t)] : []));
}

/** The inner signature of generated decoders and encoders (protobufjs 8, decoder.js and encoder.js). */
type Decode = (r: protobuf.Reader, length?: number, group?: number, depth?: number, into?: object) => Spanned;
type Encode = (m: Spanned, w: protobuf.Writer, depth?: number) => protobuf.Writer;
interface Spanned {
  [BYTES]?: Uint8Array | undefined;
  [START]?: number;
  [END]?: number;
}

/** Wraps a type's generated functions: decoding notes the bytes of each message, encoding copies them where they are known. */
function keepSpans(type: protobuf.Type): void {
  type.setup();
  const decodeFields = type.decode.bind(type) as unknown as Decode;
  const encodeFields: Encode = type.encode.bind(type);
  const decodeSpanned: Decode = (r, length, group, depth, into) => {
    if (r instanceof BoundedReader) r.countMessage();
    const start = r.pos;
    const message = decodeFields(r, length, group, depth, into);
    // a field given twice is merged into one message, which then has no bytes of its own
    message[BYTES] = into === undefined || into === null ? r.buf : undefined;
    message[START] = start;
    message[END] = r.pos;
    return message;
  };
  const encodeSpanned: Encode = (m, w, depth) => {
    const bytes = m[BYTES];
    return bytes === undefined ? encodeFields(m, w, depth) : w.raw(bytes.subarray(m[START], m[END]));
  };
  // the casts: protobufjs' public signatures leave out the arguments that its generated code passes
  type.decode = decodeSpanned as unknown as protobuf.Type['decode'];
  type.encode = encodeSpanned;
}
