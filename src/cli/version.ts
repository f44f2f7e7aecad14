// Pare's own version.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

/** The version in the package.json above this file, from the sources and from `dist` alike. */
export function packageVersion(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    try {
      const json: unknown = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
      return z.object({ name: z.literal('pare-onnx'), version: z.string() }).parse(json).version;
    } catch (error) {
      if (folder === dirname(folder)) throw new Error('package.json of pare-onnx is missing', { cause: error });
    }
  }
}
