import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { gzipSync } from 'fflate';
import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chunksOf, splitDataset } from '../src/data/batches.js';
import { openDataset, type Dataset } from '../src/data/dataset.js';
import { parseNumpy } from '../src/data/numpy.js';
import { resizeTo, resizeShorter, cropCentre } from '../src/data/resize.js';
import { PareError } from '../src/errors.js';
import { DataType } from '../src/ir/tensor.js';
import { createRng } from '../src/rng.js';
import { floatsOf, type ValueMeta } from '../src/runtime/runtime.js';
import { npy, npz } from './npz.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-data-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const file = (name: string, content: Uint8Array | string): string => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};
const manifest = (name: string, content: object): string => file(name, JSON.stringify(content));
const input = (...dims: (number | string)[]): ValueMeta[] => [{ name: 'x', dataType: DataType.FLOAT, dims }];
const values = (d: Dataset, indices: number[], name = 'x'): number[] => [
  ...floatsOf(d.batch(indices).inputs.get(name)!),
];
const ramp = (n: number): Uint8Array => Uint8Array.from({ length: n }, (_, i) => (i * 37) % 256);

/** Three records of CIFAR-10, pixel p of record r = (7 r + p) mod 256. */
const cifar = (): string => {
  const bytes = new Uint8Array(3 * 3073);
  for (let r = 0; r < 3; r++) {
    bytes[r * 3073] = r + 4;
    for (let p = 0; p < 3072; p++) bytes[r * 3073 + 1 + p] = (7 * r + p) % 256;
  }
  return file('three.bin', bytes);
};

