// Reference kernels of LSTM, GRU and RNN, one element at a time; default activations, no clip, sequences of full length.

import { build, get, range, ref, size, type Ref } from './arrays.js';
import type { Call, Kernel } from './interpreter.js';

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

interface Cell {
  /** W row . x + R row . h + both biases, for gate and unit. */
  readonly input: (gate: number, unit: number) => number;
  readonly recurrent: (gate: number, unit: number, h: readonly number[]) => number;
  readonly peephole: (gate: number, unit: number) => number;
  readonly h: readonly number[];
  readonly c: readonly number[];
  readonly hidden: number;
  readonly call: Call;
}

type Step = (cell: Cell) => { h: number[]; c: number[] };

const lstm: Step = ({ input, recurrent, peephole, h, c, hidden, call }) => {
  const sum = (gate: number, unit: number): number => input(gate, unit) + recurrent(gate, unit, h);
  const units = range(hidden).map((u) => {
    const i = sigmoid(sum(0, u) + peephole(0, u) * c[u]!);
    const forget = sigmoid(sum(2, u) + peephole(2, u) * c[u]!);
    const f = call.int('input_forget', 0) === 1 ? 1 - i : forget;
    const next = f * c[u]! + i * Math.tanh(sum(3, u));
    return { next, out: sigmoid(sum(1, u) + peephole(1, u) * next) * Math.tanh(next) };
  });
  return { h: units.map((u) => u.out), c: units.map((u) => u.next) };
};

const gru: Step = ({ input, recurrent, h, c, hidden, call }) => {
  const z = range(hidden).map((u) => sigmoid(input(0, u) + recurrent(0, u, h)));
  const r = range(hidden).map((u) => sigmoid(input(1, u) + recurrent(1, u, h)));
  const gated = h.map((v, u) => v * r[u]!);
  const next = range(hidden).map((u) => {
    const before = call.int('linear_before_reset', 0) === 1;
    const inner = before ? r[u]! * recurrent(2, u, h) : recurrent(2, u, gated);
    return (1 - z[u]!) * Math.tanh(input(2, u) + inner) + z[u]! * h[u]!;
  });
  return { h: next, c: [...c] };
};

const rnn: Step = ({ input, recurrent, h, c, hidden }) => ({
  h: range(hidden).map((u) => Math.tanh(input(0, u) + recurrent(0, u, h))),
  c: [...c],
});

const layer = (gates: number, step: Step): Kernel => {
  return (call) => {
    if (call.node.attributes.has('activations') || call.node.attributes.has('clip')) {
      throw new Error('a recurrent layer with options that the reference lacks');
    }
    const batchFirst = call.int('layout', 0) === 1;
    const turned = (x: Ref): Ref =>
      build([x.dims[1]!, x.dims[0]!, ...x.dims.slice(2)], ([a = 0, b = 0, ...rest]) => get(x, [b, a, ...rest]));
    const x = batchFirst ? turned(call.in(0)) : call.in(0);
    const [time = 1, batch = 1, width = 1] = x.dims;
    if (call.inputs[4]?.data.every((length) => length === time) === false)
      throw new Error('sequences of other lengths');
    const [w, r, b] = [call.in(1), call.in(2), call.inputs[3]];
    const hidden = r.dims[2]!;
    const direction = call.text('direction', 'forward');
    const directions = direction === 'bidirectional' ? 2 : 1;
    const first = (i: number): Ref => {
      const given = call.inputs[i];
      if (given === undefined) return ref([directions, batch, hidden], new Float64Array(directions * batch * hidden));
      return batchFirst ? turned(given) : given;
    };
    const [h0, c0, p] = [first(5), first(6), call.inputs[7]];
    const y = ref([time, directions, batch, hidden], new Float64Array(time * directions * batch * hidden));
    const last = [0, 1].map(() => new Float64Array(size([directions, batch, hidden])));
    for (let d = 0; d < directions; d++) {
      for (let n = 0; n < batch; n++) {
        let h = range(hidden).map((u) => get(h0, [d, n, u]));
        let c = range(hidden).map((u) => get(c0, [d, n, u]));
        const order = direction === 'reverse' || d === 1 ? range(time).reverse() : range(time);
        for (const t of order) {
          const input = (gate: number, unit: number): number => {
            let sum = b === undefined ? 0 : get(b, [d, gate * hidden + unit]);
            for (let k = 0; k < width; k++) sum += get(w, [d, gate * hidden + unit, k]) * get(x, [t, n, k]);
            return sum;
          };
          const recurrent = (gate: number, unit: number, state: readonly number[]): number => {
            let sum = b === undefined ? 0 : get(b, [d, (gates + gate) * hidden + unit]);
            for (let k = 0; k < hidden; k++) sum += get(r, [d, gate * hidden + unit, k]) * state[k]!;
            return sum;
          };
          const peephole = (gate: number, unit: number): number =>
            p === undefined ? 0 : get(p, [d, gate * hidden + unit]);
          ({ h, c } = step({ input, recurrent, peephole, h, c, hidden, call }));
          h.forEach((v, u) => {
            y.data[((t * directions + d) * batch + n) * hidden + u] = v;
          });
        }
        [h, c].forEach((state, k) => last[k]!.set(state, (d * batch + n) * hidden));
      }
    }
    const states = last.map((data) => ref([directions, batch, hidden], data));
    const shaped = batchFirst ? states.map(turned) : states;
    const all = batchFirst
      ? build([batch, time, directions, hidden], ([n = 0, t = 0, d = 0, u = 0]) => get(y, [t, d, n, u]))
      : y;
    return [all, ...shaped];
  };
};

export const recurrent: readonly (readonly [string, Kernel])[] = [
  ['LSTM', layer(4, lstm)],
  ['GRU', layer(3, gru)],
  ['RNN', layer(1, rnn)],
];
