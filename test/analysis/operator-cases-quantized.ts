// Random networks around arithmetic on 8 bits, with their scales and zero points.

import { DataType, type Tensor } from '../../src/ir/tensor.js';
import { convolution, product } from './operator-cases-contract.js';
import { opsetsFrom } from './operator-cases-pointwise.js';
import type { Field, OperatorCase } from './operator-field.js';

/** A random constant of 8 bits. */
function bytes(f: Field, dims: readonly number[], type: number = DataType.UINT8): string {
  const data = Uint8Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => f.rng.int(256));
  const tensor: Tensor = { name: 'q', dataType: type, dims, bytes: () => data };
  return f.g.constant(tensor);
}

/** Scale and zero point for an axis of n, or for all. */
function scaleAndZero(f: Field, n: number | undefined, type: number = DataType.UINT8): [string, string] {
  const count = n ?? 1;
  const dims = n === undefined ? [] : [n];
  const scale = f.g.floats(
    Float32Array.from({ length: count }, () => 0.01 + f.rng.next() * 0.05),
    dims,
  );
  const offset = Uint8Array.from({ length: count }, () =>
    type === DataType.UINT8 ? 110 + f.rng.int(30) : f.rng.int(9),
  );
  return [scale, f.g.constant({ name: 'z', dataType: type, dims, bytes: () => offset })];
}

/** An activation of 8 bits with its scale and zero point. */
function quantizedSource(f: Field, shape: readonly number[], type: number): [string, string, string] {
  const [scale, zero] = scaleAndZero(f, undefined, type);
  return [f.op('QuantizeLinear', [f.source(shape), scale, zero]), scale, zero];
}

/** The same, or now and then a constant. */
function quantizedOperand(f: Field, shape: readonly number[], type: number): [string, string, string] {
  if (f.chance(0.75)) return quantizedSource(f, shape, type);
  return [bytes(f, shape, type), ...scaleAndZero(f, undefined, type)];
}

const EIGHT = [DataType.UINT8, DataType.INT8];
const dequantized = (f: Field, q: string, scale: string, zero: string): string =>
  f.op('DequantizeLinear', [q, scale, zero]);

const linears: readonly OperatorCase[] = ['QuantizeLinear', 'DequantizeLinear'].map((operator) => ({
  operator,
  opsets: opsetsFrom(10),
  build: (f) => {
    const rank = f.int(1, 4);
    const shape = f.dims(rank);
    const axis = f.int(0, rank - 1);
    const perAxis = f.opset >= 13 && f.chance(0.6);
    const type = f.rng.pick(EIGHT);
    const [scale, zero] = scaleAndZero(f, perAxis ? shape[axis]! : undefined, type);
    const zeroPoint = f.chance(0.8) || type === DataType.INT8 ? [zero] : [];
    const attributes = f.opset >= 13 ? { axis: f.chance(0.3) ? axis - rank : axis } : {};
    const q = f.op('QuantizeLinear', [f.source(shape), scale, ...zeroPoint], attributes);
    return f.op('DequantizeLinear', [q, scale, ...zeroPoint], attributes);
  },
}));

