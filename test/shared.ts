// For tests that need the shared data: they are skipped, by name, where it is absent.

import { describe } from 'vitest';
import { hasShared } from './shared-path.js';

export { hasShared, projectRoot, sharedPath } from './shared-path.js';

/**
 * `describe`, skipped where one of the paths below `../shared` is missing:
 * `describeShared('reads every public model', ['models'], () => { ... })`.
 * `body` runs even then, to collect the names of the tests: read files inside tests or `beforeAll`, not in `body`.
 */
export function describeShared(name: string, needs: readonly string[], body: () => void): void {
  const missing = needs.filter((path) => !hasShared(path));
  const note = missing.length > 0 ? ` (skipped: no ${missing.map((path) => `../shared/${path}`).join(', ')})` : '';
  describe.skipIf(missing.length > 0)(name + note, body);
}
