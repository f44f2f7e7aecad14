// Optimizer steps of the domain ai.onnx.preview.training: each updates n tensors and their state in one node.
// https://onnx.ai/onnx/operators/index.html#ai-onnx-preview-training
import type { OpDef } from './op.js';
import { range } from './partial.js';

/** Inputs R, T, then n each of: tensor, gradient, and `states` kinds of state; outputs n each of tensor and states. */
function optimizerStep(opType: string, states: number): OpDef {
  return {
    opType,
    domain: 'ai.onnx.preview.training',
    category: 'other',
    shape: (ctx) => {
      const n = (ctx.arity - 2) / (2 + states);
      const tensors = range(n).map((i) => ctx.type(2 + i));
      return range(1 + states).flatMap(() => tensors);
    },
  };
}

export const trainingDomainOps: readonly OpDef[] = [
  optimizerStep('Adagrad', 1),
  optimizerStep('Momentum', 1),
  optimizerStep('Adam', 2),
];
