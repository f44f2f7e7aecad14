// `pare gradcheck`'s library half: right rules pass, a wrong one is found, an operator without one is named.

import { afterAll, describe, expect, it } from 'vitest';
import { checkGradients, type GradientCheck } from '../src/measure/gradcheck.js';

import { float, graphBuilder } from '../src/ir/builder.js';
import { DataType } from '../src/ir/tensor.js';
import { standardOps } from '../src/ops/index.js';
import type { OpTable } from '../src/ops/op.js';
import { createRng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';

const runtime = ortRuntime();
afterAll(() => runtime.close());

function network() {
  const rng = createRng('gradcheck-network');
  const b = graphBuilder();
  const weight = (dims: readonly number[]): string =>
    b.floats(
      Float32Array.from({ length: dims.reduce((p, q) => p * q, 1) }, () => rng.normal()),
      dims,
      'w',
    );
  const x = b.input('x', DataType.FLOAT, [2, 3, 8, 8]);
  const y = b.op('LeakyRelu', [b.op('Conv', [x, weight([4, 3, 3, 3])], { pads: [1, 1, 1, 1] })], { alpha: float(0.1) });
  const pooled = b.op('MaxPool', [y], { kernel_shape: [2, 2], strides: [2, 2] });
  const flat = b.op('Reshape', [pooled, b.ints([4, 4, 8])]);
  b.output(b.op('Relu', [b.op('Det', [b.op('Slice', [flat, b.ints([0]), b.ints([4]), b.ints([2])])])]));
  return b.model();
}

async function check(table: OpTable): Promise<GradientCheck[]> {
  const found: GradientCheck[] = [];
  for await (const c of checkGradients(network(), { runtime, table, rng: createRng(1) })) found.push(c);
  return found;
}

describe('checking the gradient rules on a network', () => {
  it('passes right rules and names an operator without one', async () => {
    const checks = await check(standardOps);
    const verdicts = checks.map((c) => `${c.node.opType}: ${c.verdict}`);
    expect(verdicts).toEqual([
      'Conv: ok',
      'LeakyRelu: ok',
      'MaxPool: ok',
      'Reshape: ok',
      'Slice: ok',
      'Det: no rule',
      'Relu: ok',
    ]);
    expect(checks.filter((c) => c.verdict === 'ok').every((c) => c.compared > 0)).toBe(true);
  });

  it('finds a rule that is off by a tenth', async () => {
    const right = standardOps.lookup('', 'LeakyRelu', 17)!;
    const wrong = standardOps.with([
      { ...right, gradient: (ctx) => [ctx.emit('Mul', [right.gradient!(ctx)[0]!, ctx.float(1.1)])] },
    ]);
    const checks = await check(wrong);
    expect(checks.find((c) => c.node.opType === 'LeakyRelu')?.verdict).toBe('wrong');
    expect(checks.find((c) => c.node.opType === 'Conv')?.verdict).toBe('ok');
  });
});