const layers: readonly OperatorCase[] = [
  {
    operator: 'QLinearConv',
    opsets: opsetsFrom(10),
    build: (f) => {
      const l = convolution(f, false, 4);
      const type = f.rng.pick(EIGHT);
      const x = quantizedSource(f, l.shape, type);
      const own = scaleAndZero(f, f.chance(0.5) ? l.outputs : undefined, DataType.INT8);
      const [scale, zero] = scaleAndZero(f, undefined, type);
      const w = [bytes(f, l.weight, DataType.INT8), own[0], own[1]];
      const bias = f.chance(0.5) ? [whole(f, l.outputs)] : [];
      return dequantized(f, f.op('QLinearConv', [...x, ...w, scale, zero, ...bias], l.attributes), scale, zero);
    },
  },
  {
    operator: 'ConvInteger',
    opsets: opsetsFrom(10),
    build: (f) => {
      const l = convolution(f, false, 4);
      const x = quantizedSource(f, l.shape, DataType.UINT8);
      const zeros = f.chance(0.7) ? [x[2]] : [];
      return f.op('ConvInteger', [x[0], bytes(f, l.weight), ...zeros], l.attributes);
    },
  },
  {
    operator: 'QLinearMatMul',
    opsets: opsetsFrom(10),
    build: (f) => {
      const [a, b] = product(f);
      const type = f.rng.pick(EIGHT);
      const left = quantizedSource(f, a, type);
      const perColumn = b.length === 2 && f.chance(0.4);
      const right = f.chance(0.7)
        ? [bytes(f, b, DataType.INT8), ...scaleAndZero(f, perColumn ? b[1] : undefined, DataType.INT8)]
        : quantizedSource(f, b, type);
      const [scale, zero] = scaleAndZero(f, undefined, type);
      return dequantized(f, f.op('QLinearMatMul', [...left, ...right, scale, zero]), scale, zero);
    },
  },
  {
    operator: 'MatMulInteger',
    opsets: opsetsFrom(10),
    build: (f) => {
      const [a, b] = product(f);
      const left = quantizedSource(f, a, DataType.UINT8);
      const right = f.chance(0.7) ? bytes(f, b) : quantizedSource(f, b, DataType.UINT8)[0];
      const zeros = f.chance(0.7) ? [left[2], ...(f.chance(0.5) ? [scaleAndZero(f, undefined)[1]] : [])] : [];
      return f.op('MatMulInteger', [left[0], right, ...zeros]);
    },
  },
  {
    operator: 'com.microsoft:MatMulIntegerToFloat',
    opsets: [13, 17],
    build: (f) => {
      const [m, k, n] = [f.int(2, 4), f.int(2, 6), f.int(2, 5)];
      const x = quantizedSource(f, [m, k], DataType.UINT8);
      const [scale, zero] = scaleAndZero(f, f.chance(0.5) ? n : undefined);
      const bias = f.chance(0.5) ? [f.weight(n)] : [];
      return f.ms('MatMulIntegerToFloat', [x[0], bytes(f, [k, n]), x[1], scale, x[2], zero, ...bias]);
    },
  },
  {
    operator: 'com.microsoft:DynamicQuantizeMatMul',
    opsets: [13, 17],
    build: (f) => {
      const [m, k, n] = [f.int(2, 4), f.int(2, 6), f.int(2, 5)];
      const [scale, zero] = scaleAndZero(f, f.chance(0.5) ? n : undefined);
      return f.ms('DynamicQuantizeMatMul', [f.source([m, k]), bytes(f, [k, n]), scale, zero]);
    },
  },
  {
    operator: 'com.microsoft:QGemm',
    opsets: [13, 17],
    build: (f) => {
      const [m, k, n] = [f.int(2, 4), f.int(2, 6), f.int(2, 5)];
      const x = quantizedSource(f, [m, k], DataType.UINT8);
      const transB = f.int(0, 1);
      const w = [bytes(f, transB === 1 ? [n, k] : [k, n]), ...scaleAndZero(f, f.chance(0.4) ? n : undefined)];
      const c = f.chance(0.5) ? whole(f, n) : '';
      const [scale, zero] = scaleAndZero(f, undefined);
      return dequantized(f, f.ms('QGemm', [...x, ...w, c, scale, zero], { transB }), scale, zero);
    },
  },
  {
    operator: 'DynamicQuantizeLinear',
    opsets: opsetsFrom(11),
    build: (f) => {
      const [q, scale, zero] = f.g.ops('DynamicQuantizeLinear', [f.source(f.dims(f.int(2, 3)))], 3);
      return f.op('DequantizeLinear', [q!, scale!, zero!]);
    },
  },
];

