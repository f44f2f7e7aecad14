// Where the entry files of threads and processes lie: they are loaded as JavaScript.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** `worker` or `child` beside this file; from sources (tests), the built file. */
export function entryFile(name: 'worker' | 'child'): string {
  const beside = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
  const built = fileURLToPath(new URL(`../../dist/src/runtime/${name}.js`, import.meta.url));
  const file = [beside, built].find(existsSync);
  if (file === undefined) throw new Error(`dist/src/runtime/${name}.js is missing: run "npm run build" first`);
  return file;
}
