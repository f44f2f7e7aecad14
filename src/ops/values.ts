// Makers of value rules: element-wise arithmetic on the small tensors that hold shapes, sizes and axes.
import { DataType, elementCount } from '../ir/tensor.js';
import type { PartialValue, ShapeContext, ValueRule } from './op.js';

/** One element of the result from one element of each operand (all known). */
export type Pointwise = (...elems: number[]) => number;

/** Value rule of an operator that works element by element, with numpy's broadcasting. */
export function pointwise(compute: Pointwise): ValueRule {
  return (ctx, outputs) => {
    const operands: PartialValue[] = [];
    for (let i = 0; i < ctx.arity; i++) {
      const operand = ctx.value(i);
      if (operand === undefined) return [undefined];
      operands.push(operand);
    }
    const type = outputs[0];
    const round = rounding(type?.kind === 'tensor' ? type.elemType : ctx.elemType(0));
    const made = broadcastValues(operands, (...elems) => round(compute(...elems)));
    return [made && withoutNaN(made)];
  };
}

/** Nobody sizes a tensor by NaN: it stands for what a rule cannot tell (a division by 0). */
function withoutNaN(value: PartialValue): PartialValue {
  if (!value.elems.some((e) => Number.isNaN(e))) return value;
  return { dims: value.dims, elems: value.elems.map((e) => (Number.isNaN(e) ? undefined : e)) };
}

/** Applies `compute` to broadcast operands; an unknown element gives an unknown element. */
export function broadcastValues(operands: readonly PartialValue[], compute: Pointwise): PartialValue | undefined {
  const dims = commonDims(operands);
  if (dims === undefined) return undefined;
  const total = elementCount(dims);
  if (total > 65_536) return undefined;
  const strides = operands.map((o) => broadcastStrides(o.dims, dims));
  const elems: (number | undefined)[] = [];
  const at = dims.map(() => 0);
  const offsets = operands.map(() => 0);
  const picked: number[] = [];
  for (let n = 0; n < total; n++) {
    let known = true;
    for (let k = 0; k < operands.length; k++) {
      const e = operands[k]!.elems[offsets[k]!];
      if (e === undefined) known = false;
      else picked[k] = e;
    }
    elems.push(known ? compute(...picked) : undefined);
    step(at, dims, offsets, strides);
  }
  return { dims, elems };
}

/** Rounds a double to what the element type can hold: float32 for FLOAT, otherwise unchanged. */
export function rounding(elemType: number): (x: number) => number {
  return elemType === DataType.FLOAT ? Math.fround : (x) => x;
}

export function isInteger(elemType: number): boolean {
  return INTEGERS.has(elemType);
}

export function integerOf(ctx: ShapeContext): boolean {
  return isInteger(ctx.elemType(0));
}

const INTEGERS: ReadonlySet<number> = new Set([
  DataType.UINT8,
  DataType.INT8,
  DataType.UINT16,
  DataType.INT16,
  DataType.INT32,
  DataType.INT64,
  DataType.UINT32,
  DataType.UINT64,
  DataType.UINT4,
  DataType.INT4,
  DataType.UINT2,
  DataType.INT2,
]);

function commonDims(operands: readonly PartialValue[]): readonly number[] | undefined {
  const rank = Math.max(...operands.map((o) => o.dims.length));
  const dims: number[] = Array.from({ length: rank }, () => 1);
  for (const o of operands) {
    const shift = rank - o.dims.length;
    for (let k = 0; k < o.dims.length; k++) {
      const d = o.dims[k]!;
      if (d === 1) continue;
      if (dims[k + shift] !== 1 && dims[k + shift] !== d) return undefined;
      dims[k + shift] = d;
    }
  }
  return dims;
}

function broadcastStrides(from: readonly number[], to: readonly number[]): number[] {
  const strides = to.map(() => 0);
  let stride = 1;
  for (let k = from.length - 1; k >= 0; k--) {
    if (from[k] !== 1) strides[k + to.length - from.length] = stride;
    stride *= from[k]!;
  }
  return strides;
}

/** The next position in row-major order, with the operands' offsets moved along. */
function step(at: number[], dims: readonly number[], offsets: number[], strides: readonly number[][]): void {
  for (let k = dims.length - 1; k >= 0; k--) {
    at[k]!++;
    for (let o = 0; o < offsets.length; o++) offsets[o]! += strides[o]![k]!;
    if (at[k]! < dims[k]!) return;
    for (let o = 0; o < offsets.length; o++) offsets[o]! -= strides[o]![k]! * dims[k]!;
    at[k] = 0;
  }
}
