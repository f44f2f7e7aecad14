// Random networks around contractions: Conv in all its forms, matrix products, recurrent layers, attention.

import { float } from '../../src/ir/builder.js';
import { opsetsFrom } from './operator-cases-pointwise.js';
import type { Field, OperatorCase } from './operator-field.js';

// --- convolutions -------------------------------------------------------------------------------------------------------

interface Layer {
  readonly shape: number[];
  readonly weight: number[];
  readonly outputs: number;
  readonly attributes: Record<string, number | number[] | string>;
}

/** Shapes of a random convolution: plain, grouped or depthwise, strides, dilations, pads. */
export function convolution(f: Field, transposed = false, rank = f.int(3, 5)): Layer {
  const kind = f.rng.int(4);
  const group = kind === 0 ? f.int(2, 3) : kind === 1 ? f.int(2, 5) : 1;
  const perIn = kind === 1 ? 1 : f.int(1, 4);
  const perOut = f.int(1, kind === 1 ? 2 : 4);
  const window = Array.from({ length: rank - 2 }, () => f.int(3, 5));
  const kernel = window.map((d) => (f.chance(0.3) ? 1 : Math.min(d, f.int(1, 3))));
  const pads = f.chance(0.5) ? [...kernel.map((k) => k >> 1), ...kernel.map((k) => k >> 1)] : undefined;
  return {
    shape: [f.dynamic ? 1 : f.int(1, 2), group * perIn, ...window],
    weight: transposed ? [group * perIn, perOut, ...kernel] : [group * perOut, perIn, ...kernel],
    outputs: group * perOut,
    attributes: {
      group,
      ...(f.chance(0.5) ? { kernel_shape: kernel } : {}),
      ...(f.chance(0.3) ? { strides: window.map(() => f.int(1, 2)) } : {}),
      ...(pads === undefined ? (f.chance(0.2) ? { auto_pad: 'SAME_LOWER' } : {}) : { pads }),
    },
  };
}

const convolutions: readonly OperatorCase[] = [
  ...['Conv', 'ConvTranspose'].map((operator): OperatorCase => ({
    operator,
    opsets: opsetsFrom(7),
    build: (f) => {
      const c = convolution(f, operator === 'ConvTranspose');
      const bias = f.chance(0.5) ? [f.weight(c.outputs)] : [];
      return f.op(operator, [f.source(c.shape), f.weight(...c.weight), ...bias], c.attributes);
    },
  })),
  {
    operator: 'com.microsoft:FusedConv',
    opsets: [13, 17],
    build: (f) => {
      const c = convolution(f, false, 4);
      const inputs = [f.source(c.shape), f.weight(...c.weight), f.weight(c.outputs)];
      const attributes = { ...c.attributes, activation: 'Relu' };
      if (f.chance(0.5)) return f.ms('FusedConv', inputs, attributes);
      const out = f.shapeOf(f.op('Conv', inputs, c.attributes));
      return f.ms('FusedConv', [...inputs, f.source(out)], attributes);
    },
  },
];

// --- matrix products ----------------------------------------------------------------------------------------------------

/** Shapes of A and B: ranks 1 to 4, batch axes broadcast. */
export function product(f: Field): [number[], number[]] {
  const [m, k, n] = [f.int(2, 5), f.int(2, 6), f.int(2, 5)];
  const rankA = f.int(1, 4);
  const rankB = f.int(1, 4);
  const batch = f.dims(2);
  const lead = (rank: number): number[] => batch.slice(4 - rank).map((d) => (f.chance(0.3) ? 1 : d));
  return [rankA === 1 ? [k] : [...lead(rankA), m, k], rankB === 1 ? [k] : [...lead(rankB), k, n]];
}

function sides(f: Field, a: readonly number[], b: readonly number[]): [string, string] {
  const at = f.rng.next();
  if (at < 0.5) return [f.source(a), f.weight(...b)];
  if (at < 0.7) return [f.weight(...a), f.source(b)];
  return [f.source(a), f.any(b)];
}

const turned = (dims: readonly number[], swap: boolean): number[] =>
  swap ? [...dims.slice(0, -2), dims.at(-1)!, dims.at(-2)!] : [...dims];

