// From a model in memory to something a runtime opens: its bytes, or a file when protobuf's limit of 2 GB is passed.

import type { ModelSource } from './runtime.js';

/** Calls `use` with bytes or a path. */
export async function withFileOrBytes<T>(
  model: ModelSource,
  use: (source: Uint8Array | string) => Promise<T>,
): Promise<T> {
  if (typeof model === 'string' || model instanceof Uint8Array) return use(model);
  throw new Error('src/onnx/write.ts has not landed');
}
