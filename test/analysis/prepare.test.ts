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

async function expectSame(model: Model, prepared: Model): Promise<void> {
  checkModel(prepared);
  const feeds = randomInputs(model, createRng('prepare'));
  const before = await run(model, feeds);
  const after = await run(prepared, feeds);
  for (const [name, t] of before) expect(Array.from(floatsOf(after.get(name)!))).toEqual(Array.from(floatsOf(t)));
}

async function expectCut(model: Model, groups: number): Promise<void> {
  const prepared = prepare(model, standardOps);
  await expectSame(model, prepared);
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

test('an ordinary network stays the same object', () => {
  const model = parseModelText(`${head}
    g (float[N,3] x) => (float[N,4] y) <float[3,4] w0 = {1,2,3,4,5,6,7,8,9,10,11,12}> { y = MatMul (x, w0) }`);
  expect(prepare(model, standardOps)).toBe(model);
});
