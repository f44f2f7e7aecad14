// What is done before channels are looked for: the same outputs, and channels where there were none.

import { expect, test } from 'vitest';
import { prepare } from '../../src/analysis/prepare.js';
import { checkModel } from '../../src/ir/check.js';
import type { Model } from '../../src/ir/graph.js';
import { parseModelText } from '../../src/ir/text.js';
import { standardOps } from '../../src/ops/index.js';
import { createRng } from '../../src/rng.js';
import { floatsOf } from '../../src/runtime/runtime.js';
import { randomInputs, run } from './law.js';
import { analysed, expectLaw, randomDead } from './prune-law.js';

async function expectSame(model: Model, prepared: Model, tolerance = 0): Promise<void> {
  checkModel(prepared);
  const feeds = randomInputs(model, createRng('prepare'));
  const before = await run(model, feeds);
  const after = await run(prepared, feeds);
  for (const [name, t] of before) {
    const [got, wanted] = [floatsOf(after.get(name)!), floatsOf(t)];
    if (tolerance === 0) expect(Array.from(got)).toEqual(Array.from(wanted));
    expect(got.length).toBe(wanted.length);
    wanted.forEach((v, i) => expect(Math.abs(v - got[i]!)).toBeLessThanOrEqual(tolerance * Math.max(1, Math.abs(v))));
  }
}

async function expectCut(model: Model, groups: number, tolerance = 0): Promise<void> {
  const prepared = prepare(model, standardOps);
  await expectSame(model, prepared, tolerance);
  const analysis = analysed(prepared);
  expect(analysis.groups.groups.filter((g) => g.size > 1)).toHaveLength(groups);
  const rng = createRng('cut');
  await expectLaw(analysis, randomDead(analysis, rng), rng);
}

const head = `<ir_version: 8, opset_import: ["" : 17, "local" : 1]>`;
const w = (name: string, dims: readonly number[]): string => {
  const n = dims.reduce((a, b) => a * b, 1);
  return `float[${dims.join()}] ${name} = {${Array.from({ length: n }, (_, k) => ((k * 7) % 11) / 10 - 0.5).join()}}`;
};

test('calls of the network’s own functions become their nodes: channels live inside and across them', async () => {
  const model = parseModelText(
    `${head}
    g (float[N,3] x) => (float[N,2] y)
      <${w('w0', [3, 4])}, ${w('w1', [4, 2])}> {
      h = local.layer <slope = 0.3> (x, w0)
      y = local.layer <slope = 0.1> (h, w1)
    }
    <domain: "local", opset_import: ["" : 17]>
    layer <slope> (a, b) => (c) {
      t = MatMul (a, b)
      c = LeakyRelu <alpha: float = @slope> (t)
    }`,
  );
  await expectCut(model, 1);
});

test('an If whose condition is known becomes its branch', async () => {
  const model = parseModelText(`${head}
    g (float[N,3] x) => (float[N,2] y)
      <float[3,4] w0 = {1,2,3,4,5,6,7,8,9,10,11,12}, float[4,2] w1 = {1,2,3,4,5,6,7,8}, int64 one = {1}, int64 four = {4}> {
      h = MatMul (x, w0)
      s = Shape (h)
      d = Gather (s, one)
      c = Equal (d, four)
      r = If (c) <then_branch = a () => (float[N,4] p) { p = Relu (h) }, else_branch = b () => (float[N,1,4] q) {
        k = Constant <value_ints = [1]> ()
        q = Unsqueeze (h, k) }>
      y = MatMul (r, w1)
    }`);
  await expectCut(model, 1);
});

/** Two convolutions and a Gemm; the weight of the first is what `chain` makes of w0 [6, 3, 3, 3] and calls v. */
const convolved = (chain: string, constants: string): Model =>
  parseModelText(`${head}
    g (float[N,3,5,5] x) => (float[N,2] y)
      <${w('w0', [6, 3, 3, 3])}, ${w('w1', [4, 6, 1, 1])}, ${w('w2', [4, 2])}, ${constants}> {
      ${chain}
      h = Conv <pads = [1, 1, 1, 1]> (x, v)
      r = Relu (h)
      k = Conv (r, w1)
      p = GlobalAveragePool (k)
      f = Flatten (p)
      y = Gemm (f, w2)
    }`);

test.each([
  [
    'by a normalisation in training mode (timm)',
    `flat = Reshape (w0, three)
     n, m, s = BatchNormalization <training_mode = 1, epsilon = 0.000001> (flat, gain, zero, mean, var)
     v = Reshape (n, four)`,
    `int64[3] three = {1, 6, -1}, int64[4] four = {6, 3, 3, 3}, float[6] gain = {1, 2, 3, 4, 5, 6}, float[6] zero = {0, 0, 0, 0, 0, 0},
     float[6] mean = {9, 9, 9, 9, 9, 9}, float[6] var = {9, 9, 9, 9, 9, 9}`,
  ],
  [
    'by mean and deviation',
    `m = ReduceMean <axes = [1, 2, 3]> (w0)
     d = Sub (w0, m)
     q = Pow (d, two)
     u = ReduceMean <axes = [-1, -2, -3]> (q)
     e = Add (u, eps)
     s = Sqrt (e)
     v = Div (d, s)`,
    'float two = {2}, float eps = {0.00001}',
  ],
  [
    'by weight normalisation',
    `m = ReduceL2 <axes = [1, 2, 3]> (w0)
     d = Div (w0, m)
     v = Mul (d, gain)`,
    'float[6,1,1,1] gain = {1, 2, 3, 4, 5, 6}',
  ],
  [
    'by a norm that is clipped and expanded, on a transposed weight',
    `t = Transpose <perm = [3, 0, 2, 1]> (w0)
     a = Abs (t)
     m = ReduceSum (a, axes)
     c = Clip (m, low)
     e = Expand (c, to)
     o = Reciprocal (e)
     d = Mul (t, o)
     v = Transpose <perm = [1, 3, 2, 0]> (d)`,
    'int64[3] axes = {0, 2, 3}, float low = {2.5}, int64[4] to = {3, 6, 3, 3}',
  ],
])('weights that are standardised on every run %s are computed once, and cut', async (_, chain, constants) => {
  await expectCut(convolved(chain, constants), 2, 1e-5);
});

test('a statistic of what the network is given stays', () => {
  const model = parseModelText(`${head}
    g (float[N,3] x) => (float[N,2] y) <${w('w0', [3, 2])}, int64[1] one = {1}> {
      m = ReduceMean <axes = [1]> (x)
      d = Sub (x, m)
      y = MatMul (d, w0)
    }`);
  expect(prepare(model, standardOps)).toBe(model);
});

test('an ordinary network stays the same object', () => {
  const model = parseModelText(`${head}
    g (float[N,3] x) => (float[N,4] y) <float[3,4] w0 = {1,2,3,4,5,6,7,8,9,10,11,12}> { y = MatMul (x, w0) }`);
  expect(prepare(model, standardOps)).toBe(model);
});
