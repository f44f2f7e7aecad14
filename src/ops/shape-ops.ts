// Operators whose outputs are shapes, constants or indices: Shape, Constant, Range, NonZero ...
// https://onnx.ai/onnx/operators/
import { attrInt, attrTensor, type Attribute, type Dim, type ValueType } from '../ir/graph.js';
import { DataType, elementBits, elementCount, hasData, readNumbers, type Tensor } from '../ir/tensor.js';
import type { OpDef, PartialValue, ShapeContext, ShapeRule, ValueRule } from './op.js';
import { fitsValue, knownElems, partial, range, scalar, stridesOf, vector } from './partial.js';
import { axisOf, contradiction, tensorType } from './rules.js';
import { inputInts, productDim } from './types.js';

// --- Shape, Size --------------------------------------------------------------------------------------------------------

/** The part of the dims that Shape-15 returns; undefined when the rank is unknown. */
function shapePart(ctx: ShapeContext): readonly Dim[] | undefined {
  const dims = ctx.shape(0);
  return dims?.slice(attrInt(ctx.node, 'start', 0), attrInt(ctx.node, 'end', dims.length));
}

const shapeShape: ShapeRule = (ctx) => [tensorType(DataType.INT64, [shapePart(ctx)?.length])];

const shapeValue: ValueRule = (ctx) => {
  const dims = shapePart(ctx);
  return [dims && vector(dims.map((d) => (typeof d === 'number' ? d : undefined)))];
};

const sizeValue: ValueRule = (ctx) => {
  const dims = ctx.shape(0);
  const n = dims && productDim(dims);
  return [typeof n === 'number' ? scalar(n) : undefined];
};

// --- Constant, ConstantOfShape -----------------------------------------------------------------------------------------------

/** The constant of a Constant node, as far as it is numbers: element type, dims, contents. */
function constantOf(ctx: ShapeContext): { type: ValueType; value: PartialValue | undefined } | undefined {
  for (const name of [
    'value',
    'value_float',
    'value_floats',
    'value_int',
    'value_ints',
    'value_string',
    'value_strings',
  ]) {
    const found = ctx.node.attributes.get(name);
    if (found !== undefined) return fromAttribute(found);
  }
  return undefined;
}

function fromAttribute(a: Attribute): { type: ValueType; value: PartialValue | undefined } | undefined {
  switch (a.kind) {
    case 'tensor':
      return { type: tensorType(a.value.dataType, a.value.dims), value: tensorValue(a.value) };
    case 'float':
      return { type: tensorType(DataType.FLOAT, []), value: scalar(a.value) };
    case 'int':
      return { type: tensorType(DataType.INT64, []), value: scalar(a.value) };
    case 'floats':
      return { type: tensorType(DataType.FLOAT, [a.value.length]), value: vector(a.value) };
    case 'ints':
      return { type: tensorType(DataType.INT64, [a.value.length]), value: vector(a.value) };
    case 'string':
      return { type: tensorType(DataType.STRING, []), value: undefined };
    case 'strings':
      return { type: tensorType(DataType.STRING, [a.value.length]), value: undefined };
    default:
      return undefined;
  }
}

function tensorValue(t: Tensor): PartialValue | undefined {
  if (elementCount(t.dims) > 65_536 || !hasData(t) || t.dataType === DataType.STRING) return undefined;
  if (elementBits(t.dataType) === 0 || elementBits(t.dataType) === 128 || FLOAT8.has(t.dataType)) return undefined;
  return partial(t.dims, Array.from(readNumbers(t)));
}

/** No plain numbers here: eight bits and less of floating point, and complex numbers. */
const FLOAT8: ReadonlySet<number> = new Set([
  DataType.FLOAT8E4M3FN,
  DataType.FLOAT8E4M3FNUZ,
  DataType.FLOAT8E5M2,
  DataType.FLOAT8E5M2FNUZ,
  DataType.FLOAT4E2M1,
  DataType.FLOAT8E8M0,
  DataType.COMPLEX64,
]);

const constantOfShapeShape: ShapeRule = (ctx) => {
  const elemType = attrTensor(ctx.node, 'value')?.dataType ?? DataType.FLOAT;
  return [tensorType(elemType, inputInts(ctx, 0))];
};

const constantOfShapeValue: ValueRule = (ctx) => {
  const dims = knownElems(ctx.value(0));
  if (dims === undefined || !fitsValue(dims)) return [];
  const fill = attrTensor(ctx.node, 'value');
  const elem = fill === undefined ? 0 : tensorValue(fill)?.elems[0];
  const n = dims.reduce((a, b) => a * b, 1);
  return [
    partial(
      dims,
      Array.from({ length: n }, () => elem),
    ),
  ];
};

// --- Range, OneHot, EyeLike -------------------------------------------------------------------------------------------------

