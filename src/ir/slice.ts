// A tensor that loses positions along some axes: lazy, the numbers are gathered when somebody asks for the bytes.
import { elementBits, elementCount, PIECE_BYTES, type Tensor, type TensorBytes } from './tensor.js';

/** Positions that stay, ascending; undefined = all. */
export type Keep = ArrayLike<number> | undefined;

export function sliceTensor(t: Tensor, keeps: readonly Keep[]): Tensor {
  if (keeps.every((k) => k === undefined)) return t;
  const dims = t.dims.map((d, axis) => keeps[axis]?.length ?? d);
  // `source` goes: it holds the encoding of the whole tensor
  const { name, dataType, bytes, strings } = t;
  const bits = elementBits(dataType);
  return {
    name,
    dataType,
    dims,
    ...(bytes === undefined ? {} : { bytes: () => gatherByRows(bytes, t.dims, keeps, dims, bits) }),
    ...(strings === undefined ? {} : { strings: [...positions(t.dims, keeps)].map((p) => strings[p]!) }),
  };
}

/** Row by row of the first axis, many at once, where that saves memory: neither all data nor all places are held. */
function gatherByRows(
  bytes: TensorBytes,
  dims: readonly number[],
  keeps: readonly Keep[],
  result: readonly number[],
  bits: number,
): Uint8Array {
  const rowBytes = (elementCount(dims.slice(1)) * bits) / 8;
  const rows = dims[0] ?? 1;
  if (bits % 8 !== 0 || rows < 2 || rows * rowBytes <= PIECE_BYTES) return gather(bytes(), dims, keeps, result, bits);
  const whole = bytes.part === undefined ? bytes() : undefined;
  const read = (from: number, length: number): Uint8Array =>
    whole === undefined ? bytes.part!(from, length) : whole.subarray(from, from + length);
  const out = new Uint8Array((elementCount(result) * bits) / 8);
  const step = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
  const [first, ...others] = keeps;
  let to = 0;
  for (let from = 0, next = 0; from < rows; from += step) {
    const n = Math.min(step, rows - from);
    const own: number[] = [];
    for (; first !== undefined && next < first.length && first[next]! < from + n; next++) own.push(first[next]! - from);
    const left = first === undefined ? n : own.length;
    if (left === 0) continue;
    const keep = first === undefined ? undefined : own;
    const piece = read(from * rowBytes, n * rowBytes);
    const made = gather(piece, [n, ...dims.slice(1)], [keep, ...others], [left, ...result.slice(1)], bits);
    out.set(made, to);
    to += made.length;
  }
  return out;
}

function gather(
  raw: Uint8Array,
  dims: readonly number[],
  keeps: readonly Keep[],
  result: readonly number[],
  bits: number,
): Uint8Array {
  if (bits < 8) return gatherPacked(raw, dims, keeps, result, bits);
  // axes behind the last cut are copied as one block
  let last = dims.length - 1;
  while (last >= 0 && keeps[last] === undefined) last--;
  const block = elementCount(dims.slice(last + 1)) * (bits / 8);
  const out = new Uint8Array(elementCount(result) * (bits / 8));
  const outer = dims.slice(0, last + 1);
  let to = 0;
  for (const p of positions(outer, keeps)) {
    const from = p * block;
    if (block <= 16) for (let i = 0; i < block; i++) out[to + i] = raw[from + i]!;
    else out.set(raw.subarray(from, from + block), to);
    to += block;
  }
  return out;
}

function gatherPacked(
  raw: Uint8Array,
  dims: readonly number[],
  keeps: readonly Keep[],
  result: readonly number[],
  bits: number,
): Uint8Array {
  const perByte = 8 / bits;
  const mask = (1 << bits) - 1;
  const out = new Uint8Array(Math.ceil((elementCount(result) * bits) / 8));
  let to = 0;
  for (const p of positions(dims, keeps)) {
    const v = (raw[Math.floor(p / perByte)]! >> ((p % perByte) * bits)) & mask;
    out[Math.floor(to / perByte)]! |= v << ((to % perByte) * bits);
    to++;
  }
  return out;
}

/** Row-major places, in the old tensor, of what stays. */
function positions(dims: readonly number[], keeps: readonly Keep[]): Int32Array {
  let places = Int32Array.of(0);
  dims.forEach((d, axis) => {
    const keep = keeps[axis];
    const n = keep?.length ?? d;
    const next = new Int32Array(places.length * n);
    let w = 0;
    for (const p of places) {
      if (keep === undefined) for (let i = 0; i < n; i++) next[w++] = p * d + i;
      else for (let i = 0; i < n; i++) next[w++] = p * d + keep[i]!;
    }
    places = next;
  });
  return places;
}
