// What every architecture space must keep: its networks run in onnxruntime, say what they cost, and read back their own keys.
import { expect } from 'vitest';
import { concreteShape, inferShapes } from '../../../src/analysis/shapes.js';
import { checkModel } from '../../../src/ir/check.js';
import type { Model } from '../../../src/ir/graph.js';
import { elementCount, floatTensor, hasData } from '../../../src/ir/tensor.js';
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

/** With random weights it gives finite numbers of the shape that inference foretold. */
export async function runs(architecture: Architecture, options: BuildOptions = {}): Promise<readonly number[]> {
  const model = options.weights === undefined ? filled(architecture.build(options)) : architecture.build(options);
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

/** He's scale from one short table of numbers: drawing millions of weights for the decoders takes seconds. */
function filled(model: Model): Model {
  const rng = createRng('weights');
  const table = Float32Array.from({ length: 8191 }, () => rng.normal());
  const fill = (name: string, dims: readonly number[]): Float32Array => {
    const n = elementCount(dims);
    if (dims.length === 1) return new Float32Array(n).fill(/bias|mean/.test(name) ? 0 : 1);
    const scale = Math.sqrt((2 * dims[0]!) / n);
    const data = new Float32Array(n);
    for (let i = 0; i < n; i++) data[i] = scale * table[i % 8191]!;
    return data;
  };
  const initializers = new Map(model.graph.initializers);
  for (const [name, t] of initializers) {
    if (!hasData(t)) initializers.set(name, floatTensor(name, t.dims, fill(name, t.dims)));
  }
  return { ...model, graph: { ...model.graph, initializers } };
}
