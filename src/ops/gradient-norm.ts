// Gradients of normalisations: over the batch (with batch or running statistics), over a sample, over groups of channels.
// https://onnx.ai/onnx/operators/onnx__BatchNormalization.html
import { attrFloat, attrInt } from '../ir/graph.js';
import { countOfDims, formulas, indices, type Formulas } from './gradient-rules.js';
import type { GradientContext, GradientRule } from './op.js';

interface Normal {
  /** (x - mean) / deviation. */
  readonly normal: string;
  /** 1 / deviation. */
  readonly inverse: string;
}

/** Statistics over `axes`, computed again: cheap beside what they are needed for. */
function normalized(
  m: Formulas,
  x: string,
  shape: readonly number[],
  axes: readonly number[],
  epsilon: number,
): Normal {
  const share = 1 / countOfDims(axes.map((a) => shape[a]!));
  const centred = m.sub(x, m.mul(m.sum(x, axes), share));
  const variance = m.mul(m.sum(m.mul(centred, centred), axes), share);
  const inverse = m.div(1, m.f('Sqrt', m.add(variance, epsilon)));
  return { normal: m.mul(centred, inverse), inverse };
}

/** Through (x - mean) / deviation: inverse (g - mean(g) - normal mean(g normal)); without a mean to subtract, its term goes. */
function throughNormal(
  m: Formulas,
  g: string,
  { normal, inverse }: Normal,
  shape: readonly number[],
  axes: readonly number[],
  centred = true,
): string {
  const share = 1 / countOfDims(axes.map((a) => shape[a]!));
  const along = m.mul(normal, m.mul(m.sum(m.mul(g, normal), axes), share));
  const level = centred ? m.sub(g, m.mul(m.sum(g, axes), share)) : g;
  return m.mul(inverse, m.sub(level, along));
}

const batchNorm: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const m = formulas(ctx);
  const x = ctx.inputShape(0);
  const channels = x[1] ?? 1;
  const wide = x.map((_, k) => (k === 1 ? channels : 1));
  const axes = indices(x.length).filter((k) => k !== 1);
  const epsilon = attrFloat(ctx.node, 'epsilon', 1e-5);
  const spread = (i: number): string => m.reshape(ctx.input(i), wide);
  const flat = (name: string): string => m.reshape(name, [channels]);
  if (attrInt(ctx.node, 'training_mode', 0) === 1) {
    // few passes over all values: what belongs to a channel is computed apart
    const share = channels / countOfDims(x);
    const centred = m.sub(ctx.input(0), m.mul(m.sum(ctx.input(0), axes), share));
    const squares = ctx.emit('ReduceSumSquare', [centred, ctx.ints(axes)], { keepdims: 1 });
    const inverse = m.div(1, m.f('Sqrt', m.add(m.mul(squares, share), epsilon)));
    const gSum = m.sum(g, axes);
    const gCentred = m.sum(m.mul(g, centred), axes);
    const input = (): string => {
      const slope = m.mul(m.mul(gCentred, share), m.mul(inverse, inverse));
      const lost = m.add(m.mul(centred, slope), m.mul(gSum, share));
      return m.mul(m.sub(g, lost), m.mul(spread(1), inverse));
    };
    return [
      ctx.needed(0) ? input() : undefined,
      ctx.needed(1) ? flat(m.mul(gCentred, inverse)) : undefined,
      ctx.needed(2) ? flat(gSum) : undefined,
    ];
  }
  const inverse = m.div(1, m.f('Sqrt', m.add(spread(4), epsilon)));
  const centred = m.sub(ctx.input(0), spread(3));
  const sums = (name: string): string => m.sum(name, axes);
  const slope = (): string => sums(m.mul(g, m.mul(centred, inverse)));
  // y = scale (x - mean) inverse + bias, so mean and variance have gradients too when someone asks
  const variance = (): string => m.mul(m.mul(slope(), spread(1)), m.mul(m.mul(inverse, inverse), -0.5));
  return [
    ctx.needed(0) ? m.mul(g, m.mul(spread(1), inverse)) : undefined,
    ctx.needed(1) ? flat(slope()) : undefined,
    ctx.needed(2) ? flat(sums(g)) : undefined,
    ctx.needed(3) ? flat(m.f('Neg', m.mul(sums(g), m.mul(spread(1), inverse)))) : undefined,
    ctx.needed(4) ? flat(variance()) : undefined,
  ];
};

