// CIFAR-10 binary version: records of 1 label byte and 3,072 bytes [3, 32, 32], RGB. https://www.cs.toronto.edu/~kriz/cifar.html
import { PareError } from '../errors.js';
import { DataType } from '../ir/tensor.js';
import { openBytes, readRecords } from './files.js';
import type { DataSource } from './source.js';

const PIXELS = 3 * 32 * 32;
const RECORD = 1 + PIXELS;

export function openCifar(paths: readonly string[]): DataSource {
  const files = paths.map(openBytes);
  const starts: number[] = [];
  let size = 0;
  for (const file of files) {
    if (file.length === 0 || file.length % RECORD !== 0) {
      throw new PareError(
        `"${file.path}" has ${file.length} bytes: a CIFAR-10 binary file has a multiple of ${RECORD} (1 label and 3 x 32 x 32 pixels)`,
      );
    }
    starts.push(size);
    size += file.length / RECORD;
  }
  const labels = new Int32Array(size);
  for (const [f, file] of files.entries()) {
    const count = file.length / RECORD;
    const step = 1000;
    for (let i = 0; i < count; i += step) {
      const n = Math.min(step, count - i);
      const block = file.read(i * RECORD, n * RECORD);
      for (let j = 0; j < n; j++) labels[starts[f]! + i + j] = block[j * RECORD]!;
    }
  }
  const read = (indices: readonly number[]): Uint8Array => {
    const into = new Uint8Array(indices.length * PIXELS);
    // runs of indices that lie in one file
    let i = 0;
    while (i < indices.length) {
      const f = fileOf(starts, indices[i]!);
      const end = starts[f + 1] ?? size;
      let n = 1;
      while (i + n < indices.length && indices[i + n]! >= starts[f]! && indices[i + n]! < end) n++;
      const local = indices.slice(i, i + n).map((index) => index - starts[f]!);
      readRecords(files[f]!, local, { start: 0, stride: RECORD, skip: 1, length: PIXELS }, into, i);
      i += n;
    }
    return into;
  };
  const image = { channels: 3, interleaved: false };
  const column = { name: 'images', dataType: DataType.UINT8, dims: [3, 32, 32], image, read };
  return { size, columns: new Map([['', column]]), labels };
}

/** The last start that is not beyond the index. */
export function fileOf(starts: readonly number[], index: number): number {
  let f = starts.length - 1;
  while (f > 0 && starts[f]! > index) f--;
  return f;
}
