// Operators on images and boxes: Resize, Upsample, GridSample, AffineGrid, Col2Im, ImageDecoder, NonMaxSuppression.
// https://onnx.ai/onnx/operators/onnx__Resize.html
import { attrFloat, attrInt, attrInts, attrString, type Dim } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import type { OpDef, ShapeContext, ShapeRule, ValueRule } from './op.js';
import { knownElems, partial, range } from './partial.js';
import { axisOf, contradiction, tensorType } from './rules.js';
import { inputInts, present, unknownDims, type Dims } from './types.js';

// --- Resize, Upsample -------------------------------------------------------------------------------------------------------

/** The runtime multiplies in float32: 0.7 x 10 is 7 there. */
function scaled(d: Dim, scale: number | undefined): Dim {
  if (scale === 1) return d;
  return typeof d === 'number' && scale !== undefined ? Math.floor(Math.fround(Math.fround(scale) * d)) : undefined;
}

function notEmpty(ctx: ShapeContext, i: number): boolean {
  return present(ctx, i) && ctx.shape(i)?.[0] !== 0;
}

const resizeShape: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  if (dims === undefined) return [tensorType(ctx.elemType(0), undefined)];
  const axes = attrInts(ctx.node, 'axes')?.map((a) => axisOf(ctx, a, dims.length)) ?? range(dims.length);
  const old = ctx.opset < 11;
  const out: Dim[] = [...dims];
  if (!old && notEmpty(ctx, 3)) {
    const sizes = keepAspect(ctx, dims, axes, inputInts(ctx, 3));
    axes.forEach((axis, k) => {
      out[axis] = sizes?.[k];
    });
  } else {
    const scales = ctx.value(old ? 1 : 2)?.elems;
    if (scales !== undefined && scales.length !== axes.length) {
      contradiction(ctx, `${scales.length} scales for ${axes.length} axes`);
    }
    const cropped = !old && attrString(ctx.node, 'coordinate_transformation_mode') === 'tf_crop_and_resize';
    const roi = cropped ? ctx.value(1)?.elems : undefined;
    axes.forEach((axis, k) => {
      const span = cropped ? spanOf(roi, k, axes.length) : 1;
      out[axis] = span === undefined || scales?.[k] === undefined ? undefined : scaledSpan(dims[axis], span, scales[k]);
    });
  }
  return [tensorType(ctx.elemType(0), out)];
};

/** Fraction of the axis that the region of interest keeps; roi = [starts, ends]. */
function spanOf(roi: readonly (number | undefined)[] | undefined, k: number, n: number): number | undefined {
  const [start, end] = [roi?.[k], roi?.[k + n]];
  return start === undefined || end === undefined ? undefined : end - start;
}

function scaledSpan(d: Dim, span: number, scale: number): Dim {
  return span === 1 ? scaled(d, scale) : typeof d === 'number' ? Math.floor(d * span * scale) : undefined;
}

/** With keep_aspect_ratio_policy one scale serves all axes: the smallest or the largest that the sizes ask for. */
function keepAspect(
  ctx: ShapeContext,
  dims: Dims,
  axes: readonly number[],
  sizes: readonly (number | undefined)[] | undefined,
): Dims | undefined {
  const policy = attrString(ctx.node, 'keep_aspect_ratio_policy', 'stretch');
  if (policy === 'stretch' || sizes === undefined) return sizes;
  const scales = axes.map((axis, k) => {
    const [d, s] = [dims[axis], sizes[k]];
    return typeof d === 'number' && s !== undefined ? s / d : NaN;
  });
  const scale = policy === 'not_larger' ? Math.min(...scales) : Math.max(...scales);
  return axes.map((axis) => {
    const d = dims[axis];
    // halves are rounded up
    return typeof d === 'number' && !Number.isNaN(scale) ? Math.floor(scale * d + 0.5) : undefined;
  });
}

const upsampleShape: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  if (dims === undefined) return [tensorType(ctx.elemType(0), undefined)];
  const scales = upsampleScales(ctx);
  return [
    tensorType(
      ctx.elemType(0),
      dims.map((d, i) => scaled(d, scales?.[i])),
    ),
  ];
};

function upsampleScales(ctx: ShapeContext): readonly (number | undefined)[] | undefined {
  if (ctx.opset >= 9) return ctx.value(1)?.elems;
  const given = ctx.node.attributes.get('scales');
  if (given?.kind === 'floats' || given?.kind === 'ints') return given.value;
  return [1, 1, attrFloat(ctx.node, 'height_scale', 1), attrFloat(ctx.node, 'width_scale', 1)];
}

// --- sampling ---------------------------------------------------------------------------------------------------------------

const gridSampleShape: ShapeRule = (ctx) => {
  const x = ctx.shape(0);
  const grid = ctx.shape(1);
  if (grid === undefined) return [tensorType(ctx.elemType(0), x && unknownDims(x.length))];
  return [tensorType(ctx.elemType(0), [x?.[0] ?? grid[0], x?.[1], ...grid.slice(1, -1)])];
};

