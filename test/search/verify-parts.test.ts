import { readdirSync, statSync } from 'node:fs';
import { expect, test } from 'vitest';
import { analyse } from '../../src/analysis/analyse.js';
import { pruneModel } from '../../src/analysis/cut.js';
import type { DeadUnits } from '../../src/analysis/groups.js';
import { intsAttribute, withAttributes, type Model } from '../../src/ir/graph.js';
import { DataType, floatTensor, PIECE_BYTES, readNumbers, type Tensor } from '../../src/ir/tensor.js';
import { sliceTensor } from '../../src/ir/slice.js';
import { readModel } from '../../src/onnx/read.js';
import { withRecipe } from '../../src/onnx/write.js';
import { standardOps } from '../../src/ops/index.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { genomeKey, genomeOf } from '../../search/genome.js';
import { plainCut, verifyParts } from '../../search/verify-parts.js';
import { randomDead } from '../analysis/prune-law.js';
import { hasShared, sharedPath } from '../shared.js';

const runtime = ortRuntime();
const options = { runtime, table: standardOps };

const cutOf = (model: Model, dead: DeadUnits, inherited = true): Model =>
  withRecipe(pruneModel(analyse(model, standardOps, { binding: { dynamic: 1 } }), dead), {
    genome: genomeKey(genomeOf([], dead)),
    sourceSha256: '',
    seed: '0',
    version: '0',
    inherited,
  });

const failing = async (original: Model, candidate: Model): Promise<string | undefined> =>
  (await verifyParts(original, candidate, plainCut(candidate)!, options)).checks.find((c) => !c.ok)?.name;

const names = hasShared('models')
  ? readdirSync(sharedPath('models')).filter(
      (f) => f.endsWith('.onnx') && statSync(sharedPath('models', f)).size < 12e6,
    )
  : [];

test.skipIf(names.length === 0).each(names)('%s, cut at random: every part holds the law', async (name) => {
  const model = readModel(sharedPath('models', name));
  const dead = randomDead(analyse(model, standardOps, { binding: { dynamic: 1 } }), createRng(name), 0.5);
  if (dead.size === 0) return;
  const cut = cutOf(model, dead);
  expect(plainCut(cut)).toEqual(dead);
  const result = await verifyParts(model, cut, dead, options);
  expect(result.checks.filter((c) => !c.ok)).toEqual([]);
  expect(result.checks.find((c) => c.name === 'law')?.detail).toMatch(/^[1-9]\d* nodes at the cut/);
});

test.skipIf(!hasShared('models/cifar10-resnet20.onnx'))(
  'what is not the cut that the recipe names is found',
  async () => {
    const model = readModel(sharedPath('models', 'cifar10-resnet20.onnx'));
    const base = analyse(model, standardOps, { binding: { dynamic: 1 } });
    const dead = randomDead(base, createRng('broken'), 0.5);
    const cut = cutOf(model, dead);
    expect(await failing(model, cut)).toBeUndefined();
    expect(plainCut(cutOf(model, dead, false))).toBeUndefined();

    const weights = [...cut.graph.initializers].filter(([, t]) => t.dims.length === 4);
    for (const [name, t] of [weights[0]!, weights.at(-1)!]) {
      const values = Float32Array.from(readNumbers(t));
      values[values.length - 1]! += 1;
      const initializers = new Map(cut.graph.initializers).set(name, floatTensor(name, t.dims, values));
      expect(await failing(model, { ...cut, graph: { ...cut.graph, initializers } })).toBe('weights');
    }
    const nodes = cut.graph.nodes.map((n) =>
      n.opType === 'Conv' ? withAttributes(n, { dilations: intsAttribute('dilations', [2, 2]) }) : n,
    );
    expect(await failing(model, { ...cut, graph: { ...cut.graph, nodes } })).toMatch(/structure|graph/);
    // A cut that the recipe does not name: other units of the same number.
    const [[group, units]] = [...dead] as [[string, readonly number[]]];
    const size = base.groups.groups.find((g) => g.id === group)!.size;
    const others = Array.from({ length: size }, (_, u) => u)
      .filter((u) => !units.includes(u))
      .slice(0, units.length);
    const other = cutOf(model, new Map([...dead, [group, others]]));
    expect(await failing(model, { ...other, metadata: cut.metadata })).toMatch(/weights|structure|graph/);
  },
);

test('a large tensor is sliced row by row, read piece by piece: the same numbers', () => {
  const rows = 5;
  const row = PIECE_BYTES / 8 + 3;
  const values = Float32Array.from({ length: rows * row }, (_, i) => i % 9973);
  const whole = floatTensor('t', [rows, row], values);
  const raw = whole.bytes!();
  let largest = 0;
  const part = (offset: number, length: number): Uint8Array => {
    largest = Math.max(largest, length);
    return raw.subarray(offset, offset + length);
  };
  const all = (): Uint8Array => {
    throw new Error('read at once');
  };
  const outside: Tensor = { ...whole, dataType: DataType.FLOAT, bytes: Object.assign(all, { part }) };
  const columns = [0, 1, row - 2, row - 1];
  for (const keeps of [
    [[1, 4], undefined],
    [undefined, columns],
    [[0, 3], columns],
  ]) {
    const cut = sliceTensor(outside, keeps);
    const [kept, left] = [keeps[0] ?? [0, 1, 2, 3, 4], keeps[1]];
    const expected = kept.flatMap((r) =>
      left === undefined ? [values[r * row]!, values[r * row + row - 1]!] : left.map((c) => values[r * row + c]!),
    );
    const got = readNumbers(cut);
    const n = cut.dims[1]!;
    const found = kept.flatMap((_, r) =>
      left === undefined ? [got[r * n]!, got[r * n + n - 1]!] : [...got.subarray(r * n, (r + 1) * n)],
    );
    expect(found).toEqual(expected);
  }
  expect(largest).toBeLessThanOrEqual(2 * PIECE_BYTES);
});