const pointwise: readonly OperatorCase[] = [
  ...['QuantizeLinear', 'DequantizeLinear'].map((name): OperatorCase => ({
    operator: `com.microsoft:${name}`,
    opsets: [13, 17],
    build: (f) => {
      const [scale, zero] = scaleAndZero(f, undefined);
      const q = f.ms('QuantizeLinear', [f.source(f.dims(f.int(2, 4))), scale, zero]);
      return f.ms('DequantizeLinear', [q, scale, zero]);
    },
  })),
  ...['QLinearAdd', 'QLinearMul'].map((name): OperatorCase => ({
    operator: `com.microsoft:${name}`,
    opsets: [13, 17],
    build: (f) => {
      const shape = f.dims(f.int(2, 4));
      const other = f.chance(0.5) ? shape : shape.map((d) => (f.chance(0.4) ? 1 : d));
      const operands = [quantizedSource(f, shape, DataType.UINT8), quantizedOperand(f, other, DataType.UINT8)];
      const [scale, zero] = scaleAndZero(f, undefined);
      return dequantized(f, f.ms(name, [...f.rng.shuffle(operands).flat(), scale, zero]), scale, zero);
    },
  })),
  ...['QLinearSigmoid', 'QLinearLeakyRelu', 'QLinearSoftmax'].map((name): OperatorCase => ({
    operator: `com.microsoft:${name}`,
    opsets: [13, 17],
    build: (f) => {
      const rank = f.int(2, 4);
      const x = quantizedSource(f, f.dims(rank), DataType.UINT8);
      const [scale, zero] = scaleAndZero(f, undefined);
      const axis = name === 'QLinearSoftmax' ? { axis: f.int(-1, rank - 1), opset: 13 } : {};
      return dequantized(f, f.ms(name, [...x, scale, zero], axis), scale, zero);
    },
  })),
  {
    operator: 'com.microsoft:QLinearConcat',
    opsets: [13, 17],
    build: (f) => {
      const rank = f.int(2, 4);
      const shape = f.dims(rank);
      const axis = f.int(0, rank - 1);
      const parts = Array.from({ length: f.int(1, 3) }, (_, i) => {
        const own = shape.map((d, k) => (k === axis ? f.int(1, 4) : d));
        return i === 0 ? quantizedSource(f, own, DataType.UINT8) : quantizedOperand(f, own, DataType.UINT8);
      });
      const [scale, zero] = scaleAndZero(f, undefined);
      return dequantized(f, f.ms('QLinearConcat', [scale, zero, ...parts.flat()], { axis }), scale, zero);
    },
  },
  {
    operator: 'com.microsoft:QLinearWhere',
    opsets: [13, 17],
    build: (f) => {
      const shape = f.dims(f.int(2, 4));
      const condition = f.op('Greater', [f.source(shape), f.g.floats(0)]);
      const [scale, zero] = scaleAndZero(f, undefined);
      const operands = [quantizedSource(f, shape, DataType.UINT8), quantizedOperand(f, shape, DataType.UINT8)];
      return dequantized(f, f.ms('QLinearWhere', [condition, ...operands.flat(), scale, zero]), scale, zero);
    },
  },
  ...['QLinearGlobalAveragePool', 'QLinearAveragePool', 'NhwcMaxPool'].map((name): OperatorCase => ({
    operator: `com.microsoft:${name}`,
    opsets: [13, 17],
    build: (f) => {
      const last = name === 'NhwcMaxPool' ? 1 : f.int(0, 1);
      const [x, s, z] = quantizedSource(f, f.dims(4), DataType.UINT8);
      const window = { kernel_shape: [2, 2], strides: [1, 1] };
      if (name === 'NhwcMaxPool') return dequantized(f, f.ms(name, [x], window), s, z);
      const [scale, zero] = scaleAndZero(f, undefined);
      const more = name === 'QLinearAveragePool' ? window : {};
      return dequantized(f, f.ms(name, [x, s, z, scale, zero], { channels_last: last, ...more }), scale, zero);
    },
  })),
];

/** A bias of 32 bits. */
function whole(f: Field, n: number): string {
  const data = Int32Array.from({ length: n }, () => f.rng.int(400) - 200);
  return f.g.constant({ name: 'b', dataType: DataType.INT32, dims: [n], bytes: () => new Uint8Array(data.buffer) });
}

export const quantizedCases: readonly OperatorCase[] = [...linears, ...layers, ...pointwise];
