// Reference kernels, element by element.

import { broadcastDims, build, get, ref, type Ref } from './arrays.js';
import type { Call, Kernel } from './interpreter.js';

type Entry = readonly [string, Kernel];

const unary = (f: (x: number, call: Call) => number): Kernel => {
  return (call) => {
    const x = call.in(0);
    return { dims: x.dims, data: x.data.map((v) => f(v, call)) };
  };
};

const fold = (f: (a: number, b: number, call: Call) => number): Kernel => {
  return (call) => call.inputs.map((_, i) => call.in(i)).reduce((a, b) => combine(a, b, (p, q) => f(p, q, call)));
};

export function combine(a: Ref, b: Ref, f: (a: number, b: number) => number): Ref {
  return build(broadcastDims(a.dims, b.dims), (at) => f(get(a, at), get(b, at)));
}

const truth = (test: (a: number, b: number) => boolean): Kernel => fold((a, b) => (test(a, b) ? 1 : 0));

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

/** By its series near 0 and its continued fraction far away: to the last digits of float64. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a < 2.5) {
    let term = a;
    let sum = a;
    for (let n = 1; n < 100; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = a;
  for (let n = 60; n >= 1; n--) fraction = a + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-a * a) / fraction / Math.sqrt(Math.PI));
}

function roundEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

const clip: Kernel = (call) => {
  const low = call.inputs[1]?.data[0] ?? call.float('min', -Infinity);
  const high = call.inputs[2]?.data[0] ?? call.float('max', Infinity);
  return unary((x) => Math.min(high, Math.max(low, x)))(call);
};

const where: Kernel = (call) => {
  const [c, a, b] = [call.in(0), call.in(1), call.in(2)];
  return build(broadcastDims(c.dims, a.dims, b.dims), (at) => (get(c, at) === 0 ? get(b, at) : get(a, at)));
};

/** To BOOL and integers: truncated; to floats: unchanged (all is float64 here). */
const cast: Kernel = (call) => {
  const to = call.int('to', 1);
  if (to === 9) return unary((x) => (x === 0 ? 0 : 1))(call);
  return [1, 10, 11, 16].includes(to) ? call.in(0) : unary(Math.trunc)(call);
};

const softmax = (log: boolean): Kernel => {
  return (call) => {
    const x = call.in(0);
    const rank = x.dims.length;
    const old = call.opset < 13;
    const given = call.int('axis', old ? 1 : -1);
    const axis = given < 0 ? given + rank : given;
    // before opset 13 over all axes from this one on
    const after = old ? 1 : x.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
    const length = old ? x.dims.slice(axis).reduce((a, b) => a * b, 1) : x.dims[axis]!;
    const before = x.data.length / (length * after);
    const data = new Float64Array(x.data.length);
    for (let b = 0; b < before; b++) {
      for (let a = 0; a < after; a++) {
        const at = (i: number): number => (b * length + i) * after + a;
        let top = -Infinity;
        for (let i = 0; i < length; i++) top = Math.max(top, x.data[at(i)]!);
        let sum = 0;
        for (let i = 0; i < length; i++) sum += Math.exp(x.data[at(i)]! - top);
        for (let i = 0; i < length; i++) {
          const z = x.data[at(i)]! - top;
          data[at(i)] = log ? z - Math.log(sum) : Math.exp(z) / sum;
        }
      }
    }
    return { dims: x.dims, data };
  };
};

const gelu = unary((x, call) =>
  call.text('approximate', 'none') === 'tanh'
    ? 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
    : 0.5 * x * (1 + erf(x / Math.SQRT2)),
);

const mean: Kernel = (call) => {
  const sum = fold((a, b) => a + b)(call);
  if (!('dims' in sum)) throw new Error('one result');
  return ref(
    sum.dims,
    sum.data.map((v) => v / call.inputs.length),
  );
};

