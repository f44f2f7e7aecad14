// Operators that read parts of a tensor, or write into one: Slice, Pad, Gather, Scatter and their kin.
// https://onnx.ai/onnx/operators/
import { attrFloat, attrInt, attrInts, attrString, type Dim } from '../ir/graph.js';
import type { OpDef, PartialValue, ShapeContext, ShapeRule, ValueRule } from './op.js';
import { countOf, gatherBy, knownElems, partial, pick, range, stridesOf } from './partial.js';
import { axisOf, contradiction, tensorType } from './rules.js';
import { addDim, axesOf, inputInts, present, sameAs, unknownDims } from './types.js';

// --- Slice ------------------------------------------------------------------------------------------------------------------

interface Cut {
  readonly axis: number;
  readonly start: number | undefined;
  readonly end: number | undefined;
  readonly step: number | undefined;
}

/** One cut per sliced axis; undefined when even the axes are unknown. */
function cutsOf(ctx: ShapeContext, rank: number): Cut[] | undefined {
  const old = ctx.opset < 10;
  const starts = old ? attrInts(ctx.node, 'starts') : inputInts(ctx, 1);
  const ends = old ? attrInts(ctx.node, 'ends') : inputInts(ctx, 2);
  const axes = axesOf(ctx, 3);
  if (axes === undefined) return undefined;
  const n = axes === 'none' ? (starts ?? ends)?.length : axes.length;
  if (n === undefined) return undefined;
  if (n > rank) contradiction(ctx, `${n} starts for an input of rank ${rank}`);
  const steps = old || !present(ctx, 4) ? range(n).map(() => 1) : inputInts(ctx, 4);
  return range(n).map((i) => ({
    axis: axes === 'none' ? i : axisOf(ctx, axes[i]!, rank),
    start: starts?.[i],
    end: ends?.[i],
    step: steps?.[i],
  }));
}

/** Positions [first, first + step, ...) and their count for one axis of length d. */
function cutRange(d: number, start: number, end: number, step: number): { first: number; count: number } {
  if (d === 0) return { first: 0, count: 0 };
  const clamp = (v: number, low: number, high: number) => Math.min(Math.max(v, low), high);
  const s = start < 0 ? start + d : start;
  // onnxruntime reads the two largest integers as "to the end" in either direction
  const open = end === 2 ** 31 - 1 || end >= 2 ** 63 - 1;
  const e = open && step < 0 ? -1 : end < 0 ? end + d : end;
  const first = step > 0 ? clamp(s, 0, d) : clamp(s, 0, d - 1);
  const last = step > 0 ? clamp(e, 0, d) : clamp(e, -1, d - 1);
  return { first, count: Math.max(0, Math.ceil((last - first) / step)) };
}

/** Exporters write "to the end" as any of these. */
const farAway = 2 ** 31 - 2;

function cutDim(ctx: ShapeContext, d: Dim, cut: Cut): Dim {
  const { start, end, step } = cut;
  if (step === 0) contradiction(ctx, `step 0 on axis ${cut.axis}`);
  if (start === undefined || end === undefined || step === undefined) return undefined;
  if (typeof d === 'number') return cutRange(d, start, end, step).count;
  const whole = (step === 1 && start === 0 && end >= farAway) || (step === -1 && start === -1 && end <= -farAway);
  return whole ? d : undefined;
}

const sliceShape: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  if (dims === undefined) return [tensorType(ctx.elemType(0), undefined)];
  const cuts = cutsOf(ctx, dims.length);
  const out: Dim[] = cuts === undefined ? unknownDims(dims.length) : [...dims];
  for (const cut of cuts ?? []) out[cut.axis] = cutDim(ctx, dims[cut.axis], cut);
  return [tensorType(ctx.elemType(0), out)];
};

/** Positions first, first + step, ... read along one axis. */
export interface Reading {
  readonly first: number;
  readonly step: number;
  readonly count: number;
}

/** What a Slice of an input with these dims reads along each axis; undefined when that is not all known. */
export function sliceReadings(ctx: ShapeContext, dims: readonly number[]): Reading[] | undefined {
  const cuts = cutsOf(ctx, dims.length);
  if (cuts === undefined) return undefined;
  const readings: Reading[] = dims.map((count) => ({ first: 0, step: 1, count }));
  for (const { axis, start, end, step } of cuts) {
    if (start === undefined || end === undefined || step === undefined) return undefined;
    readings[axis] = { ...cutRange(dims[axis]!, start, end, step), step };
  }
  return readings;
}

