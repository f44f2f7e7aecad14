// The shared CIFAR-10 images, unpacked once into the temporary folder (they are packed with xz, which Pare does not read).
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hasShared, sharedPath } from './shared-path.js';

/** The path of `cifar10-test.bin`, `cifar10-train-1.bin` ...: 5,000 and 10,000 records. Needs `xz`. */
export function cifarFile(name: string): string {
  const folder = join(tmpdir(), 'pare-test-data');
  const path = join(folder, name);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  const bytes = execFileSync('xz', ['-dc', sharedPath('images', `${name}.xz`)], { maxBuffer: 2 ** 27 });
  const part = `${path}.${process.pid}`;
  writeFileSync(part, bytes);
  renameSync(part, path);
  return path;
}

/** Writes a manifest of CIFAR-10 files for a network with this preprocessing, and returns its path. */
export function cifarManifest(folder: string, files: readonly string[], more: object): string {
  const path = join(folder, `cifar-${Object.values(more).flat().join('-')}.json`);
  writeFileSync(path, JSON.stringify({ format: 'cifar10-binary', files: files.map(cifarFile), ...more }));
  return path;
}

/** Preprocessing of the shared networks, from models/INDEX.md. */
export const preparations = {
  resnet: { scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  mobilenet: { scale: 1 / 255, mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616] },
  densenet: { scale: 1 / 255, mean: [0.4914, 0.4822, 0.4465], std: [0.2023, 0.1994, 0.201] },
  plain: { scale: 1 / 255 },
  raw: {},
} as const;

/** Whether the shared images can be unpacked here. */
export function hasCifar(): boolean {
  if (!hasShared('images', 'cifar10-test.bin.xz')) return false;
  try {
    execFileSync('xz', ['--version']);
    return true;
  } catch {
    return false;
  }
}
