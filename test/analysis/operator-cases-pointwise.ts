// Random networks around element-wise operators, norms, reductions and pools, for the law of their channel rules.

import { float, type AttributeValue } from '../../src/ir/builder.js';
import { DataType } from '../../src/ir/tensor.js';
import type { Field, OperatorCase } from './operator-field.js';

type Attributes = Readonly<Record<string, AttributeValue>>;

export const opsetsFrom = (first: number): number[] =>
  [7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24].filter((v) => v >= first);

/** Values in the range where an operator is defined and tame. */
type Range = 'any' | 'positive' | 'unit' | 'above one' | 'bool' | 'integer';

function ranged(f: Field, x: string, range: Range): string {
  switch (range) {
    case 'any':
      return x;
    case 'positive':
      return f.op('Add', [f.op('Sigmoid', [x]), f.g.floats(0.2)]);
    case 'unit':
      return f.op('Mul', [f.op('Tanh', [x]), f.g.floats(0.9)]);
    case 'above one':
      return f.op('Add', [f.op('Sigmoid', [x]), f.g.floats(1.1)]);
    case 'bool':
      return f.op('Greater', [x, f.g.floats(0.1)]);
    case 'integer':
      return f.cast(f.op('Mul', [f.op('Sigmoid', [x]), f.g.floats(7.9)]), DataType.INT32);
  }
}

// --- one operand --------------------------------------------------------------------------------------------------------

function unary(
  names: string,
  first = 7,
  range: Range = 'any',
  attributes: (f: Field) => Attributes = () => ({}),
  last = 99,
): OperatorCase[] {
  return names.split(' ').map((operator) => ({
    operator,
    opsets: opsetsFrom(first).filter((v) => v <= last),
    build: (f) => f.op(operator, [ranged(f, f.source(f.dims(f.int(1, 4))), range)], attributes(f)),
  }));
}

const activations: readonly OperatorCase[] = [
  ...unary('Abs Ceil Exp Floor Identity Neg Relu Sigmoid Softplus Softsign Tanh Sin Cos Atan'),
  ...unary('Sinh Cosh Asinh Erf Sign', 9),
  ...unary('Tan Asin Acos Atanh', 9, 'unit'),
  ...unary('Acosh', 9, 'above one'),
  ...unary('Log Sqrt Reciprocal', 7, 'positive'),
  ...unary('Round', 11),
  ...unary('HardSwish', 14),
  ...unary('Mish', 18),
  ...unary('Swish', 24),
  ...unary('IsNaN', 9),
  ...unary('IsInf', 10),
  ...unary('Not', 7, 'bool'),
  ...unary('BitwiseNot', 18, 'integer'),
  ...unary('Elu LeakyRelu ThresholdedRelu', 10, 'any', (f) => ({ alpha: float(0.1 + f.rng.next()) })),
  ...unary('Celu', 12, 'any', (f) => ({ alpha: float(0.1 + f.rng.next()) })),
  ...unary('Selu HardSigmoid', 7, 'any', (f) => ({ alpha: float(0.1 + f.rng.next()) })),
  ...unary('Shrink', 9, 'any', (f) => ({ lambd: float(f.rng.next()), bias: float(f.rng.next()) })),
  ...unary('Gelu', 20, 'any', (f) => ({ approximate: f.rng.pick(['none', 'tanh']) })),
  ...unary('Cast', 7, 'any', (f) => ({ to: f.rng.pick([DataType.DOUBLE, DataType.INT32, DataType.FLOAT16]) })),
  ...unary('ParametricSoftplus ScaledTanh', 7, 'any', () => ({ alpha: float(0.5), beta: float(0.7) }), 9),
  ...unary('Scale', 7, 'any', () => ({ scale: float(0.5) }), 9),
  {
    operator: 'ImageScaler',
    opsets: [7, 8, 9],
    build: (f) => {
      const shape = f.dims(4);
      const bias = Array.from({ length: shape[1]! }, () => f.rng.normal());
      return f.op('ImageScaler', [f.source(shape)], { scale: float(2), bias: { float: bias } });
    },
  },
  {
    operator: 'Dropout',
    opsets: opsetsFrom(7),
    build: (f) =>
      f.opset >= 12 && f.chance(0.5)
        ? f.op('Dropout', [f.source(f.dims(3)), f.g.floats(0.3)])
        : f.op('Dropout', [f.source(f.dims(3))]),
  },
  ...(['Gelu', 'QuickGelu'] as const).map((name): OperatorCase => ({
    operator: `com.microsoft:${name}`,
    opsets: [13, 17],
    build: (f) => f.ms(name, [f.source(f.dims(f.int(2, 4)))]),
  })),
  ...(['FastGelu', 'BiasGelu'] as const).map((name): OperatorCase => ({
    operator: `com.microsoft:${name}`,
    opsets: [13, 17],
    build: (f) => {
      const shape = f.dims(f.int(2, 4));
      const bias = name === 'BiasGelu' || f.chance(0.5) ? [f.weight(shape.at(-1)!)] : [];
      return f.ms(name, [f.source(shape), ...bias]);
    },
  })),
];

