// The law behind every channel rule: run(prune(G, D)) == run(mask(G, D)), checked in onnxruntime on random inputs.

import { expect } from 'vitest';
import { analyse, type Analysis } from '../../src/analysis/analyse.js';
import { countCost } from '../../src/analysis/cost.js';
import { pruneModel } from '../../src/analysis/cut.js';
import type { DeadUnits } from '../../src/analysis/groups.js';
import { maskModel } from '../../src/analysis/mask.js';
import { inferShapes } from '../../src/analysis/shapes.js';
import { macsAfter } from '../../src/analysis/macs.js';
import { checkModel } from '../../src/ir/check.js';
import type { Model } from '../../src/ir/graph.js';
import { standardOps } from '../../src/ops/index.js';
import type { Rng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatsOf, tensorOfNumbers, withSession, type RuntimeTensor } from '../../src/runtime/runtime.js';

const runtime = ortRuntime();

/** A random set of dead units over all exact groups (or those named): each group loses up to `share` of its units. */
export function randomDead(analysis: Analysis, rng: Rng, share = 0.7, only?: string): DeadUnits {
  const dead = new Map<string, readonly number[]>();
  for (const group of analysis.groups.groups) {
    if (group.inexact !== undefined || (only !== undefined && group.id !== only)) continue;
    const most = Math.min(group.size - 1, Math.floor(group.size * share));
    if (most < 1) continue;
    const units = rng.sample(group.size, 1 + rng.int(most));
    const spared = new Set(group.atLeastOne.map((set) => set[rng.int(set.length)]!));
    const list = units.filter((u) => !spared.has(u)).sort((a, b) => a - b);
    if (list.length > 0) dead.set(group.id, list);
  }
  return dead;
}

/** Inputs with values of about unit size; dynamic dims become `batch`, or what `dims` names. */
export function randomInputs(
  model: Model,
  rng: Rng,
  batch = 2,
  dims: ReadonlyMap<string, readonly number[]> = new Map(),
): Map<string, RuntimeTensor> {
  const feeds = new Map<string, RuntimeTensor>();
  for (const v of model.graph.inputs) {
    if (model.graph.initializers.has(v.name) || v.type?.kind !== 'tensor') continue;
    const shape = dims.get(v.name) ?? v.type.shape!.map((d) => (typeof d === 'number' && d > 0 ? d : batch));
    const n = shape.reduce((a, b) => a * b, 1);
    const float = [1, 10, 11].includes(v.type.elemType);
    const values = Float64Array.from({ length: n }, () => (float ? rng.normal() : rng.int(4)));
    feeds.set(v.name, tensorOfNumbers(v.type.elemType, shape, values));
  }
  return feeds;
}

/** Fails unless the pruned network and the masked one agree; returns the pruned network. */
export async function expectLaw(
  analysis: Analysis,
  dead: DeadUnits,
  rng: Rng,
  options: { readonly batch?: number; readonly tolerance?: number } = {},
): Promise<Model> {
  const { model } = analysis;
  const pruned = pruneModel(analysis, dead);
  checkModel(pruned);
  const feeds = randomInputs(model, rng.fork('inputs'), options.batch ?? 2);
  const a = await run(pruned, feeds);
  const b = await run(maskModel(analysis, dead), feeds);
  for (const [name, expected] of b) {
    const actual = a.get(name)!;
    expect(actual.dims, `${name}: dims`).toEqual(expected.dims);
    const x = floatsOf(actual);
    const y = floatsOf(expected);
    let scale = 0;
    for (const v of y) scale = Math.max(scale, Math.abs(v));
    let worst = 0;
    for (let i = 0; i < x.length; i++) worst = Math.max(worst, Math.abs(x[i]! - y[i]!));
    expect(Number.isFinite(scale), `${name}: the masked network is finite`).toBe(true);
    expect(worst, `${name}: largest difference, of values up to ${scale}`).toBeLessThanOrEqual(
      (options.tolerance ?? 1e-4) * scale + 1e-12,
    );
  }
  const shapes = inferShapes(pruned, analysis.table, { dynamic: 1 });
  const macs = countCost(pruned, analysis.table, shapes).macs;
  expect(macsAfter(analysis, dead), 'MACs foretold').toBeCloseTo(macs, 3);
  return pruned;
}

async function run(
  model: Model,
  feeds: ReadonlyMap<string, RuntimeTensor>,
): Promise<ReadonlyMap<string, RuntimeTensor>> {
  return await withSession(runtime, model, { optimization: 'basic' }, (s) => s.run(feeds));
}

export function analysed(model: Model): Analysis {
  return analyse(model, standardOps);
}
