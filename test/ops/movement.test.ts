// Movement operators against onnxruntime on random shapes and attributes: dims, contents, and honesty under dynamic dims.

import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { inferShapes } from '../../src/analysis/shapes.js';
import { PareError } from '../../src/errors.js';
import { int64Tensor } from '../../src/ir/tensor.js';
import { standardOps } from '../../src/ops/index.js';
import { unknownDims } from '../../src/ops/types.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatsOf, runtimeTensor, withSession } from '../../src/runtime/runtime.js';
import { bytesOf, graphOf, type OneNode } from './one-node.js';

const runtime = ortRuntime();
afterAll(() => runtime.close());

const INT64_MAX = 2 ** 63;
const INT64_MIN = -(2 ** 63);

/** Dims of a tensor small enough that its contents are followed. */
const dimsArb = (min = 1, max = 4) => fc.array(fc.integer({ min: 1, max: 5 }), { minLength: min, maxLength: max });

const permutation = (n: number) =>
  fc.shuffledSubarray(
    Array.from({ length: n }, (_, i) => i),
    { minLength: n },
  );
const axisArb = (rank: number) => fc.integer({ min: -rank, max: rank - 1 });
const axesArb = (rank: number) =>
  fc
    .subarray(
      Array.from({ length: rank }, (_, i) => i),
      { minLength: 1 },
    )
    .chain((axes) => fc.tuple(...axes.map((a) => fc.boolean().map((negative) => (negative ? a - rank : a)))));
/** A list of one value per axis. */
const per = (n: number, value: fc.Arbitrary<number>) => fc.array(value, { minLength: n, maxLength: n });

const transpose = dimsArb().chain((dims) =>
  permutation(dims.length).map((perm): OneNode => ({ opType: 'Transpose', opset: 13, dims, attributes: { perm } })),
);

const slice = dimsArb().chain((dims) =>
  axesArb(dims.length).chain((axes) => {
    const n = axes.length;
    const bound = fc.oneof(
      { weight: 6, arbitrary: fc.integer({ min: -7, max: 7 }) },
      fc.constantFrom(INT64_MAX, INT64_MIN, 2147483647),
    );
    const step = fc.constantFrom(1, 1, 1, 2, 3, -1, -2);
    return fc.tuple(per(n, bound), per(n, bound), per(n, step)).map(([starts, ends, steps]): OneNode => ({
      opType: 'Slice',
      opset: 13,
      dims,
      constants: [{ values: starts }, { values: ends }, { values: axes }, { values: steps }],
    }));
  }),
);

const pad = dimsArb().chain((dims) =>
  axesArb(dims.length).chain((axes) =>
    fc
      .tuple(fc.constantFrom('constant', 'edge', 'reflect'), per(2 * axes.length, fc.integer({ min: -1, max: 3 })))
      .map(([mode, pads]): OneNode => {
        const reach = (i: number) => dims.at(axes[i % axes.length]!)! - 1;
        // only a constant may cut, and a mirror shows no more than what is there
        const kept = pads.map((p, i) => (mode === 'constant' ? Math.max(p, 0) : Math.min(Math.max(p, 0), reach(i))));
        return {
          opType: 'Pad',
          opset: 18,
          dims,
          attributes: { mode },
          constants: [{ values: kept }, { values: [7], dims: [] }, { values: axes }],
        };
      }),
  ),
);

const gather = dimsArb().chain((dims) =>
  axisArb(dims.length).chain((axis) =>
    dimsArb(0, 2).chain((shape) => {
      const d = dims.at(axis)!;
      const n = shape.reduce((a, b) => a * b, 1);
      return per(n, fc.integer({ min: -d, max: d - 1 })).map((values): OneNode => ({
        opType: 'Gather',
        opset: 13,
        dims,
        attributes: { axis },
        constants: [{ values, dims: shape }],
      }));
    }),
  ),
);

