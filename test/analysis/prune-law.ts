// The law behind every channel rule: run(prune(G, D)) == run(mask(G, D)), checked in onnxruntime on random inputs.

import { expect } from 'vitest';
import { analyse, type Analysis } from '../../src/analysis/analyse.js';
import { countCost } from '../../src/analysis/cost.js';
import type { DeadUnits } from '../../src/analysis/groups.js';
import { inferShapes } from '../../src/analysis/shapes.js';
import { macsAfter } from '../../src/analysis/macs.js';
import { checkModel } from '../../src/ir/check.js';
import type { Model } from '../../src/ir/graph.js';
import { standardOps } from '../../src/ops/index.js';
import type { Rng } from '../../src/rng.js';
import { compareLaw, randomInputs } from './law.js';

export { randomDead, randomInputs } from './law.js';

/** Fails unless the pruned network and the masked one agree; returns the pruned network. */
export async function expectLaw(
  analysis: Analysis,
  dead: DeadUnits,
  rng: Rng,
  options: { readonly batch?: number; readonly tolerance?: number } = {},
): Promise<Model> {
  const feeds = randomInputs(analysis.model, rng.fork('inputs'), options.batch ?? 2);
  const { pruned, outputs } = await compareLaw(analysis, dead, feeds);
  checkModel(pruned);
  for (const { output, dims, worst, scale } of outputs) {
    expect(dims[0], `${output}: dims`).toEqual(dims[1]);
    expect(Number.isFinite(scale), `${output}: the masked network is finite`).toBe(true);
    expect(worst, `${output}: largest difference, of values up to ${scale}`).toBeLessThanOrEqual(
      (options.tolerance ?? 1e-4) * scale + 1e-12,
    );
  }
  const shapes = inferShapes(pruned, analysis.table, { dynamic: 1 });
  const macs = countCost(pruned, analysis.table, shapes).macs;
  expect(macsAfter(analysis, dead), 'MACs foretold').toBeCloseTo(macs, 3);
  return pruned;
}

export function analysed(model: Model): Analysis {
  return analyse(model, standardOps);
}