const sliceValue: ValueRule = (ctx) => {
  const x = ctx.value(0);
  const readings = x && sliceReadings(ctx, x.dims);
  if (x === undefined || readings === undefined) return [];
  return [
    pick(
      x,
      readings.map(({ first, step, count }) => range(count).map((k) => first + k * step)),
    ),
  ];
};

// --- Pad, CenterCropPad -----------------------------------------------------------------------------------------------------

/** [before, after] per axis; entries may be unknown. */
function padsOf(ctx: ShapeContext, rank: number): (readonly [number | undefined, number | undefined])[] {
  const unknown = range(rank).map(() => [undefined, undefined] as const);
  const pads = ctx.opset < 11 ? (attrInts(ctx.node, 'pads') ?? attrInts(ctx.node, 'paddings')) : inputInts(ctx, 1);
  const axes = ctx.opset < 18 ? 'none' : axesOf(ctx, 3);
  if (pads === undefined || axes === undefined) return unknown;
  const named = axes === 'none' ? range(rank) : axes.map((a) => axisOf(ctx, a, rank));
  if (pads.length !== named.length * 2) {
    contradiction(ctx, `pads [${pads.join(', ')}] do not fit ${named.length} axes`);
  }
  const out: (readonly [number | undefined, number | undefined])[] = range(rank).map(() => [0, 0] as const);
  named.forEach((axis, k) => {
    out[axis] = [pads[k], pads[k + named.length]];
  });
  return out;
}

const padShape: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  if (dims === undefined) return [tensorType(ctx.elemType(0), undefined)];
  const out = padsOf(ctx, dims.length).map(([before, after], i) =>
    before === undefined || after === undefined ? undefined : addDim(dims[i], before + after),
  );
  return [tensorType(ctx.elemType(0), out)];
};

const padValue: ValueRule = (ctx) => {
  const x = ctx.value(0);
  if (x === undefined) return [];
  const mode = attrString(ctx.node, 'mode', 'constant');
  const pads = padsOf(ctx, x.dims.length);
  const perAxis: number[][] = [];
  for (const [i, [before, after]] of pads.entries()) {
    const d = x.dims[i]!;
    if (before === undefined || after === undefined || (d === 0 && mode !== 'constant')) return [];
    perAxis.push(range(Math.max(0, before + d + after)).map((k) => padSource(mode, k - before, d)));
  }
  const fill = ctx.opset < 11 ? attrFloat(ctx.node, 'value', 0) : present(ctx, 2) ? ctx.value(2)?.elems[0] : 0;
  return [pick(x, perAxis, fill)];
};

/** Where position k of a padded axis is read from; -1: the constant. */
export function padSource(mode: string, k: number, d: number): number {
  if (k >= 0 && k < d) return k;
  if (mode === 'edge') return k < 0 ? 0 : d - 1;
  if (mode === 'wrap') return ((k % d) + d) % d;
  if (mode !== 'reflect') return -1;
  if (d === 1) return 0;
  const period = 2 * (d - 1);
  const r = ((k % period) + period) % period;
  return r < d ? r : period - r;
}

const centerCropPadShape: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  if (dims === undefined) return [tensorType(ctx.elemType(0), undefined)];
  const axes = attrInts(ctx.node, 'axes')?.map((a) => axisOf(ctx, a, dims.length)) ?? range(dims.length);
  const target = inputInts(ctx, 1);
  const out: Dim[] = [...dims];
  axes.forEach((axis, k) => {
    out[axis] = target?.[k];
  });
  return [tensorType(ctx.elemType(0), out)];
};

// --- Gather -------------------------------------------------------------------------------------------------------------------

const gatherShape: ShapeRule = (ctx) => {
  const data = ctx.shape(0);
  const indices = ctx.shape(1);
  if (data === undefined || indices === undefined) return [tensorType(ctx.elemType(0), undefined)];
  const axis = axisOf(ctx, attrInt(ctx.node, 'axis', 0), data.length);
  return [tensorType(ctx.elemType(0), [...data.slice(0, axis), ...indices, ...data.slice(axis + 1)])];
};

