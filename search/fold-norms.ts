// A network that is about to be trained on, without its normalisations where they can be written into the layers beside them: after a
// least-squares refit their statistics are no longer those of a batch, and training starts where the refit ended only without them.
import type { Model } from '../src/ir/graph.js';
import type { OpTable } from '../src/ops/op.js';
import { foldBatchNorm } from './mutations/fold-batch-norm.js';
import type { MutationContext } from './mutations/mutation.js';
import { surgeryWith } from './replay.js';

/** The same function, with BatchNormalizations folded into layers as far as they go. */
export function withFoldedNorms(model: Model, table: OpTable): Model {
  const surgery = surgeryWith(table);
  const mutation = foldBatchNorm();
  let folded = model;
  for (;;) {
    const context: MutationContext = {
      analysis: surgery.analyse(folded),
      ignore: () => false,
      roundTo: 1,
      maxRatio: 1,
    };
    const next = mutation.apply({}, context);
    // normalisations in a row are folded one at a time
    if (normsOf(next) === normsOf(folded)) return folded;
    folded = next;
  }
}

function normsOf(model: Model): number {
  return model.graph.nodes.filter((n) => n.opType === 'BatchNormalization').length;
}
