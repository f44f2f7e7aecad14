// IDX files (MNIST): magic 0 0 type rank, big-endian dims, data. http://yann.lecun.com/exdb/mnist (file formats, at the end)
import { PareError } from '../errors.js';
import { DataType } from '../ir/tensor.js';
import { openBytes, readRecords, type Bytes } from './files.js';
import { fileOf } from './cifar.js';
import type { DataSource } from './source.js';

interface IdxFile {
  readonly file: Bytes;
  readonly dims: readonly number[];
  readonly start: number;
}

/** Files of rank 1 are labels, the others images; several pairs are joined in the order given. */
export function openIdx(paths: readonly string[]): DataSource {
  const files = paths.map(readHeader);
  const images = files.filter((f) => f.dims.length > 1);
  const labelled = files.filter((f) => f.dims.length === 1);
  const first = images[0];
  if (first === undefined) throw new PareError(`idx: no file holds images (rank 3 or 4): ${paths.join(', ')}`);
  const sample = first.dims.slice(1);
  const length = sample.reduce((a, b) => a * b, 1);
  const odd = images.find((f) => f.dims.slice(1).join() !== sample.join());
  if (odd !== undefined) {
    throw new PareError(
      `"${odd.file.path}" has samples of [${odd.dims.slice(1).join(', ')}], the first file of [${sample.join(', ')}]`,
    );
  }
  const starts: number[] = [];
  let size = 0;
  for (const f of images) {
    starts.push(size);
    size += f.dims[0]!;
  }
  const read = (indices: readonly number[]): Uint8Array => {
    const into = new Uint8Array(indices.length * length);
    for (const [i, index] of indices.entries()) {
      const f = fileOf(starts, index);
      const { file, start } = images[f]!;
      readRecords(file, [index - starts[f]!], { start, stride: length, skip: 0, length }, into, i);
    }
    return into;
  };
  // [28, 28] is one channel; [28, 28, 3] and [3, 32, 32] say themselves which axis holds the channels
  const interleaved = sample.length === 3 && sample[0]! > 4;
  const channels = sample.length === 3 ? (interleaved ? sample[2]! : sample[0]!) : 1;
  const dims = sample.length === 3 ? sample : [1, ...sample];
  const column = { name: 'images', dataType: DataType.UINT8, dims, image: { channels, interleaved }, read };
  return { size, columns: new Map([['', column]]), ...readLabels(labelled, size) };
}

function readHeader(path: string): IdxFile {
  const file = openBytes(path);
  const magic = file.length < 4 ? new Uint8Array(4) : file.read(0, 4);
  const rank = magic[3]!;
  if (magic[0] !== 0 || magic[1] !== 0 || magic[2] !== 0x08 || rank < 1 || rank > 4) {
    throw new PareError(`"${path}" is no IDX file of unsigned bytes: it must begin with 00 00 08 and the rank`);
  }
  const head = file.read(4, 4 * rank);
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const dims = Array.from({ length: rank }, (_, i) => view.getUint32(4 * i));
  const start = 4 + 4 * rank;
  const bytes = dims.reduce((a, b) => a * b, 1);
  if (file.length !== start + bytes) {
    throw new PareError(
      `"${path}": its header says [${dims.join(', ')}], ${bytes} bytes, but ${file.length - start} follow`,
    );
  }
  return { file, dims, start };
}

function readLabels(files: readonly IdxFile[], size: number): Pick<DataSource, 'labels'> {
  if (files.length === 0) return {};
  const labels = Int32Array.from(files.flatMap(({ file, dims, start }) => [...file.read(start, dims[0]!)]));
  if (labels.length !== size) {
    const paths = files.map(({ file }) => `"${file.path}"`).join(', ');
    throw new PareError(`${size} images, but ${labels.length} labels in ${paths}; give the labels of these images`);
  }
  return { labels };
}
