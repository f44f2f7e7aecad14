import { describe, expect, test } from 'vitest';
import { swapActivation } from '../../search/mutations/swap-activation.js';
import { analyse } from '../../src/analysis/analyse.js';
import { graphBuilder, type GraphBuilder } from '../../src/ir/builder.js';
import { DataType } from '../../src/ir/tensor.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { createRng } from '../../src/rng.js';
import { describeShared, sharedPath } from '../shared.js';
import { contextOf, distance, expectLaws, models } from './laws.js';

const mutation = swapActivation();

type Piece = (b: GraphBuilder, x: string) => string;

function erf(b: GraphBuilder, x: string): string {
  return b.op('Add', [b.op('Erf', [b.op('Div', [x, b.floats(Math.SQRT2)])]), b.floats(1)]);
}

/** What is there, what may stand for it, and how far the nearest of them may be off, of values up to about 3. */
const pieces: Readonly<Record<string, readonly [Piece, readonly string[], number]>> = {
  Sigmoid: [(b, x) => b.op('Sigmoid', [x]), ['HardSigmoid'], 0.1],
  Tanh: [(b, x) => b.op('Tanh', [x]), ['Clip'], 0.3],
  'x sigmoid(x)': [(b, x) => b.op('Mul', [b.op('Sigmoid', [x]), x]), ['HardSwish', 'Relu'], 0.2],
  'a sigmoid that others use': [
    (b, x) => {
      const s = b.op('Sigmoid', [x]);
      return b.op('Add', [b.op('Mul', [s, x]), s]);
    },
    ['HardSigmoid'],
    0.2,
  ],
  'GELU: (x · (1 + erf)) · ½': [
    (b, x) => b.op('Mul', [b.op('Mul', [x, erf(b, x)]), b.floats(0.5)]),
    ['HardSwish', 'Relu'],
    0.2,
  ],
  'GELU: (½ x) · (1 + erf)': [
    (b, x) => b.op('Mul', [b.op('Mul', [x, b.floats(0.5)]), erf(b, x)]),
    ['HardSwish', 'Relu'],
    0.2,
  ],
  LeakyRelu: [(b, x) => b.op('LeakyRelu', [x]), ['Relu'], 0.1],
  'an Erf that is no GELU': [(b, x) => b.op('Mul', [erf(b, x), b.floats(3)]), [], 0],
  Relu: [(b, x) => b.op('Relu', [x]), [], 0],
};

describe('swap-activation', () => {
  test.each(Object.entries(pieces))('%s', async (_, [piece, cheap, off]) => {
    for (const opset of [9, 17]) {
      const b = graphBuilder({ opset, irVersion: opset === 9 ? 3 : 8 });
      const x = b.input('x', DataType.FLOAT, ['n', 3, 4, 4]);
      b.output(piece(b, x), DataType.FLOAT);
      const context = contextOf(analyse(b.model(), standardOps));
      const places = mutation.places!(context);
      const offered = places.map((p) => (p.params as { readonly to: string }).to);
      expect(offered).toEqual(cheap.filter((c) => opset >= 14 || c !== 'HardSwish'));
      let nearest = Infinity;
      for (const place of places) {
        const { before, after } = await expectLaws(mutation, place.params, context);
        nearest = Math.min(nearest, distance(before, after));
      }
      expect(places.length === 0 || nearest < off, `${nearest}`).toBe(true);
    }
  });

  test('all at once; unknown values are refused', async () => {
    const b = graphBuilder();
    const x = b.op('Sigmoid', [b.input('x', DataType.FLOAT, ['n', 3])], {}, { outputs: ['s'] });
    b.output(b.op('Tanh', [x], {}, { outputs: ['t'] }), DataType.FLOAT);
    const context = contextOf(analyse(b.model(), standardOps));
    const all = mutation.join!(mutation.places!(context).map((p) => p.params));
    const { model } = await expectLaws(mutation, all, context);
    expect(model.graph.nodes.map((n) => n.opType)).toEqual(['HardSigmoid', 'Clip']);
    expect(() => mutation.apply({ value: 'x', to: 'Relu' }, context)).toThrow(/"x" is not an activation/);
  });
});

describeShared('swap-activation on public networks', ['models'], () => {
  test.each(models)('%s has nothing slow', (name) => {
    const context = contextOf(analyse(readModel(sharedPath('models', `${name}.onnx`)), standardOps));
    expect(mutation.propose(context, createRng(1))).toBeUndefined();
  });
});
