// NumPy archives: zip files of .npy members. The array `x` is the input and `y` the labels unless the manifest says otherwise.
import { isAbsolute, resolve } from 'node:path';
import { unzipSync } from 'fflate';
import { PareError } from '../errors.js';
import { DataType } from '../ir/tensor.js';
import { floatsOf } from '../runtime/runtime.js';
import { readWhole } from './files.js';
import type { LocatedManifest } from './manifest.js';
import { parseNumpy, type NumpyArray } from './numpy.js';
import type { Column, DataSource, Numbers } from './source.js';

export function openNpz({ manifest, files, folder, name }: LocatedManifest): DataSource {
  const archives = new Map<string, ReadonlyMap<string, Uint8Array>>();
  const archive = (path: string): ReadonlyMap<string, Uint8Array> => {
    const known = archives.get(path) ?? readArchive(path);
    archives.set(path, known);
    return known;
  };
  /** `x` in the first file that has it, or `other.npz:x`. */
  const find = (ref: string): NumpyArray | undefined => {
    const place = arrayPlace(ref, folder);
    if (place !== undefined) {
      const bytes = archive(place.path).get(place.array);
      return bytes === undefined ? undefined : parseNumpy(bytes, `array "${ref}"`);
    }
    for (const path of files) {
      const bytes = archive(path).get(ref);
      if (bytes !== undefined) return parseNumpy(bytes, `array "${ref}" of "${path}"`);
    }
    return undefined;
  };
  const members = files.flatMap((path) => [...archive(path).keys()]);
  const need = (ref: string): NumpyArray => {
    const array = find(ref);
    if (array !== undefined) return array;
    throw new PareError(`data ${name}: there is no array "${ref}"; the file has ${members.join(', ')}`);
  };

  const columns = new Map<string, Column>();
  const counts = new Map<string, number>();
  const add = (input: string, ref: string): void => {
    const array = need(ref);
    if (array.dims.length === 0)
      throw new PareError(`data ${name}: array "${ref}" is a single number, not a list of samples`);
    columns.set(input, columnOf(`array "${ref}"`, array));
    counts.set(ref, array.dims[0]!);
  };
  const others = members.filter((m) => m !== (manifest.labels ?? 'y'));
  if (manifest.inputs === undefined && members.includes('x')) add(manifest.input ?? '', 'x');
  else if (manifest.inputs === undefined)
    for (const m of others) add(others.length === 1 ? (manifest.input ?? '') : m, m);
  else
    for (const [input, ref] of Object.entries(manifest.inputs)) add(input, typeof ref === 'string' ? ref : ref.array);

  const labelName = manifest.labels ?? 'y';
  const y = manifest.labels === undefined ? find('y') : need(manifest.labels);
  if (y !== undefined) counts.set(labelName, y.dims[0] ?? 0);
  const size = Math.min(...counts.values());
  for (const [ref, n] of counts) {
    if (n !== size) {
      const all = [...counts].map(([r, k]) => `${r} ${k}`).join(', ');
      throw new PareError(`data ${name}: array "${ref}" has ${n} samples, but all must have the same number (${all})`);
    }
  }
  return { size, columns, ...(y === undefined ? {} : labelsOf(labelName, y)) };
}

/** `other.npz:x` as path and array; undefined for a bare name. */
export function arrayPlace(ref: string, folder: string): { readonly path: string; readonly array: string } | undefined {
  const split = /^(.+\.np[zy]):(.+)$/i.exec(ref);
  if (split === null) return undefined;
  const [, path, array] = split;
  return { path: isAbsolute(path!) ? path! : resolve(folder, path!), array: array! };
}

function readArchive(path: string): ReadonlyMap<string, Uint8Array> {
  const bytes = readWhole(path);
  if (/\.npy$/i.test(path)) return new Map([['x', bytes]]);
  try {
    return new Map(Object.entries(unzipSync(bytes)).map(([member, data]) => [member.replace(/\.npy$/, ''), data]));
  } catch (error) {
    throw new PareError(`"${path}" is no .npz file: it cannot be read as a zip archive`, { cause: error });
  }
}

function columnOf(name: string, { dataType, dims, data }: NumpyArray): Column {
  const sample = dims.slice(1);
  const length = sample.reduce((a, b) => a * b, 1);
  return { name, dataType, dims: sample, read: (indices) => gather(data, indices, length) };
}

function gather(data: Numbers, indices: readonly number[], length: number): Numbers {
  // the cast: a constructor of a typed array makes one of its own kind
  const into = new (data.constructor as new (n: number) => Numbers)(indices.length * length);
  for (const [i, index] of indices.entries()) {
    const part = data.subarray(index * length, (index + 1) * length);
    // the cast: both are of one kind, which the union cannot say
    (into as Float32Array).set(part as Float32Array, i * length);
  }
  return into;
}

/** Integers, one a sample, are class labels; one-hot rows are, too; anything else are targets. */
function labelsOf(name: string, y: NumpyArray): Pick<DataSource, 'labels' | 'targets'> {
  const count = y.dims[0] ?? 0;
  const targets = columnOf(`array "${name}"`, y);
  const width = count === 0 ? 0 : y.data.length / count;
  const integer = ![DataType.FLOAT, DataType.DOUBLE, DataType.FLOAT16].some((t) => t === y.dataType);
  const values = floatsOf(y);
  if (width === 1 && (integer || values.every((v) => Number.isInteger(v) && v >= 0))) {
    return { labels: Int32Array.from(values), targets };
  }
  if (width > 1 && y.dims.length === 2) {
    const labels = oneHot(values, count, width);
    if (labels !== undefined) return { labels, targets };
  }
  return { targets };
}

function oneHot(values: Float32Array, count: number, width: number): Int32Array | undefined {
  const labels = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const row = values.subarray(i * width, (i + 1) * width);
    const hot = row.indexOf(1);
    if (hot < 0 || row.some((v, j) => v !== (j === hot ? 1 : 0))) return undefined;
    labels[i] = hot;
  }
  return labels;
}
