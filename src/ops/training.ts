// ONNX's own training operators (ai.onnx.preview.training): optimizer steps on n tensors at once, and Gradient.
import type { ValueType } from '../ir/graph.js';
import type { OpDef, ShapeRule } from './op.js';

const DOMAIN = 'ai.onnx.preview.training';

/** Inputs: rate, step count, then `states + 2` lists of n tensors (weights, gradients, states); outputs: new weights and states. */
function optimizer(opType: string, states: number): OpDef {
  return {
    opType,
    domain: DOMAIN,
    category: 'other',
    shape: (ctx) => {
      const n = Math.floor((ctx.arity - 2) / (states + 2));
      const types: (ValueType | undefined)[] = [];
      for (let list = 0; list <= states; list++) for (let k = 0; k < n; k++) types.push(ctx.type(2 + k));
      return types;
    },
  };
}

/** One gradient per name in `xs`, which are the first inputs. */
const gradient: ShapeRule = (ctx) => ctx.node.outputs.map((_, k) => ctx.type(k));

export const trainingOps: readonly OpDef[] = [
  optimizer('Adagrad', 1),
  optimizer('Momentum', 1),
  optimizer('Adam', 2),
  { opType: 'Gradient', domain: DOMAIN, category: 'other', shape: gradient },
];
