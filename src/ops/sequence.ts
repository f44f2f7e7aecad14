// Sequences, optionals and maps: values that are not tensors. https://onnx.ai/onnx/operators/
import { attrInt, type Dim, type ValueType } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import type { OpDef, ShapeContext, ShapeRule } from './op.js';
import { scalar } from './partial.js';
import { axisOf, tensorType } from './rules.js';
import { inputInts, mergeTypes, present } from './types.js';

function sequenceOf(elem: ValueType | undefined): ValueType {
  return { kind: 'sequence', elem };
}

/** Type of the elements of the sequence at input i. */
function elementOf(ctx: ShapeContext, i: number): ValueType | undefined {
  const t = ctx.type(i);
  const s = t?.kind === 'optional' ? t.elem : t;
  return s?.kind === 'sequence' ? s.elem : undefined;
}

const construct: ShapeRule = (ctx) => {
  let elem = ctx.type(0);
  for (let i = 1; i < ctx.arity; i++) elem = mergeShapes(elem, ctx.type(i));
  return [sequenceOf(elem)];
};

/** Elements of one sequence share the element type, and rank and dims only where they agree. */
function mergeShapes(a: ValueType | undefined, b: ValueType | undefined): ValueType | undefined {
  const merged = mergeTypes(a, b);
  return merged ?? (a?.kind === 'tensor' ? tensorType(a.elemType, undefined) : undefined);
}

const insert: ShapeRule = (ctx) => {
  const before = elementOf(ctx, 0);
  const added = ctx.type(1);
  // an empty sequence says nothing of its elements' shape yet
  const empty = before?.kind === 'tensor' && before.shape === undefined;
  return [sequenceOf(before === undefined || empty ? added : mergeShapes(before, added))];
};

const splitToSequence: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  if (dims === undefined) return [sequenceOf(tensorType(ctx.elemType(0), undefined))];
  const axis = axisOf(ctx, attrInt(ctx.node, 'axis', 0), dims.length);
  if (!present(ctx, 1)) {
    const kept = attrInt(ctx.node, 'keepdims', 1) !== 0;
    const part = kept ? dims.map((d, i) => (i === axis ? 1 : d)) : dims.filter((_, i) => i !== axis);
    return [sequenceOf(tensorType(ctx.elemType(0), part))];
  }
  const sizes = inputInts(ctx, 1);
  const first = sizes?.[0];
  const whole = dims[axis];
  const scalarSplit = ctx.shape(1)?.length === 0;
  const even = scalarSplit
    ? typeof whole === 'number' && first !== undefined && whole % first === 0
    : sizes?.every((s) => s === first) === true;
  return [
    sequenceOf(
      tensorType(
        ctx.elemType(0),
        dims.map((d, i) => (i === axis ? (even ? first : undefined) : d)),
      ),
    ),
  ];
};

const concatFromSequence: ShapeRule = (ctx) => {
  const elem = elementOf(ctx, 0);
  if (elem?.kind !== 'tensor' || elem.shape === undefined)
    return [tensorType(elem?.kind === 'tensor' ? elem.elemType : 0, undefined)];
  const dims = elem.shape;
  const stack = attrInt(ctx.node, 'new_axis', 0) === 1;
  const axis = axisOf(ctx, attrInt(ctx.node, 'axis', 0), dims.length + (stack ? 1 : 0));
  const out: Dim[] = stack ? [...dims.slice(0, axis), undefined, ...dims.slice(axis)] : [...dims];
  out[axis] = undefined;
  return [tensorType(elem.elemType, out)];
};

// --- optionals ------------------------------------------------------------------------------------------------------------

const optional: ShapeRule = (ctx) => [{ kind: 'optional', elem: present(ctx, 0) ? ctx.type(0) : undefined }];

const getElement: ShapeRule = (ctx) => {
  const t = ctx.type(0);
  return [t?.kind === 'optional' ? t.elem : t];
};

/** Whether the input is there is known only where it is omitted, or is no optional at all. */
const hasElement: OpDef = {
  opType: 'OptionalHasElement',
  category: 'control',
  shape: () => [tensorType(DataType.BOOL, [])],
  value: (ctx) => {
    if (!present(ctx, 0)) return [scalar(0)];
    const kind = ctx.type(0)?.kind;
    return [kind === undefined || kind === 'optional' ? undefined : scalar(1)];
  },
};

export const sequenceOps: readonly OpDef[] = [
  { opType: 'SequenceConstruct', category: 'movement', shape: construct },
  {
    opType: 'SequenceEmpty',
    category: 'movement',
    shape: (ctx) => [sequenceOf(tensorType(attrInt(ctx.node, 'dtype', DataType.FLOAT), undefined))],
  },
  { opType: 'SequenceInsert', category: 'movement', shape: insert },
  { opType: 'SequenceErase', category: 'movement', shape: (ctx) => [ctx.type(0)] },
  { opType: 'SequenceAt', category: 'movement', shape: (ctx) => [elementOf(ctx, 0)] },
  { opType: 'SequenceLength', category: 'shape', shape: () => [tensorType(DataType.INT64, [])] },
  { opType: 'SplitToSequence', category: 'movement', shape: splitToSequence },
  { opType: 'ConcatFromSequence', category: 'movement', shape: concatFromSequence },
  { opType: 'Optional', category: 'movement', shape: optional },
  { opType: 'OptionalGetElement', category: 'movement', shape: getElement },
  hasElement,
];
