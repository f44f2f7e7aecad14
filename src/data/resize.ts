// Resizing and cropping of images [H, W, C] of bytes: the triangle filter widened when shrinking, as Pillow's BILINEAR and
// torchvision's Resize do it, because that is what most networks were trained with.

export interface Pixels {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  /** [H, W, C], 0..255. */
  readonly data: Uint8Array;
}

export function resizeTo(image: Pixels, height: number, width: number): Pixels {
  if (image.height === height && image.width === width) return image;
  const { channels } = image;
  const rows = weights(image.width, width);
  const wide = new Uint8Array(image.height * width * channels);
  for (let y = 0; y < image.height; y++) {
    const line = y * image.width * channels;
    for (let x = 0; x < width; x++) {
      const { first, taps } = rows[x]!;
      for (let c = 0; c < channels; c++) {
        let sum = 0.5;
        for (let t = 0; t < taps.length; t++) sum += taps[t]! * image.data[line + (first + t) * channels + c]!;
        wide[(y * width + x) * channels + c] = sum;
      }
    }
  }
  const columns = weights(image.height, height);
  const data = new Uint8Array(height * width * channels);
  const stride = width * channels;
  for (let y = 0; y < height; y++) {
    const { first, taps } = columns[y]!;
    for (let i = 0; i < stride; i++) {
      let sum = 0.5;
      for (let t = 0; t < taps.length; t++) sum += taps[t]! * wide[(first + t) * stride + i]!;
      data[y * stride + i] = sum;
    }
  }
  return { height, width, channels, data };
}

/** The shorter side becomes `side`; the aspect stays. */
export function resizeShorter(image: Pixels, side: number): Pixels {
  const { height, width } = image;
  return height < width
    ? resizeTo(image, side, Math.max(side, Math.floor((width * side) / height)))
    : resizeTo(image, Math.max(side, Math.floor((height * side) / width)), side);
}

/** As large as needed to cover height x width, aspect kept, then the centre. */
export function resizeCover(image: Pixels, height: number, width: number): Pixels {
  const factor = Math.max(height / image.height, width / image.width);
  const h = Math.max(height, Math.round(image.height * factor));
  const w = Math.max(width, Math.round(image.width * factor));
  return cropCentre(resizeTo(image, h, w), height, width);
}

/** The centre of an image that is at least that large. */
export function cropCentre(image: Pixels, height: number, width: number): Pixels {
  if (image.height === height && image.width === width) return image;
  const top = Math.round((image.height - height) / 2);
  const left = Math.round((image.width - width) / 2);
  const { channels } = image;
  const data = new Uint8Array(height * width * channels);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * image.width + left) * channels;
    data.set(image.data.subarray(from, from + width * channels), y * width * channels);
  }
  return { height, width, channels, data };
}

/** [H, W, 3] to [H, W, 1] by ITU-R 601 luma. */
export function toGray(image: Pixels): Pixels {
  const data = new Uint8Array(image.height * image.width);
  for (let i = 0; i < data.length; i++) {
    const [r, g, b] = [image.data[3 * i]!, image.data[3 * i + 1]!, image.data[3 * i + 2]!];
    data[i] = 0.299 * r + 0.587 * g + 0.114 * b + 0.5;
  }
  return { ...image, channels: 1, data };
}

/** For each of `to` positions: where its taps start among `from` positions, and their weights (sum 1). */
function weights(from: number, to: number): readonly { readonly first: number; readonly taps: readonly number[] }[] {
  const scale = from / to;
  const support = Math.max(1, scale);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support + 0.5));
    const last = Math.min(from, Math.floor(centre + support + 0.5));
    const raw = Array.from({ length: last - first }, (__, t) =>
      Math.max(0, 1 - Math.abs((first + t + 0.5 - centre) / support)),
    );
    const sum = raw.reduce((a, b) => a + b, 0);
    return { first, taps: raw.map((w) => w / sum) };
  });
}
