// Operators that rearrange without reading: Reshape, Transpose, Concat, Split, Expand, Tile and their kin.
// https://onnx.ai/onnx/operators/
import { attrInt, attrInts, attrString, type Dim } from '../ir/graph.js';
import type { OpDef, PartialValue, ShapeContext, ShapeRule, ValueRule } from './op.js';
import { broadcastTo, concat, partial, pick, range, strided, stridesOf, transpose, valueOrBlank } from './partial.js';
import { axisOf, contradiction, tensorType } from './rules.js';
import {
  allKnown,
  axesOf,
  inputInts,
  present,
  productDim,
  sameAs,
  timesDim,
  unifyDim,
  unknownDims,
  type Dims,
} from './types.js';

/** Same elements in the same order: whatever dims the shape rule found. */
export const sameElements: ValueRule = (ctx, outputs) => {
  const value = ctx.value(0);
  const type = outputs[0];
  if (value === undefined || type?.kind !== 'tensor' || type.shape === undefined || !allKnown(type.shape)) return [];
  return [partial(type.shape, value.elems)];
};

export const sameValue: ValueRule = (ctx) => [ctx.value(0)];

// --- Reshape and what is a reshape ------------------------------------------------------------------------------------

const reshapeShape: ShapeRule = (ctx) => {
  const target = ctx.opset < 5 ? attrInts(ctx.node, 'shape') : inputInts(ctx, 1);
  const dims = ctx.shape(0);
  if (target === undefined) return [tensorType(ctx.elemType(0), undefined)];
  return [tensorType(ctx.elemType(0), reshaped(ctx, dims, target, attrInt(ctx.node, 'allowzero', 0) !== 0))];
};

function reshaped(
  ctx: ShapeContext,
  dims: Dims | undefined,
  target: readonly (number | undefined)[],
  allowZero: boolean,
): Dim[] {
  const copied = (t: number | undefined): t is 0 => t === 0 && !allowZero;
  const out: Dim[] = target.map((t, i) => {
    if (!copied(t)) return t === -1 ? undefined : t;
    if (dims !== undefined && i >= dims.length) {
      contradiction(ctx, `shape [${target.join(', ')}] copies dim ${i} of an input of rank ${dims.length}`);
    }
    return dims?.[i];
  });
  if (dims === undefined) return out;
  // copied dims stand on both sides and cancel, known or not
  const rest = productDim(dims.filter((_, i) => !copied(target[i])));
  const open = target.flatMap((t, i) => (t === undefined || t === -1 ? [i] : []));
  const others = productDim(out.filter((_, i) => !open.includes(i) && !copied(target[i])));
  if (typeof others !== 'number') return out;
  if (open.length === 0) {
    const before = productDim(dims);
    const after = productDim(out);
    if (typeof before === 'number' && typeof after === 'number' && before !== after) {
      contradiction(ctx, `cannot reshape [${dims.join(', ')}] to [${target.join(', ')}]`);
    }
    return out;
  }
  if (open.length > 1) return out;
  const at = open[0]!;
  if (typeof rest === 'number' && others !== 0) {
    if (rest % others !== 0) {
      contradiction(
        ctx,
        `cannot reshape [${dims.join(', ')}] to [${target.join(', ')}]: ${rest} / ${others} is not whole`,
      );
    }
    out[at] = rest / others;
  } else if (typeof rest === 'number' && rest === 0 && target[at] === -1) out[at] = 0;
  else if (typeof rest !== 'number') {
    // [N, 512, 1, 1] to [-1, 512]: the symbol survives
    const known = dims.filter((d, i): d is number => typeof d === 'number' && !copied(target[i]));
    const unknown = dims.filter((d, i) => typeof d !== 'number' && !copied(target[i]));
    if (unknown.length === 1 && known.reduce((a, b) => a * b, 1) === others) out[at] = unknown[0];
  }
  return out;
}

const flattenShape: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  if (dims === undefined) return [tensorType(ctx.elemType(0), unknownDims(2))];
  const axis = attrInt(ctx.node, 'axis', 1);
  const at = axis === dims.length ? axis : axisOf(ctx, axis, dims.length);
  return [tensorType(ctx.elemType(0), [productDim(dims.slice(0, at)), productDim(dims.slice(at))])];
};

