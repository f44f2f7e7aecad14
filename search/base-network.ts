// What candidates are made of: the model as every part of a run sees it, so that a genome means the same to all of them.
import { prepare } from '../src/analysis/prepare.js';
import type { Model } from '../src/ir/graph.js';
import type { OpTable } from '../src/ops/op.js';
import { withFloatWeights } from '../src/recovery/quantized-weights.js';

/** Prepared for analysis, with quantised weights as floats, and which those were. */
export function baseNetwork(model: Model, table: OpTable): ReturnType<typeof withFloatWeights> {
  return withFloatWeights(prepare(model, table));
}