const tile = dimsArb(1, 3).chain((dims) =>
  per(dims.length, fc.integer({ min: 1, max: 3 })).map((values): OneNode => ({
    opType: 'Tile',
    opset: 13,
    dims,
    constants: [{ values }],
  })),
);

const expand = dimsArb(0, 3).chain((dims) =>
  fc
    .tuple(dimsArb(0, 2), per(dims.length, fc.integer({ min: 1, max: 4 })), fc.boolean())
    .map(([front, more, short]): OneNode => {
      const tail = dims.map((d, i) => (d === 1 ? more[i]! : i % 2 === 0 ? d : 1));
      return {
        opType: 'Expand',
        opset: 13,
        dims,
        constants: [{ values: short ? tail.slice(1) : [...front, ...tail] }],
      };
    }),
);

const reshape = dimsArb(1, 4).chain((dims) =>
  fc
    .tuple(permutation(dims.length), fc.integer({ min: 0, max: 3 }), fc.boolean(), fc.boolean())
    .map(([order, at, guess, keep]): OneNode => {
      // dims in another order, two of them merged, one perhaps copied by 0, one perhaps -1
      const target = order.map((i) => dims[i]!);
      if (target.length > 2)
        target.splice(
          at % (target.length - 1),
          2,
          target[at % (target.length - 1)]! * target[(at % (target.length - 1)) + 1]!,
        );
      const values = target.map((d, i) => (keep && dims[i] === d ? 0 : d));
      if (guess) values[at % values.length] = -1;
      return { opType: 'Reshape', opset: 14, dims, constants: [{ values }] };
    }),
);

const squeeze = dimsArb(1, 4).chain((shape) =>
  axesArb(shape.length).map((axes): OneNode => {
    const gone = new Set(axes.map((a) => (a < 0 ? a + shape.length : a)));
    const dims = shape.map((d, i) => (gone.has(i) ? 1 : d));
    return { opType: 'Squeeze', opset: 13, dims, constants: [{ values: axes }] };
  }),
);

const unsqueeze = dimsArb(0, 3).chain((dims) =>
  fc.integer({ min: 1, max: 2 }).chain((n) =>
    axesArb(dims.length + n)
      .filter((axes) => axes.length === n)
      .map((axes): OneNode => ({ opType: 'Unsqueeze', opset: 13, dims, constants: [{ values: axes }] })),
  ),
);

const split = dimsArb().chain((dims) =>
  axisArb(dims.length).chain((axis) =>
    fc
      .tuple(fc.integer({ min: 1, max: dims.at(axis)! }), fc.boolean(), fc.integer({ min: 0, max: 4 }))
      .map(([outputs, even, first]): OneNode => {
        const d = dims.at(axis)!;
        if (even && Math.ceil(d / outputs) * (outputs - 1) < d) {
          return { opType: 'Split', opset: 18, dims, outputs, attributes: { axis, num_outputs: outputs } };
        }
        const head = Math.min(first, d);
        return {
          opType: 'Split',
          opset: 13,
          dims,
          outputs: 2,
          attributes: { axis },
          constants: [{ values: [head, d - head] }],
        };
      }),
  ),
);

const flatten = dimsArb(0, 4).chain((dims) =>
  fc
    .integer({ min: -dims.length, max: dims.length })
    .map((axis): OneNode => ({ opType: 'Flatten', opset: 13, dims, attributes: { axis } })),
);

const trilu = dimsArb(2, 3).chain((dims) =>
  fc.tuple(fc.constantFrom(0, 1), fc.integer({ min: -4, max: 4 })).map(([upper, k]): OneNode => ({
    opType: 'Trilu',
    opset: 14,
    dims,
    attributes: { upper },
    constants: [{ values: [k], dims: [] }],
  })),
);

const nonZero = dimsArb(1, 3).map((dims): OneNode => ({ opType: 'NonZero', opset: 13, dims }));

const shape = fc
  .tuple(dimsArb(0, 4), fc.integer({ min: -5, max: 5 }), fc.integer({ min: -5, max: 5 }))
  .map(([dims, start, end]): OneNode => ({ opType: 'Shape', opset: 15, dims, attributes: { start, end } }));

