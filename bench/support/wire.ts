// ONNX files as trees of protobuf fields, without knowing what a field means but whether it holds a message: enough to damage them
// where it hurts. Wire format: protobuf.dev/programming-guides/encoding.

export type Kind = keyof typeof INSIDE;

/** Which fields of a message are messages: field number -> kind. */
const INSIDE = {
  model: { 7: 'graph', 8: 'opset', 14: 'entry', 25: 'function' },
  graph: { 1: 'node', 5: 'tensor', 11: 'value', 12: 'value', 13: 'value', 15: 'sparse' },
  function: { 7: 'node', 9: 'opset', 11: 'attribute', 12: 'value' },
  node: { 5: 'attribute', 9: 'entry' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 14: 'type', 15: 'type', 22: 'sparse', 23: 'sparse' },
  tensor: { 13: 'entry' },
  sparse: { 1: 'tensor', 2: 'tensor' },
  value: { 2: 'type', 4: 'entry' },
  type: { 1: 'tensorType', 4: 'elem', 5: 'map', 8: 'tensorType', 9: 'elem' },
  tensorType: { 2: 'shape' },
  shape: { 1: 'dim' },
  elem: { 1: 'type' },
  map: { 2: 'type' },
  dim: {},
  opset: {},
  entry: {},
} as const;

export interface Message {
  readonly kind: Kind;
  readonly fields: readonly Field[];
}

export interface Field {
  readonly number: number;
  readonly wire: number;
  readonly value: bigint | Uint8Array | Message;
}

/** Undefined where the bytes are no such message. */
export function parseWire(kind: Kind, bytes: Uint8Array, depth = 0): Message | undefined {
  const fields: Field[] = [];
  let at = 0;
  const varint = (): bigint | undefined => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) return undefined;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
    return undefined;
  };
  while (at < bytes.length) {
    const tag = varint();
    if (tag === undefined) return undefined;
    const [number, wire] = [Number(tag >> 3n), Number(tag & 7n)];
    if (wire === 0) {
      const value = varint();
      if (value === undefined) return undefined;
      fields.push({ number, wire, value });
      continue;
    }
    const length = wire === 1 ? 8n : wire === 5 ? 4n : wire === 2 ? varint() : undefined;
    if (length === undefined || at + Number(length) > bytes.length) return undefined;
    const body = bytes.subarray(at, at + Number(length));
    at += Number(length);
    // the cast: each table maps field numbers to kinds
    const child = wire === 2 ? (INSIDE[kind] as Readonly<Record<number, Kind | undefined>>)[number] : undefined;
    const inner = child === undefined || depth > 40 ? undefined : parseWire(child, body, depth + 1);
    fields.push({ number, wire, value: inner ?? body });
  }
  return { kind, fields };
}

export function encodeWire(message: Message): Uint8Array {
  return Buffer.concat(pieces(message));
}

function pieces({ fields }: Message): Uint8Array[] {
  return fields.flatMap(({ number, wire, value }) => {
    const tag = varintBytes((BigInt(number) << 3n) | BigInt(wire));
    if (typeof value === 'bigint') return [tag, wire === 0 ? varintBytes(value) : Buffer.from([Number(value & 255n)])];
    const body = value instanceof Uint8Array ? [value] : pieces(value);
    if (wire !== 2) return [tag, ...body];
    return [tag, varintBytes(BigInt(body.reduce((n, b) => n + b.length, 0))), ...body];
  });
}

export function varintBytes(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  while (rest >= 128n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}
