// Where the shared data lies (public models, images, tables; not part of the repository): `../shared` from the project's
// root. Without vitest, so that benches and scripts can use it too.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder that holds package.json, from the sources and from `dist` alike. */
export const projectRoot: string = findRoot(dirname(fileURLToPath(import.meta.url)));

/** `sharedPath('models', 'INDEX.md')` is the absolute path of `../shared/models/INDEX.md`. */
export function sharedPath(...parts: string[]): string {
  return join(dirname(projectRoot), 'shared', ...parts);
}

/** Whether that file or folder is there. */
export function hasShared(...parts: string[]): boolean {
  return existsSync(sharedPath(...parts));
}

function findRoot(folder: string): string {
  if (existsSync(join(folder, 'package.json'))) return folder;
  const parent = dirname(folder);
  if (parent === folder) throw new Error('No package.json above this file: run it from a checkout.');
  return findRoot(parent);
}
