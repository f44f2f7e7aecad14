// What a network that was just refitted is trained with when it is to give its original's outputs: gentle steps, because it starts
// close to where it should end. Found on ResNet-20 at 50 % of its MACs (CIFAR-10, batches of 64, 300 steps): AdamW at 3e-4 raises it,
// at 1e-3 it has not come back to where it started, nor has Nesterov momentum at 0.01.
import type { TrainOptions } from './trainer.js';
import { cosine, warmUp } from './schedule.js';

/** Normalisations are best folded into the layers before (search/fold-norms.ts): a refit does not keep a batch's statistics. */
export const distillation = {
  optimizer: { kind: 'adamw', decay: 1e-4 },
  rate: 3e-4,
  batch: 64,
  // the optimizer's slots know nothing at first
  schedule: warmUp(0.03, cosine),
  clip: 5,
  average: 0.99,
} as const satisfies Pick<TrainOptions, 'optimizer' | 'rate' | 'batch' | 'schedule'> & {
  readonly clip: number;
  readonly average: number;
};
