// What tests and benches of whole runs share: the command line as it was built, the shipped example with few of its images, and the
// content of a run's folder. Without vitest, so that benches can use it too.
import { copyFileSync, existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from './shared-path.js';

export const builtProgram: string = join(projectRoot, 'dist', 'src', 'cli', 'main.js');

const example = join(projectRoot, 'examples', 'shapes');
const FILES = { calib: 'shapes-train.npz', test: 'shapes-test.npz' } as const;

/** Puts net.onnx, and calib.json and test.json with so many images, into the folder. */
export function smallExample(folder: string, images: Readonly<Partial<Record<keyof typeof FILES, number>>>): void {
  copyFileSync(join(example, 'shapes-resnet.onnx'), join(folder, 'net.onnx'));
  for (const name of ['calib', 'test'] as const) {
    const limit = images[name];
    if (limit === undefined) continue;
    copyFileSync(join(example, FILES[name]), join(folder, FILES[name]));
    // The cast: our own manifest, of which only `limit` changes.
    const manifest = JSON.parse(readFileSync(join(example, `${name}.json`), 'utf8')) as object;
    writeFileSync(join(folder, `${name}.json`), JSON.stringify({ ...manifest, limit }));
  }
}

/** Every file of a run's folder but run.json; of the reports, all but their volatile block. */
export function contentOf(out: string): Map<string, string> {
  return new Map(
    readdirSync(out, { recursive: true, encoding: 'utf8' })
      .filter((name) => name !== 'run.json' && statSync(join(out, name)).isFile())
      .sort()
      .map((name) => [name, withoutVolatile(readFileSync(join(out, name)).toString('latin1'))]),
  );
}

/** Lines of the archive so far. */
export function archivedLines(out: string): number {
  const path = join(out, 'archive.jsonl');
  return existsSync(path) ? readFileSync(path, 'utf8').split('\n').length - 1 : 0;
}

function withoutVolatile(text: string): string {
  return text.replace(/<!-- volatile: begin -->[^]*?<!-- volatile: end -->/g, '');
}
