// Signal processing: Fourier transforms and the windows and filter banks that go with them. https://onnx.ai/onnx/operators/onnx__DFT.html
import { attrInt } from '../ir/graph.js';
import type { Dim } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import type { OpDef, ShapeRule } from './op.js';
import { axisOf, knownScalar, tensorType } from './rules.js';

/** The last axis holds real and imaginary part; the transformed axis is an attribute (default 1) before opset 20, an input (default -2) since. */
const dft: ShapeRule = (ctx) => {
  const x = ctx.shape(0);
  const elemType = ctx.elemType(0);
  if (x === undefined) return [tensorType(elemType)];
  const given = ctx.arity > 2 && ctx.node.inputs[2] !== '';
  const said = ctx.opset < 20 ? attrInt(ctx.node, 'axis', 1) : given ? knownScalar(ctx, 2) : -2;
  if (said === undefined)
    return [
      tensorType(
        elemType,
        x.map(() => undefined),
      ),
    ];
  const axis = axisOf(ctx, said, x.length);
  const onesided = attrInt(ctx.node, 'onesided', 0) === 1;
  const inverse = attrInt(ctx.node, 'inverse', 0) === 1;
  const stored = x[axis];
  const natural = typeof stored === 'number' ? (onesided && inverse ? 2 * (stored - 1) : stored) : undefined;
  const length = ctx.arity > 1 && ctx.node.inputs[1] !== '' ? knownScalar(ctx, 1) : natural;
  const out = onesided && !inverse && length !== undefined ? Math.floor(length / 2) + 1 : length;
  const parts = onesided && inverse ? 1 : 2;
  return [
    tensorType(
      elemType,
      x.map((d, k) => (k === axis ? out : k === x.length - 1 ? parts : d)),
    ),
  ];
};

/** Signal [batch, length, 1 or 2] -> [batch, frames, bins, 2]. */
const stft: ShapeRule = (ctx) => {
  const x = ctx.shape(0);
  const step = knownScalar(ctx, 1);
  const length = x?.[1];
  const given = ctx.arity > 3 && ctx.node.inputs[3] !== '';
  const windowed = ctx.arity > 2 && ctx.node.inputs[2] !== '';
  const frame: Dim = given ? knownScalar(ctx, 3) : windowed ? ctx.shape(2)?.[0] : length;
  const onesided = attrInt(ctx.node, 'onesided', 1) === 1;
  const known = typeof length === 'number' && typeof frame === 'number' && step !== undefined;
  const frames = known ? Math.floor((length - frame) / step) + 1 : undefined;
  const bins = typeof frame !== 'number' ? undefined : onesided ? Math.floor(frame / 2) + 1 : frame;
  return [tensorType(ctx.elemType(0), [x?.[0], frames, bins, 2])];
};

const window: ShapeRule = (ctx) => [
  tensorType(attrInt(ctx.node, 'output_datatype', DataType.FLOAT), [knownScalar(ctx, 0)]),
];

/** Bins of the spectrum x bands. */
const melWeights: ShapeRule = (ctx) => {
  const length = knownScalar(ctx, 1);
  const bins = length === undefined ? undefined : Math.floor(length / 2) + 1;
  return [tensorType(attrInt(ctx.node, 'output_datatype', DataType.FLOAT), [bins, knownScalar(ctx, 0)])];
};

export const signalOps: readonly OpDef[] = [
  { opType: 'DFT', since: 17, category: 'other', shape: dft },
  { opType: 'STFT', since: 17, category: 'other', shape: stft },
  { opType: 'HannWindow', since: 17, category: 'other', shape: window },
  { opType: 'HammingWindow', since: 17, category: 'other', shape: window },
  { opType: 'BlackmanWindow', since: 17, category: 'other', shape: window },
  { opType: 'MelWeightMatrix', since: 17, category: 'other', shape: melWeights },
];
