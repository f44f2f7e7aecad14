// From a model in memory to something a runtime opens: its bytes, or a file when protobuf's limit of 2 GB is passed.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { byteLength } from '../ir/tensor.js';
import type { Model } from '../ir/graph.js';
import { encodeModel, writeModel } from '../onnx/write.js';
import type { ModelSource } from './runtime.js';

/** Calls `use` with bytes or a path. */
export async function withFileOrBytes<T>(
  model: ModelSource,
  use: (source: Uint8Array | string) => Promise<T>,
): Promise<T> {
  if (typeof model === 'string' || model instanceof Uint8Array) return use(model);
  if (weightBytes(model) < INLINE_LIMIT) return use(encodeModel(model));
  const folder = mkdtempSync(join(tmpdir(), 'pare-'));
  try {
    const path = join(folder, 'model.onnx');
    writeModel(model, path, { external: 'always' });
    return await use(path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Below protobuf's 2 GiB with room for the graph; bytes and session would otherwise both be held. */
const INLINE_LIMIT = 2 ** 30;

function weightBytes(model: Model): number {
  let bytes = 0;
  for (const t of model.graph.initializers.values()) bytes += byteLength(t.dataType, t.dims);
  return bytes;
}
