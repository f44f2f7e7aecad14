// Optimizers as nodes of the training graph: from a weight, its gradient and its slots (velocity, moments) to the next ones.
// What changes from step to step comes in as scalars, so one graph serves all steps.
import type { Emitter } from './emitter.js';

export type Optimizer =
  /** Nesterov momentum (Sutskever et al. 2013, as PyTorch writes it). */
  | { readonly kind: 'sgd'; readonly momentum: number; readonly decay: number; readonly decoupled?: boolean }
  /** Kingma & Ba 2015: decay is added to the gradient. */
  | { readonly kind: 'adam'; readonly decay: number }
  /** Loshchilov & Hutter 2019: decay acts on the weight, beside the gradient. */
  | { readonly kind: 'adamw'; readonly decay: number };

export const optimizerNames = ['sgd', 'adam', 'adamw'] as const satisfies readonly Optimizer['kind'][];

const BETA1 = 0.9;
const BETA2 = 0.999;
const EPSILON = 1e-8;

/** Slots that start at 0, one of each a weight; the slot of weight w is called `slot/w`. */
export function slotsOf(optimizer: Optimizer): readonly string[] {
  return optimizer.kind === 'sgd' ? ['velocity'] : ['moment1', 'moment2'];
}

/** Scalar inputs of the step and their values at `step` (from 0) and this learning rate. */
export function stepScalars(optimizer: Optimizer, step: number, rate: number): ReadonlyMap<string, number> {
  if (optimizer.kind === 'sgd') return new Map([['rate', rate]]);
  return new Map([
    ['rate', rate],
    ['unbias1', 1 / (1 - BETA1 ** (step + 1))],
    ['unbias2', 1 / (1 - BETA2 ** (step + 1))],
  ]);
}

export interface Updated {
  readonly weight: string;
  /** In the order of {@link slotsOf}. */
  readonly slots: readonly string[];
}

/** Emits the update of one weight. */
export function emitUpdate(m: Emitter, optimizer: Optimizer, weight: string, gradient: string): Updated {
  const slots = slotsOf(optimizer).map((slot) => `${slot}/${weight}`);
  const times = (x: string, factor: number): string => m.emit('Mul', [x, m.float(factor)]);
  const { decay } = optimizer;
  const beside = optimizer.kind === 'adamw' || (optimizer.kind === 'sgd' && optimizer.decoupled === true);
  const g = beside || decay === 0 ? gradient : m.emit('Add', [gradient, times(weight, decay)]);
  const kept = beside && decay !== 0 ? m.emit('Sub', [weight, m.emit('Mul', [times(weight, decay), 'rate'])]) : weight;
  if (optimizer.kind === 'sgd') {
    const velocity = m.emit('Add', [times(slots[0]!, optimizer.momentum), g]);
    const step = m.emit('Add', [g, times(velocity, optimizer.momentum)]);
    return { weight: m.emit('Sub', [kept, m.emit('Mul', [step, 'rate'])]), slots: [velocity] };
  }
  const first = m.emit('Add', [times(slots[0]!, BETA1), times(g, 1 - BETA1)]);
  const second = m.emit('Add', [times(slots[1]!, BETA2), times(m.emit('Mul', [g, g]), 1 - BETA2)]);
  const deviation = m.emit('Sqrt', [m.emit('Mul', [second, 'unbias2'])]);
  const step = m.emit('Div', [m.emit('Mul', [first, 'unbias1']), m.emit('Add', [deviation, m.float(EPSILON)])]);
  return { weight: m.emit('Sub', [kept, m.emit('Mul', [step, 'rate'])]), slots: [first, second] };
}

/** The gradients' common norm, and the gradients scaled down together to `limit` where it is larger. */
export function emitClipped(
  m: Emitter,
  gradients: readonly string[],
  limit: number | undefined,
): { readonly norm: string; readonly gradients: readonly string[] } {
  const squares = gradients.map((g) => m.emit('ReduceSum', [m.emit('Mul', [g, g])], { keepdims: 0 }));
  const norm = m.emit('Sqrt', [squares.length === 1 ? squares[0]! : m.emit('Sum', squares)]);
  if (limit === undefined) return { norm, gradients };
  const scale = m.emit('Div', [m.float(limit), m.emit('Max', [norm, m.float(limit)])]);
  return { norm, gradients: gradients.map((g) => m.emit('Mul', [g, scale])) };
}

/** The moving average after a step; `ema-decay` is a scalar input of the step, see {@link averageDecay}. */
export function emitAverage(m: Emitter, average: string, weight: string): string {
  return m.emit('Add', [weight, m.emit('Mul', [m.emit('Sub', [average, weight]), 'ema-decay'])]);
}

/** Short memory at first, so that the average forgets the start. */
export function averageDecay(decay: number, step: number): number {
  return Math.min(decay, (1 + step) / (10 + step));
}
