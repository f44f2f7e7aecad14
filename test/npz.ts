// Writes NumPy arrays and archives for tests, by the format's own description.
import { zipSync } from 'fflate';

type Data = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array | Int16Array | Uint16Array;

const DESCR = new Map<string, string>([
  ['Float32Array', '<f4'],
  ['Float64Array', '<f8'],
  ['Int32Array', '<i4'],
  ['BigInt64Array', '<i8'],
  ['Uint8Array', '|u1'],
  ['Int16Array', '<i2'],
  ['Uint16Array', '<u2'],
]);

export interface NpyOptions {
  readonly descr?: string;
  readonly fortran?: boolean;
}

export function npy(dims: readonly number[], data: Data, options: NpyOptions = {}): Uint8Array {
  const descr = options.descr ?? DESCR.get(data.constructor.name)!;
  const shape = dims.length === 1 ? `(${dims[0]},)` : `(${dims.join(', ')})`;
  const text = `{'descr': '${descr}', 'fortran_order': ${options.fortran === true ? 'True' : 'False'}, 'shape': ${shape}, }`;
  const header = text.padEnd(Math.ceil((10 + text.length + 1) / 64) * 64 - 11) + '\n';
  const bytes = new Uint8Array(10 + header.length + data.byteLength);
  bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8]);
  bytes.set(new TextEncoder().encode(header), 10);
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 10 + header.length);
  return bytes;
}

/** `npz({ x: npy([2], Float32Array.of(1, 2)) })`. */
export function npz(arrays: Readonly<Record<string, Uint8Array>>): Uint8Array {
  return zipSync(Object.fromEntries(Object.entries(arrays).map(([name, bytes]) => [`${name}.npy`, bytes])));
}
