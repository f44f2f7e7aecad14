// What a network that was just refitted is trained with when it is to give its original's outputs: gentle steps, because it starts
// close to where it should end. Found on ResNet-20 at 50 % of its MACs (CIFAR-10, batches of 64, 300 steps): AdamW at 3e-4 raises it,
// at 1e-3 it has not come back to where it started, nor has Nesterov momentum at 0.01. Deeper ones take less: a trial decides.
import { concreteShape, inferShapes } from '../analysis/shapes.js';
import type { Dataset } from '../data/dataset.js';
import type { Model } from '../ir/graph.js';
import { DataType, elementCount } from '../ir/tensor.js';
import type { OpTable } from '../ops/op.js';
import type { Loss } from './loss.js';
import { cosine, warmUp } from './schedule.js';
import type { LossTerm } from './step.js';
import type { TrainOptions } from './trainer.js';

/** Normalisations are best folded into the layers before (search/fold-norms.ts): a refit does not keep a batch's statistics. */
export const distillation = {
  optimizer: { kind: 'adamw', decay: 1e-4 },
  rate: [3e-4, 1e-4, 3e-5, 1e-5],
  batch: 64,
  // the optimizer's slots know nothing at first
  schedule: warmUp(0.03, cosine),
  clip: 5,
  average: 0.99,
} as const satisfies Pick<TrainOptions, 'optimizer' | 'rate' | 'batch' | 'schedule'> & {
  readonly clip: number;
  readonly average: number;
};

/** Every output is to be met: where there are several, each relative to its size. Empty where the trainer's own choice does. */
export function lossOfAllOutputs(
  model: Model,
  dataset: Dataset,
): { readonly loss?: Loss; readonly also?: readonly LossTerm[] } {
  const floats = model.graph.outputs.filter((o) => o.type?.kind === 'tensor' && o.type.elemType === DataType.FLOAT);
  if (dataset.output !== undefined || floats.length < 2 || floats[0] !== model.graph.outputs[0]) return {};
  const loss: Loss = { kind: 'mse', relative: true };
  return { loss, also: floats.slice(1).map(({ name }) => ({ name, value: name, loss, weight: 1 })) };
}

/** Every value is kept for the way back, and gradients come on top. */
const COPIES = 3;

/** As many samples a step as fit into this memory, from what the values of one sample take; at most the usual number. */
export function batchThatFits(model: Model, table: OpTable, bytes = 2 ** 31): number {
  const shapes = inferShapes(model, table, { dynamic: 1 });
  const names = model.graph.nodes.flatMap((n) => n.outputs);
  const each = names.reduce((sum, name) => sum + 4 * elementCount(concreteShape(shapes, name) ?? []), 0);
  return Math.max(1, Math.min(distillation.batch, Math.floor(bytes / (COPIES * each))));
}