const products: readonly OperatorCase[] = [
  {
    operator: 'MatMul',
    opsets: opsetsFrom(9),
    build: (f) => f.op('MatMul', sides(f, ...product(f))),
  },
  ...['Gemm', 'com.microsoft:FusedGemm'].map((operator): OperatorCase => ({
    operator,
    opsets: operator === 'Gemm' ? opsetsFrom(7) : [13, 17],
    build: (f) => {
      const [m, k, n] = [f.dynamic ? 1 : f.int(2, 5), f.int(2, 6), f.int(2, 5)];
      const [transA, transB] = [!f.dynamic && f.chance(0.3), f.chance(0.4)];
      const [a, b] = sides(f, turned([m, k], transA), turned([k, n], transB));
      const bias = f.rng.pick([[n], [1, n], [m, n], [m, 1], [1]]);
      const c = f.opset < 11 || f.chance(0.7) ? [f.chance(0.7) ? f.weight(...bias) : f.source(bias)] : [];
      const attributes = { transA, transB, alpha: float(0.7), beta: float(1.3) };
      if (operator === 'Gemm') return f.op('Gemm', [a, b, ...c], attributes);
      return f.ms('FusedGemm', [a, b, ...c], { ...attributes, activation: 'Relu' });
    },
  })),
  {
    operator: 'com.microsoft:FusedMatMul',
    opsets: [13, 17],
    build: (f) => {
      const [a, b] = product(f);
      const transA = a.length > 1 && f.chance(0.4);
      const transB = b.length > 1 && f.chance(0.4);
      const attributes = { transA, transB, alpha: float(0.6) };
      return f.ms('FusedMatMul', sides(f, turned(a, transA), turned(b, transB)), attributes);
    },
  },
  {
    operator: 'Einsum',
    opsets: opsetsFrom(12),
    build: (f) => {
      const equation = f.rng.pick([
        'bnc,cd->bnd',
        'bnc,dc->bdn',
        'bihd,bjhd->bhij',
        'bhij,bjhd->bihd',
        '...c,chd->...hd',
        'bn,bm->bnm',
        'bnc,bnc->bn',
        'ab,b->a',
        'bchw,cd->bdhw',
        'nc->cn',
      ]);
      const sizes = new Map<string, number>();
      const operands = equation.split('->')[0]!.split(',');
      const shapes = operands.map((terms) =>
        terms.split(/(\.\.\.|.)/u).flatMap((t): number[] => {
          if (t === '') return [];
          if (t === '...') return [f.dynamic ? 1 : 2, 3];
          const size = sizes.get(t) ?? (t === 'b' && f.dynamic ? 1 : f.int(2, 4));
          sizes.set(t, size);
          return [size];
        }),
      );
      if (shapes.length === 1) return f.op('Einsum', [f.source(shapes[0]!)], { equation });
      return f.op('Einsum', sides(f, shapes[0]!, shapes[1]!), { equation });
    },
  },
];

// --- recurrent ----------------------------------------------------------------------------------------------------------

const recurrent: readonly OperatorCase[] = (
  [
    ['LSTM', 4],
    ['GRU', 3],
    ['RNN', 1],
  ] as const
).map(([operator, gates]) => ({
  operator,
  opsets: opsetsFrom(7),
  build: (f) => {
    const [length, batch, from, h] = [f.int(2, 3), f.int(1, 2), f.int(2, 4), f.int(2, 5)];
    const direction = f.rng.pick(['forward', 'reverse', 'bidirectional']);
    const d = direction === 'bidirectional' ? 2 : 1;
    const optional = (p: number, make: () => string): string => (f.chance(p) ? make() : '');
    const inputs = [
      f.source([length, batch, from]),
      f.weight(d, gates * h, from),
      f.weight(d, gates * h, h),
      optional(0.6, () => f.weight(d, 2 * gates * h)),
      '',
      optional(0.3, () => (f.chance(0.5) ? f.weight(d, batch, h) : f.source([d, batch, h]))),
    ];
    if (operator === 'LSTM') {
      inputs.push(
        optional(0.3, () => f.weight(d, batch, h)),
        optional(0.2, () => f.weight(d, 3 * h)),
      );
    }
    while (inputs.at(-1) === '') inputs.pop();
    const count = operator === 'LSTM' ? f.int(1, 3) : f.int(1, 2);
    return f.g.ops(operator, inputs, count, {
      hidden_size: h,
      direction,
      ...(operator === 'GRU' ? { linear_before_reset: f.int(0, 1) } : {}),
    });
  },
}));

// --- attention ----------------------------------------------------------------------------------------------------------

const attention: readonly OperatorCase[] = [
  {
    operator: 'Attention',
    opsets: [23],
    build: (f) => {
      const kv = f.int(1, 3);
      const h = kv * f.int(1, 2);
      const [b, s, t, e, v] = [f.dynamic ? 1 : 2, f.int(2, 3), f.int(2, 4), f.int(2, 3), f.int(2, 3)];
      const mask = f.chance(0.3)
        ? [
            f.weight(
              ...f.rng.pick([
                [s, t],
                [1, 1, s, t],
                [b, h, s, t],
              ]),
            ),
          ]
        : [];
      if (f.chance(0.5)) {
        const qkv = [f.source([b, s, h * e]), f.source([b, t, kv * e]), f.source([b, t, kv * v])];
        return f.op('Attention', [...qkv, ...mask], { q_num_heads: h, kv_num_heads: kv });
      }
      return f.op('Attention', [f.source([b, h, s, e]), f.source([b, kv, t, e]), f.source([b, kv, t, v]), ...mask]);
    },
  },
  {
    operator: 'com.microsoft:MultiHeadAttention',
    opsets: [13, 17],
    build: (f) => {
      const [h, e, b, s, t] = [f.int(2, 4), f.int(2, 3), f.dynamic ? 1 : 2, f.int(2, 3), f.int(2, 4)];
      const qkv = [f.source([b, s, h * e]), f.source([b, t, h * e]), f.source([b, t, h * e])];
      const bias = f.chance(0.5) ? [f.weight(3 * h * e)] : [];
      return f.ms('MultiHeadAttention', [...qkv, ...bias], { num_heads: h });
    },
  },
  {
    operator: 'com.microsoft:Attention',
    opsets: [13, 17],
    build: (f) => {
      const [h, e, b, s, c] = [f.int(2, 4), f.int(2, 3), f.dynamic ? 1 : 2, f.int(2, 3), f.int(3, 5)];
      const named = f.chance(0.3) ? { qkv_hidden_sizes: [h * e, h * e, 2 * h] } : {};
      const n = 'qkv_hidden_sizes' in named ? 2 * h * e + 2 * h : 3 * h * e;
      return f.ms('Attention', [f.source([b, s, c]), f.weight(c, n), f.weight(n)], { num_heads: h, ...named });
    },
  },
];

export const contractCases: readonly OperatorCase[] = [...convolutions, ...products, ...recurrent, ...attention];
