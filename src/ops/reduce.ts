// Reductions, arg-reductions, TopK, cumulative sums and losses. Axes are an attribute before opset 18 (ReduceSum: 13), an input since.
import { attrInt, attrInts, attrString } from '../ir/graph.js';
import type { Dim } from '../ir/graph.js';
import { DataType, elementCount } from '../ir/tensor.js';
import type { OpDef, PartialValue, ShapeContext, ShapeRule, ValueRule } from './op.js';
import { axisOf, contradiction, knownInts, knownScalar, sameAsInput, tensorType } from './rules.js';
import { integerOf, rounding } from './values.js';

type Fold = (elems: readonly number[]) => number;

/** `axesInput`: first opset version whose axes are an input. */
function reduction(opType: string, fold?: Fold, axesInput = 18): OpDef {
  const def: OpDef = {
    opType,
    category: 'reduce',
    shape: (ctx) => [tensorType(ctx.elemType(0), reducedShape(ctx, axesInput))],
  };
  return fold === undefined ? def : { ...def, value: foldValue(fold, axesInput) };
}

/** The reduced axes, ascending; undefined when they are data that nobody knows. */
export function reducedAxes(ctx: ShapeContext, rank: number, axesInput: number): readonly number[] | undefined {
  let axes: readonly number[] | undefined;
  if (ctx.opset < axesInput) {
    axes = attrInts(ctx.node, 'axes') ?? [];
  } else if (ctx.arity < 2 || ctx.node.inputs[1] === '') {
    axes = [];
  } else {
    axes = knownInts(ctx, 1);
  }
  if (axes === undefined) return undefined;
  if (axes.length === 0) {
    const noop = ctx.opset >= axesInput && attrInt(ctx.node, 'noop_with_empty_axes', 0) === 1;
    return noop ? [] : Array.from({ length: rank }, (_, k) => k);
  }
  return axes.map((a) => axisOf(ctx, a, rank)).toSorted((a, b) => a - b);
}

function reducedShape(ctx: ShapeContext, axesInput: number): readonly Dim[] | undefined {
  const x = ctx.shape(0);
  if (x === undefined) return undefined;
  const keep = attrInt(ctx.node, 'keepdims', 1) === 1;
  const axes = reducedAxes(ctx, x.length, axesInput);
  if (axes === undefined) {
    // unknown axes: their number may be known
    if (keep) return x.map(() => undefined);
    const count = ctx.shape(1)?.[0];
    return typeof count === 'number' && count > 0 && count <= x.length
      ? Array.from({ length: x.length - count }, () => undefined)
      : undefined;
  }
  return keep ? x.map((d, k) => (axes.includes(k) ? 1 : d)) : x.filter((_, k) => !axes.includes(k));
}

function foldValue(fold: Fold, axesInput: number): ValueRule {
  return (ctx, outputs) => {
    const value = ctx.value(0);
    if (value === undefined) return [undefined];
    const axes = reducedAxes(ctx, value.dims.length, axesInput);
    if (axes === undefined) return [undefined];
    const keep = attrInt(ctx.node, 'keepdims', 1) === 1;
    const integer = integerOf(ctx);
    const type = outputs[0];
    const round = rounding(type?.kind === 'tensor' ? type.elemType : 0);
    const folded = foldAxes(value, axes, (elems) => round(integer ? Math.trunc(fold(elems)) : fold(elems)));
    if (!folded.elems.every((e) => e === undefined || Number.isFinite(e))) return [undefined];
    return [keep ? folded : { ...folded, dims: folded.dims.filter((_, k) => !axes.includes(k)) }];
  };
}

