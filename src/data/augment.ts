// Images changed at random while they are loaded: shifted, flipped, with a square cut out. Works on prepared inputs, so a value
// of 0 is the mean of data that are normalised.
import { DataType } from '../ir/tensor.js';
import type { Rng } from '../rng.js';
import { floatsOf, type RuntimeTensor } from '../runtime/runtime.js';

export interface Augmentation {
  /** Left and right are exchanged in half of the images. */
  readonly flip?: boolean | undefined;
  /** Images are shifted by up to this many pixels each way; the border is repeated (pad and crop). */
  readonly crop?: number | undefined;
  /** Side of a square that is set to 0 somewhere. */
  readonly cutout?: number | undefined;
}

export function changesImages(how: Augmentation): boolean {
  return how.flip === true || (how.crop ?? 0) > 0 || (how.cutout ?? 0) > 0;
}

/** Every image of rank 4 changed in its own way; other inputs are passed on. */
export function augmented(
  inputs: ReadonlyMap<string, RuntimeTensor>,
  layout: 'NCHW' | 'NHWC',
  how: Augmentation,
  rng: Rng,
): ReadonlyMap<string, RuntimeTensor> {
  if (!changesImages(how)) return inputs;
  return new Map(
    [...inputs].map(([name, t]) => [
      name,
      t.dims.length === 4 && t.dataType === DataType.FLOAT ? changed(t, layout, how, rng) : t,
    ]),
  );
}

function changed(t: RuntimeTensor, layout: 'NCHW' | 'NHWC', how: Augmentation, rng: Rng): RuntimeTensor {
  const last = layout === 'NHWC';
  // the casts: rank 4 was checked
  const [n, a, b, c] = t.dims as [number, number, number, number];
  const [planes, height, width, inner] = last ? [1, a, b, c] : [a, b, c, 1];
  const from = floatsOf(t);
  const to = new Float32Array(from.length);
  const { flip = false, crop = 0, cutout = 0 } = how;
  const inside = (x: number, end: number): number => Math.max(0, Math.min(end - 1, x));
  for (let i = 0; i < n; i++) {
    const mirrored = flip && rng.next() < 0.5;
    const [dy, dx] = [rng.int(2 * crop + 1) - crop, rng.int(2 * crop + 1) - crop];
    const [top, left] = [rng.int(height) - (cutout >> 1), rng.int(width) - (cutout >> 1)];
    for (let p = 0; p < planes; p++) {
      const plane = (i * planes + p) * height * width;
      for (let y = 0; y < height; y++) {
        const row = plane + inside(y + dy, height) * width;
        const cutRow = y >= top && y < top + cutout;
        for (let x = 0; x < width; x++) {
          if (cutRow && x >= left && x < left + cutout) continue;
          const source = (row + inside((mirrored ? width - 1 - x : x) + dx, width)) * inner;
          const target = (plane + y * width + x) * inner;
          for (let k = 0; k < inner; k++) to[target + k] = from[source + k]!;
        }
      }
    }
  }
  return { ...t, data: to };
}
