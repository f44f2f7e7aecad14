// Samples as files hold them, before any network is known: columns of equal length, read by index.
import type { TensorData } from '../runtime/runtime.js';

/** Numbers as stored; strings are no data of a column. */
export type Numbers = Exclude<TensorData, readonly string[]>;

export interface Image {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  /** True: [H, W, C]; false: [C, H, W]. */
  readonly interleaved: boolean;
}

export interface Column {
  /** What messages call it: `array "x"`, `images`. */
  readonly name: string;
  /** Type of the stored numbers, by ONNX's number. */
  readonly dataType: number;
  /** Dims of one sample; undefined: images of different sizes, read with `image`. */
  readonly dims: readonly number[] | undefined;
  /** How the dims are meant, when the format says that samples are images. */
  readonly image?: Pick<Image, 'channels' | 'interleaved'>;
  /** Samples one after the other, each of `dims`. Absent for images of different sizes. */
  read?(indices: readonly number[]): Numbers;
  /** One image of its own size, values 0..255 as [H, W, 3]. */
  decode?(index: number): { readonly height: number; readonly width: number; readonly data: Uint8Array };
}

export interface DataSource {
  readonly size: number;
  /** input name ('' when the file names none) -> column. */
  readonly columns: ReadonlyMap<string, Column>;
  /** One class index a sample. */
  readonly labels?: Int32Array;
  /** Numbers to predict, for metrics such as mse. */
  readonly targets?: Column;
  /** Names of the classes, where the data say them. */
  readonly classes?: readonly string[];
}
