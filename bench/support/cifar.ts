// The shared CIFAR-10 images and networks as benches use them: manifests with each network's own preprocessing.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sharedPath } from '../../test/shared-path.js';

interface Preprocessing {
  readonly layout: 'NCHW' | 'NHWC';
  readonly scale: number;
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
}

const imagenet = { layout: 'NCHW', scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;
const cifarMean = [0.4914, 0.4822, 0.4465];

/** Preprocessing of the shared classifiers, from models/INDEX.md. */
export const networks: Readonly<Record<string, { readonly file: string } & Preprocessing>> = {
  resnet56: { file: 'cifar10-resnet56.onnx', ...imagenet },
  resnet20: { file: 'cifar10-resnet20.onnx', ...imagenet },
  mobilenetv2: {
    file: 'cifar10-mobilenetv2-w0.5.onnx',
    layout: 'NCHW',
    scale: 1 / 255,
    mean: cifarMean,
    std: [0.247, 0.2435, 0.2616],
  },
  densenet: {
    file: 'cifar10-densenet-6-12-24.onnx',
    layout: 'NCHW',
    scale: 1 / 255,
    mean: cifarMean,
    std: [0.2023, 0.1994, 0.201],
  },
  resnet8: { file: 'mlperf-tiny-resnet8-cifar10.onnx', layout: 'NHWC', scale: 1 },
  vit: { file: 'vit-cifar10-ibp.onnx', layout: 'NCHW', scale: 1 / 255, mean: cifarMean, std: [0.2023, 0.1994, 0.201] },
};

export interface Task {
  readonly name: string;
  readonly model: string;
  /** Manifests: calibration from the train files, and the 5,000 test images that are only ever measured at the end. */
  readonly data: string;
  readonly test: string;
}

/** The model's path and manifests written to a scratch folder; images are unpacked once per machine. */
export function cifarTask(name: string): Task {
  const network = networks[name];
  if (network === undefined) throw new Error(`no network "${name}": ${Object.keys(networks).join(', ')}`);
  const { file, ...preprocessing } = network;
  const images = join(tmpdir(), 'pare-cifar10');
  mkdirSync(images, { recursive: true });
  execFileSync('sh', [sharedPath('images', 'unpack'), images]);
  const folder = mkdtempSync(join(tmpdir(), 'pare-task-'));
  const write = (label: string, files: readonly string[]): string => {
    const path = join(folder, `${label}.json`);
    const manifest = {
      format: 'cifar10-binary',
      files: files.map((f) => join(images, f)),
      ...preprocessing,
      metric: 'top1',
    };
    writeFileSync(path, JSON.stringify(manifest));
    return path;
  };
  return {
    name,
    model: sharedPath('models', file),
    data: write(
      'train',
      [1, 2, 3, 4].map((k) => `cifar10-train-${k}.bin`),
    ),
    test: write('test', ['cifar10-test.bin']),
  };
}