describe('CIFAR-10 binary', () => {
  test('NCHW with scale, mean and std; NHWC; BGR; any order of indices; two files as one', () => {
    cifar();
    const prep = { scale: 1 / 255, mean: [0.1, 0.2, 0.3], std: [0.5, 0.25, 2] };
    const path = manifest('c.json', { format: 'cifar10-binary', files: ['three.bin', 'three.bin'], ...prep });
    const d = openDataset(path, input('N', 3, 32, 32));
    expect([d.size, d.metric, [...d.labels!]]).toEqual([6, 'top1', [4, 5, 6, 4, 5, 6]]);
    expect([...d.batch([5, 0]).labels!]).toEqual([6, 4]);
    const pixel = (r: number, c: number, p: number): number =>
      Math.fround((((7 * r + c * 1024 + p) % 256) / 255 - prep.mean[c]!) / prep.std[c]!);
    const x = values(d, [4, 0, 2, 3]);
    for (const [i, r] of [1, 0, 2, 0].entries()) {
      for (const [c, p] of [
        [0, 0],
        [1, 33],
        [2, 1023],
      ] as const) {
        expect(x[i * 3072 + c * 1024 + p]).toBeCloseTo(pixel(r, c, p), 6);
      }
    }
    const nhwc = values(openDataset(path, input('N', 32, 32, 3)), [1]);
    expect(nhwc[33 * 3 + 1]).toBeCloseTo(pixel(1, 1, 33), 6);
    // reversed order of channels; mean and std are those of the reversed channels
    const bgr = values(d.with({ channels: 'BGR', mean: 0, std: 1, scale: 1 }), [1]);
    expect(bgr[0]).toBe((7 + 2048) % 256);
    expect(bgr[2 * 1024 + 5]).toBe((7 + 5) % 256);
  });

  test('what cannot be right is one sentence with the way out', () => {
    cifar();
    const c = (more: object): string =>
      manifest('bad.json', { format: 'cifar10-binary', files: ['three.bin'], ...more });
    const opening =
      (more: object, ...dims: (number | string)[]) =>
      () =>
        openDataset(c(more), input(...dims));
    expect(opening({ layout: 'NCHW' }, 'N', 32, 32, 3)).toThrow(
      /layout NCHW gives samples of \[3, 32, 32\], but input "x" of the network wants \[N, 32, 32, 3\]: set "layout": "NHWC"$/,
    );
    expect(opening({}, 'N', 3, 224, 224)).toThrow(/wants \[N, 3, 224, 224\]; "resize" and "crop"/);
    expect(opening({}, 'N', 1, 32, 32)).toThrow(/the images have 3 channels, but input "x" of the network wants/);
    expect(opening({ mean: [1, 2] }, 'N', 3, 32, 32)).toThrow('"mean" must be one number or 3, one a channel');
    expect(opening({ std: [1, 0, 1] }, 'N', 3, 32, 32)).toThrow('"std" has a 0');
    expect(opening({ scale: '1/255' }, 'N', 3, 32, 32)).toThrow(
      '"scale": invalid input: expected number, received string',
    );
    expect(opening({ maen: 1 }, 'N', 3, 32, 32)).toThrow('unknown key "maen"; known are format, files, layout, scale');
    expect(opening({ files: ['none.bin'] }, 'N', 3, 32, 32)).toThrow('there is no file "none.bin"');
    expect(opening({ metric: 'mse' }, 'N', 3, 32, 32)).toThrow('metric "mse" needs targets');
    file('odd.bin', new Uint8Array(3000));
    expect(opening({ files: ['odd.bin'] }, 'N', 3, 32, 32)).toThrow(/has 3000 bytes: .* multiple of 3073/);
    expect(() => openDataset(join(folder, 'three.bin'), input('N', 3, 32, 32))).toThrow(
      /neither a .json manifest nor a .npz or .npy.*cifar10-binary/,
    );
    expect(() => openDataset(folder, input('N', 3, 32, 32))).toThrow(/is a folder: .*"format":"images"/);
    expect(() => openDataset(file('text.json', '{'), input(1))).toThrow('is not JSON');
    expect(() => openDataset(join(folder, 'no.json'), input(1))).toThrow(PareError);
  });

  test('the fingerprint follows the pixels and the preprocessing, not the place', async () => {
    cifar();
    const d = openDataset(
      manifest('f.json', { format: 'cifar10-binary', files: ['three.bin'] }),
      input('N', 3, 32, 32),
    );
    const one = await d.fingerprint();
    expect(await openDataset(join(folder, 'f.json'), input('N', 3, 32, 32)).fingerprint()).toBe(one);
    expect(await d.with({ scale: 0.5 }).fingerprint()).not.toBe(one);
    const bytes = ramp(3073);
    file('three.bin', bytes);
    expect(await openDataset(join(folder, 'f.json'), input('N', 3, 32, 32)).fingerprint()).not.toBe(one);
  });
});

describe('IDX', () => {
  const idx = (dims: number[], data: Uint8Array): Uint8Array => {
    const head = new Uint8Array(4 + 4 * dims.length);
    head[2] = 8;
    head[3] = dims.length;
    dims.forEach((d, i) => new DataView(head.buffer).setUint32(4 + 4 * i, d));
    return Uint8Array.from([...head, ...data]);
  };

  test('images and labels, gzipped or not, flat or with a channel axis in front or behind', () => {
    file('img', idx([3, 4, 5], ramp(60)));
    file('lab.gz', gzipSync(idx([3], Uint8Array.of(2, 0, 1))));
    const path = manifest('i.json', { format: 'idx', files: ['img', 'lab.gz'] });
    for (const dims of [
      ['N', 1, 4, 5],
      ['N', 4, 5, 1],
      ['N', 4, 5],
      ['N', 20],
      ['N', 'C', 'H', 'W'],
    ]) {
      const d = openDataset(path, input(...dims));
      expect(values(d, [2, 1])).toEqual([...ramp(60).subarray(40), ...ramp(60).subarray(20, 40)]);
      expect(d.batch([2, 1]).inputs.get('x')!.dims.slice(1)).toEqual(
        dims.slice(1).map((v, i) => (typeof v === 'number' ? v : [1, 4, 5][i])),
      );
      expect([...d.labels!]).toEqual([2, 0, 1]);
    }
    expect(openDataset(path, input(1, 1, 4, 5)).fixedBatch).toBe(1);
    expect(openDataset(path, input(1, 4, 5)).fixedBatch).toBe(1);
    expect(
      openDataset(path, input(1, 4, 5))
        .batch([1])
        .inputs.get('x')!.dims,
    ).toEqual([1, 4, 5]);
  });

  test('wrong files are sentences', () => {
    const opening =
      (name: string, ...more: string[]) =>
      () =>
        openDataset(manifest('i.json', { format: 'idx', files: [name, ...more] }), input('N', 20));
    file('short', idx([3, 4, 5], ramp(59)));
    file('few', idx([2], ramp(2)));
    expect(opening('short')).toThrow('its header says [3, 4, 5], 60 bytes, but 59 follow');
    expect(opening('img', 'few')).toThrow('3 images, but 2 labels');
    expect(opening('few')).toThrow('no file holds images');
    expect(opening('text.json')).toThrow('is no IDX file');
  });
});

