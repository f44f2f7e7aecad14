// Gradients of BatchNormalization: with batch statistics (training_mode 1) and with running ones.
// https://onnx.ai/onnx/operators/onnx__BatchNormalization.html
import { attrFloat, attrInt } from '../ir/graph.js';
import type { GradientContext, GradientRule } from './op.js';

export const batchNormGradient: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const x = ctx.inputShape(0);
  const channels = x[1] ?? 1;
  const wide = [1, channels, ...x.slice(2).map(() => 1)];
  const axes = ctx.ints([0, ...x.slice(2).map((_, k) => k + 2)]);
  const training = attrInt(ctx.node, 'training_mode', 0) === 1;
  const spread = (name: string): string => ctx.emit('Reshape', [name, ctx.ints(wide)]);
  const sum = (name: string): string => ctx.emit('ReduceSum', [name, axes], { keepdims: 1 });
  const mean = training
    ? ctx.emit('ReduceMean', [ctx.input(0)], { axes: [0, ...x.slice(2).map((_, k) => k + 2)], keepdims: 1 })
    : spread(ctx.input(3));
  const centred = ctx.emit('Sub', [ctx.input(0), mean]);
  const count = x.reduce((a, b) => a * b, 1) / channels;
  const variance = training
    ? ctx.emit('Mul', [sum(ctx.emit('Mul', [centred, centred])), ctx.float(1 / count)])
    : spread(ctx.input(4));
  const deviation = ctx.emit('Sqrt', [ctx.emit('Add', [variance, ctx.float(attrFloat(ctx.node, 'epsilon', 1e-5))])]);
  const normal = ctx.emit('Div', [centred, deviation]);
  const gSum = sum(g);
  const gNormal = sum(ctx.emit('Mul', [g, normal]));
  const flat = (name: string): string => ctx.emit('Reshape', [name, ctx.ints([channels])]);
  const factor = (): string => ctx.emit('Div', [spread(ctx.input(1)), deviation]);
  const input = (): string => {
    if (!training) return ctx.emit('Mul', [g, factor()]);
    const inverse = ctx.float(1 / count);
    const shared = ctx.emit('Add', [gSum, ctx.emit('Mul', [normal, gNormal])]);
    return ctx.emit('Mul', [factor(), ctx.emit('Sub', [g, ctx.emit('Mul', [shared, inverse])])]);
  };
  return [
    ctx.needed(0) ? input() : undefined,
    ctx.needed(1) ? flat(gNormal) : undefined,
    ctx.needed(2) ? flat(gSum) : undefined,
  ];
};

/** Mean over the axes that were reduced to length 1 or dropped; used by GlobalAveragePool. */
export const globalAverageGradient: GradientRule = (ctx) => spreadMean(ctx);

function spreadMean(ctx: GradientContext): readonly (string | undefined)[] {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const x = ctx.inputShape(0);
  const count = x.slice(2).reduce((a, b) => a * b, 1);
  const scaled = ctx.emit('Mul', [g, ctx.float(1 / count)]);
  return [ctx.emit('Expand', [scaled, ctx.ints(x)])];
}