/** Over the axes from `axis` on; scale and bias broadcast to x. Without a mean: RMSNormalization. */
function layerNorm(centred: boolean): GradientRule {
  return (ctx) => {
    const g = ctx.gradient(0);
    if (g === undefined) return [];
    const m = formulas(ctx);
    const shape = ctx.inputShape(0);
    const first = attrInt(ctx.node, 'axis', -1);
    const axes = indices(shape.length).slice(first < 0 ? first + shape.length : first);
    const epsilon = attrFloat(ctx.node, 'epsilon', 1e-5);
    const x = ctx.input(0);
    const share = 1 / countOfDims(axes.map((a) => shape[a]!));
    const rms = (): Normal => {
      const inverse = m.div(1, m.f('Sqrt', m.add(m.mul(m.sum(m.mul(x, x), axes), share), epsilon)));
      return { normal: m.mul(x, inverse), inverse };
    };
    const normal = centred ? normalized(m, x, shape, axes, epsilon) : rms();
    const scaled = m.mul(g, ctx.input(1));
    return [
      ctx.needed(0) ? throughNormal(m, scaled, normal, shape, axes, centred) : undefined,
      ctx.needed(1) ? ontoParameter(ctx, m, m.mul(g, normal.normal), shape, 1) : undefined,
      ctx.needed(2) ? ontoParameter(ctx, m, g, shape, 2) : undefined,
    ];
  };
}

/** Sums over everything that the parameter of input i is broadcast to. */
function ontoParameter(ctx: GradientContext, m: Formulas, name: string, shape: readonly number[], i: number): string {
  const to = ctx.inputShape(i);
  const shift = shape.length - to.length;
  const axes = indices(shape.length).filter((k) => k < shift || (to[k - shift] === 1 && shape[k] !== 1));
  return m.reshape(m.sum(name, axes), to);
}

/** [N, C, ...] seen as [N, groups, C / groups, ...]; statistics over all but the first two. */
function groupNorm(groupsOf: (ctx: GradientContext, channels: number) => number): GradientRule {
  return (ctx) => {
    const g = ctx.gradient(0);
    if (g === undefined) return [];
    const m = formulas(ctx);
    const shape = ctx.inputShape(0);
    const [batch = 1, channels = 1] = shape;
    const groups = groupsOf(ctx, channels);
    const positions = countOfDims(shape.slice(2));
    const view = [batch, groups, channels / groups, positions];
    const axes = [2, 3];
    // one scale per channel, or (GroupNormalization before opset 21) per group
    const perGroup = countOfDims(ctx.inputShape(1)) === groups && groups !== channels;
    const wide = perGroup ? [1, groups, 1, 1] : [1, groups, channels / groups, 1];
    const over = perGroup ? [0, 2, 3] : [0, 3];
    const gView = m.reshape(g, view);
    const normal = normalized(m, m.reshape(ctx.input(0), view), view, axes, attrFloat(ctx.node, 'epsilon', 1e-5));
    const scaled = m.mul(gView, m.reshape(ctx.input(1), wide));
    const parameter = (name: string, i: number): string => m.reshape(m.sum(name, over), ctx.inputShape(i));
    return [
      ctx.needed(0) ? m.reshape(throughNormal(m, scaled, normal, view, axes), shape) : undefined,
      ctx.needed(1) ? parameter(m.mul(gView, normal.normal), 1) : undefined,
      ctx.needed(2) ? parameter(gView, 2) : undefined,
    ];
  };
}

export const normGradients: readonly (readonly [string, GradientRule])[] = [
  ['BatchNormalization', batchNorm],
  ['LayerNormalization', layerNorm(true)],
  ['RMSNormalization', layerNorm(false)],
  ['InstanceNormalization', groupNorm((_, channels) => channels)],
  ['GroupNormalization', groupNorm((ctx, channels) => attrInt(ctx.node, 'num_groups', channels))],
];
