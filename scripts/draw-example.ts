// Draws the shipped example data set: ten classes of small textured shapes, 3 x 16 x 16 pixels, seeded, by area sampling.
// Colours, polarity, place, size, tilt, clutter and noise are random, so that no pixel alone tells a class and a linear model
// cannot reach 60 %. usage: node dist/scripts/draw-example.js OUTDIR (writes shapes-train.npz and shapes-test.npz)
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { zipSync } from 'fflate';
import { createRng, type Rng } from '../src/rng.js';

export const CLASSES = [
  'disc',
  'ring',
  'square',
  'frame',
  'triangle',
  'plus',
  'saltire',
  'rows',
  'columns',
  'checks',
] as const;
const SIZE = 16;
const SAMPLES = 4; // per pixel and axis

/** Whether the point (x, y), in units of the figure's half-size, lies in the figure of this class. */
type Inside = (x: number, y: number) => boolean;

const box = (x: number, y: number): boolean => Math.abs(x) < 0.9 && Math.abs(y) < 0.9;
const stripe = (t: number): boolean => (((t + 0.9) / 0.45) & 1) === 0;

const FIGURES: readonly Inside[] = [
  (x, y) => x * x + y * y < 0.95,
  (x, y) => x * x + y * y < 1 && x * x + y * y > 0.36,
  (x, y) => Math.abs(x) < 0.85 && Math.abs(y) < 0.85,
  (x, y) => box(x, y) && !(Math.abs(x) < 0.5 && Math.abs(y) < 0.5),
  (x, y) => y > -0.85 && y < 0.85 && Math.abs(x) < (0.95 * (y + 0.85)) / 1.7,
  (x, y) => box(x, y) && (Math.abs(x) < 0.3 || Math.abs(y) < 0.3),
  (x, y) => box(x, y) && (Math.abs(x - y) < 0.42 || Math.abs(x + y) < 0.42),
  (x, y) => box(x, y) && stripe(y),
  (x, y) => box(x, y) && stripe(x),
  (x, y) => box(x, y) && stripe(x) !== stripe(y),
];

/** One image as uint8 [3, 16, 16] of class `label`. */
export function drawImage(label: number, rng: Rng): Uint8Array {
  const inside = FIGURES[label]!;
  const [ground, ink] = contrastingColours(rng);
  const slope = [rng.normal(), rng.normal(), rng.normal()].map((v) => v * 1.5);
  const halfSize = 4 + 2 * rng.next();
  const cx = SIZE / 2 + (rng.next() - 0.5) * 2 * (SIZE / 2 - halfSize);
  const cy = SIZE / 2 + (rng.next() - 0.5) * 2 * (SIZE / 2 - halfSize);
  const tilt = (rng.next() - 0.5) * 0.5;
  const [cos, sin] = [Math.cos(tilt) / halfSize, Math.sin(tilt) / halfSize];
  const specks = Array.from({ length: 4 }, () => [rng.next() * SIZE, rng.next() * SIZE, 0.5 + rng.next()] as const);
  const speckColour = [rng.int(256), rng.int(256), rng.int(256)];
  const image = new Uint8Array(3 * SIZE * SIZE);
  for (let row = 0; row < SIZE; row++) {
    for (let column = 0; column < SIZE; column++) {
      let covered = 0;
      let specked = 0;
      for (let s = 0; s < SAMPLES * SAMPLES; s++) {
        const px = column + ((s % SAMPLES) + 0.5) / SAMPLES;
        const py = row + (Math.floor(s / SAMPLES) + 0.5) / SAMPLES;
        const [dx, dy] = [px - cx, py - cy];
        if (inside(dx * cos + dy * sin, dy * cos - dx * sin)) covered++;
        if (specks.some(([sx, sy, r]) => (px - sx) ** 2 + (py - sy) ** 2 < r * r)) specked++;
      }
      const ink01 = covered / SAMPLES ** 2;
      const speck01 = 0.7 * (specked / SAMPLES ** 2);
      for (let c = 0; c < 3; c++) {
        const plain = ground[c]! * (1 - ink01) + ink[c]! * ink01 + slope[c]! * (column - row);
        const value = plain * (1 - speck01) + speckColour[c]! * speck01 + 28 * rng.normal();
        image[(c * SIZE + row) * SIZE + column] = Math.max(0, Math.min(255, Math.round(value)));
      }
    }
  }
  return image;
}

/** Two colours whose grey levels differ by at least 40 of 255; either may be the lighter one. */
function contrastingColours(rng: Rng): [number[], number[]] {
  for (;;) {
    const a = [rng.int(256), rng.int(256), rng.int(256)];
    const b = [rng.int(256), rng.int(256), rng.int(256)];
    const grey = (c: readonly number[]): number => 0.3 * c[0]! + 0.59 * c[1]! + 0.11 * c[2]!;
    if (Math.abs(grey(a) - grey(b)) >= 40) return [a, b];
  }
}

/** `count` images with labels in random order, classes balanced. */
export function drawSet(count: number, rng: Rng): { x: Uint8Array; y: Uint8Array } {
  const y = Uint8Array.from(rng.fork('order').shuffle(Array.from({ length: count }, (_, i) => i % CLASSES.length)));
  const x = new Uint8Array(count * 3 * SIZE * SIZE);
  y.forEach((label, i) => x.set(drawImage(label, rng.fork(`image/${i}`)), i * 3 * SIZE * SIZE));
  return { x, y };
}

/** A NumPy .npy file of unsigned bytes, https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. */
function npy(data: Uint8Array, dims: readonly number[]): Uint8Array {
  const shape = dims.length === 1 ? `(${dims[0]},)` : `(${dims.join(', ')})`;
  const text = `{'descr': '|u1', 'fortran_order': False, 'shape': ${shape}, }`;
  const header = `${text.padEnd(Math.ceil((text.length + 11) / 64) * 64 - 11)}\n`;
  const out = new Uint8Array(10 + header.length + data.length);
  out.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8]);
  out.set(new TextEncoder().encode(header), 10);
  out.set(data, 10 + header.length);
  return out;
}

function writeSet(path: string, count: number, rng: Rng): void {
  const { x, y } = drawSet(count, rng);
  // a fixed date: the same seed gives the same bytes
  const options = { level: 9, mtime: new Date(2026, 0, 1) } as const;
  writeFileSync(path, zipSync({ 'x.npy': npy(x, [count, 3, SIZE, SIZE]), 'y.npy': npy(y, [count]) }, options));
}

const out = process.argv[2];
if (out !== undefined) {
  mkdirSync(out, { recursive: true });
  const rng = createRng('shapes');
  writeSet(join(out, 'shapes-train.npz'), 3000, rng.fork('train'));
  writeSet(join(out, 'shapes-test.npz'), 1000, rng.fork('test'));
}