const gatherValue: ValueRule = (ctx) => {
  const x = ctx.value(0);
  const indices = ctx.value(1);
  if (x === undefined || indices === undefined) return [];
  const axis = axisOf(ctx, attrInt(ctx.node, 'axis', 0), x.dims.length);
  const d = x.dims[axis]!;
  const flat = indices.elems.map((k) => wrap(k, d));
  const made = pick(
    x,
    x.dims.map((n, i) => (i === axis ? flat : range(n))),
  );
  return [made && partial([...x.dims.slice(0, axis), ...indices.dims, ...x.dims.slice(axis + 1)], made.elems)];
};

/** A possibly negative index, or undefined when unknown or out of range. */
function wrap(k: number | undefined, d: number): number | undefined {
  if (k === undefined || k < -d || k >= d) return undefined;
  return k < 0 ? k + d : k;
}

const gatherElementsShape: ShapeRule = (ctx) => [tensorType(ctx.elemType(0), ctx.shape(1))];

const gatherElementsValue: ValueRule = (ctx) => {
  const x = ctx.value(0);
  const indices = ctx.value(1);
  if (x === undefined || indices === undefined) return [];
  const axis = axisOf(ctx, attrInt(ctx.node, 'axis', 0), x.dims.length);
  const strides = stridesOf(x.dims);
  let i = 0;
  return [
    gatherBy(x, indices.dims, (p) => {
      const k = wrap(indices.elems[i++], x.dims[axis]!);
      return k === undefined ? undefined : p.reduce((at, q, a) => at + (a === axis ? k : q) * strides[a]!, 0);
    }),
  ];
};

const gatherNdShape: ShapeRule = (ctx) => {
  const data = ctx.shape(0);
  const indices = ctx.shape(1);
  const depth = indices?.at(-1);
  if (data === undefined || indices === undefined || typeof depth !== 'number') {
    return [tensorType(ctx.elemType(0), undefined)];
  }
  const batch = attrInt(ctx.node, 'batch_dims', 0);
  if (batch + depth > data.length) contradiction(ctx, `indices of depth ${depth} into rank ${data.length}`);
  return [tensorType(ctx.elemType(0), [...indices.slice(0, -1), ...data.slice(batch + depth)])];
};

const gatherNdValue: ValueRule = (ctx) => {
  const x = ctx.value(0);
  const indices = ctx.value(1);
  if (x === undefined || indices === undefined || attrInt(ctx.node, 'batch_dims', 0) !== 0) return [];
  const depth = indices.dims.at(-1) ?? 0;
  const tail = x.dims.slice(depth);
  const run = countOf(tail);
  const rows = countOf(indices.dims.slice(0, -1));
  if (rows * run > 4096) return [];
  const elems = range(rows * run).map((i) => {
    const at = flatIndex(x.dims, indices, Math.floor(i / run), depth);
    return at === undefined ? undefined : x.elems[at + (i % run)];
  });
  return [partial([...indices.dims.slice(0, -1), ...tail], elems)];
};

/** Offset of the slice that row `row` of an index tensor of this depth points at. */
function flatIndex(dims: readonly number[], indices: PartialValue, row: number, depth: number): number | undefined {
  const strides = stridesOf(dims);
  let at = 0;
  for (let k = 0; k < depth; k++) {
    const index = wrap(indices.elems[row * depth + k], dims[k]!);
    if (index === undefined) return undefined;
    at += index * strides[k]!;
  }
  return at;
}

// --- Scatter ------------------------------------------------------------------------------------------------------------------

const scatterNdValue: ValueRule = (ctx) => {
  const x = ctx.value(0);
  const indices = ctx.value(1);
  const updates = ctx.value(2);
  if (x === undefined || indices === undefined || x.elems.length > 4096) return [];
  if (attrString(ctx.node, 'reduction', 'none') !== 'none') return [];
  const depth = indices.dims.at(-1) ?? 0;
  const rows = countOf(indices.dims.slice(0, -1));
  const run = countOf(x.dims.slice(depth));
  const elems = [...x.elems];
  for (let row = 0; row < rows; row++) {
    const at = flatIndex(x.dims, indices, row, depth);
    if (at === undefined) return [];
    for (let k = 0; k < run; k++) elems[at + k] = updates?.elems[row * run + k];
  }
  return [partial(x.dims, elems)];
};

