// Folders of JPEG and PNG images: one folder a class, or images directly in the folder (no labels). Decoded when asked.
import { readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';
import { messageOf, PareError } from '../errors.js';
import { DataType } from '../ir/tensor.js';
import { readWhole } from './files.js';
import type { LocatedManifest } from './manifest.js';
import type { Pixels } from './resize.js';
import type { Column, DataSource } from './source.js';

const IMAGE = /\.(jpe?g|png)$/i;

export function openImages({ manifest, files: folders, name }: LocatedManifest): DataSource {
  const found = new Map<string, string[]>();
  const loose: string[] = [];
  for (const path of folders) {
    if (!statSync(path).isDirectory()) {
      loose.push(path);
      continue;
    }
    for (const entry of readdirSync(path, { withFileTypes: true }).sort((a, b) => compare(a.name, b.name))) {
      const full = join(path, entry.name);
      if (statSync(full).isDirectory()) {
        const inside = imagesBelow(full);
        if (inside.length > 0) found.set(entry.name, [...(found.get(entry.name) ?? []), ...inside]);
      } else if (IMAGE.test(entry.name)) loose.push(full);
    }
  }
  if (found.size > 0 && loose.length > 0) {
    throw new PareError(
      `data ${name}: "${basename(loose[0]!)}" lies beside class folders: put every image into a folder of its class, or none`,
    );
  }
  if (found.size === 0 && loose.length === 0)
    throw new PareError(`data ${name}: no .jpg or .png images in ${folders.join(', ')}`);
  if (found.size === 0) return { size: loose.length, columns: columnsOf(loose) };

  const classes = classNames([...found.keys()], manifest.classes, name);
  const paths: string[] = [];
  const labels: number[] = [];
  for (const [index, label] of classes) {
    for (const path of found.get(label) ?? []) {
      paths.push(path);
      labels.push(index);
    }
  }
  return {
    size: paths.length,
    columns: columnsOf(paths),
    labels: Int32Array.from(labels),
    classes: classes.map(([, label]) => label),
  };
}

/** Index and folder: as declared; by number when all names are numbers; else sorted by name. */
function classNames(
  folders: readonly string[],
  declared: readonly string[] | undefined,
  name: string,
): readonly (readonly [number, string])[] {
  if (declared !== undefined) {
    const unknown = folders.find((f) => !declared.includes(f));
    if (unknown !== undefined) {
      throw new PareError(`data ${name}: folder "${unknown}" is not among "classes" (${declared.join(', ')})`);
    }
    return declared.map((label, i) => [i, label] as const);
  }
  if (folders.every((f) => /^\d+$/.test(f))) {
    return folders.map((f) => [Number(f), f] as const).sort((a, b) => a[0] - b[0]);
  }
  return folders.toSorted(compare).map((f, i) => [i, f] as const);
}

function columnsOf(paths: readonly string[]): ReadonlyMap<string, Column> {
  const decode = (index: number): Pixels => decodeImage(paths[index]!);
  return new Map([['', { name: 'images', dataType: DataType.UINT8, dims: undefined, decode }]]);
}

function decodeImage(path: string): Pixels {
  const bytes = readWhole(path);
  try {
    if (bytes[0] === 0x89) {
      const { height, width, data } = PNG.sync.read(bytes);
      return { height, width, channels: 3, data: withoutAlpha(data) };
    }
    const { height, width, data } = jpeg.decode(bytes, { useTArray: true, formatAsRGBA: false });
    return { height, width, channels: 3, data };
  } catch (error) {
    throw new PareError(`"${path}" cannot be decoded as JPEG or PNG: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function withoutAlpha(rgba: Uint8Array): Uint8Array {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let i = 0, j = 0; i < rgba.length; i += 4) {
    rgb[j++] = rgba[i]!;
    rgb[j++] = rgba[i + 1]!;
    rgb[j++] = rgba[i + 2]!;
  }
  return rgb;
}

function imagesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => IMAGE.test(path))
    .sort(compare)
    .map((path) => join(folder, path));
}

/** By code unit, the same on every machine. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
