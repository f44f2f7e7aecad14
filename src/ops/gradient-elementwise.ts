// Gradients of element-wise arithmetic, broadcasting included. Where a function has a corner, the gradient is that of one side.
// https://onnx.ai/onnx/operators/
import { attrFloat, attrInt } from '../ir/graph.js';
import {
  broadcastGradient,
  formulas,
  gatedGradient,
  indices,
  noGradient,
  passBack,
  pointwiseGradient,
  unbroadcast,
  type Formulas,
} from './gradient-rules.js';
import type { GradientRule } from './op.js';
import { knownScalar } from './rules.js';

const sumGradient = broadcastGradient((_, g) => g);

const meanGradient = broadcastGradient((m, g, _, ctx) => m.mul(g, 1 / ctx.arity));

/** d x^p = p x^(p-1) dx + x^p ln x dp; exponents may be integers. */
const powGradient = broadcastGradient((m, g, i, ctx) => {
  const [x, y] = [ctx.input(0), ctx.output(0)];
  if (i === 1) {
    const positive = m.is('Greater', x, 0);
    return m.where(positive, m.mul(m.mul(g, y), m.f('Log', m.where(positive, x, 1))), 0);
  }
  const exponent = knownScalar(ctx, 1);
  if (exponent === 2) return m.mul(g, m.mul(x, 2));
  if (exponent !== undefined) return m.mul(g, m.mul(m.pow(x, exponent - 1), exponent));
  const type = ctx.elemType(0);
  const p = ctx.elemType(1) === type ? ctx.input(1) : ctx.emit('Cast', [ctx.input(1)], { to: type });
  return m.mul(g, m.mul(p, m.pow(x, m.sub(p, 1))));
});

/** Max and Min: all flows to the first operand that is the result. */
function extremeGradient(): GradientRule {
  return (ctx) => {
    const g = ctx.gradient(0);
    if (g === undefined) return [];
    const m = formulas(ctx);
    const out = ctx.outputShape(0);
    let taken: string | undefined;
    return indices(ctx.arity).map((i) => {
      const equal = m.is('Equal', ctx.input(i), ctx.output(0));
      const here = taken === undefined ? equal : ctx.emit('And', [equal, ctx.emit('Not', [taken])]);
      taken = taken === undefined ? equal : ctx.emit('Or', [taken, equal]);
      return ctx.needed(i) ? unbroadcast(ctx, m.where(here, g, 0), out, ctx.inputShape(i)) : undefined;
    });
  };
}

/** Inside the bounds the value is its own result; a bound takes what lies beyond it. */
const clipGradient: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const m = formulas(ctx);
  const x = ctx.input(0);
  const beyond = (i: number, comparison: string): string | undefined => {
    if (!ctx.needed(i)) return undefined;
    const part = m.where(m.is(comparison, x, ctx.input(i)), g, 0);
    return m.reshape(m.sum(part, indices(ctx.inputShape(0).length), 0), ctx.inputShape(i));
  };
  return [
    // a product with 0 and 1: Where takes twice as long
    ctx.needed(0) ? m.mul(g, ctx.emit('Cast', [m.is('Equal', x, ctx.output(0))], { to: ctx.elemType(0) })) : undefined,
    beyond(1, 'Less'),
    beyond(2, 'Greater'),
  ];
};

const whereGradient: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const m = formulas(ctx);
  const out = ctx.outputShape(0);
  const part = (i: number): string | undefined => {
    if (!ctx.needed(i)) return undefined;
    const chosen = i === 1 ? m.where(ctx.input(0), g, 0) : m.where(ctx.input(0), 0, g);
    // the condition may be wider than both
    return unbroadcast(ctx, chosen, out, ctx.inputShape(i));
  };
  return [undefined, part(1), part(2)];
};

/** Only floats carry gradients; the engine asks for no others. */
const castGradient: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  return [g === undefined ? undefined : ctx.emit('Cast', [g], { to: ctx.elemType(0) })];
};

/** With fmod 1 (the only form for floats): x - y trunc(x / y). */
const modGradient = broadcastGradient((m, g, i, ctx) => {
  if (i === 0) return g;
  const [x, y] = [ctx.input(0), ctx.input(1)];
  const quotient = m.div(m.sub(x, ctx.output(0)), y);
  return m.f('Neg', m.mul(g, m.f('Round', quotient)));
});