describe('NumPy arrays', () => {
  test('any type, order and byte order gives the same numbers', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }), fc.nat(), (dims, seed) => {
        const n = dims.reduce((a, b) => a * b, 1);
        const data = Float64Array.from({ length: n }, (_, i) => ((seed % 1000) + i * 31) % 997);
        expect([...parseNumpy(npy(dims, data), 'a').data]).toEqual([...data]);
        // Fortran order: the transposed array read backwards through its axes
        const fortran = new Float64Array(n);
        for (let i = 0; i < n; i++) {
          let rest = i;
          let at = 0;
          const index = dims.toReversed().map((d) => {
            const k = rest % d;
            rest = Math.floor(rest / d);
            return k;
          });
          index.reverse().reduce((stride, k, axis) => ((at += k * stride), stride * dims[axis]!), 1);
          fortran[at] = data[i]!;
        }
        expect([...parseNumpy(npy(dims, fortran, { fortran: true }), 'a').data]).toEqual([...data]);
        const big = new Uint8Array(data.slice().buffer);
        for (let i = 0; i < big.length; i += 8) big.subarray(i, i + 8).reverse();
        expect([...parseNumpy(npy(dims, big, { descr: '>f8' }), 'a').data]).toEqual([...data]);
      }),
    );
  });

  test('x and y without a manifest; channels are moved where the network wants them', () => {
    const x = Float32Array.from({ length: 2 * 3 * 4 * 5 }, (_, i) => i / 7);
    const path = file('d.npz', npz({ x: npy([2, 3, 4, 5], x), y: npy([2], BigInt64Array.of(1n, 0n)) }));
    const d = openDataset(path, input('N', 3, 4, 5));
    expect([d.size, d.metric, [...d.labels!]]).toEqual([2, 'top1', [1, 0]]);
    expect(values(d, [0, 1])).toEqual([...x]);
    const nhwc = values(openDataset(path, input('N', 4, 5, 3)), [1]);
    expect(nhwc[3 * 7 + 2]).toBe(x[60 + 2 * 20 + 7]);
    expect(() => openDataset(path, input('N', 3, 5, 5))).toThrow(/gives samples of \[3, 4, 5\], but .* \[N, 3, 5, 5\]/);
  });

  test('several inputs by name, integers exact, one-hot labels, targets, own preprocessing', () => {
    const ids = BigInt64Array.of(2n ** 60n, 1n, 2n, 3n);
    const arrays = { ids: npy([2, 2], ids), img: npy([2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)) };
    file('m.npz', npz({ ...arrays, hot: npy([2, 3], Uint8Array.of(0, 0, 1, 0, 1, 0)) }));
    file('t.npz', npz({ t: npy([2, 1], Float32Array.of(0.5, -1)) }));
    const two: ValueMeta[] = [
      { name: 'tokens', dataType: DataType.INT64, dims: ['N', 2] },
      { name: 'pixels', dataType: DataType.FLOAT16, dims: ['N', 1, 3] },
    ];
    const inputs = { tokens: 'ids', pixels: { array: 'm.npz:img', scale: 2, mean: 1 } };
    const d = openDataset(manifest('m.json', { format: 'npz', files: ['m.npz'], inputs, labels: 'hot' }), two);
    expect([...d.batch([0]).inputs.get('tokens')!.data]).toEqual([2n ** 60n, 1n]);
    expect(d.batch([1]).inputs.get('pixels')).toMatchObject({ dataType: DataType.FLOAT16, dims: [1, 1, 3] });
    expect(values(d, [1], 'pixels')).toEqual([7, 9, 11]);
    expect([...d.labels!]).toEqual([2, 1]);
    const t = openDataset(manifest('t.json', { format: 'npz', files: ['m.npz'], inputs, labels: 't.npz:t' }), two);
    expect([t.metric, t.labels, [...t.batch([1, 0]).targets!]]).toEqual(['mse', undefined, [-1, 0.5]]);
    const missing = manifest('n.json', { format: 'npz', files: ['m.npz'], inputs: { tokens: 'idz' } });
    expect(() => openDataset(missing, two)).toThrow('there is no array "idz"; the file has ids, img, hot');
    const half = manifest('h.json', { format: 'npz', files: ['m.npz'], inputs: { tokens: 'ids' } });
    expect(() => openDataset(half, two)).toThrow(
      /inputs are "tokens", "pixels", but the data give "tokens"; name an array/,
    );
    // without a manifest, arrays named as the inputs
    file('named.npz', npz({ tokens: arrays.ids, pixels: arrays.img }));
    expect(values(openDataset(join(folder, 'named.npz'), two), [0], 'pixels')).toEqual([1, 2, 3]);
  });

  test('unequal lengths, wrong types and broken archives are sentences', () => {
    const open = (bytes: Uint8Array) => () => openDataset(file('bad.npz', bytes), input('N', 2));
    const x = npy([2, 2], Float32Array.of(1, 2, 3, 4));
    expect(open(npz({ x, y: npy([3], Int32Array.of(1, 2, 3)) }))).toThrow(
      /has 3 samples, but all must have the same number \(x 2, y 3\)/,
    );
    expect(open(npz({ x: npy([1], Uint8Array.of(1), { descr: '|O' }) }))).toThrow(
      "has NumPy type '|O', which cannot be read",
    );
    expect(open(npz({ x: x.subarray(0, x.length - 1) }))).toThrow('its header says [2, 2], 16 bytes, but 15 follow');
    expect(open(Uint8Array.of(1, 2, 3))).toThrow('is no .npz file');
  });
});