const squeezeShape: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  const axes = axesOf(ctx, 1);
  const elemType = ctx.elemType(0);
  if (dims === undefined || axes === undefined) return [tensorType(elemType, undefined)];
  if (axes === 'none') {
    const kept = allKnown(dims) ? dims.filter((d) => d !== 1) : undefined;
    return [tensorType(elemType, kept)];
  }
  const gone = new Set(axes.map((a) => axisOf(ctx, a, dims.length)));
  for (const a of gone) {
    const d = dims[a];
    if (typeof d === 'number' && d !== 1) contradiction(ctx, `cannot squeeze axis ${a} of [${dims.join(', ')}]`);
  }
  return [
    tensorType(
      elemType,
      dims.filter((_, i) => !gone.has(i)),
    ),
  ];
};

const unsqueezeShape: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  const axes = axesOf(ctx, 1);
  if (dims === undefined) return [tensorType(ctx.elemType(0), undefined)];
  if (axes === undefined || axes === 'none') {
    const count = inputInts(ctx, 1)?.length;
    return [tensorType(ctx.elemType(0), count === undefined ? undefined : unknownDims(dims.length + count))];
  }
  const rank = dims.length + axes.length;
  const added = new Set(axes.map((a) => axisOf(ctx, a, rank)));
  if (added.size !== axes.length) contradiction(ctx, `axes [${axes.join(', ')}] repeat`);
  let next = 0;
  return [
    tensorType(
      ctx.elemType(0),
      range(rank).map((i) => (added.has(i) ? 1 : dims[next++])),
    ),
  ];
};

// --- axes in another order, or repeated -------------------------------------------------------------------------------

function permOf(ctx: ShapeContext, rank: number): readonly number[] {
  const perm = attrInts(ctx.node, 'perm');
  if (perm === undefined || perm.length === 0) return range(rank).reverse();
  if (perm.length !== rank) contradiction(ctx, `perm [${perm.join(', ')}] does not fit rank ${rank}`);
  return perm.map((p) => axisOf(ctx, p, rank));
}

const transposeShape: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  const perm = attrInts(ctx.node, 'perm');
  if (dims === undefined) return [tensorType(ctx.elemType(0), perm && unknownDims(perm.length))];
  return [
    tensorType(
      ctx.elemType(0),
      permOf(ctx, dims.length).map((p) => dims[p]),
    ),
  ];
};

const transposeValue: ValueRule = (ctx) => {
  const x = ctx.value(0);
  return [x && transpose(x, permOf(ctx, x.dims.length))];
};

const expandShape: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  const target = inputInts(ctx, 1);
  if (dims === undefined || target === undefined) return [tensorType(ctx.elemType(0), undefined)];
  const rank = Math.max(dims.length, target.length);
  const out = range(rank).map((i): Dim => {
    const d = i < rank - dims.length ? 1 : dims[i - rank + dims.length];
    const t = i < rank - target.length ? 1 : target[i - rank + target.length];
    if (t === undefined) return d === 1 || typeof d !== 'number' ? undefined : d;
    if (t === 1) return d;
    if (typeof d === 'number' && d !== 1 && d !== t) {
      contradiction(ctx, `cannot expand [${dims.join(', ')}] to [${target.join(', ')}]`);
    }
    return t;
  });
  return [tensorType(ctx.elemType(0), out)];
};

const expandValue: ValueRule = (ctx, outputs) => {
  const x = ctx.value(0);
  const type = outputs[0];
  if (x === undefined || type?.kind !== 'tensor' || type.shape === undefined || !allKnown(type.shape)) return [];
  return [broadcastTo(x, type.shape)];
};

function tileRepeats(ctx: ShapeContext, rank: number): readonly (number | undefined)[] {
  if (ctx.opset >= 6) return inputInts(ctx, 1) ?? range(rank).map(() => undefined);
  const axis = ctx.value(2)?.elems[0];
  const tiles = ctx.value(1)?.elems[0];
  return range(rank).map((i) => (axis === undefined ? undefined : i === axis ? tiles : 1));
}

