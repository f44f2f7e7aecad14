// Bytes of a file by range: read when asked, so that large data sets are never held in memory. Gzip is unpacked at once.
import { closeSync, openSync, readFileSync, readSync, statSync, type Stats } from 'node:fs';
import { gunzipSync } from 'fflate';
import { failAt, PareError } from '../errors.js';

export interface Bytes {
  readonly path: string;
  readonly length: number;
  read(offset: number, length: number): Uint8Array;
}

export function openBytes(path: string): Bytes {
  const { size } = regular(path);
  const head = readRange(path, 0, Math.min(2, size));
  if (head[0] === 0x1f && head[1] === 0x8b) {
    const all = unpack(path);
    return { path, length: all.length, read: (offset, length) => all.subarray(offset, offset + length) };
  }
  return { path, length: size, read: (offset, length) => readRange(path, offset, length) };
}

/** Node reads no file above 2 GiB at once. */
const LARGEST = 2 ** 31;

/** All bytes of a regular file: what a name in a manifest stands for may be a device without an end. */
export function readWhole(path: string): Buffer {
  const { size } = regular(path);
  if (size >= LARGEST) throw new PareError(`"${path}" has ${size} bytes, and is read at once: split it below 2 GiB`);
  try {
    return readFileSync(path);
  } catch (error) {
    return failAt('read', path, error);
  }
}

/** undefined: nothing is there. */
export function statsOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    return failAt('read', path, error);
  }
}

function regular(path: string): Stats {
  const stats = statsOf(path);
  if (stats === undefined) throw new PareError(`"${path}" cannot be read: there is no such file`);
  if (!stats.isFile()) throw new PareError(`"${path}" is no file of data: it is a folder or a device`);
  return stats;
}

/** Fixed-length records at `start + index * stride`; runs of consecutive indices are read at once. */
export function readRecords(
  file: Bytes,
  indices: readonly number[],
  layout: { readonly start: number; readonly stride: number; readonly skip: number; readonly length: number },
  into: Uint8Array,
  at = 0,
): void {
  let i = 0;
  while (i < indices.length) {
    let run = 1;
    while (i + run < indices.length && indices[i + run] === indices[i]! + run) run++;
    const block = file.read(layout.start + indices[i]! * layout.stride, run * layout.stride);
    for (let j = 0; j < run; j++) {
      const from = j * layout.stride + layout.skip;
      into.set(block.subarray(from, from + layout.length), (at + i + j) * layout.length);
    }
    i += run;
  }
}

function readRange(path: string, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const file = openSync(path, 'r');
  try {
    let done = 0;
    while (done < length) {
      const n = readSync(file, bytes, done, length - done, offset + done);
      if (n === 0)
        throw new PareError(`"${path}" ends at byte ${offset + done}, but ${offset + length} bytes are needed`);
      done += n;
    }
  } finally {
    closeSync(file);
  }
  return bytes;
}

function unpack(path: string): Uint8Array {
  try {
    return gunzipSync(readWhole(path));
  } catch (error) {
    throw new PareError(`"${path}" cannot be unpacked as gzip`, { cause: error });
  }
}
