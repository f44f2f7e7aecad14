// grad_norm: sum over layers of the Euclidean norm of the loss' gradient (Abdelfattah et al., ICLR 2021).
import { norm } from './l2-norm.js';
import type { LayerGradient } from './probe.js';
import type { Proxy } from './proxy.js';

export const gradNorm: Proxy = {
  name: 'grad_norm',
  needs: 'gradients',
  score: async (probe) => gradNormOf((await probe.lossPass()).layers),
};

export function gradNormOf(layers: readonly Pick<LayerGradient, 'gradient'>[]): number {
  return layers.reduce((sum, { gradient }) => sum + norm(gradient), 0);
}
