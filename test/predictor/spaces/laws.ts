// What every architecture space must keep: its networks run in onnxruntime, say what they cost, and read back their own keys.
import { expect } from 'vitest';
import { countCost } from '../../../src/analysis/cost.js';
import { concreteShape, inferShapes } from '../../../src/analysis/shapes.js';
import { checkModel } from '../../../src/ir/check.js';
import type { Model } from '../../../src/ir/graph.js';
import { elementCount } from '../../../src/ir/tensor.js';
import { standardOps } from '../../../src/ops/index.js';
import type { Architecture, ArchitectureSpace, BuildOptions } from '../../../src/predictor/spaces/space.js';
import { readTable, type Row } from '../../../src/predictor/tables.js';
import { createRng } from '../../../src/rng.js';
import { ortRuntime } from '../../../src/runtime/ort.js';
import { withSession } from '../../../src/runtime/runtime.js';
import { sharedPath } from '../../shared-path.js';

export function tableRows(file: string): readonly Row[] {
  return readTable(sharedPath('tables', file)).rows;
}

/** Parameters as PyTorch counts them: without running statistics. */
export function torchParams(model: Model): number {
  const running = new Set<string>();
  for (const node of model.graph.nodes) {
    if (node.opType === 'BatchNormalization') for (const name of node.inputs.slice(3)) running.add(name);
  }
  let params = 0;
  for (const [name, t] of model.graph.initializers) {
    if (t.dataType === 1 && !running.has(name) && !name.startsWith('constant')) params += elementCount(t.dims);
  }
  return params;
}

export function macsOf(model: Model): number {
  const cost = countCost(model, standardOps, inferShapes(model, standardOps, { dynamic: 1 }));
  expect(cost.uncounted).toEqual([]);
  return cost.macs;
}

/** With random weights it gives finite numbers of the shape that inference foretold. */
export async function runs(architecture: Architecture, options: BuildOptions = {}): Promise<readonly number[]> {
  const model = architecture.build({ ...options, weights: createRng('spaces') });
  checkModel(model);
  const shapes = inferShapes(model, standardOps, { dynamic: 2 });
  expect(shapes.unknown).toEqual([]);
  const input = concreteShape(shapes, 'input')!;
  const rng = createRng('input');
  const data = Float32Array.from({ length: elementCount(input) }, () => rng.normal());
  const out = await withSession(ortRuntime(), model, {}, async (session) => {
    const result = await session.run(new Map([['input', { dataType: 1, dims: input, data }]]));
    return result.get('output')!;
  });
  expect(out.dims).toEqual(concreteShape(shapes, 'output'));
  expect((out.data as Float32Array).every((v) => Number.isFinite(v))).toBe(true); // the cast: the output is FLOAT
  return out.dims;
}

/** An architecture read from its own key is the same. */
export function readsBack(space: ArchitectureSpace, architecture: Architecture): void {
  const again = space.parse(new Map([[space.keys[0]!, architecture.key]]));
  expect([again.key, again.twins]).toEqual([architecture.key, architecture.twins]);
}
