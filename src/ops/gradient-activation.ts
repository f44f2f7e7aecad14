// Gradients of activations. At a corner (Relu at 0) the gradient is that of the side where the slope is smaller, as in PyTorch.
// https://onnx.ai/onnx/operators/
import { attrFloat, attrString } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import {
  axisAttribute,
  formulas,
  gatedGradient,
  pointwiseGradient,
  unaryGradient,
  unbroadcast,
  type Formulas,
  type Operand,
} from './gradient-rules.js';
import type { GradientContext, GradientRule } from './op.js';

const number = (ctx: GradientContext, name: string, fallback: number): number => attrFloat(ctx.node, name, fallback);

/** Slope 1 above 0, `below` where x <= 0. */
function leaky(below: (m: Formulas, x: string, y: string, ctx: GradientContext) => Operand): GradientRule {
  return gatedGradient((m, g, x, y, ctx) => {
    const slope = below(m, x, y, ctx);
    return m.where(m.is('Greater', x, 0), g, slope === 0 ? 0 : m.mul(g, slope));
  });
}

/** 1 above 0, 0 elsewhere, in one pass where onnxruntime has the operator: Greater and Where take four times as long. */
const relu = gatedGradient((m, g, x, y, ctx) => {
  if (ctx.elemType(0) !== DataType.FLOAT) return m.where(m.is('Greater', x, 0), g, 0);
  return m.mul(g, ctx.emit('HardSigmoid', [y], { alpha: { float: 1e38 }, beta: { float: 0 } }));
});

const preluGradient: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const m = formulas(ctx);
  const [x, slope] = [ctx.input(0), ctx.input(1)];
  const positive = m.is('Greater', x, 0);
  const below = (): string => m.where(positive, 0, m.mul(g, x));
  return [
    ctx.needed(0) ? m.where(positive, g, m.mul(g, slope)) : undefined,
    ctx.needed(1) ? unbroadcast(ctx, below(), ctx.inputShape(0), ctx.inputShape(1)) : undefined,
  ];
};

/** x sigmoid(alpha x). */
const swish = pointwiseGradient((m, x, y, ctx) => {
  const alpha = number(ctx, 'alpha', 1);
  const s = m.f('Sigmoid', m.mul(x, alpha));
  return m.add(s, m.mul(m.mul(y, alpha), m.sub(1, s)));
});

/** x tanh(softplus x). */
const mish = pointwiseGradient((m, x) => {
  const t = m.f('Tanh', m.f('Softplus', x));
  return m.add(t, m.mul(m.mul(x, m.f('Sigmoid', x)), m.sub(1, m.mul(t, t))));
});

const gelu = pointwiseGradient((m, x, _, ctx) => {
  if (attrString(ctx.node, 'approximate', 'none') === 'tanh') {
    // 0.5 x (1 + tanh(c (x + 0.044715 x^3)))
    const c = Math.sqrt(2 / Math.PI);
    const square = m.mul(x, x);
    const t = m.f('Tanh', m.mul(m.mul(x, m.add(m.mul(square, 0.044715), 1)), c));
    const inner = m.mul(m.add(m.mul(square, 3 * 0.044715), 1), c);
    const curve = m.mul(m.mul(x, 0.5), m.mul(m.sub(1, m.mul(t, t)), inner));
    return m.add(m.mul(m.add(t, 1), 0.5), curve);
  }
  const phi = m.mul(m.add(m.f('Erf', m.mul(x, Math.SQRT1_2)), 1), 0.5);
  const density = m.mul(m.f('Exp', m.mul(m.mul(x, x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
  return m.add(phi, m.mul(x, density));
});

/** max(0, min(1, alpha x + beta)). */
const hardSigmoid = gatedGradient((m, g, _, y, ctx) => {
  const inside = ctx.emit('And', [m.is('Greater', y, 0), m.is('Less', y, 1)]);
  return m.where(inside, m.mul(g, number(ctx, 'alpha', 0.2)), 0);
});

/** x max(0, min(1, x / 6 + 0.5)). */
const hardSwish = gatedGradient((m, g, x) => {
  const slope = m.add(m.mul(x, 1 / 3), 0.5);
  return m.where(m.is('Less', x, -3), 0, m.where(m.is('Greater', x, 3), g, m.mul(g, slope)));
});

/** y = softmax(x): y (g - sum(g y)). */
const softmax = unaryGradient((ctx, g) => {
  const m = formulas(ctx);
  const product = m.mul(g, ctx.output(0));
  const sum = m.sum(product, [axisAttribute(ctx, -1)]);
  return m.sub(product, m.mul(ctx.output(0), sum));
});

const logSoftmax = unaryGradient((ctx, g) => {
  const m = formulas(ctx);
  return m.sub(g, m.mul(m.f('Exp', ctx.output(0)), m.sum(g, [axisAttribute(ctx, -1)])));
});

export const activationGradients: readonly (readonly [string, GradientRule])[] = [
  ['Relu', relu],
  ['LeakyRelu', leaky((_, __, ___, ctx) => number(ctx, 'alpha', 0.01))],
  ['PRelu', preluGradient],
  // alpha (e^x - 1) = y below 0, so the slope there is y + alpha
  ['Elu', leaky((m, _, y, ctx) => m.add(y, number(ctx, 'alpha', 1)))],
  ['Celu', leaky((m, _, y, ctx) => m.add(m.mul(y, 1 / number(ctx, 'alpha', 1)), 1))],
  [
    'Selu',
    gatedGradient((m, g, x, y, ctx) => {
      const [alpha, gamma] = [number(ctx, 'alpha', 1.6732632), number(ctx, 'gamma', 1.050701)];
      return m.mul(g, m.where(m.is('Greater', x, 0), gamma, m.add(y, alpha * gamma)));
    }),
  ],
  ['ThresholdedRelu', gatedGradient((m, g, x, _, ctx) => m.where(m.is('Greater', x, number(ctx, 'alpha', 1)), g, 0))],
  ['Sigmoid', pointwiseGradient((m, _, y) => m.mul(y, m.sub(1, y)))],
  ['Tanh', pointwiseGradient((m, _, y) => m.sub(1, m.mul(y, y)))],
  ['Softplus', pointwiseGradient((m, x) => m.f('Sigmoid', x))],
  [
    'Softsign',
    pointwiseGradient((m, x) => {
      const d = m.add(m.f('Abs', x), 1);
      return m.div(1, m.mul(d, d));
    }),
  ],
  ['HardSigmoid', hardSigmoid],
  ['HardSwish', hardSwish],
  ['Swish', swish],
  ['Mish', mish],
  ['Gelu', gelu],
  ['Softmax', softmax],
  ['LogSoftmax', logSoftmax],
];