const affineGridShape: ShapeRule = (ctx) => {
  const size = inputInts(ctx, 1);
  if (size === undefined) return [tensorType(ctx.elemType(0), undefined)];
  return [tensorType(ctx.elemType(0), [size[0], ...size.slice(2), size.length - 2])];
};

/** [N, C x block, L] columns to [N, C, image]. */
const col2ImShape: ShapeRule = (ctx) => {
  const [n, columns] = ctx.shape(0) ?? unknownDims(3);
  const image = inputInts(ctx, 1);
  const block = knownElems(ctx.value(2))?.reduce((a, b) => a * b, 1);
  const channels = typeof columns === 'number' && block !== undefined ? columns / block : undefined;
  if (channels !== undefined && !Number.isInteger(channels)) {
    contradiction(ctx, `${String(columns)} columns for blocks of ${block}`);
  }
  return [tensorType(ctx.elemType(0), image && [n, channels, ...image])];
};

// --- boxes ------------------------------------------------------------------------------------------------------------------

const nonMaxSuppressionShape: ShapeRule = (ctx) => [tensorType(DataType.INT64, [keptBoxes(ctx)?.length, 3])];

const nonMaxSuppressionValue: ValueRule = (ctx) => {
  const kept = keptBoxes(ctx);
  return [kept && partial([kept.length, 3], kept.flat())];
};

/** [batch, class, box] of every kept box, when boxes and scores are known. */
function keptBoxes(ctx: ShapeContext): number[][] | undefined {
  const scalarInput = (i: number, fallback: number) => (present(ctx, i) ? ctx.value(i)?.elems[0] : fallback);
  const most = scalarInput(2, 0);
  if (most !== undefined && most <= 0) return [];
  const boxes = knownElems(ctx.value(0));
  const scores = knownElems(ctx.value(1));
  const dims = ctx.value(1)?.dims;
  const overlap = scalarInput(3, 0);
  const threshold = scalarInput(4, -Infinity);
  if (most === undefined || overlap === undefined || threshold === undefined) return undefined;
  if (boxes === undefined || scores === undefined || dims === undefined) return undefined;
  const [batches = 0, classes = 0, n = 0] = dims;
  const center = attrInt(ctx.node, 'center_point_box', 0) === 1;
  const found: number[][] = [];
  for (let b = 0; b < batches; b++) {
    const corners = range(n).map((i) => cornersOf(boxes, (b * n + i) * 4, center));
    for (let c = 0; c < classes; c++) {
      const score = (i: number) => scores[(b * classes + c) * n + i]!;
      const order = range(n)
        .filter((i) => score(i) > threshold)
        .sort((i, j) => score(j) - score(i));
      const kept: number[] = [];
      for (const i of order) {
        if (kept.length >= most) break;
        if (kept.every((k) => overlapOf(corners[i]!, corners[k]!) <= overlap)) kept.push(i);
      }
      found.push(...kept.map((i) => [b, c, i]));
    }
  }
  return found;
}

type Corners = readonly [number, number, number, number];

/** Low and high corner, from two opposite corners in any order or from center and size. */
function cornersOf(boxes: readonly number[], at: number, center: boolean): Corners {
  const [a, b, c, d] = [boxes[at]!, boxes[at + 1]!, boxes[at + 2]!, boxes[at + 3]!];
  if (center) return [a - c / 2, b - d / 2, a + c / 2, b + d / 2];
  return [Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)];
}

/** Intersection over union. */
function overlapOf(p: Corners, q: Corners): number {
  const width = Math.min(p[2], q[2]) - Math.max(p[0], q[0]);
  const height = Math.min(p[3], q[3]) - Math.max(p[1], q[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = (r: Corners) => (r[2] - r[0]) * (r[3] - r[1]);
  return (width * height) / (area(p) + area(q) - width * height);
}

const imageDecoderShape: ShapeRule = (ctx) => {
  const channels = attrString(ctx.node, 'pixel_format', 'RGB') === 'Grayscale' ? 1 : 3;
  return [tensorType(DataType.UINT8, [undefined, undefined, channels])];
};

export const imageOps: readonly OpDef[] = [
  { opType: 'Resize', category: 'movement', shape: resizeShape },
  { opType: 'Upsample', category: 'movement', shape: upsampleShape },
  { opType: 'GridSample', category: 'movement', shape: gridSampleShape },
  { opType: 'AffineGrid', category: 'other', shape: affineGridShape },
  { opType: 'Col2Im', category: 'movement', shape: col2ImShape },
  { opType: 'ImageDecoder', category: 'other', shape: imageDecoderShape },
  {
    opType: 'NonMaxSuppression',
    category: 'other',
    shape: nonMaxSuppressionShape,
    value: nonMaxSuppressionValue,
  },
];
