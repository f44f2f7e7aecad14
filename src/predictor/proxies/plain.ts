// plain: the signed sum of weights times their gradients (Mozer and Smolensky 1989; Abdelfattah et al., ICLR 2021).
import type { LayerGradient } from './probe.js';
import type { Proxy } from './proxy.js';

export const plain: Proxy = {
  name: 'plain',
  needs: 'gradients',
  score: async (probe) => plainOf((await probe.lossPass()).layers),
};

export function plainOf(layers: readonly Pick<LayerGradient, 'weights' | 'gradient'>[]): number {
  let sum = 0;
  for (const { weights, gradient } of layers) weights.forEach((w, i) => (sum += w * gradient[i]!));
  return sum;
}
