// From a column of samples to one input of a network: channel order, size, (x * scale - mean) / std, layout, type, batch axis.
import { PareError } from '../errors.js';
import { DataType } from '../ir/tensor.js';
import { floatsOf, tensorOfNumbers, type RuntimeTensor, type ValueMeta } from '../runtime/runtime.js';
import type { Preprocessing } from './manifest.js';
import { cropCentre, resizeCover, resizeShorter, resizeTo, toGray, type Pixels } from './resize.js';
import type { Column, Numbers } from './source.js';

export interface InputPlan {
  /** False: the network's input has no batch axis; it takes one sample a run. */
  readonly batched: boolean;
  make(indices: readonly number[]): RuntimeTensor;
}

type Layout = 'NCHW' | 'NHWC';
type Dims = readonly (number | string)[];

/** `where` begins messages: `data "d.json"`. */
export function planInput(where: string, input: ValueMeta, column: Column, prep: Preprocessing): InputPlan {
  const batched = planFor(where, input, input.dims.slice(1), column, prep);
  if (typeof batched !== 'string') return { batched: true, make: batched };
  const single = planFor(where, input, input.dims, column, prep);
  if (typeof single !== 'string') {
    const make = (indices: readonly number[]): RuntimeTensor => {
      const t = single(indices);
      return { ...t, dims: t.dims.slice(1) };
    };
    return { batched: false, make };
  }
  throw new PareError(`${where}: ${batched}`);
}

type Maker = InputPlan['make'];

/** Samples of dims `want`, with a batch axis in front; a string says why it cannot be done. */
function planFor(where: string, input: ValueMeta, want: Dims, column: Column, prep: Preprocessing): Maker | string {
  const wants = `input "${input.name}" of the network wants [${input.dims.join(', ')}]`;
  const { dims } = column;
  const image = imageOf(column, want, prep);
  if (image === undefined) {
    if (dims === undefined) return `the data are images, but ${wants}`;
    return planArray(where, input, want, column, dims, prep, wants);
  }
  return planImages(where, input, want, column, image, prep, wants);
}

// --- plain arrays --------------------------------------------------------------------------------------------------------

function planArray(
  where: string,
  input: ValueMeta,
  want: Dims,
  column: Column,
  dims: readonly number[],
  prep: Preprocessing,
  wants: string,
): Maker | string {
  const shape = reshape(dims, want);
  if (shape === undefined) return `${column.name} has samples of [${dims.join(', ')}], but ${wants}`;
  const { scale = 1 } = prep;
  const [mean, std] = [[prep.mean ?? 0].flat(), [prep.std ?? 1].flat()];
  if (mean.length > 1 || std.length > 1) {
    return `"mean" and "std" have one number a channel, but ${column.name} has samples of [${dims.join(', ')}], which are no images`;
  }
  const plain = scale === 1 && mean[0] === 0 && std[0] === 1;
  return (indices) => {
    const data = readColumn(column, indices);
    const full = [indices.length, ...shape];
    if (plain && column.dataType === input.dataType) return { dataType: input.dataType, dims: full, data };
    const stored = numbersOf(column, data);
    const values = plain ? stored : Float64Array.from(stored, (v) => (v * scale - mean[0]!) / std[0]!);
    return tensorOfNumbers(input.dataType, full, values);
  };
}

/** The sample's dims as the network wants them: equal, flattened, or with axes of length 1 added or removed. */
function reshape(dims: readonly number[], want: Dims): readonly number[] | undefined {
  if (fits(dims, want)) return dims;
  const count = dims.reduce((a, b) => a * b, 1);
  const fixed = want.filter((d) => typeof d === 'number');
  const known = fixed.reduce((a, b) => a * b, 1);
  if (fixed.length === want.length) {
    const core = (list: readonly number[]): string => list.filter((d) => d !== 1).join();
    const flat = want.length === 1 || core(dims) === core(fixed);
    return known === count && flat ? fixed : undefined;
  }
  return want.length === 1 ? [count] : undefined;
}

function fits(dims: readonly number[], want: Dims): boolean {
  return dims.length === want.length && dims.every((d, i) => typeof want[i] === 'string' || want[i] === d);
}

// --- images --------------------------------------------------------------------------------------------------------------

interface ImagePlan {
  /** How samples lie in the column; undefined: decoded one by one. */
  readonly stored: { readonly height: number; readonly width: number; readonly interleaved: boolean } | undefined;
  readonly channels: number;
  readonly layout: Layout;
}

