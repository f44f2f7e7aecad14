// From a model in memory to something a runtime opens: its bytes, or a file when protobuf's limit of 2 GiB is passed.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Graph, Model, ValueInfo } from '../ir/graph.js';
import { byteLength, DataType } from '../ir/tensor.js';
import { encodeModel, writeModel } from '../onnx/write.js';
import type { ModelSource, ValueMeta } from './runtime.js';

/** Below protobuf's 2 GiB with room for the graph; bytes and session would otherwise both be held. */
const MAX_INLINE_BYTES = 2 ** 30;

/** Calls `use` with bytes or a path; a temporary file lives as long as the call. */
export async function withFileOrBytes<T>(
  model: ModelSource,
  use: (source: Uint8Array | string) => Promise<T>,
  maxInlineBytes = MAX_INLINE_BYTES,
): Promise<T> {
  if (typeof model === 'string' || model instanceof Uint8Array) return use(model);
  if (weightBytes(model.graph) <= maxInlineBytes) return use(encodeModel(model));
  const folder = mkdtempSync(join(tmpdir(), 'pare-'));
  try {
    const path = join(folder, 'model.onnx');
    writeModel(model, path, { external: 'always' });
    return await use(path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What has to be fed: the graph's inputs without those that have an initializer, as a Session would list them. */
export function modelInputs(model: Model): readonly ValueMeta[] {
  return model.graph.inputs.filter((v) => !model.graph.initializers.has(v.name)).map(metaOf);
}

export function modelOutputs(model: Model): readonly ValueMeta[] {
  return model.graph.outputs.map(metaOf);
}

function metaOf({ name, type }: ValueInfo): ValueMeta {
  if (type === undefined || type.kind !== 'tensor') return { name, dataType: DataType.UNDEFINED, dims: [] };
  const dims = (type.shape ?? []).map((d) => d ?? '');
  return { name, dataType: type.elemType, dims };
}

function weightBytes(graph: Graph): number {
  let total = 0;
  for (const t of graph.initializers.values()) total += byteLength(t.dataType, t.dims);
  return total;
}
