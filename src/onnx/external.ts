// External data, reading: which bytes of which file a tensor means, checked before use, read one tensor at a time and
// only when asked. Keys: external_data of TensorProto, ExternalData.md. Paths must stay inside the model's folder.
import { closeSync, fstatSync, openSync, readSync, realpathSync, statSync } from 'node:fs';
import { isAbsolute, join, relative, sep } from 'node:path';
import { fail, messageOf } from '../errors.js';
import type { EntryProto } from './messages.js';

/** The bytes of an external tensor: `location` relative to the model's folder, `path` where that really is. */
export interface ExternalData {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/**
 * Where the data of the tensor lies: checked against the rules for paths and the size of the file. `expected` is the
 * length that type and dims ask for (0 where they do not tell). Undefined when the file is absent.
 */
export function locate(
  name: string,
  entries: readonly EntryProto[],
  directory: string,
  expected: number,
): ExternalData | undefined {
  const values = new Map(entries.map((e) => [e.key, e.value]));
  const location = values.get('location') ?? fail(`tensor "${name}": its external data name no file; export it again`);
  checkLocation(name, location);
  const offset = wholeNumber(name, 'offset', values.get('offset') ?? '0');
  const path = resolveInside(name, location, directory);
  if (path === undefined) return undefined;
  const size = statSync(path).size;
  const declared = values.get('length');
  const length =
    declared === undefined ? (expected > 0 ? expected : size - offset) : wholeNumber(name, 'length', declared);
  if (expected > 0 && length !== expected) {
    fail(`tensor "${name}": its external data are ${length} bytes long, but its type and dims need ${expected}`);
  }
  if (length < 0 || offset + length > size) {
    fail(
      `tensor "${name}": its data end at byte ${offset + length} of "${location}", which has only ${size}: the file is incomplete or another one`,
    );
  }
  return { path, offset, length };
}

/** Reads the bytes with positioned reads, nothing else of the file. */
export function readExternal(name: string, { path, offset, length }: ExternalData): Uint8Array {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    return fail(`tensor "${name}": its data file ${path} cannot be opened: ${messageOf(error)}`, { cause: error });
  }
  try {
    if (fstatSync(file).size < offset + length)
      fail(`tensor "${name}": "${path}" has become shorter since the model was read`);
    // its own memory, so that it is freed with the tensor; aligned, so that typed arrays are views on it
    const bytes = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const n = readSync(file, bytes, done, Math.min(length - done, 2 ** 30), offset + done);
      if (n === 0) fail(`tensor "${name}": "${path}" ended early`);
      done += n;
    }
    return bytes;
  } finally {
    closeSync(file);
  }
}

function checkLocation(name: string, location: string): void {
  const parts = location.split(/[\\/]/);
  const safe =
    location !== '' &&
    !isAbsolute(location) &&
    !/^([\\/]|[a-z]:)/i.test(location) &&
    !parts.includes('..') &&
    !location.includes('\0');
  if (!safe)
    fail(
      `tensor "${name}": its data are in ${JSON.stringify(location)}, but only files beside the model or below it are read`,
    );
}

/** The real path, links resolved; undefined when there is no such file. */
function resolveInside(name: string, location: string, directory: string): string | undefined {
  let real: string;
  try {
    real = realpathSync(join(directory, location));
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))
      return undefined;
    return fail(`tensor "${name}": its data file ${JSON.stringify(location)} cannot be opened`, { cause: error });
  }
  const inside = relative(realpathSync(directory), real);
  if (inside === '' || inside === '..' || inside.startsWith(`..${sep}`) || isAbsolute(inside)) {
    fail(
      `tensor "${name}": its data file ${JSON.stringify(location)} is a link that leaves the model's folder: copy the file there`,
    );
  }
  if (!statSync(real).isFile()) fail(`tensor "${name}": ${JSON.stringify(location)} is no regular file`);
  return real;
}

function wholeNumber(name: string, key: string, text: string): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value))
    fail(
      `tensor "${name}": the ${key} of its external data is ${JSON.stringify(text.slice(0, 40))}, not a whole number`,
    );
  return value;
}
