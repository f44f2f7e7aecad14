// Value rules of arithmetic, comparison and reduction against onnxruntime, on small random tensors; unknown elements stay honest.

import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { inferShapes } from '../../src/analysis/shapes.js';
import { DataType, elementCount, int64Tensor } from '../../src/ir/tensor.js';
import type { Tensor } from '../../src/ir/tensor.js';
import { encodeModel } from '../../src/onnx/write.js';
import { standardOps } from '../../src/ops/index.js';
import { broadcastValues } from '../../src/ops/values.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { constantTensor, floatsOf, runtimeTensor, tensorOfNumbers, withSession } from '../../src/runtime/runtime.js';
import { smallModel } from './small-model.js';
import type { SmallModel } from './small-model.js';

const runtime = ortRuntime();
afterAll(() => runtime.close());

const FLOAT = DataType.FLOAT;
const INT64 = DataType.INT64;
const BOOL = DataType.BOOL;

interface Case {
  readonly op: string;
  readonly elemType: number;
  readonly arity: number;
  readonly attributes: Readonly<Record<string, number>>;
}
const cases = (ops: string, elemType: number, arity: number, attributes: Case['attributes'] = {}): Case[] =>
  ops.split(' ').map((op) => ({ op, elemType, arity, attributes }));

const POINTWISE: readonly Case[] = [
  ...cases('Add Sub Mul Div Mod Max Min Equal Greater Less GreaterOrEqual LessOrEqual', INT64, 2),
  ...cases('Add Sub Mul Div Max Min Pow Sum Mean Greater Less', FLOAT, 2),
  ...cases('Mod', INT64, 2, { fmod: 1 }),
  ...cases('And Or Xor', BOOL, 2),
  ...cases('Not', BOOL, 1),
  ...cases('Neg Abs Sign', INT64, 1),
  ...cases('Floor Ceil Round Neg Abs Sqrt Reciprocal Exp Log Relu', FLOAT, 1),
  ...cases('Cast', FLOAT, 1, { to: INT64 }),
  ...cases('Cast', INT64, 1, { to: FLOAT }),
  ...cases('Cast', INT64, 1, { to: BOOL }),
  ...cases('Clip', INT64, 3),
  ...cases('Clip', FLOAT, 3),
];

function tensorArb(elemType: number, dims: readonly number[]): fc.Arbitrary<Tensor> {
  const n = elementCount(dims);
  // halves, so that rounding meets ties; nothing is 0, because nobody defines integer division by it
  const element =
    elemType === FLOAT
      ? fc.integer({ min: 1, max: 20 }).map((x) => x / 2)
      : elemType === BOOL
        ? fc.integer({ min: 0, max: 1 })
        : fc.oneof(fc.integer({ min: -9, max: -1 }), fc.integer({ min: 1, max: 9 }));
  return fc
    .array(element, { minLength: n, maxLength: n })
    .map((values) => constantTensor('', tensorOfNumbers(elemType, dims, values)));
}

/** Dims that broadcast with [2, 3, 2]. */
const dimsArb = fc.constantFrom<number[][]>([2, 3, 2], [3, 1], [1, 3, 1], [2], [], [2, 1, 2]);

async function expectSame(model: SmallModel, inputs: Readonly<Record<string, Tensor>>): Promise<void> {
  const built = smallModel(model);
  const graph = {
    ...built.graph,
    inputs: Object.entries(inputs).map(([name, t]) => ({
      name,
      type: { kind: 'tensor', elemType: t.dataType, shape: t.dims } as const,
    })),
  };
  const shapes = inferShapes({ ...built, graph }, standardOps, { tensors: new Map(Object.entries(inputs)) });
  const type = shapes.types.get('y');
  const elemType = type?.kind === 'tensor' ? type.elemType : 0;
  const outputs = [{ name: 'y', type: { kind: 'tensor', elemType } as const }];
  const feeds = new Map(Object.entries(inputs).map(([name, t]) => [name, runtimeTensor(t)]));
  const bytes = encodeModel({ ...built, graph: { ...graph, outputs } });
  const y = await withSession(runtime, bytes, {}, async (s) => (await s.run(feeds)).get('y')!);
  expect(type).toEqual({ kind: 'tensor', elemType: y.dataType, shape: y.dims });
  expect(shapes.values.get('y')?.dims).toEqual(y.dims);
  const truth = floatsOf(y);
  const elems = shapes.values.get('y')?.elems ?? [];
  expect(elems).toHaveLength(truth.length);
  // float32 has seven digits
  const near = (e: number | undefined, k: number): boolean =>
    e !== undefined && Math.abs(e - truth[k]!) <= 1e-6 * Math.max(1, Math.abs(e));
  expect(elems.filter((e, k) => !near(e, k))).toEqual([]);
}

test.each(POINTWISE)('$op (element type $elemType) of $arity operands', async ({ op, elemType, arity, attributes }) => {
  const scalars = op === 'Clip';
  const dims = Array.from({ length: arity }, (_, i) => (scalars && i > 0 ? fc.constant([]) : dimsArb));
  const arb = fc.tuple(...dims).chain((all) => fc.tuple(...all.map((d) => tensorArb(elemType, d))));
  await fc.assert(
    fc.asyncProperty(arb, async (tensors) => {
      const names = tensors.map((_, i) => `x${i}`);
      const inputs = Object.fromEntries(tensors.map((t, i) => [`x${i}`, t]));
      await expectSame({ opset: 18, inputs: {}, nodes: [[op, names, ['y'], attributes]], outputs: ['y'] }, inputs);
    }),
    { numRuns: 8 },
  );
});

test('Where picks element by element', async () => {
  const arb = fc
    .tuple(dimsArb, dimsArb, dimsArb)
    .chain(([c, a, b]) => fc.tuple(tensorArb(BOOL, c), tensorArb(INT64, a), tensorArb(INT64, b)));
  await fc.assert(
    fc.asyncProperty(arb, async ([c, a, b]) => {
      await expectSame({ inputs: {}, nodes: [['Where', ['c', 'a', 'b'], ['y']]], outputs: ['y'] }, { c, a, b });
    }),
    { numRuns: 20 },
  );
});

const REDUCTIONS = ['ReduceSum', 'ReduceMax', 'ReduceMin', 'ReduceProd', 'ReduceMean'];

test.each(REDUCTIONS)('%s over any axes', async (op) => {
  const arb = fc.record({
    x: fc.constantFrom([2, 3, 2], [4], [3, 1]).chain((dims) => tensorArb(INT64, dims)),
    axes: fc.uniqueArray(fc.integer({ min: -3, max: 2 }), { maxLength: 2, selector: (a) => (a + 6) % 3 }),
    keepdims: fc.integer({ min: 0, max: 1 }),
  });
  await fc.assert(
    fc.asyncProperty(arb, async ({ x, axes, keepdims }) => {
      const rank = x.dims.length;
      const fitting = axes.filter((a) => a >= -rank && a < rank);
      const weights = { axes: int64Tensor('axes', fitting) };
      const nodes = [[op, ['x', 'axes'], ['y'], { keepdims }]] as const;
      await expectSame({ opset: 18, inputs: {}, weights, nodes, outputs: ['y'] }, { x });
    }),
    { numRuns: 10 },
  );
});

test('an unknown element makes exactly the results unknown that need it', () => {
  const value = broadcastValues(
    [
      { dims: [2, 2], elems: [1, undefined, 3, 4] },
      { dims: [2], elems: [10, undefined] },
    ],
    (a, b) => a + b,
  );
  expect(value).toEqual({ dims: [2, 2], elems: [11, undefined, 13, undefined] });
});
