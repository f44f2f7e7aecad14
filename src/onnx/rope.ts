// A protobuf writer that never copies large data: they stay views, or functions that are called when the file is written.
import protobuf from 'protobufjs';
import { fail } from '../errors.js';

/** Data whose length is known now and whose bytes are asked for only while they are written. */
export class LazyBytes {
  readonly length: number;
  private readonly name: string;
  private readonly make: () => Uint8Array;

  constructor(name: string, length: number, make: () => Uint8Array) {
    this.name = name;
    this.length = length;
    this.make = make;
  }

  bytes(): Uint8Array {
    const made = this.make();
    if (made.length !== this.length) {
      fail(`tensor "${this.name}": ${made.length} bytes of data, but its data type and dims need ${this.length}`);
    }
    return made;
  }
}

export type Piece = Uint8Array | LazyBytes;

/** Below this the bytes are copied into the writer's buffer: fewer, larger pieces. */
const LARGE = 4096;

/** Subclassing is protobufjs' way: generated encoders take any Writer. */
export class RopeWriter extends protobuf.BufferWriter {
  /** Large data, each to be inserted at a position of the buffer; `end`: the sum of lengths up to and with it. */
  private readonly holes: { position: number; readonly piece: Piece; readonly end: number }[] = [];
  private readonly open: { readonly position: number; readonly holes: number }[] = [];

  override bytes(value: Uint8Array | string | LazyBytes): this {
    if (typeof value === 'string' || (value.length < LARGE && !(value instanceof LazyBytes))) {
      super.bytes(value);
      return this;
    }
    this.uint32(value.length);
    return this.hole(value);
  }

  override raw(value: Uint8Array): this {
    if (value.length >= LARGE) return this.hole(value);
    super.raw(value);
    return this;
  }

  override fork(): this {
    this.open.push({ position: this.pos, holes: this.holes.length });
    this.uint32(0); // one byte for the length, which is what most messages need
    return this;
  }

  override ldelim(): this {
    const { position, holes } = this.open.pop()!;
    const body = this.pos - position - 1;
    const length = body + this.held() - (this.holes[holes - 1]?.end ?? 0);
    const prefix = new protobuf.Writer().uint32(length).finish();
    const shift = prefix.length - 1;
    for (let i = 0; i < shift; i++) this.uint32(0);
    this.buf.copyWithin(position + prefix.length, position + 1, position + 1 + body);
    this.buf.set(prefix, position);
    for (let i = holes; i < this.holes.length; i++) this.holes[i]!.position += shift;
    return this;
  }

  /** Length of everything written, in bytes. */
  size(): number {
    return this.pos + this.held();
  }

  /** What was written, in order. */
  pieces(): Piece[] {
    const pieces: Piece[] = [];
    let from = 0;
    for (const { position, piece } of this.holes) {
      if (position > from) pieces.push(this.buf.subarray(from, position));
      pieces.push(piece);
      from = position;
    }
    if (this.pos > from) pieces.push(this.buf.subarray(from, this.pos));
    return pieces;
  }

  private held(): number {
    return this.holes.at(-1)?.end ?? 0;
  }

  private hole(piece: Piece): this {
    this.holes.push({ position: this.pos, piece, end: this.held() + piece.length });
    return this;
  }
}
