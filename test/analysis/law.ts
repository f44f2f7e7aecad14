// The law behind every channel rule, without a test runner, so that benches use it too: random dead sets, random inputs, and how far
// the pruned network is from the masked one in onnxruntime.

import { pruneModel } from '../../src/analysis/cut.js';
import type { Analysis } from '../../src/analysis/analyse.js';
import type { DeadUnits } from '../../src/analysis/groups.js';
import { maskModel } from '../../src/analysis/mask.js';
import type { Model } from '../../src/ir/graph.js';
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

type Optimization = 'basic' | 'disabled';

export interface Compared {
  readonly output: string;
  /** Dims of the output in the pruned and in the masked network; they have to be the same. */
  readonly dims: readonly [readonly number[] | undefined, readonly number[]];
  /** Largest difference, and largest value of the masked network (not finite when that is broken). */
  readonly worst: number;
  readonly scale: number;
}

/** Both networks run on the same inputs, output by output; and the pruned network. */
export async function compareLaw(
  analysis: Analysis,
  dead: DeadUnits,
  feeds: ReadonlyMap<string, RuntimeTensor>,
  optimization: Optimization = 'basic',
): Promise<{ readonly pruned: Model; readonly outputs: readonly Compared[] }> {
  const pruned = pruneModel(analysis, dead);
  const b = await run(maskModel(analysis, dead), feeds, optimization);
  const a = await run(pruned, feeds, optimization);
  const outputs = [...b].map(([output, expected]): Compared => {
    const actual = a.get(output);
    const y = floatsOf(expected);
    const x = actual === undefined ? new Float32Array() : floatsOf(actual);
    let scale = 0;
    // NaN stays: Math.max passes it on
    for (const v of y) scale = Math.max(scale, Math.abs(v));
    let worst = x.length === y.length ? 0 : Infinity;
    for (let i = 0; i < x.length; i++) worst = Math.max(worst, Math.abs(x[i]! - y[i]!));
    return { output, dims: [actual?.dims, expected.dims], worst, scale };
  });
  return { pruned, outputs };
}

export async function run(
  model: Model,
  feeds: ReadonlyMap<string, RuntimeTensor>,
  optimization: Optimization = 'basic',
): Promise<ReadonlyMap<string, RuntimeTensor>> {
  return await withSession(runtime, model, { optimization }, (s) => s.run(feeds));
}
