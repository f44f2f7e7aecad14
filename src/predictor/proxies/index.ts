// The zero-cost proxies: all thirteen of NAS-Bench-Suite-Zero (methods.md §4) and the four of AZ-NAS (§5), as one list and one call.
import { PareError } from '../../errors.js';
import type { Model } from '../../ir/graph.js';
import { azComplexity, azExpressivity, azProgressivity, azTrainability } from './az-nas.js';
import { epeNas } from './epe-nas.js';
import { fisher } from './fisher.js';
import { flops } from './flops.js';
import { gradNorm } from './grad-norm.js';
import { grasp } from './grasp.js';
import { jacov } from './jacov.js';
import { l2Norm } from './l2-norm.js';
import { nwot } from './nwot.js';
import { params } from './params.js';
import { plain } from './plain.js';
import { createProbe, type ProbeBatch, type ProbeOptions } from './probe.js';
import type { Proxy } from './proxy.js';
import { snip } from './snip.js';
import { synflow } from './synflow.js';
import { zen } from './zen.js';

export const allProxies: readonly Proxy[] = [
  params,
  flops,
  l2Norm,
  nwot,
  zen,
  plain,
  gradNorm,
  snip,
  fisher,
  grasp,
  synflow,
  jacov,
  epeNas,
  azExpressivity,
  azProgressivity,
  azTrainability,
  azComplexity,
];

export const proxyNames: readonly string[] = allProxies.map((p) => p.name);

/** Those that need no gradient rule, cheapest first. */
export const forwardProxyNames: readonly string[] = allProxies
  .filter((p) => p.needs !== 'gradients')
  .map((p) => p.name);

export interface ProxiesOptions extends ProbeOptions {
  /** Which ones (all), in any order. */
  readonly names?: readonly string[];
  /** Hears why a proxy makes no sense of this network; its number is NaN then. */
  readonly explain?: (name: string, reason: string) => void;
}

/**
 * The numbers of the proxies by name, in the order asked for. One batch (64 samples by definition); `weights: 'fresh'` draws the
 * weights anew as the proxies are defined, 'inherited' takes them as they are. NaN or infinite where a network degenerates.
 * Deterministic by rng.
 */
export async function proxies(
  model: Model,
  batch: ProbeBatch,
  options: ProxiesOptions,
): Promise<Readonly<Record<string, number>>> {
  const { names = proxyNames, explain } = options;
  const wanted = names.map((name) => {
    const found = allProxies.find((p) => p.name === name);
    if (found === undefined)
      throw new PareError(`there is no proxy "${name}": the proxies are ${proxyNames.join(', ')}`);
    return found;
  });
  const probe = createProbe(model, batch, options);
  const found: Record<string, number> = {};
  for (const proxy of wanted) {
    try {
      found[proxy.name] = await proxy.score(probe);
    } catch (error) {
      if (!(error instanceof PareError)) throw error;
      found[proxy.name] = NaN;
      explain?.(proxy.name, error.message);
    }
  }
  return found;
}