const tileShape: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  if (dims === undefined) {
    const repeats = ctx.opset >= 6 ? inputInts(ctx, 1) : undefined;
    return [tensorType(ctx.elemType(0), repeats && unknownDims(repeats.length))];
  }
  const repeats = tileRepeats(ctx, dims.length);
  if (repeats.length !== dims.length) {
    contradiction(ctx, `repeats [${repeats.join(', ')}] do not fit rank ${dims.length}`);
  }
  return [
    tensorType(
      ctx.elemType(0),
      dims.map((d, i) => timesDim(d, repeats[i])),
    ),
  ];
};

const tileValue: ValueRule = (ctx) => {
  const x = ctx.value(0);
  if (x === undefined) return [];
  const repeats = tileRepeats(ctx, x.dims.length);
  if (!allKnown(repeats)) return [];
  return [
    pick(
      x,
      x.dims.map((d, i) => range(d * repeats[i]!).map((k) => k % d)),
    ),
  ];
};

// --- joining and parting ------------------------------------------------------------------------------------------------

const concatShape: ShapeRule = (ctx) => {
  const inputs = range(ctx.arity).filter((i) => present(ctx, i));
  const elemType = ctx.elemType(inputs[0] ?? 0);
  const shapes = inputs.map((i) => ctx.shape(i));
  const known = shapes.find((s) => s !== undefined);
  if (known === undefined) return [tensorType(elemType, undefined)];
  const rank = known.length;
  const axis = axisOf(ctx, attrInt(ctx.node, 'axis', 1), rank);
  const out: Dim[] = [...known];
  let sum: number | undefined = 0;
  for (const [k, s] of shapes.entries()) {
    if (s !== undefined && s.length !== rank) {
      contradiction(ctx, `inputs have ranks ${rank} and ${s.length}`);
    }
    const along = s?.[axis];
    sum = sum === undefined || typeof along !== 'number' ? undefined : sum + along;
    if (s === undefined) continue;
    for (let i = 0; i < rank; i++) {
      if (i !== axis) out[i] = unifyDim(ctx, out[i], s[i], `dims ${i} of inputs 0 and ${k}`);
    }
  }
  out[axis] = shapes.length === 1 ? known[axis] : sum;
  return [tensorType(elemType, out)];
};

const concatValue: ValueRule = (ctx) => {
  const inputs = range(ctx.arity).filter((i) => present(ctx, i));
  if (!inputs.some((i) => ctx.value(i) !== undefined)) return [];
  const parts: PartialValue[] = [];
  for (const i of inputs) {
    const part = valueOrBlank(ctx, i);
    if (part === undefined) return [];
    parts.push(part);
  }
  const rank = parts[0]?.dims.length ?? 0;
  return [concat(parts, axisOf(ctx, attrInt(ctx.node, 'axis', 1), rank))];
};

/** Lengths of the parts along the axis. */
function splitSizes(ctx: ShapeContext, along: Dim): readonly Dim[] {
  const n = ctx.node.outputs.length;
  const sizes = attrInts(ctx.node, 'split') ?? (present(ctx, 1) ? (inputInts(ctx, 1) ?? unknownDims(n)) : undefined);
  if (sizes !== undefined) {
    if (sizes.length !== n) contradiction(ctx, `${sizes.length} split sizes for ${n} outputs`);
    const sum = sumOf(sizes);
    if (typeof along === 'number' && sum !== undefined && sum !== along) {
      contradiction(ctx, `split [${sizes.join(', ')}] does not add up to ${along}`);
    }
    return sizes;
  }
  const parts = attrInt(ctx.node, 'num_outputs', n);
  if (parts === 1) return [along];
  if (typeof along !== 'number') return unknownDims(n);
  if (ctx.opset < 18 && along % parts !== 0) contradiction(ctx, `cannot split ${along} into ${parts} equal parts`);
  const chunk = Math.ceil(along / parts);
  return range(n).map((i) => Math.max(0, Math.min(chunk, along - i * chunk)));
}

function sumOf(sizes: readonly Dim[]): number | undefined {
  return allKnown(sizes) ? sizes.reduce((a, b) => a + b, 0) : undefined;
}

const splitShape: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  const elemType = ctx.elemType(0);
  if (dims === undefined) return ctx.node.outputs.map(() => tensorType(elemType, undefined));
  const axis = axisOf(ctx, attrInt(ctx.node, 'axis', 0), dims.length);
  return splitSizes(ctx, dims[axis]).map((size) =>
    tensorType(
      elemType,
      dims.map((d, i) => (i === axis ? size : d)),
    ),
  );
};