/** Start, step and count of a Range whose inputs are known. */
function rangeOf(ctx: ShapeContext): { start: number; step: number; count: number } | undefined {
  const [start, limit, step] = [0, 1, 2].map((i) => ctx.value(i)?.elems[0]);
  if (start === undefined || limit === undefined || step === undefined) return undefined;
  if (step === 0) contradiction(ctx, 'delta is 0');
  return { start, step, count: Math.max(0, Math.ceil((limit - start) / step)) };
}

const rangeShape: ShapeRule = (ctx) => [tensorType(ctx.elemType(0), [rangeOf(ctx)?.count])];

const rangeValue: ValueRule = (ctx) => {
  const r = rangeOf(ctx);
  return [r && r.count <= 4096 ? vector(range(r.count).map((i) => r.start + i * r.step)) : undefined];
};

const oneHotShape: ShapeRule = (ctx) => {
  const indices = ctx.shape(0);
  if (indices === undefined) return [tensorType(ctx.elemType(2), undefined)];
  const axis = axisOf(ctx, attrInt(ctx.node, 'axis', -1), indices.length + 1);
  const depth = ctx.value(1)?.elems[0];
  const out = [...indices.slice(0, axis), depth === undefined ? depth : Math.trunc(depth), ...indices.slice(axis)];
  return [tensorType(ctx.elemType(2), out)];
};

// --- data decides the shape: NonZero, Unique ---------------------------------------------------------------------------------

function nonZeroAt(ctx: ShapeContext): number[] | undefined {
  return knownElems(ctx.value(0))?.flatMap((e, i) => (e === 0 ? [] : [i]));
}

const nonZeroShape: ShapeRule = (ctx) => {
  const rank = ctx.shape(0)?.length;
  return [tensorType(DataType.INT64, [rank === undefined ? undefined : Math.max(1, rank), nonZeroAt(ctx)?.length])];
};

const nonZeroValue: ValueRule = (ctx) => {
  const x = ctx.value(0);
  const at = nonZeroAt(ctx);
  if (x === undefined || at === undefined || at.length * x.dims.length > 4096) return [];
  const dims = x.dims.length === 0 ? [1] : x.dims;
  const strides = stridesOf(dims);
  const elems = dims.flatMap((d, axis) => at.map((i) => Math.floor(i / strides[axis]!) % d));
  return [partial([dims.length, at.length], elems)];
};

/** Positions of first occurrence along the axis (or of the flattened input), in order of appearance. */
function uniqueCount(ctx: ShapeContext): number | undefined {
  const x = ctx.value(0);
  const elems = knownElems(x);
  if (x === undefined || elems === undefined) return undefined;
  const axis = attrInt(ctx.node, 'axis');
  if (axis === undefined) return new Set(elems).size;
  const at = axisOf(ctx, axis, x.dims.length);
  const stride = stridesOf(x.dims)[at]!;
  const slices: number[][] = Array.from({ length: x.dims[at]! }, () => []);
  for (const [i, e] of elems.entries()) slices[Math.floor(i / stride) % x.dims[at]!]!.push(e);
  return new Set(slices.map((s) => s.join())).size;
}

const uniqueShape: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  const count = uniqueCount(ctx);
  const axis = attrInt(ctx.node, 'axis');
  const at = axis === undefined || dims === undefined ? undefined : axisOf(ctx, axis, dims.length);
  const y = axis === undefined ? [count] : dims?.map((d, i) => (i === at ? count : d));
  const before = dims && (at === undefined ? productDim(dims) : dims[at]);
  const ids = (n: Dim) => tensorType(DataType.INT64, [n]);
  return [tensorType(ctx.elemType(0), y), ids(count), ids(before), ids(count)];
};

export const shapeOps: readonly OpDef[] = [
  { opType: 'Shape', category: 'shape', shape: shapeShape, value: shapeValue },
  { opType: 'Size', category: 'shape', shape: () => [tensorType(DataType.INT64, [])], value: sizeValue },
  {
    opType: 'Constant',
    category: 'shape',
    shape: (ctx) => [constantOf(ctx)?.type],
    value: (ctx) => [constantOf(ctx)?.value],
  },
  { opType: 'ConstantOfShape', category: 'shape', shape: constantOfShapeShape, value: constantOfShapeValue },
  { opType: 'Range', category: 'shape', shape: rangeShape, value: rangeValue },
  { opType: 'OneHot', category: 'shape', shape: oneHotShape },
  {
    opType: 'EyeLike',
    category: 'shape',
    shape: (ctx) => [tensorType(attrInt(ctx.node, 'dtype') ?? ctx.elemType(0), ctx.shape(0))],
  },
  { opType: 'NonZero', category: 'shape', shape: nonZeroShape, value: nonZeroValue },
  { opType: 'Unique', category: 'shape', shape: uniqueShape },
];