// --- several operands ---------------------------------------------------------------------------------------------------

/** A shape that broadcasts to the given one: leading dims left out, some dims 1. */
function narrower(f: Field, shape: readonly number[]): number[] {
  const cut = f.chance(0.25) ? f.int(1, shape.length) : 0;
  return shape.slice(cut).map((d) => (f.chance(0.2) ? 1 : d));
}

function operands(f: Field, count: number, range: Range): string[] {
  const shape = f.dims(f.int(1, 4));
  const whole = f.rng.int(count);
  const made = Array.from({ length: count }, (_, i) => {
    const own = i === whole || f.chance(0.4) ? shape : narrower(f, shape);
    return ranged(f, i === whole ? f.source(own) : f.any(own), range);
  });
  return made;
}

function pointwise(names: string, count: number | 'many', first = 7, range: Range = 'any'): OperatorCase[] {
  return names.split(' ').map((operator) => ({
    operator,
    opsets: opsetsFrom(first),
    build: (f) => f.op(operator, operands(f, count === 'many' ? f.int(1, 4) : count, range)),
  }));
}

const elementwise: readonly OperatorCase[] = [
  ...pointwise('Add Sub Mul', 2),
  ...pointwise('Div Pow', 2, 7, 'positive'),
  ...pointwise('Equal', 2, 11),
  ...pointwise('Greater Less', 2, 9),
  ...pointwise('GreaterOrEqual LessOrEqual', 2, 12),
  ...pointwise('And Or Xor', 2, 7, 'bool'),
  ...pointwise('BitwiseAnd BitwiseOr BitwiseXor', 2, 18, 'integer'),
  ...pointwise('Max Min Mean Sum', 'many', 8),
  {
    operator: 'Mod',
    opsets: opsetsFrom(10),
    build: (f) => f.op('Mod', operands(f, 2, 'positive'), { fmod: 1 }),
  },
  {
    operator: 'BitShift',
    opsets: opsetsFrom(11),
    build: (f) => {
      const [a, b] = operands(f, 2, 'integer').map((x) => f.cast(x, DataType.UINT8));
      return f.op('BitShift', [a!, b!], { direction: f.rng.pick(['LEFT', 'RIGHT']) });
    },
  },
  {
    operator: 'Where',
    opsets: opsetsFrom(9),
    build: (f) => {
      const [c, a, b] = operands(f, 3, 'any');
      return f.op('Where', [ranged(f, c!, 'bool'), a!, b!]);
    },
  },
  {
    operator: 'PRelu',
    opsets: opsetsFrom(9),
    build: (f) => {
      const shape = f.dims(f.int(2, 4));
      const slope = narrower(f, shape);
      return f.op('PRelu', [f.source(shape), f.chance(0.8) ? f.weight(...slope) : f.source(slope)]);
    },
  },
  {
    operator: 'Clip',
    opsets: opsetsFrom(7),
    build: (f) => {
      const x = f.source(f.dims(f.int(1, 4)));
      if (f.opset < 11) return f.op('Clip', [x], { min: float(-0.5), max: float(0.8) });
      return f.op('Clip', [x, f.chance(0.8) ? f.g.floats(-0.5) : '', ...(f.chance(0.8) ? [f.g.floats(0.8)] : [])]);
    },
  },
  {
    operator: 'CastLike',
    opsets: opsetsFrom(15),
    build: (f) => f.op('CastLike', [f.source(f.dims(f.int(1, 4))), f.chance(0.5) ? f.g.ints([1, 2]) : f.source([3])]),
  },
];

// --- norms --------------------------------------------------------------------------------------------------------------

const softmaxes: readonly OperatorCase[] = ['Softmax', 'LogSoftmax', 'Hardmax'].map((operator) => ({
  operator,
  opsets: opsetsFrom(7),
  build: (f) => {
    const rank = f.int(2, 4);
    const x = f.source(f.dims(rank));
    return f.op(operator, [x], f.chance(0.7) ? { axis: f.int(f.opset < 11 ? 0 : -rank, rank - 1) } : {});
  },
}));

