// LSTM, GRU and RNN unrolled into MatMul, Add and activations, one set of nodes a time step: through these, gradients are exact.
// Gates in ONNX's order: i o f c, and z r h. https://onnx.ai/onnx/operators/onnx__LSTM.html
import { attrInt, attrString, type Attribute } from '../ir/graph.js';
import { formulas, indices, type Formulas } from './gradient-rules.js';
import type { ExpandContext, ExpandRule } from './op.js';
import { contradiction } from './rules.js';

type Activation = (x: string) => string;

/** One direction: its weights as matrices, ready to multiply from the right. */
interface Cell {
  readonly m: Formulas;
  readonly hidden: number;
  readonly batch: number;
  /** Number of gates. */
  readonly gates: number;
  /** [H, gates H], and the same for one gate. */
  readonly recurrent: (gate?: number) => string;
  /** Bias of the recurrent part, [gates H] or of one gate; undefined without biases. */
  readonly recurrentBias: (gate?: number) => string | undefined;
  /** Peephole [H] of one gate in the order i o f. */
  readonly peephole: (gate: number) => string | undefined;
  readonly activations: readonly Activation[];
  /** Part `gate` of [B, gates H]. */
  readonly gate: (all: string, gate: number) => string;
  readonly ctx: ExpandContext;
}

interface State {
  readonly h: string;
  readonly c: string;
}

/** `projected` [B, gates H] is the input's part, its bias and (but for GRU's last gate) the recurrent bias included. */
type Step = (cell: Cell, projected: string, state: State) => State;

const lstmStep: Step = (cell, projected, { h, c }) => {
  const { m, gate, activations, peephole, ctx } = cell;
  const [f = m.f.bind(undefined, 'Sigmoid'), g = f, out = g] = activations;
  const sum = m.add(projected, ctx.emit('MatMul', [h, cell.recurrent()]));
  const peep = (name: string, state: string, k: number): string => {
    const p = peephole(k);
    return p === undefined ? name : m.add(name, m.mul(state, p));
  };
  const input = f(peep(gate(sum, 0), c, 0));
  const forget = attrInt(ctx.node, 'input_forget', 0) === 1 ? m.sub(1, input) : f(peep(gate(sum, 2), c, 2));
  const next = m.add(m.mul(forget, c), m.mul(input, g(gate(sum, 3))));
  return { h: m.mul(f(peep(gate(sum, 1), next, 1)), out(next)), c: next };
};

const gruStep: Step = (cell, projected, { h, c }) => {
  const { m, gate, activations, ctx } = cell;
  const [f = m.f.bind(undefined, 'Sigmoid'), g = f] = activations;
  const times = (value: string, k: number): string => ctx.emit('MatMul', [value, cell.recurrent(k)]);
  const update = f(m.add(gate(projected, 0), times(h, 0)));
  const reset = f(m.add(gate(projected, 1), times(h, 1)));
  const bias = cell.recurrentBias(2);
  const withBias = (name: string): string => (bias === undefined ? name : m.add(name, bias));
  const inner =
    attrInt(ctx.node, 'linear_before_reset', 0) === 1
      ? m.mul(reset, withBias(times(h, 2)))
      : withBias(times(m.mul(reset, h), 2));
  const fresh = g(m.add(gate(projected, 2), inner));
  return { h: m.add(m.mul(m.sub(1, update), fresh), m.mul(update, h)), c };
};

const rnnStep: Step = (cell, projected, { h, c }) => {
  const [f = cell.m.f.bind(undefined, 'Tanh')] = cell.activations;
  return { h: f(cell.m.add(projected, cell.ctx.emit('MatMul', [h, cell.recurrent()]))), c };
};