describe('folders of images', () => {
  const png = (path: string, height: number, width: number, rgb: readonly number[]): void => {
    const image = new PNG({ width, height });
    for (let i = 0; i < height * width; i++) image.data.set([...rgb, 255], 4 * i);
    writeFileSync(path, PNG.sync.write(image));
  };

  test('classes by name, PNG and JPEG, any size, resized to the network; nothing but the centre with crop', () => {
    const root = join(folder, 'photos');
    for (const label of ['cat', 'ant']) mkdirSync(join(root, label), { recursive: true });
    png(join(root, 'cat', '1.png'), 9, 14, [200, 100, 50]);
    const gray = { width: 16, height: 16, data: new Uint8Array(16 * 16 * 4).fill(128) };
    writeFileSync(join(root, 'ant', '2.jpg'), jpeg.encode(gray, 95).data);
    const path = manifest('p.json', { format: 'images', files: ['photos'], scale: 0.5, mean: [1, 2, 3] });
    const d = openDataset(path, input('N', 3, 8, 6));
    expect([d.size, [...d.labels!], d.classes]).toEqual([2, [0, 1], ['ant', 'cat']]);
    const cat = values(d, [1]);
    expect([cat[0], cat[48], cat[96], cat.length]).toEqual([99, 48, 22, 144]);
    expect(values(d, [0]).every((v, i) => Math.abs(v - (64 - Math.floor(i / 48) - 1)) <= 0.5)).toBe(true);
    const ordered = manifest('o.json', { format: 'images', files: ['photos'], classes: ['dog', 'cat', 'ant'] });
    expect([...openDataset(ordered, input('N', 4, 4, 3)).labels!]).toEqual([1, 2]);
    expect(
      openDataset(ordered, input('N', 1, 4, 4))
        .batch([0])
        .inputs.get('x')!.dims,
    ).toEqual([1, 1, 4, 4]);
    const wrong = manifest('w.json', { format: 'images', files: ['photos'], classes: ['dog', 'cat'] });
    expect(() => openDataset(wrong, input('N', 4, 4, 3))).toThrow('folder "ant" is not among "classes" (dog, cat)');
    const open = manifest('u.json', { format: 'images', files: ['photos/cat'] });
    expect(openDataset(open, input('N', 3, 4, 4)).labels).toBeUndefined();
    expect(() => openDataset(open, input('N', 3, 'h', 'w'))).toThrow('the network leaves the image size open');
    const small = manifest('s.json', { format: 'images', files: ['photos'], resize: 4, crop: 8 });
    expect(() => openDataset(small, input('N', 3, 8, 8)).batch([1])).toThrow(
      'is 4 x 6 after "resize", smaller than the 8 x 8',
    );
    file('photos/cat/broken.png', Uint8Array.of(0x89, 1, 2));
    expect(() => openDataset(path, input('N', 3, 8, 6)).batch([1, 2])).toThrow(/broken.png" cannot be decoded/);
  });

  test('resizing keeps constants and is the identity at equal size', () => {
    const size = fc.integer({ min: 1, max: 20 });
    fc.assert(
      fc.property(size, size, size, size, fc.integer({ min: 0, max: 255 }), (h, w, h2, w2, v) => {
        const flat = { height: h, width: w, channels: 3, data: new Uint8Array(h * w * 3).fill(v) };
        expect(resizeTo(flat, h2, w2).data).toEqual(new Uint8Array(h2 * w2 * 3).fill(v));
        const noisy = { ...flat, data: ramp(h * w * 3) };
        expect(resizeTo(noisy, h, w).data).toEqual(noisy.data);
        expect(Math.min(resizeShorter(noisy, h2).height, resizeShorter(noisy, h2).width)).toBe(h2);
      }),
    );
    // by hand: taps 0.75, 0.75, 0.25 over 1.75, so 20 / 1.75 = 11.4 along a row and 80 / 1.75 = 45.7 down
    const sixteen = { height: 4, width: 4, channels: 1, data: Uint8Array.from({ length: 16 }, (_, i) => 16 * i) };
    expect([...resizeTo(sixteen, 2, 2).data]).toEqual([57, 83, 157, 183]);
    expect([...cropCentre(sixteen, 2, 2).data]).toEqual([80, 96, 144, 160]);
  });
});

describe('batches', () => {
  test('a fixed batch is filled by repeating, and every sample counts once', () => {
    cifar();
    const path = manifest('b.json', { format: 'cifar10-binary', files: ['three.bin', 'three.bin'] });
    const fixed = openDataset(path, input(4, 3, 32, 32));
    expect(chunksOf(fixed, [0, 1, 2, 3, 4, 5], 32)).toEqual([
      { indices: [0, 1, 2, 3], count: 4 },
      { indices: [4, 5, 5, 5], count: 2 },
    ]);
    const open = openDataset(path, input('N', 3, 32, 32));
    expect(chunksOf(open, [5, 1, 0], 2)).toEqual([
      { indices: [5, 1], count: 2 },
      { indices: [0], count: 1 },
    ]);
  });

  test('a split is a partition, seeded', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 300 }),
        fc.string(),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (n, seed, share) => {
          const { fit, score } = splitDataset(n, createRng(seed), share);
          expect([...fit, ...score].toSorted((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
          expect(Math.min(fit.length, score.length)).toBeGreaterThan(0);
          expect(splitDataset(n, createRng(seed), share)).toEqual({ fit, score });
        },
      ),
    );
    expect(splitDataset(100, createRng(1))).not.toEqual(splitDataset(100, createRng(2)));
  });
});
