// UltraFace at 70 % of its MACs without labels: relative output error, and whether the faces are still found. Calibration: seeded crops
// of three of the shared photos; the fourth photo takes part in no choice. usage: npm run bench -- ultraface

import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';
import { openDataset, type Dataset } from '../src/data/dataset.js';
import { createRng, type Rng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { floatsOf, withSession } from '../src/runtime/runtime.js';
import { sharedPath } from '../test/shared-path.js';
import { optimize, percent } from './support/front.js';

const CALIBRATION = ['face5', 'face8', 'face20'];
const HELD = ['face22'];
const CROPS = 80; // of each photo
const [HEIGHT, WIDTH] = [240, 320];

interface Box {
  readonly score: number;
  readonly corners: readonly number[];
}

export async function run(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'pare-ultraface-'));
  const model = sharedPath('models', 'ultraface-rfb-320.onnx');
  const data = writeManifest(folder, 'calibration', (out) => writeCrops(out, createRng('ultraface')));
  const photos = writeManifest(folder, 'photos', (out) => {
    for (const name of [...CALIBRATION, ...HELD]) writeFileSync(join(out, `${name}.jpg`), photo(name));
  });
  const result = optimize({ name: 'ultraface', model, data, test: photos }, [
    '--flops',
    '70%',
    '--seed',
    '1',
    '--members',
    '3',
  ]);
  const { front, out } = result;
  console.log(`${result.seconds.toFixed(0)} s, ${out}`);
  const original = await facesOf(model, photos);
  const names = [...CALIBRATION, ...HELD].toSorted((a, b) => a.localeCompare(b));
  console.log(`original: ${original.map((boxes, i) => `${names[i]} ${boxes.length}`).join(', ')} faces`);
  for (const c of front.candidates) {
    const found = await facesOf(join(out, c.file), photos);
    const kept = found.map((boxes, i) => original[i]!.filter((o) => boxes.some((b) => overlap(o, b) > 0.5)).length);
    const shown = kept
      .map((k, i) => `${names[i]} ${k} of ${original[i]!.length} (${found[i]!.length} found)`)
      .join(', ');
    const error = c.measured.relativeError ?? c.measured.value;
    const onPhotos = c.test?.relativeError ?? c.test?.value;
    console.log(
      `${percent(c.macs / front.original.macs)} % MACs: relative output error ${error.toFixed(4)} on held-out crops, ${onPhotos?.toFixed(4)} on the photos; ${shown}`,
    );
  }
  console.log(`${HELD.join(', ')}: seen by no part of the run.`);
}

function photo(name: string): Buffer {
  return readFileSync(sharedPath('models', 'inputs', `${name}.jpg`));
}

/** Pixels become (x - 127) / 128, as the network's authors do. */
function writeManifest(folder: string, name: string, fill: (out: string) => void): string {
  const out = join(folder, name);
  mkdirSync(out);
  fill(out);
  const path = join(folder, `${name}.json`);
  const manifest = {
    format: 'images',
    files: [name],
    layout: 'NCHW',
    resize: [HEIGHT, WIDTH],
    scale: 1 / 128,
    mean: 127 / 128,
    std: 1,
  };
  writeFileSync(path, JSON.stringify(manifest));
  return path;
}

/** Random windows of the network's aspect, half to whole size, sometimes mirrored; nearest pixels, the loader resizes. */
function writeCrops(out: string, rng: Rng): void {
  for (const name of CALIBRATION) {
    const { width, height, data } = jpeg.decode(photo(name), { useTArray: true });
    const most = Math.min(width / WIDTH, height / HEIGHT);
    for (let k = 0; k < CROPS; k++) {
      const draw = rng.fork(`${name}/${k}`);
      const scale = most * (0.5 + 0.5 * draw.next());
      const [left, top] = [draw.next() * (width - scale * WIDTH), draw.next() * (height - scale * HEIGHT)];
      const mirrored = draw.int(2) === 1;
      const png = new PNG({ width: WIDTH, height: HEIGHT });
      for (let y = 0; y < HEIGHT; y++) {
        for (let x = 0; x < WIDTH; x++) {
          const column = Math.floor(left + scale * (mirrored ? WIDTH - 1 - x : x));
          const from = (Math.floor(top + scale * y) * width + column) * 4;
          png.data.set(data.subarray(from, from + 4), (y * WIDTH + x) * 4);
        }
      }
      writeFileSync(join(out, `${name}-${String(k).padStart(3, '0')}.png`), PNG.sync.write(png));
    }
  }
}

/** Faces of each photo: scores above 0.7, overlaps above 0.5 merged into the best. */
async function facesOf(model: string, photos: string): Promise<Box[][]> {
  return withSession(ortRuntime(), model, {}, async (session) => {
    const dataset: Dataset = openDataset(photos, session.inputs);
    const all: Box[][] = [];
    for (let i = 0; i < dataset.size; i++) {
      const { inputs } = dataset.batch([i]);
      const outputs = [...(await session.run(inputs)).values()];
      const scores = floatsOf(outputs.find((t) => t.dims.at(-1) === 2)!);
      const boxes = floatsOf(outputs.find((t) => t.dims.at(-1) === 4)!);
      const found: Box[] = [];
      for (let k = 0; k < scores.length / 2; k++) {
        if (scores[2 * k + 1]! > 0.7)
          found.push({ score: scores[2 * k + 1]!, corners: [...boxes.subarray(4 * k, 4 * k + 4)] });
      }
      const best: Box[] = [];
      for (const box of found.toSorted((a, b) => b.score - a.score)) {
        if (!best.some((other) => overlap(other, box) > 0.5)) best.push(box);
      }
      all.push(best);
    }
    return all;
  });
}

/** Intersection over union. */
function overlap(a: Box, b: Box): number {
  const [ax, ay, ar, ab] = a.corners as [number, number, number, number];
  const [bx, by, br, bb] = b.corners as [number, number, number, number];
  const inner = Math.max(0, Math.min(ar, br) - Math.max(ax, bx)) * Math.max(0, Math.min(ab, bb) - Math.max(ay, by));
  return inner / ((ar - ax) * (ab - ay) + (br - bx) * (bb - by) - inner);
}
