// snip: how much the loss reacts to masking single weights, the sum of |weight times gradient| (Lee et al., ICLR 2019).
import type { LayerGradient } from './probe.js';
import type { Proxy } from './proxy.js';

export const snip: Proxy = {
  name: 'snip',
  needs: 'gradients',
  score: async (probe) => snipOf((await probe.lossPass()).layers),
};

export function snipOf(layers: readonly Pick<LayerGradient, 'weights' | 'gradient'>[]): number {
  let sum = 0;
  for (const { weights, gradient } of layers) weights.forEach((w, i) => (sum += Math.abs(w * gradient[i]!)));
  return sum;
}
