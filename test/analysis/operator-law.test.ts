// The law of each operator's channel rule on a few random networks; `npm run bench -- channel-law` runs a thousand of each. What it
// found stands below by name.

import { describe, expect, test } from 'vitest';
import { operators } from '../../src/ops/index.js';
import { createRng } from '../../src/rng.js';
import { operatorCases, tryOperator } from './operator-law.js';
import { analysed, expectLaw, randomDead } from './prune-law.js';
import { buildNet, head, type Net } from './small-nets.js';

test('every operator with a channel rule has a generator', () => {
  const reached = new Set(operatorCases.map((c) => c.operator));
  const rules = operators.filter((o) => o.channels !== undefined);
  const missing = rules.filter((o) => !reached.has(`${(o.domain ?? '') === '' ? '' : `${o.domain}:`}${o.opType}`));
  expect(missing.map((o) => o.opType)).toEqual([]);
});

test('pruned equals masked around every operator', { timeout: 120_000 }, async () => {
  const violations: string[] = [];
  let cut = 0;
  for (const [k, c] of operatorCases.entries()) {
    for (let n = 0; n < 4; n++) {
      const outcome = await tryOperator(c, 100 * k + n);
      if (outcome.kind === 'violation') violations.push(`${c.operator} ${n}: ${outcome.reason}`);
      if (outcome.kind === 'cut') cut++;
    }
  }
  expect(violations).toEqual([]);
  expect(cut).toBeGreaterThan(operatorCases.length);
});

const finds: readonly Net[] = [
  {
    name: 'a layer of one channel in a Concat keeps it',
    groups: 1,
    build: (d) => {
      const x = d.image(3);
      const all = d.g.op('Concat', [d.conv(x, 3, 1), d.conv(x, 3, 6)], { axis: 1 });
      return head(d, all, 7);
    },
  },
  {
    name: 'a scale made from the channel count stays what it was',
    groups: 1,
    build: (d) => {
      const x = d.conv(d.image(3), 3, 8);
      const count = d.g.op('Gather', [d.g.op('Shape', [x]), d.g.ints(1)]);
      return head(d, d.g.op('Div', [x, d.g.op('Sqrt', [d.g.op('Cast', [count], { to: 1 })])]), 8);
    },
  },
  {
    name: 'a shape borrowed from a value that shrinks',
    groups: 1,
    build: (d) => {
      const x = d.image(3);
      const y = d.conv(x, 3, 3);
      const flat = d.g.op('Reshape', [x, d.g.ints([0, 3, -1])]);
      return [d.g.op('Reshape', [flat, d.g.op('Shape', [y])]), head(d, y, 3)];
    },
  },
  {
    name: 'exact channels beside inexact ones in one layer',
    groups: 1,
    build: (d) => {
      const x = d.conv(d.image(3), 3, 8);
      const [a, b] = d.g.ops('Split', [x, d.g.ints([4, 4])], 2, { axis: 1 });
      return [head(d, a!, 4), d.g.op('ReduceMax', [b!], { axes: [1] })];
    },
  },
  {
    name: 'parts joined along one axis, with channels along others',
    groups: 1,
    build: (d) => {
      const x = d.g.input('x', 1, ['N', 4, 3]);
      const a = d.g.op('MatMul', [x, d.w(3, 6)]);
      const b = d.g.op('MatMul', [d.w(5, 4), d.g.op('Neg', [d.g.input('z', 1, ['N', 4, 6])])]);
      return d.g.op('MatMul', [d.w(2, 9), d.g.op('Concat', [a, b], { axis: 1 })]);
    },
  },
  {
    name: 'Squeeze without axes and a weight that is a vector',
    groups: 1,
    build: (d) => {
      const x = d.conv(d.g.input('x', 1, [2, 3, 1, 1]), 3, 2, 1);
      const y = d.g.op('Squeeze', [d.conv(x, 2, 5, 1)]);
      return d.g.op('MatMul', [y, d.w(5)]);
    },
  },
  {
    name: 'a zero in a Reshape that copies another dim',
    groups: 1,
    build: (d) => {
      const x = d.g.op('Reshape', [d.conv(d.g.input('x', 1, [2, 6, 4, 4]), 6, 4), d.g.ints([1, 2, 0, 16])]);
      return d.g.op('MatMul', [d.g.op('Reshape', [x, d.g.ints([2, 4, 16])]), d.w(16, 2)]);
    },
  },
  {
    name: 'gates in one weight that a Split takes apart, states in one constant that a Slice takes apart',
    groups: 2,
    build: (d) => {
      const [u, v] = d.g.ops('Split', [d.w(12, 3), d.g.ints([6, 6])], 2, { axis: 0 });
      const x = d.g.input('x', 1, ['N', 3]);
      const gate = d.g.op('Sigmoid', [d.g.op('Gemm', [x, u!], { transB: 1 })]);
      const y = d.g.op('Mul', [gate, d.g.op('Gemm', [x, v!], { transB: 1 })]);
      const states = d.w(2, 6);
      const state = (i: number): string => d.g.op('Slice', [states, d.g.ints([i]), d.g.ints([i + 1]), d.g.ints([0])]);
      const z = d.g.op('Mul', [d.g.op('Add', [y, state(0)]), state(1)]);
      return d.g.op('Gemm', [z, d.w(6, 2)]);
    },
  },
  {
    name: 'a Slice of a weight along the channels that are cut',
    groups: 1,
    build: (d) => {
      const all = d.w(10, 3);
      const part = (from: number, to: number): string =>
        d.g.op('Slice', [all, d.g.ints([from]), d.g.ints([to]), d.g.ints([0])]);
      const x = d.g.input('x', 1, ['N', 3]);
      const layer = (w: string): string => d.g.op('Relu', [d.g.op('Gemm', [x, w], { transB: 1 })]);
      return d.g.op('Add', [
        d.g.op('Gemm', [layer(part(0, 6)), d.w(6, 2)]),
        d.g.op('Gemm', [layer(part(4, 10)), d.w(6, 2)]),
      ]);
    },
  },
  {
    name: 'layers over constants: a position code, the first step of a recurrence',
    groups: 2,
    build: (d) => {
      const x = d.conv(d.image(3), 3, 6);
      const code = d.g.op('Conv', [d.w(1, 4, 6, 6), d.w(6, 4, 1, 1), d.w(6)]);
      const y = d.conv(d.g.op('Add', [x, code]), 6, 8);
      const flat = d.g.op('Flatten', [d.g.op('GlobalAveragePool', [y])]);
      const weight = d.w(5, 5);
      const first = d.g.op('Gemm', [d.w(1, 5), weight, d.w(5)], { transB: 1 });
      const h = d.g.op('Tanh', [d.g.op('Add', [d.g.op('Gemm', [flat, d.w(8, 5)]), first])]);
      return d.g.op('Gemm', [d.g.op('Tanh', [d.g.op('Gemm', [h, weight], { transB: 1 })]), d.w(5, 2)]);
    },
  },
];

describe('finds of the law', () => {
  test.each(finds.map((net) => [net.name, net] as const))('%s', async (_name, net) => {
    for (let seed = 0; seed < 6; seed++) {
      const rng = createRng(`finds/${seed}`);
      const analysis = analysed(buildNet(net, rng));
      const dead = randomDead(analysis, rng, 0.9);
      if (dead.size > 0) await expectLaw(analysis, dead, rng);
    }
  });
});