function recurrent(gates: number, defaults: readonly string[], step: Step): ExpandRule {
  return (ctx) => {
    const m = formulas(ctx);
    const { node } = ctx;
    refuse(ctx);
    const batchFirst = attrInt(node, 'layout', 0) === 1;
    const x = batchFirst ? m.transpose(ctx.input(0), [1, 0, 2]) : ctx.input(0);
    const shape = ctx.inputShape(0);
    const [time = 1, batch = 1] = batchFirst ? [shape[1], shape[0]] : shape;
    const input = shape[2]!;
    const hidden = ctx.inputShape(2)[2]!;
    const direction = attrString(node, 'direction', 'forward').toLowerCase();
    const directions = direction === 'bidirectional' ? 2 : 1;
    const lstm = node.opType === 'LSTM';
    const initial = (i: number, d: number): string => {
      if (ctx.input(i) === '') return ctx.emit('Expand', [ctx.float(0), ctx.ints([batch, hidden])]);
      const states = batchFirst ? m.transpose(ctx.input(i), [1, 0, 2]) : ctx.input(i);
      return m.reshape(cut(ctx, states, 0, d, d + 1), [batch, hidden]);
    };
    const runs = indices(directions).map((d) => {
      const cell = cellOf(ctx, m, d, gates, hidden, batch, defaults);
      const w = m.transpose(part(ctx, m, 1, d, [gates * hidden, input]), [1, 0]);
      const flat = m.reshape(x, [time * batch, input]);
      const projected = m.reshape(withInputBias(cell, ctx.emit('MatMul', [flat, w]), d), [time, batch, gates * hidden]);
      const backwards = direction === 'reverse' || d === 1;
      const order = backwards ? indices(time).reverse() : indices(time);
      let state: State = { h: initial(5, d), c: lstm ? initial(6, d) : '' };
      const outputs = indices(time).map(() => '');
      for (const t of order) {
        state = step(cell, m.reshape(cut(ctx, projected, 0, t, t + 1), [batch, gates * hidden]), state);
        outputs[t] = m.reshape(state.h, [1, 1, batch, hidden]);
      }
      return { all: time === 1 ? outputs[0]! : ctx.emit('Concat', outputs, { axis: 0 }), state };
    });
    const join = (names: readonly string[], axis: number): string =>
      names.length === 1 ? names[0]! : ctx.emit('Concat', names, { axis });
    const all = join(
      runs.map((r) => r.all),
      1,
    );
    const last = (of: (s: State) => string): string => {
      const states = join(
        runs.map((r) => m.reshape(of(r.state), [1, batch, hidden])),
        0,
      );
      return batchFirst ? m.transpose(states, [1, 0, 2]) : states;
    };
    return [batchFirst ? m.transpose(all, [2, 0, 1, 3]) : all, last((s) => s.h), ...(lstm ? [last((s) => s.c)] : [])];
  };
}

function refuse(ctx: ExpandContext): void {
  const { node } = ctx;
  if (ctx.input(4) !== '') {
    const lengths = ctx.value(4)?.elems;
    const shape = ctx.inputShape(0);
    const time = shape[attrInt(node, 'layout', 0) === 1 ? 1 : 0];
    if (lengths?.every((n) => n === time) !== true) {
      contradiction(
        ctx,
        'there is no gradient for sequences of different lengths (sequence_lens): freeze the weights before it',
      );
    }
  }
  if (node.attributes.has('clip')) {
    contradiction(ctx, 'there is no gradient for its attribute clip: freeze the weights before it');
  }
}

function cellOf(
  ctx: ExpandContext,
  m: Formulas,
  d: number,
  gates: number,
  hidden: number,
  batch: number,
  defaults: readonly string[],
): Cell {
  const r = m.transpose(part(ctx, m, 2, d, [gates * hidden, hidden]), [1, 0]);
  const bias = ctx.input(3) === '' ? undefined : part(ctx, m, 3, d, [2 * gates * hidden]);
  const peepholes = ctx.node.opType === 'LSTM' && ctx.input(7) !== '' ? part(ctx, m, 7, d, [3 * hidden]) : undefined;
  return {
    m,
    ctx,
    hidden,
    batch,
    gates,
    recurrent: (gate) => (gate === undefined ? r : cut(ctx, r, 1, gate * hidden, (gate + 1) * hidden)),
    recurrentBias: (gate) => {
      if (bias === undefined) return undefined;
      const from = gates * hidden + (gate ?? 0) * hidden;
      return cut(ctx, bias, 0, from, gate === undefined ? 2 * gates * hidden : from + hidden);
    },
    peephole: (gate) =>
      peepholes === undefined ? undefined : cut(ctx, peepholes, 0, gate * hidden, (gate + 1) * hidden),
    activations: activationsOf(ctx, d, defaults),
    gate: (all, gate) => (gates === 1 ? all : cut(ctx, all, 1, gate * hidden, (gate + 1) * hidden)),
  };
}