export const elementwise: readonly Entry[] = [
  ['Add', fold((a, b) => a + b)],
  ['Sum', fold((a, b) => a + b)],
  ['Sub', fold((a, b) => a - b)],
  ['Mul', fold((a, b) => a * b)],
  ['Div', fold((a, b) => a / b)],
  ['Pow', fold((a, b) => a ** b)],
  ['Mod', fold((a, b, call) => (call.int('fmod', 0) === 1 ? a % b : ((a % b) + b) % b))],
  ['Max', fold((a, b) => Math.max(a, b))],
  ['Min', fold((a, b) => Math.min(a, b))],
  ['Mean', mean],
  ['Equal', truth((a, b) => a === b)],
  ['Greater', truth((a, b) => a > b)],
  ['GreaterOrEqual', truth((a, b) => a >= b)],
  ['Less', truth((a, b) => a < b)],
  ['LessOrEqual', truth((a, b) => a <= b)],
  ['And', truth((a, b) => a !== 0 && b !== 0)],
  ['Or', truth((a, b) => a !== 0 || b !== 0)],
  ['Not', unary((x) => (x === 0 ? 1 : 0))],
  ['Where', where],
  ['Clip', clip],
  ['Cast', cast],
  ['Identity', (call) => call.in(0)],
  [
    'Dropout',
    (call) => [
      call.in(0),
      ref(
        call.in(0).dims,
        call.in(0).data.map(() => 1),
      ),
    ],
  ],
  ['Neg', unary((x) => -x)],
  ['Abs', unary(Math.abs)],
  ['Sign', unary(Math.sign)],
  ['Floor', unary(Math.floor)],
  ['Ceil', unary(Math.ceil)],
  ['Round', unary(roundEven)],
  ['Sqrt', unary(Math.sqrt)],
  ['Reciprocal', unary((x) => 1 / x)],
  ['Exp', unary(Math.exp)],
  ['Log', unary(Math.log)],
  ['Sin', unary(Math.sin)],
  ['Cos', unary(Math.cos)],
  ['Tan', unary(Math.tan)],
  ['Asin', unary(Math.asin)],
  ['Acos', unary(Math.acos)],
  ['Atan', unary(Math.atan)],
  ['Sinh', unary(Math.sinh)],
  ['Cosh', unary(Math.cosh)],
  ['Asinh', unary(Math.asinh)],
  ['Acosh', unary(Math.acosh)],
  ['Atanh', unary(Math.atanh)],
  ['Erf', unary(erf)],
  ['Relu', unary((x) => Math.max(x, 0))],
  ['LeakyRelu', unary((x, c) => (x < 0 ? c.float('alpha', 0.01) * x : x))],
  ['ThresholdedRelu', unary((x, c) => (x > c.float('alpha', 1) ? x : 0))],
  ['Elu', unary((x, c) => (x < 0 ? c.float('alpha', 1) * Math.expm1(x) : x))],
  ['Celu', unary((x, c) => Math.max(0, x) + Math.min(0, c.float('alpha', 1) * Math.expm1(x / c.float('alpha', 1))))],
  [
    'Selu',
    unary(
      (x, c) =>
        c.float('gamma', 1.0507009873554805) * (x > 0 ? x : c.float('alpha', 1.6732632423543772) * Math.expm1(x)),
    ),
  ],
  ['PRelu', fold((x, slope) => (x < 0 ? slope * x : x))],
  ['Sigmoid', unary(sigmoid)],
  ['Tanh', unary(Math.tanh)],
  ['HardSigmoid', unary((x, c) => Math.max(0, Math.min(1, c.float('alpha', 0.2) * x + c.float('beta', 0.5))))],
  ['HardSwish', unary((x) => x * Math.max(0, Math.min(1, x / 6 + 0.5)))],
  ['Swish', unary((x, c) => x * sigmoid(c.float('alpha', 1) * x))],
  ['Mish', unary((x) => x * Math.tanh(softplus(x)))],
  ['Gelu', gelu],
  ['Softplus', unary(softplus)],
  ['Softsign', unary((x) => x / (1 + Math.abs(x)))],
  [
    'Shrink',
    unary((x, c) => {
      const [lambd, bias] = [c.float('lambd', 0.5), c.float('bias', 0)];
      if (x < -lambd) return x + bias;
      return x > lambd ? x - bias : 0;
    }),
  ],
  ['Softmax', softmax(false)],
  ['LogSoftmax', softmax(true)],
];