const scatterElementsValue: ValueRule = (ctx) => {
  const x = ctx.value(0);
  const indices = ctx.value(1);
  const updates = ctx.value(2);
  if (x === undefined || indices === undefined || x.elems.length > 4096) return [];
  if (attrString(ctx.node, 'reduction', 'none') !== 'none') return [];
  const axis = axisOf(ctx, attrInt(ctx.node, 'axis', 0), x.dims.length);
  const strides = stridesOf(x.dims);
  const own = stridesOf(indices.dims);
  const elems = [...x.elems];
  for (const [i, index] of indices.elems.entries()) {
    const k = wrap(index, x.dims[axis]!);
    if (k === undefined) return [];
    let at = 0;
    for (const [a, s] of own.entries()) at += (a === axis ? k : Math.floor(i / s) % indices.dims[a]!) * strides[a]!;
    elems[at] = updates?.elems[i];
  }
  return [partial(x.dims, elems)];
};

// --- the rest -----------------------------------------------------------------------------------------------------------------

/** Positions whose condition holds; undefined when any is unknown. */
function chosen(condition: PartialValue | undefined): number[] | undefined {
  return knownElems(condition)?.flatMap((c, i) => (c === 0 ? [] : [i]));
}

const compressShape: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  const count = chosen(ctx.value(1))?.length;
  const axis = attrInt(ctx.node, 'axis');
  if (axis === undefined) return [tensorType(ctx.elemType(0), [count])];
  if (dims === undefined) return [tensorType(ctx.elemType(0), undefined)];
  const at = axisOf(ctx, axis, dims.length);
  return [
    tensorType(
      ctx.elemType(0),
      dims.map((d, i) => (i === at ? count : d)),
    ),
  ];
};

const compressValue: ValueRule = (ctx) => {
  const x = ctx.value(0);
  const kept = chosen(ctx.value(1));
  if (x === undefined || kept === undefined) return [];
  const axis = attrInt(ctx.node, 'axis');
  if (axis === undefined) return [pick(partial([x.elems.length], x.elems), [kept])];
  const at = axisOf(ctx, axis, x.dims.length);
  return [
    pick(
      x,
      x.dims.map((d, i) => (i === at ? kept : range(d))),
    ),
  ];
};

const triluValue: ValueRule = (ctx) => {
  const x = ctx.value(0);
  const shift = present(ctx, 1) ? ctx.value(1)?.elems[0] : 0;
  if (x === undefined || shift === undefined || x.dims.length < 2 || x.elems.length > 4096) return [];
  const [h, w] = [x.dims.at(-2)!, x.dims.at(-1)!];
  const upper = attrInt(ctx.node, 'upper', 1) !== 0;
  const kept = (i: number) => {
    const across = (i % w) - (Math.floor(i / w) % h);
    return upper ? across >= shift : across <= shift;
  };
  return [
    partial(
      x.dims,
      x.elems.map((e, i) => (kept(i) ? e : 0)),
    ),
  ];
};

export const slicingOps: readonly OpDef[] = [
  { opType: 'Slice', category: 'movement', shape: sliceShape, value: sliceValue },
  { opType: 'Pad', category: 'movement', shape: padShape, value: padValue },
  { opType: 'CenterCropPad', category: 'movement', shape: centerCropPadShape },
  { opType: 'Gather', category: 'movement', shape: gatherShape, value: gatherValue },
  { opType: 'GatherElements', category: 'movement', shape: gatherElementsShape, value: gatherElementsValue },
  { opType: 'GatherND', category: 'movement', shape: gatherNdShape, value: gatherNdValue },
  { opType: 'Scatter', category: 'movement', shape: sameAs(0), value: scatterElementsValue },
  { opType: 'ScatterElements', category: 'movement', shape: sameAs(0), value: scatterElementsValue },
  { opType: 'ScatterND', category: 'movement', shape: sameAs(0), value: scatterNdValue },
  { opType: 'TensorScatter', category: 'movement', shape: sameAs(0) },
  { opType: 'Compress', category: 'movement', shape: compressShape, value: compressValue },
  { opType: 'Trilu', category: 'movement', shape: sameAs(0), value: triluValue },
  { opType: 'ReverseSequence', category: 'movement', shape: sameAs(0) },
];