/** Both biases at once; GRU's last recurrent one stays with its product, which a gate multiplies. */
function withInputBias(cell: Cell, projected: string, d: number): string {
  const { ctx, m, gates, hidden } = cell;
  if (ctx.input(3) === '') return projected;
  const bias = part(ctx, m, 3, d, [2 * gates * hidden]);
  const own = cut(ctx, bias, 0, 0, gates * hidden);
  const recurrentBias = cell.recurrentBias();
  if (recurrentBias === undefined) return m.add(projected, own);
  if (ctx.node.opType !== 'GRU') return m.add(projected, m.add(own, recurrentBias));
  const first = cut(ctx, recurrentBias, 0, 0, 2 * hidden);
  const padded = ctx.emit('Pad', [first, ctx.ints([0, hidden])]);
  return m.add(projected, m.add(own, padded));
}

/** Direction d of input i as a matrix or vector. */
function part(ctx: ExpandContext, m: Formulas, i: number, d: number, shape: readonly number[]): string {
  return m.reshape(cut(ctx, ctx.input(i), 0, d, d + 1), shape);
}

function cut(ctx: ExpandContext, name: string, axis: number, from: number, to: number): string {
  return ctx.emit('Slice', [name, ctx.ints([from]), ctx.ints([to]), ctx.ints([axis])]);
}

/** The activations of one direction, with alpha and beta where they are given. */
function activationsOf(ctx: ExpandContext, d: number, defaults: readonly string[]): Activation[] {
  const given = ctx.node.attributes.get('activations');
  const names = given?.kind === 'strings' ? given.value.slice(d * defaults.length) : defaults;
  const floats = (a: Attribute | undefined): readonly number[] => (a?.kind === 'floats' ? a.value : []);
  const alphas = floats(ctx.node.attributes.get('activation_alpha'));
  const betas = floats(ctx.node.attributes.get('activation_beta'));
  const m = formulas(ctx);
  return defaults.map((fallback, k): Activation => {
    const name = names[k] ?? fallback;
    const [alpha, beta] = [alphas[d * defaults.length + k], betas[d * defaults.length + k]];
    switch (name.toLowerCase()) {
      case 'affine':
        return (x) => m.add(m.mul(x, alpha ?? 1), beta ?? 0);
      case 'scaledtanh':
        return (x) => m.mul(m.f('Tanh', m.mul(x, beta ?? 1)), alpha ?? 1);
      default: {
        const opType = operators.find((o) => o.toLowerCase() === name.toLowerCase());
        if (opType === undefined) contradiction(ctx, `there is no gradient for the activation "${name}"`);
        const attributes = {
          ...(alpha === undefined || !opType.match(/Leaky|Hard|Elu|Thresholded/) ? {} : { alpha: { float: alpha } }),
          ...(beta === undefined || opType !== 'HardSigmoid' ? {} : { beta: { float: beta } }),
        };
        return (x) => ctx.emit(opType, [x], attributes);
      }
    }
  });
}

const operators = [
  'Relu',
  'Tanh',
  'Sigmoid',
  'LeakyRelu',
  'ThresholdedRelu',
  'HardSigmoid',
  'Elu',
  'Softsign',
  'Softplus',
];

export const recurrentExpansions: readonly (readonly [string, ExpandRule])[] = [
  ['LSTM', recurrent(4, ['Sigmoid', 'Tanh', 'Tanh'], lstmStep)],
  ['GRU', recurrent(3, ['Sigmoid', 'Tanh'], gruStep)],
  ['RNN', recurrent(1, ['Tanh'], rnnStep)],
];