/** How a column is read as images for this input; undefined when it is none. */
function imageOf(column: Column, want: Dims, prep: Preprocessing): ImagePlan | undefined {
  if (column.dims === undefined) {
    if (want.length !== 3 && want.length !== 2 && want.length !== 1) return undefined;
    const [first, , last] = want;
    const gray = want.length === 2 || first === 1 || (first !== 3 && last === 1);
    const channels = gray ? 1 : 3;
    return { stored: undefined, channels, layout: prep.layout ?? layoutOf(want, channels) };
  }
  const dims = column.image !== undefined || column.dims.length === 3 ? column.dims : undefined;
  if (dims === undefined || dims.length !== 3) return undefined;
  const interleaved = column.image?.interleaved ?? isInterleaved(dims, want, prep);
  if (interleaved === undefined) return undefined;
  const [channels, height, width] = interleaved ? [dims[2]!, dims[0]!, dims[1]!] : [dims[0]!, dims[1]!, dims[2]!];
  return { stored: { height, width, interleaved }, channels, layout: prep.layout ?? layoutOf(want, channels) };
}

/** Which way an array of samples of rank 3 holds images: by the network's input, else by which axis is short. */
function isInterleaved(dims: readonly number[], want: Dims, prep: Preprocessing): boolean | undefined {
  const first = dims[0]! <= 4 && dims[2]! > 4;
  const last = dims[2]! <= 4 && dims[0]! > 4;
  if (first !== last) return last;
  // two axes look like channels, or none: only what is said decides
  if (prep.layout !== undefined && fits(dims, want)) return prep.layout === 'NHWC';
  return undefined;
}

function layoutOf(want: Dims, channels: number): Layout {
  return want.length === 3 && want[2] === channels && want[0] !== channels ? 'NHWC' : 'NCHW';
}

function planImages(
  where: string,
  input: ValueMeta,
  want: Dims,
  column: Column,
  image: ImagePlan,
  prep: Preprocessing,
  wants: string,
): Maker | string {
  const { channels, layout, stored } = image;
  const target = targetSize(want, layout, channels);
  if (typeof target === 'string') return `${target}, but ${wants}`;
  const size = outputSize(stored, target, prep);
  if (typeof size === 'string') return `${size}; ${wants}`;
  const { height, width } = size;
  const shape = layout === 'NCHW' ? [channels, height, width] : [height, width, channels];
  const dims = want.length === 3 ? shape : want.length === 2 ? [height, width] : [channels * height * width];
  if (!fits(dims, want)) {
    const other = layout === 'NCHW' ? 'NHWC' : 'NCHW';
    const otherShape = layout === 'NCHW' ? [height, width, channels] : [channels, height, width];
    const hint = prep.layout !== undefined && fits(otherShape, want) ? `: set "layout": "${other}"` : resizeHint(want);
    return `layout ${layout} gives samples of [${dims.join(', ')}], but ${wants}${hint}`;
  }
  const [mean, std] = [perChannel(prep.mean ?? 0, channels), perChannel(prep.std ?? 1, channels)];
  if (mean === undefined || std === undefined) {
    return `"${mean === undefined ? 'mean' : 'std'}" must be one number or ${channels}, one a channel`;
  }
  const { scale = 1 } = prep;
  const reverse = prep.channels === 'BGR' && channels === 3;
  const count = channels * height * width;
  const finish = (values: Float32Array, n: number): RuntimeTensor => {
    const full = [n, ...dims];
    return input.dataType === DataType.FLOAT
      ? { dataType: DataType.FLOAT, dims: full, data: values }
      : tensorOfNumbers(input.dataType, full, values);
  };
  const [toC, toP] = layout === 'NCHW' ? [height * width, 1] : [1, channels];

  const copy = (values: ArrayLike<number>, from: number, interleaved: boolean, to: Float32Array, at: number): void => {
    const area = height * width;
    const [fromC, fromP] = interleaved ? [1, channels] : [area, 1];
    for (let c = 0; c < channels; c++) {
      const source = from + (reverse ? channels - 1 - c : c) * fromC;
      const [m, s] = [mean[c]!, std[c]!];
      for (let p = 0; p < area; p++) to[at + c * toC + p * toP] = (values[source + p * fromP]! * scale - m) / s;
    }
  };

  const resized = stored !== undefined && (stored.height !== height || stored.width !== width);
  if (stored !== undefined && !resized) {
    return (indices) => {
      const values = numbersOf(column, readColumn(column, indices));
      const into = new Float32Array(indices.length * count);
      for (let i = 0; i < indices.length; i++) copy(values, i * count, stored.interleaved, into, i * count);
      return finish(into, indices.length);
    };
  }
  if (stored !== undefined && column.dataType !== DataType.UINT8) {
    return `${column.name} is no array of bytes and cannot be resized; store it at the size the network wants`;
  }
  return (indices) => {
    const into = new Float32Array(indices.length * count);
    for (const [i, index] of indices.entries()) {
      const pixels = pixelsOf(where, column, index, stored, channels);
      copy(fitPixels(where, index, pixels, height, width, prep).data, 0, true, into, i * count);
    }
    return finish(into, indices.length);
  };
}

