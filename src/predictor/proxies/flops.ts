// flops: multiply-accumulates of one forward pass of one sample, as NAS-Bench-Suite-Zero calls them.
import { countCost } from '../../analysis/cost.js';
import type { Probe } from './probe.js';
import type { Proxy } from './proxy.js';

export const flops: Proxy = { name: 'flops', needs: 'shapes', score: macsPerSample };

export function macsPerSample({ network, table, batch }: Probe): number {
  const samples = [...batch.inputs.values()][0]?.dims[0] ?? 1;
  return countCost(network.model, table, network.shapes).macs / samples;
}