/** Identity when nothing is dropped; with training mode the mask says what was, scaled by 1 / (1 - ratio). */
const dropoutGradient: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  const training = knownScalar(ctx, 2) ?? (ctx.input(2) === '' ? 0 : 1);
  if (g === undefined || training === 0) return [g];
  const m = formulas(ctx);
  const ratio = ctx.input(1) === '' ? 0.5 : (knownScalar(ctx, 1) ?? ctx.input(1));
  const scale = typeof ratio === 'number' ? 1 / (1 - ratio) : m.div(1, m.sub(1, ratio));
  const mask = ctx.emit('Cast', [ctx.output(1)], { to: ctx.elemType(0) });
  return [m.mul(g, m.mul(mask, scale))];
};

/** sqrt(1 + sign * x^2). */
function root(m: Formulas, x: string, sign: 1 | -1, one = 1): string {
  const square = m.mul(x, x);
  return m.f('Sqrt', sign === 1 ? m.add(square, one) : m.sub(one, square));
}

const shrinkGradient: GradientRule = gatedGradient((m, g, x, _, ctx) =>
  m.where(m.is('Greater', m.f('Abs', x), attrFloat(ctx.node, 'lambd', 0.5)), g, 0),
);

/** The product of all earlier elements has no simple adjoint; a sum does: the same sum from the other end. */
const cumSumGradient: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const reverse = 1 - attrInt(ctx.node, 'reverse', 0);
  return [ctx.emit('CumSum', [g, ctx.input(1)], { exclusive: attrInt(ctx.node, 'exclusive', 0), reverse })];
};

export const elementwiseGradients: readonly (readonly [string, GradientRule])[] = [
  ['Add', sumGradient],
  ['Sum', sumGradient],
  ['Mean', meanGradient],
  ['Sub', broadcastGradient((m, g, i) => (i === 0 ? g : m.f('Neg', g)))],
  ['Mul', broadcastGradient((m, g, i, ctx) => m.mul(g, ctx.input(1 - i)))],
  [
    'Div',
    broadcastGradient((m, g, i, ctx) =>
      i === 0 ? m.div(g, ctx.input(1)) : m.f('Neg', m.div(m.mul(g, ctx.output(0)), ctx.input(1))),
    ),
  ],
  ['Pow', powGradient],
  ['Mod', modGradient],
  ['Max', extremeGradient()],
  ['Min', extremeGradient()],
  ['Clip', clipGradient],
  ['Where', whereGradient],
  ['Cast', castGradient],
  ['CastLike', castGradient],
  ['Identity', passBack],
  ['Dropout', dropoutGradient],
  ['CumSum', cumSumGradient],
  ['Neg', gatedGradient((m, g) => m.f('Neg', g))],
  ['Abs', pointwiseGradient((m, x) => m.f('Sign', x))],
  ['Exp', pointwiseGradient((_, __, y) => y)],
  ['Log', gatedGradient((m, g, x) => m.div(g, x))],
  ['Sqrt', gatedGradient((m, g, _, y) => m.div(m.mul(g, 0.5), y))],
  ['Reciprocal', gatedGradient((m, g, _, y) => m.f('Neg', m.mul(g, m.mul(y, y))))],
  ['Sin', pointwiseGradient((m, x) => m.f('Cos', x))],
  ['Cos', pointwiseGradient((m, x) => m.f('Neg', m.f('Sin', x)))],
  ['Tan', pointwiseGradient((m, _, y) => m.add(m.mul(y, y), 1))],
  ['Asin', gatedGradient((m, g, x) => m.div(g, root(m, x, -1)))],
  ['Acos', gatedGradient((m, g, x) => m.f('Neg', m.div(g, root(m, x, -1))))],
  ['Atan', gatedGradient((m, g, x) => m.div(g, m.add(m.mul(x, x), 1)))],
  ['Sinh', pointwiseGradient((m, x) => m.f('Cosh', x))],
  ['Cosh', pointwiseGradient((m, x) => m.f('Sinh', x))],
  ['Asinh', gatedGradient((m, g, x) => m.div(g, root(m, x, 1)))],
  ['Acosh', gatedGradient((m, g, x) => m.div(g, root(m, x, 1, -1)))],
  ['Atanh', gatedGradient((m, g, x) => m.div(g, m.sub(1, m.mul(x, x))))],
  ['Erf', pointwiseGradient((m, x) => m.mul(m.f('Exp', m.f('Neg', m.mul(x, x))), 2 / Math.sqrt(Math.PI)))],
  ['Shrink', shrinkGradient],
  ['Floor', noGradient],
  ['Ceil', noGradient],
  ['Round', noGradient],
  ['Sign', noGradient],
];
