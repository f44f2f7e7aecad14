// A model without its large weights: only the rest of the file is read from the disk. Enough for shapes, counting and
// channel groups, whatever the size of the file; not for running or writing. Wire format: protobuf.dev/programming-guides/encoding.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Model } from '../ir/graph.js';
import { parseModel, readModel } from './read.js';

/** Tensor data up to this many bytes stay: 65,536 integers of 10 bytes, the most that a shape rule looks at. */
const KEPT_BYTES = 655_360;

/** Files up to this size are read whole: it costs less than looking for what to leave out. */
const SMALL_FILE = 4_194_304;

/**
 * Reads a model whose tensors with more than 640 KiB of data are placeholders: name, type and dims. Never write or run it.
 * Anything unusual about the file is left to {@link readModel}, which says what is wrong.
 */
export function readOutline(path: string, options: { readonly allowMissingData?: boolean } = {}): Model {
  const bytes = outlineBytes(path);
  if (bytes === undefined) return readModel(path, options);
  return parseModel(bytes, { ...options, directory: dirname(path), name: basename(path) });
}

/** Which fields of a message may hold tensors far inside, by the message's kind: field number -> kind of what it holds. */
const INSIDE = {
  model: { 7: 'graph', 25: 'function' },
  graph: { 1: 'node', 5: 'tensor' },
  function: { 7: 'node' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph' },
  tensor: {},
} as const satisfies Readonly<Record<string, Readonly<Record<number, string>>>>;
type Kind = keyof typeof INSIDE;

/** TensorProto: float_data, int32_data, int64_data, raw_data, double_data, uint64_data. */
const DATA_FIELDS: ReadonlySet<number> = new Set([4, 5, 7, 9, 10, 11]);

/** A range of the file, or bytes of our own (tags and lengths of messages that became shorter). */
type Piece = { readonly from: number; readonly to: number } | Uint8Array;

function outlineBytes(path: string): Uint8Array | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    const stat = fstatSync(file);
    if (!stat.isFile() || stat.size <= SMALL_FILE) return undefined;
    const view = new FileView(file, stat.size);
    const pieces: Piece[] = [];
    const length = outline(view, 'model', 0, stat.size, pieces, 0);
    return length === undefined ? undefined : assemble(view, pieces, length);
  } finally {
    closeSync(file);
  }
}

/** Adds what stays of the message in [from, to) to `pieces`; its new length, or undefined when it cannot be followed. */
function outline(
  view: FileView,
  kind: Kind,
  from: number,
  to: number,
  pieces: Piece[],
  depth: number,
): number | undefined {
  if (depth > 100) return undefined;
  // the cast: each table maps field numbers to kinds
  const inside = INSIDE[kind] as Readonly<Record<number, Kind | undefined>>;
  let kept = from;
  let removed = 0;
  let at = from;
  while (at < to) {
    const start = at;
    const tag = view.varint(at);
    if (tag === undefined) return undefined;
    at = view.next;
    const wire = tag % 8;
    const field = Math.floor(tag / 8);
    if (wire === 0) {
      if (view.varint(at) === undefined) return undefined;
      at = view.next;
    } else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else if (wire === 2) {
      const length = view.varint(at);
      if (length === undefined) return undefined;
      const body = view.next;
      at = body + length;
      if (at > to) return undefined;
      if (length <= KEPT_BYTES) continue;
      const child = inside[field];
      if (kind === 'tensor' && DATA_FIELDS.has(field)) {
        pieces.push({ from: kept, to: start });
        removed += at - start;
        kept = at;
      } else if (child !== undefined) {
        pieces.push({ from: kept, to: start });
        const slot = pieces.push(new Uint8Array(0)) - 1;
        const inner = outline(view, child, body, at, pieces, depth + 1);
        if (inner === undefined) return undefined;
        const head = [...varintBytes(tag), ...varintBytes(inner)];
        pieces[slot] = Uint8Array.from(head);
        removed += at - start - head.length - inner;
        kept = at;
      }
    } else return undefined;
  }
  if (at !== to) return undefined;
  pieces.push({ from: kept, to });
  return to - from - removed;
}

function assemble(view: FileView, pieces: readonly Piece[], length: number): Uint8Array | undefined {
  const bytes = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for (const piece of pieces) {
    if (piece instanceof Uint8Array) {
      bytes.set(piece, at);
      at += piece.length;
    } else {
      if (!view.copy(piece.from, piece.to, bytes, at)) return undefined;
      at += piece.to - piece.from;
    }
  }
  return bytes;
}

function varintBytes(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return bytes;
}

/** A file seen through a window that moves forward: reading costs what is looked at, not the size of the file. */
class FileView {
  /** Position after the varint read last. */
  next = 0;
  private readonly window = Buffer.allocUnsafe(65_536);
  private start = 0;
  private end = 0;
  private readonly file: number;
  private readonly size: number;

  constructor(file: number, size: number) {
    this.file = file;
    this.size = size;
  }

  /** The varint at a position, up to 2^53; undefined beyond the file or that number. */
  varint(at: number): number | undefined {
    let value = 0;
    let scale = 1;
    for (let k = 0; k < 10; k++) {
      const byte = this.byte(at + k);
      if (byte === undefined) return undefined;
      // negative integers take ten bytes; their value is of no interest here, only where they end
      value += (byte % 128) * scale;
      scale *= 128;
      if (byte < 128) {
        this.next = at + k + 1;
        return value;
      }
    }
    return undefined;
  }

  copy(from: number, to: number, into: Uint8Array, at: number): boolean {
    let done = 0;
    while (done < to - from) {
      const n = readSync(this.file, into, at + done, to - from - done, from + done);
      if (n === 0) return false;
      done += n;
    }
    return true;
  }

  private byte(at: number): number | undefined {
    if (at < this.start || at >= this.end) {
      if (at >= this.size) return undefined;
      this.start = at;
      this.end = at + readSync(this.file, this.window, 0, this.window.length, at);
      if (this.end === at) return undefined;
    }
    return this.window[at - this.start];
  }
}