const gatherNd = dimsArb(1, 3).chain((dims) =>
  fc.tuple(fc.integer({ min: 1, max: dims.length }), fc.integer({ min: 1, max: 4 })).chain(([depth, rows]) =>
    fc
      .tuple(
        ...Array.from({ length: rows * depth }, (_, i) =>
          fc.integer({ min: -dims[i % depth]!, max: dims[i % depth]! - 1 }),
        ),
      )
      .map((values): OneNode => ({
        opType: 'GatherND',
        opset: 13,
        dims,
        constants: [{ values, dims: [rows, depth] }],
      })),
  ),
);

const scatterNd = dimsArb(1, 3).chain((dims) =>
  fc.integer({ min: 1, max: dims.length }).chain((depth) =>
    fc
      .tuple(...Array.from({ length: depth }, (_, i) => fc.integer({ min: -dims[i]!, max: dims[i]! - 1 })))
      .map((values): OneNode => {
        const tail = dims.slice(depth);
        const updates = Array.from({ length: tail.reduce((a, b) => a * b, 1) }, (_, i) => 100 + i);
        return {
          opType: 'ScatterND',
          opset: 16,
          dims,
          constants: [
            { values, dims: [1, depth] },
            { values: updates, dims: [1, ...tail] },
          ],
        };
      }),
  ),
);

test.each(
  Object.entries({
    transpose,
    slice,
    pad,
    gather,
    tile,
    expand,
    reshape,
    squeeze,
    unsqueeze,
    split,
    flatten,
    trilu,
    nonZero,
    shape,
    gatherNd,
    scatterNd,
  }),
)('%s: our dims and contents are onnxruntime’s', async (_, cases: fc.Arbitrary<OneNode>) => {
  let accepted = 0;
  await fc.assert(
    fc.asyncProperty(cases, async (c) => {
      if (await agrees(c)) accepted++;
    }),
    { numRuns: 25 },
  );
  expect(accepted).toBeGreaterThan(20);
});

/** False when onnxruntime refuses the case, which says nothing of us. */
async function agrees(c: OneNode): Promise<boolean> {
  const n = c.dims.reduce((a, b) => a * b, 1);
  // zeros among them, so that NonZero has something to drop
  const x = int64Tensor(
    'x',
    Array.from({ length: n }, (_, i) => (i * 7) % 5),
    c.dims,
  );
  const theirs = await run(c, x);
  if (theirs === undefined) return false;
  const fixed = inferShapes(graphOf(c), standardOps, { tensors: new Map([['x', x]]) });
  const batch = c.dims.map((d, i) => (i === 0 ? 'batch' : d));
  const dynamic = inferShapes(graphOf(c, batch), standardOps);
  const open = inferShapes(graphOf(c, unknownDims(c.dims.length)), standardOps);
  for (const [name, y] of theirs) {
    expect(fixed.types.get(name)).toEqual({ kind: 'tensor', elemType: 7, shape: y.dims });
    expect(fixed.values.get(name)).toEqual({ dims: y.dims, elems: Array.from(floatsOf(y)) });
    for (const loose of [dynamic, open]) {
      const type = loose.types.get(name);
      const dims = type?.kind === 'tensor' ? (type.shape ?? unknownDims(y.dims.length)) : [];
      // where a dim is said it is true, and the symbol stands for the batch
      expect(dims.map((d, k) => (d === 'batch' ? c.dims[0] : (d ?? y.dims[k])))).toEqual(y.dims);
    }
  }
  return true;
}

async function run(c: OneNode, x: ReturnType<typeof int64Tensor>) {
  try {
    return await withSession(runtime, bytesOf(c), { optimization: 'disabled' }, (session) =>
      session.run(new Map([['x', runtimeTensor(x)]])),
    );
  } catch (error) {
    if (error instanceof PareError) return undefined;
    throw error;
  }
}