/** Height and width that the input fixes; a string when the number of channels cannot be right. */
function targetSize(
  want: Dims,
  layout: Layout,
  channels: number,
): { readonly height?: number; readonly width?: number } | string {
  if (want.length === 1) return {};
  if (want.length !== 2 && want.length !== 3) return 'the data are images';
  const [c, h, w] = want.length === 2 ? [1, want[0], want[1]] : layout === 'NCHW' ? want : [want[2], want[0], want[1]];
  if (typeof c === 'number' && c !== channels && (want.length === 2 || (c <= 4 && channels <= 4))) {
    return `the images have ${channels} ${channels === 1 ? 'channel' : 'channels'}`;
  }
  return { ...(typeof h === 'number' ? { height: h } : {}), ...(typeof w === 'number' ? { width: w } : {}) };
}

function outputSize(
  stored: ImagePlan['stored'],
  target: { readonly height?: number; readonly width?: number },
  prep: Preprocessing,
): { readonly height: number; readonly width: number } | string {
  const said = pair(prep.crop) ?? (Array.isArray(prep.resize) ? pair(prep.resize) : undefined);
  if (said !== undefined) return { height: said[0], width: said[1] };
  // nothing said of the size: stored images keep theirs, folders of images are brought to the network's
  if (stored !== undefined && prep.resize === undefined) return stored;
  const { height, width } = target;
  if (height !== undefined && width !== undefined) return { height, width };
  if (typeof prep.resize === 'number') return { height: prep.resize, width: prep.resize };
  return 'the network leaves the image size open: write "resize": [height, width] into the manifest';
}

function pixelsOf(where: string, column: Column, index: number, stored: ImagePlan['stored'], channels: number): Pixels {
  if (stored === undefined) {
    const decoded = column.decode?.(index);
    if (decoded === undefined) throw new Error(`${where}: ${column.name} has neither dims nor images`);
    const pixels = { ...decoded, channels: 3 };
    return channels === 1 ? toGray(pixels) : pixels;
  }
  const { height, width, interleaved } = stored;
  const values = numbersOf(column, readColumn(column, [index]));
  const data = new Uint8Array(values.length);
  const area = height * width;
  for (let c = 0; c < channels; c++) {
    for (let p = 0; p < area; p++) data[p * channels + c] = values[interleaved ? p * channels + c : c * area + p]!;
  }
  return { height, width, channels, data };
}

function fitPixels(
  where: string,
  index: number,
  image: Pixels,
  height: number,
  width: number,
  prep: Preprocessing,
): Pixels {
  const { resize } = prep;
  if (resize === undefined && prep.crop === undefined) return resizeCover(image, height, width);
  const sized =
    resize === undefined
      ? image
      : typeof resize === 'number'
        ? resizeShorter(image, resize)
        : resizeTo(image, ...resize);
  if (sized.height < height || sized.width < width) {
    throw new PareError(
      `${where}: image ${index} is ${sized.height} x ${sized.width} after "resize", smaller than the ${height} x ${width} cut from its centre; set "resize" to at least that`,
    );
  }
  return cropCentre(sized, height, width);
}

function pair(size: number | readonly number[] | undefined): readonly [number, number] | undefined {
  if (size === undefined) return undefined;
  return typeof size === 'number' ? [size, size] : [size[0]!, size[1]!];
}

function perChannel(values: number | readonly number[], channels: number): readonly number[] | undefined {
  const list = [values].flat();
  if (list.length === channels) return list;
  return list.length === 1 ? Array.from({ length: channels }, () => list[0]!) : undefined;
}

function resizeHint(want: Dims): string {
  return want.length === 3 ? '; "resize" and "crop" in the manifest change the size' : '';
}

// --- reading -------------------------------------------------------------------------------------------------------------

function readColumn(column: Column, indices: readonly number[]): Numbers {
  if (column.read === undefined) throw new Error(`${column.name} is read image by image`);
  return column.read(indices);
}

/** Stored elements as numbers: exact for integers below 2^53. */
function numbersOf(column: Column, data: Numbers): Float32Array | Float64Array | Uint8Array {
  if (data instanceof Float32Array || data instanceof Float64Array) return data;
  if (column.dataType === DataType.UINT8 && data instanceof Uint8Array) return data;
  if (column.dataType === DataType.FLOAT16) return floatsOf({ dataType: DataType.FLOAT16, dims: [], data });
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return Float64Array.from(data, Number);
  return Float64Array.from(data);
}
