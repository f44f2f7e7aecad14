// fisher: expected second-order loss change of removing each channel, spread over its weights (Theis et al. 2018; Turner et al.,
// ICLR 2020): half the mean over samples of (sum over positions of activation times gradient) squared.
import type { LayerGradient } from './probe.js';
import type { Proxy } from './proxy.js';

export const fisher: Proxy = {
  name: 'fisher',
  needs: 'gradients',
  score: async (probe) => fisherOf((await probe.lossPass()).layers),
};

export function fisherOf(layers: readonly Pick<LayerGradient, 'perChannel' | 'products'>[]): number {
  let total = 0;
  for (const { perChannel, products } of layers) {
    // [N, C]: the sum over channels of the means over samples
    const samples = products.dims[0] ?? 1;
    let squares = 0;
    for (const g of products.values) squares += g * g;
    total += (perChannel * squares) / (2 * samples);
  }
  return total;
}
