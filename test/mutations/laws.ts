// What holds of every mutation: the result is a valid model, the shape engine and onnxruntime agree that outputs keep their dims, MACs
// never rise, equal parameters give equal bytes, and exact mutations leave the outputs as they were.

import { expect } from 'vitest';
import type { Json } from '../../search/genome.js';
import type { Mutation, MutationContext } from '../../search/mutations/mutation.js';
import type { Analysis } from '../../src/analysis/analyse.js';
import { countCost } from '../../src/analysis/cost.js';
import { concreteShape, inferShapes } from '../../src/analysis/shapes.js';
import { checkModel } from '../../src/ir/check.js';
import type { Model } from '../../src/ir/graph.js';
import { encodeModel } from '../../src/onnx/write.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatsOf, withSession, type RuntimeTensor } from '../../src/runtime/runtime.js';
import { randomInputs } from '../analysis/prune-law.js';

/** Small public networks of every kind: BN kept and folded, NHWC, opset 8 and 9, IR 3, Constant nodes, initializers as inputs, depthwise. */
export const models = [
  'cifar10-resnet20',
  'cifar10-resnet20-folded',
  'cifar10-mobilenetv2-w0.5',
  'cifar10-densenet-6-12-24',
  'marabou-cifar10-large',
  'mlperf-tiny-resnet8-cifar10',
  'mnist-cntk',
  'ultraface-rfb-320',
  'vit-cifar10-ibp',
];

export function contextOf(analysis: Analysis, more: Partial<MutationContext> = {}): MutationContext {
  return { analysis, ignore: () => false, roundTo: 8, maxRatio: 0.9, ...more };
}

type Outputs = ReadonlyMap<string, RuntimeTensor>;

/** Applies the edit and checks all laws; returns the new model and what both networks gave for two images. */
export async function expectLaws(
  mutation: Mutation,
  params: Json,
  context: MutationContext,
  options: { readonly tolerance?: number; readonly seed?: number } = {},
): Promise<{ readonly model: Model; readonly before: Outputs; readonly after: Outputs }> {
  const { analysis } = context;
  const json: Json = JSON.parse(JSON.stringify(params)) as Json;
  expect(json, 'parameters are plain JSON').toEqual(params);
  const model = mutation.apply(params, context);
  checkModel(model);
  const shapes = inferShapes(model, analysis.table, { dynamic: 1 });
  const { macs } = countCost(model, analysis.table, shapes);
  expect(macs, 'MACs').toBeLessThanOrEqual(analysis.cost.macs);
  for (const { name } of model.graph.outputs) {
    expect(concreteShape(shapes, name), `inferred dims of ${name}`).toEqual(concreteShape(analysis.shapes, name));
  }
  const bytes = Buffer.compare(encodeModel(mutation.apply(json, context)), encodeModel(model));
  expect(bytes, 'equal parameters, equal bytes').toBe(0);
  const [one, two] = [1, 2].map((batch) => randomInputs(analysis.model, createRng(options.seed ?? 1), batch));
  const [oneBefore, before] = await run(analysis.model, [one!, two!]);
  const [oneAfter, after] = await run(model, [one!, two!]);
  for (const [a, b] of [
    [oneBefore!, oneAfter!],
    [before!, after!],
  ] as const) {
    expect([...b.keys()]).toEqual([...a.keys()]);
    for (const [name, value] of a) {
      expect(b.get(name)!.dims, `dims of ${name}`).toEqual(value.dims);
      expect(b.get(name)!.dataType, `type of ${name}`).toBe(value.dataType);
    }
    const tolerance = options.tolerance ?? (mutation.law === 'exact' ? 1e-4 : undefined);
    if (tolerance !== undefined) expect(distance(a, b), 'relative difference').toBeLessThan(tolerance);
  }
  return { model, before: before!, after: after! };
}

/** Largest difference of any output, relative to the largest value there. */
export function distance(a: Outputs, b: Outputs): number {
  let worst = 0;
  for (const [name, expected] of a) {
    const [x, y] = [floatsOf(expected), floatsOf(b.get(name)!)];
    let [scale, most] = [1e-12, 0];
    for (let i = 0; i < x.length; i++) {
      scale = Math.max(scale, Math.abs(x[i]!));
      // not a number is as far as can be
      const d = Math.abs(x[i]! - y[i]!);
      most = d <= most ? most : d;
    }
    worst = most / scale <= worst ? worst : most / scale;
  }
  return worst;
}

export async function run(model: Model, feeds: readonly ReadonlyMap<string, RuntimeTensor>[]): Promise<Outputs[]> {
  return await withSession(ortRuntime(), model, { optimization: 'basic' }, async (session) => {
    const all: Outputs[] = [];
    for (const f of feeds) all.push(await session.run(f));
    return all;
  });
}