const norms: readonly OperatorCase[] = [
  ...softmaxes,
  {
    operator: 'BatchNormalization',
    opsets: opsetsFrom(9),
    build: (f) => {
      const shape = f.dims(f.int(2, 5));
      const n = shape[1]!;
      const vectors = [f.weight(n), f.weight(n), f.weight(n), f.positive(n)];
      return f.op('BatchNormalization', [f.source(shape), ...vectors]);
    },
  },
  {
    operator: 'InstanceNormalization',
    opsets: opsetsFrom(7),
    build: (f) => {
      const shape = f.dims(f.int(3, 5));
      return f.op('InstanceNormalization', [f.source(shape), f.weight(shape[1]!), f.weight(shape[1]!)]);
    },
  },
  {
    operator: 'GroupNormalization',
    opsets: [18, 20, 21, 22],
    build: (f) => {
      const groups = f.int(1, 3);
      const shape = [f.dynamic ? 1 : 2, groups * f.int(2, 3), f.int(2, 4), f.int(2, 4)];
      const n = f.opset >= 21 ? shape[1]! : groups;
      return f.op('GroupNormalization', [f.source(shape), f.weight(n), f.weight(n)], { num_groups: groups });
    },
  },
  ...['LayerNormalization', 'SimplifiedLayerNormalization', 'RMSNormalization'].map((operator): OperatorCase => ({
    operator,
    opsets: operator === 'RMSNormalization' ? [23] : [17, 18, 20, 22],
    build: (f) => {
      const rank = f.int(2, 4);
      const shape = f.dims(rank);
      const axis = f.chance(0.6) ? rank - 1 : f.int(1, rank - 1);
      const own = shape.slice(axis);
      const bias = operator === 'LayerNormalization' && f.chance(0.7) ? [f.weight(...own)] : [];
      const signed = f.chance(0.5) ? axis - rank : axis;
      return f.op(operator, [f.source(shape), f.weight(...own), ...bias], { axis: signed });
    },
  })),
  {
    operator: 'LpNormalization',
    opsets: opsetsFrom(7),
    build: (f) => {
      const rank = f.int(2, 4);
      return f.op('LpNormalization', [f.source(f.dims(rank))], { axis: f.int(-1, rank - 1), p: f.int(1, 2) });
    },
  },
  {
    operator: 'LRN',
    opsets: opsetsFrom(7),
    build: (f) => f.op('LRN', [f.source(f.dims(4))], { size: 3 }),
  },
];

// --- reductions and pools -----------------------------------------------------------------------------------------------

const sums = 'ReduceSum ReduceSumSquare ReduceL1 ReduceL2 ReduceMean ReduceMax ReduceMin ReduceProd';
const logs = 'ReduceLogSum ReduceLogSumExp';

const reductions: readonly OperatorCase[] = [...sums.split(' '), ...logs.split(' ')].map((operator) => ({
  operator,
  opsets: opsetsFrom(7),
  build: (f) => {
    const rank = f.int(2, 4);
    const x = f.source(f.dims(rank));
    const axes = f.rng.sample(rank, f.int(1, rank)).map((a) => (f.opset >= 11 && f.chance(0.3) ? a - rank : a));
    const keepdims = f.int(0, 1);
    const given = f.chance(0.9);
    const value = operator === 'ReduceLogSum' ? ranged(f, x, 'positive') : x;
    if (f.opset >= (operator === 'ReduceSum' ? 13 : 18)) {
      const noop = f.chance(0.2) ? 1 : 0;
      return f.op(operator, [value, ...(given ? [f.g.ints(axes)] : [])], { keepdims, noop_with_empty_axes: noop });
    }
    return f.op(operator, [value], { keepdims, ...(given ? { axes } : {}) });
  },
}));

const extremes: readonly OperatorCase[] = ['ArgMax', 'ArgMin'].map((operator) => ({
  operator,
  opsets: opsetsFrom(7),
  build: (f) => {
    const rank = f.int(2, 4);
    return f.op(operator, [f.source(f.dims(rank))], { axis: f.int(0, rank - 1), keepdims: f.int(0, 1) });
  },
}));

const pools: readonly OperatorCase[] = [
  ...['AveragePool', 'MaxPool', 'LpPool'].map((operator): OperatorCase => ({
    operator,
    opsets: opsetsFrom(7),
    build: (f) => {
      const rank = f.int(3, 5);
      const shape = f.dims(rank).map((d, k) => (k > 1 ? d + 2 : d));
      const window = shape.slice(2);
      const same = f.chance(0.2);
      const attributes = {
        kernel_shape: window.map(() => f.int(1, 3)),
        strides: window.map(() => f.int(1, 2)),
        ...(same ? { auto_pad: 'SAME_UPPER' } : {}),
      };
      const x = f.source(shape);
      if (operator === 'MaxPool' && f.opset >= 8 && f.chance(0.15)) {
        return f.g.ops('MaxPool', [x], 2, attributes);
      }
      return f.op(operator, [x], attributes);
    },
  })),
  ...['GlobalAveragePool', 'GlobalMaxPool', 'GlobalLpPool'].map((operator): OperatorCase => ({
    operator,
    opsets: opsetsFrom(7),
    build: (f) => f.op(operator, [f.source(f.dims(f.int(3, 5)))]),
  })),
];

export const pointwiseCases: readonly OperatorCase[] = [
  ...activations,
  ...elementwise,
  ...norms,
  ...reductions,
  ...extremes,
  ...pools,
];