function foldAxes(value: PartialValue, axes: readonly number[], fold: Fold): PartialValue {
  const dims = value.dims.map((d, k) => (axes.includes(k) ? 1 : d));
  const parts: (number[] | undefined)[] = Array.from({ length: elementCount(dims) }, () => []);
  value.elems.forEach((e, n) => {
    let rest = n;
    let at = 0;
    let stride = 1;
    for (let k = dims.length - 1; k >= 0; k--) {
      const length = value.dims[k]!;
      if (dims[k] === length) at += (rest % length) * stride;
      rest = Math.floor(rest / length);
      stride *= dims[k]!;
    }
    if (e === undefined) parts[at] = undefined;
    else parts[at]?.push(e);
  });
  return { dims, elems: parts.map((p) => (p === undefined ? undefined : fold(p))) };
}

/** Position of the extreme along one axis. */
const argReduce: ShapeRule = (ctx) => {
  const x = ctx.shape(0);
  if (x === undefined) return [tensorType(DataType.INT64)];
  const axis = axisOf(ctx, attrInt(ctx.node, 'axis', 0), x.length);
  const keep = attrInt(ctx.node, 'keepdims', 1) === 1;
  return [tensorType(DataType.INT64, keep ? x.map((d, k) => (k === axis ? 1 : d)) : x.filter((_, k) => k !== axis))];
};

/** K is an attribute before opset 10. */
const topK: ShapeRule = (ctx) => {
  const x = ctx.shape(0);
  if (x === undefined) return [tensorType(ctx.elemType(0)), tensorType(DataType.INT64)];
  const axis = axisOf(ctx, attrInt(ctx.node, 'axis', -1), x.length);
  const k = ctx.opset < 10 ? attrInt(ctx.node, 'k') : knownScalar(ctx, 1);
  const length = x[axis];
  if (k !== undefined && typeof length === 'number' && k > length) {
    contradiction(ctx, `k is ${k} but the axis has only ${length} elements`);
  }
  const shape = x.map((d, i) => (i === axis ? k : d));
  return [tensorType(ctx.elemType(0), shape), tensorType(DataType.INT64, shape)];
};

/** Running sums of vectors: attention masks and position indices are made of them. */
const cumulated: ValueRule = (ctx) => {
  const value = ctx.value(0);
  if (value === undefined || value.dims.length !== 1) return [undefined];
  if (attrInt(ctx.node, 'reverse', 0) !== 0 || attrInt(ctx.node, 'exclusive', 0) !== 0) return [undefined];
  let sum: number | undefined = 0;
  const elems = value.elems.map((e) => (sum = sum === undefined || e === undefined ? undefined : sum + e));
  return [{ dims: value.dims, elems }];
};

/** A scalar, or one loss per label when nothing is reduced; SoftmaxCrossEntropyLoss also returns log probabilities. */
const loss: ShapeRule = (ctx) => {
  const shape = attrString(ctx.node, 'reduction', 'mean') === 'none' ? ctx.shape(1) : [];
  return [tensorType(ctx.elemType(0), shape), ctx.type(0)];
};

const sum: Fold = (elems) => elems.reduce((a, b) => a + b, 0);

export const reduceOps: readonly OpDef[] = [
  reduction('ReduceSum', sum, 13),
  reduction('ReduceMean', (elems) => sum(elems) / elems.length),
  reduction('ReduceMax', (elems) => Math.max(...elems)),
  reduction('ReduceMin', (elems) => Math.min(...elems)),
  reduction('ReduceProd', (elems) => elems.reduce((a, b) => a * b, 1)),
  reduction('ReduceL1'),
  reduction('ReduceL2'),
  reduction('ReduceLogSum'),
  reduction('ReduceLogSumExp'),
  reduction('ReduceSumSquare'),
  { opType: 'ArgMax', category: 'reduce', shape: argReduce },
  { opType: 'ArgMin', category: 'reduce', shape: argReduce },
  { opType: 'TopK', category: 'reduce', shape: topK },
  { opType: 'CumSum', since: 11, category: 'reduce', shape: sameAsInput, value: cumulated },
  { opType: 'CumProd', since: 26, category: 'reduce', shape: sameAsInput },
  { opType: 'SoftmaxCrossEntropyLoss', since: 12, category: 'reduce', shape: loss },
  { opType: 'NegativeLogLikelihoodLoss', since: 12, category: 'reduce', shape: loss },
];