const splitValue: ValueRule = (ctx) => {
  const x = ctx.value(0);
  if (x === undefined) return [];
  const axis = axisOf(ctx, attrInt(ctx.node, 'axis', 0), x.dims.length);
  const sizes = splitSizes(ctx, x.dims[axis]);
  if (!allKnown(sizes)) return [];
  let start = 0;
  return sizes.map((size) => {
    const from = start;
    start += size;
    const perAxis = x.dims.map((d, i) => (i === axis ? range(size).map((k) => k + from) : range(d)));
    return pick(x, perAxis);
  });
};

// --- blocks ---------------------------------------------------------------------------------------------------------------

const depthToSpaceShape: ShapeRule = (ctx) => {
  const [n, c, h, w] = rank4(ctx);
  const b = attrInt(ctx.node, 'blocksize', 1);
  const depth = typeof c === 'number' ? c / (b * b) : undefined;
  if (depth !== undefined && !Number.isInteger(depth)) contradiction(ctx, `${String(c)} channels for blocks of ${b}`);
  return [tensorType(ctx.elemType(0), [n, b === 1 ? c : depth, timesDim(h, b), timesDim(w, b)])];
};

const spaceToDepthShape: ShapeRule = (ctx) => {
  const [n, c, h, w] = rank4(ctx);
  const b = attrInt(ctx.node, 'blocksize', 1);
  const shrink = (d: Dim): Dim => {
    if (b === 1 || typeof d !== 'number') return b === 1 ? d : undefined;
    return d % b === 0 ? d / b : contradiction(ctx, `${d} is not a multiple of blocksize ${b}`);
  };
  return [tensorType(ctx.elemType(0), [n, timesDim(c, b * b), shrink(h), shrink(w)])];
};

function rank4(ctx: ShapeContext): Dims {
  const dims = ctx.shape(0);
  if (dims !== undefined && dims.length !== 4) contradiction(ctx, `input has rank ${dims.length}, not 4`);
  return dims ?? unknownDims(4);
}

const depthToSpaceValue: ValueRule = (ctx) => {
  const x = ctx.value(0);
  if (x === undefined) return [];
  const [n = 0, c = 0, h = 0, w = 0] = x.dims;
  const b = attrInt(ctx.node, 'blocksize', 1);
  const depth = c / (b * b);
  const columnRow = attrString(ctx.node, 'mode', 'DCR') === 'CRD';
  // DCR reads the channel as [b, b, depth], CRD as [depth, b, b]
  const inner = columnRow ? [n, depth, b, b, h, w] : [n, b, b, depth, h, w];
  const perm = columnRow ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2];
  const s = stridesOf(inner);
  const mixed = strided(
    x,
    perm.map((p) => inner[p]!),
    perm.map((p) => s[p]!),
  );
  return [mixed && partial([n, depth, h * b, w * b], mixed.elems)];
};

export const movementOps: readonly OpDef[] = [
  { opType: 'Reshape', category: 'movement', shape: reshapeShape, value: sameElements },
  { opType: 'Flatten', category: 'movement', shape: flattenShape, value: sameElements },
  { opType: 'Squeeze', category: 'movement', shape: squeezeShape, value: sameElements },
  { opType: 'Unsqueeze', category: 'movement', shape: unsqueezeShape, value: sameElements },
  { opType: 'Identity', category: 'movement', shape: sameAs(0), value: sameValue },
  { opType: 'Transpose', category: 'movement', shape: transposeShape, value: transposeValue },
  { opType: 'Expand', category: 'movement', shape: expandShape, value: expandValue },
  { opType: 'Tile', category: 'movement', shape: tileShape, value: tileValue },
  { opType: 'Concat', category: 'movement', shape: concatShape, value: concatValue },
  { opType: 'Split', category: 'movement', shape: splitShape, value: splitValue },
  { opType: 'DepthToSpace', category: 'movement', shape: depthToSpaceShape, value: depthToSpaceValue },
  { opType: 'SpaceToDepth', category: 'movement', shape: spaceToDepthShape },
];
