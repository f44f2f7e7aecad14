// Losses as nodes of the training graph: each takes the network's output and a target of the same dims and gives one number,
// the mean over the batch. Classes lie on the last axis.
import type { Emitter } from './emitter.js';

export type Loss =
  /** Targets are probabilities; `smoothing` mixes them with the uniform distribution. */
  | { readonly kind: 'cross-entropy'; readonly smoothing?: number }
  /** `relative`: divided by the mean square of the targets, so that values of any size weigh the same. */
  | { readonly kind: 'mse'; readonly relative?: boolean }
  /** Squared up to `delta` (1), linear beyond. */
  | { readonly kind: 'huber'; readonly delta?: number }
  /** The output itself: a loss that the model computes; the targets are not read. */
  | { readonly kind: 'mean' }
  /** KL(teacher || network) at `temperature` (4), times its square (Hinton et al. 2015); targets are the teacher's logits. */
  | { readonly kind: 'distill'; readonly temperature?: number }
  /** One score a sample: for each pair that the targets order, what its scores lack of `margin` (1) the same way round. */
  | { readonly kind: 'hinge'; readonly margin?: number };

export const lossNames = [
  'cross-entropy',
  'mse',
  'huber',
  'distill',
  'hinge',
] as const satisfies readonly Loss['kind'][];

/** Emits the loss of `output` against `target`, both of these dims; returns the name of a scalar. */
export function emitLoss(m: Emitter, loss: Loss, output: string, target: string, dims: readonly number[]): string {
  const count = dims.reduce((a, b) => a * b, 1);
  const classes = dims.at(-1) ?? 1;
  const times = (x: string, factor: number): string => m.emit('Mul', [x, m.float(factor)]);
  const meanOf = (x: string, over: number): string => times(m.emit('ReduceSum', [x], { keepdims: 0 }), 1 / over);
  switch (loss.kind) {
    case 'cross-entropy': {
      const { smoothing = 0 } = loss;
      const log = m.emit('LogSoftmax', [output], { axis: -1 });
      const soft =
        smoothing === 0 ? target : m.emit('Add', [times(target, 1 - smoothing), m.float(smoothing / classes)]);
      return times(m.emit('ReduceSum', [m.emit('Mul', [log, soft])], { keepdims: 0 }), -classes / count);
    }
    case 'mse': {
      const difference = m.emit('Sub', [output, target]);
      const mean = meanOf(m.emit('Mul', [difference, difference]), count);
      if (loss.relative !== true) return mean;
      const size = meanOf(m.emit('Mul', [target, target]), count);
      return m.emit('Div', [mean, m.emit('Add', [size, m.float(1e-12)])]);
    }
    case 'mean':
      return meanOf(output, count);
    case 'huber': {
      const { delta = 1 } = loss;
      const size = m.emit('Abs', [m.emit('Sub', [output, target])]);
      // with q = min(|d|, delta): q (|d| - q / 2) is d^2 / 2 up to delta and delta |d| - delta^2 / 2 beyond
      const inner = m.emit('Min', [size, m.float(delta)]);
      return meanOf(m.emit('Mul', [inner, m.emit('Sub', [size, times(inner, 0.5)])]), count);
    }
    case 'distill': {
      const { temperature = 4 } = loss;
      const log = (x: string): string => m.emit('LogSoftmax', [times(x, 1 / temperature)], { axis: -1 });
      const wanted = log(target);
      const weighted = m.emit('Mul', [m.emit('Exp', [wanted]), m.emit('Sub', [wanted, log(output)])]);
      return times(m.emit('ReduceSum', [weighted], { keepdims: 0 }), (temperature * temperature * classes) / count);
    }
    case 'hinge': {
      const { margin = 1 } = loss;
      const below = (x: string): string =>
        m.emit('Sub', [m.emit('Reshape', [x, m.ints([count, 1])]), m.emit('Reshape', [x, m.ints([1, count])])]);
      const ordered = m.emit('Sign', [m.emit('Relu', [below(target)])]);
      const lacking = m.emit('Relu', [m.emit('Sub', [m.float(margin), below(output)])]);
      const sum = (x: string): string => m.emit('ReduceSum', [x], { keepdims: 0 });
      return m.emit('Div', [sum(m.emit('Mul', [ordered, lacking])), m.emit('Max', [sum(ordered), m.float(1)])]);
    }
  }
}
