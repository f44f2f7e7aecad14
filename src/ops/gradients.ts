// Which gradient rule belongs to which operator of the default domain; index.ts puts them into the entries.
import { convGradient } from './gradient-conv.js';
import { gemmGradient, matmulGradient } from './gradient-dense.js';
import { batchNormGradient, globalAverageGradient } from './gradient-norm.js';
import { binaryGradient, passBack, reduceGradient, reshapeBack, unaryGradient } from './gradient-rules.js';
import type { GradientRule } from './op.js';

export const gradientRules: ReadonlyMap<string, GradientRule> = new Map<string, GradientRule>([
  ['Conv', convGradient],
  ['Gemm', gemmGradient],
  ['MatMul', matmulGradient],
  ['BatchNormalization', batchNormGradient],
  ['GlobalAveragePool', globalAverageGradient],
  ['Reshape', reshapeBack],
  ['Flatten', reshapeBack],
  ['Squeeze', reshapeBack],
  ['Unsqueeze', reshapeBack],
  ['Identity', passBack],
  ['Neg', unaryGradient((ctx, g) => ctx.emit('Neg', [g]))],
  [
    'Relu',
    unaryGradient((ctx, g) => ctx.emit('Where', [ctx.emit('Greater', [ctx.input(0), ctx.float(0)]), g, ctx.float(0)])),
  ],
  [
    'Sigmoid',
    unaryGradient((ctx, g) =>
      ctx.emit('Mul', [g, ctx.emit('Mul', [ctx.output(0), ctx.emit('Sub', [ctx.float(1), ctx.output(0)])])]),
    ),
  ],
  [
    'Tanh',
    unaryGradient((ctx, g) =>
      ctx.emit('Mul', [g, ctx.emit('Sub', [ctx.float(1), ctx.emit('Mul', [ctx.output(0), ctx.output(0)])])]),
    ),
  ],
  ['Exp', unaryGradient((ctx, g) => ctx.emit('Mul', [g, ctx.output(0)]))],
  ['Log', unaryGradient((ctx, g) => ctx.emit('Div', [g, ctx.input(0)]))],
  ['Sqrt', unaryGradient((ctx, g) => ctx.emit('Div', [ctx.emit('Mul', [g, ctx.float(0.5)]), ctx.output(0)]))],
  [
    'Add',
    binaryGradient(
      (_, g) => g,
      (_, g) => g,
    ),
  ],
  [
    'Sub',
    binaryGradient(
      (_, g) => g,
      (ctx, g) => ctx.emit('Neg', [g]),
    ),
  ],
  [
    'Mul',
    binaryGradient(
      (ctx, g) => ctx.emit('Mul', [g, ctx.input(1)]),
      (ctx, g) => ctx.emit('Mul', [g, ctx.input(0)]),
    ),
  ],
  [
    'Div',
    binaryGradient(
      (ctx, g) => ctx.emit('Div', [g, ctx.input(1)]),
      (ctx, g) => ctx.emit('Neg', [ctx.emit('Div', [ctx.emit('Mul', [g, ctx.output(0)]), ctx.input(1)])]),
    ),
  ],
  ['ReduceSum', reduceGradient(() => 1)],
  ['ReduceMean', reduceGradient((count) => 1 / count)],
  [
    'LogSoftmax',
    unaryGradient((ctx, g) => {
      const axis = softmaxAxis(ctx.node.attributes.get('axis'), ctx.inputShape(0).length);
      const sum = ctx.emit('ReduceSum', [g, ctx.ints([axis])], { keepdims: 1 });
      return ctx.emit('Sub', [g, ctx.emit('Mul', [ctx.emit('Exp', [ctx.output(0)]), sum])]);
    }),
  ],
  [
    'Softmax',
    unaryGradient((ctx, g) => {
      const axis = softmaxAxis(ctx.node.attributes.get('axis'), ctx.inputShape(0).length);
      const product = ctx.emit('Mul', [g, ctx.output(0)]);
      const sum = ctx.emit('ReduceSum', [product, ctx.ints([axis])], { keepdims: 1 });
      return ctx.emit('Sub', [product, ctx.emit('Mul', [ctx.output(0), sum])]);
    }),
  ],
]);

function softmaxAxis(attribute: { kind: string; value: unknown } | undefined, rank: number): number {
  const axis = attribute?.kind === 'int' && typeof attribute.value === 'number' ? attribute.value : -1;
  return axis < 0 ? axis + rank : axis;
}
