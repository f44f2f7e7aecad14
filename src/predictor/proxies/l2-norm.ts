// l2_norm: sum over layers of the Euclidean norm of the weights (Abdelfattah et al., ICLR 2021).
import { readFloats } from '../../ir/tensor.js';
import { weightNames } from './probe.js';
import type { Proxy } from './proxy.js';

export const l2Norm: Proxy = {
  name: 'l2_norm',
  needs: 'weights',
  score: ({ network }) =>
    weightNames(network).reduce((sum, name) => sum + norm(readFloats(network.model.graph.initializers.get(name)!)), 0),
};

export function norm(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!;
  return Math.sqrt(sum);
}
