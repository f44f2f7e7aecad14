// Copies what `tsc` does not: files that code loads at run time from beside itself. Runs after `tsc`, as part of
// `npm run build`. A listed file or folder that does not exist is skipped.

import { cpSync, existsSync } from 'node:fs';

const assets = ['src/onnx/onnx.proto', 'src/predictor/weights', 'search/segments/library.json'];

const root = new URL('../', import.meta.url);
for (const asset of assets) {
  const from = new URL(asset, root);
  if (existsSync(from)) cpSync(from, new URL(`dist/${asset}`, root), { recursive: true });
}
