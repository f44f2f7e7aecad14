// Activations, and the Softmax family: all keep their input's type. https://onnx.ai/onnx/operators/
import { attrInt } from '../ir/graph.js';
import type { OpDef, ShapeRule } from './op.js';
import { axisOf, broadcastShapes, contradiction, sameAsInput, showShape, tensorType } from './rules.js';
import { pointwise } from './values.js';

function activation(opType: string, since = 1): OpDef {
  return { opType, since, category: 'activation', shape: sameAsInput };
}

/** Over one axis (default -1) since opset 13; before, over all axes from `axis` (default 1) on. The shape is the same. */
function softmax(opType: string): OpDef[] {
  const entry = (since: number, fallback: number): OpDef => ({
    opType,
    since,
    category: 'activation',
    shape: (ctx) => {
      const rank = ctx.shape(0)?.length;
      const axis = attrInt(ctx.node, 'axis', fallback);
      // before opset 13 an axis equal to the rank means an empty inner part
      if (rank !== undefined && !(since < 13 && axis === rank)) axisOf(ctx, axis, rank);
      return [ctx.type(0)];
    },
  });
  return [entry(1, 1), entry(13, -1)];
}

/** The slope broadcasts to the input, never beyond it. */
const prelu: ShapeRule = (ctx) => {
  const x = ctx.shape(0);
  const slope = ctx.shape(1);
  // opset 1 and 6: one slope per channel
  if (ctx.opset >= 7 && x !== undefined && slope !== undefined) {
    const all = broadcastShapes(ctx, [x, slope]);
    if (all !== undefined && all.length !== x.length) {
      contradiction(ctx, `slope ${showShape(slope)} does not fit the input ${showShape(x)}`);
    }
  }
  return [ctx.type(0)];
};

const swiglu: ShapeRule = (ctx) => [tensorType(ctx.elemType(0), broadcastShapes(ctx, [ctx.shape(0), ctx.shape(1)]))];

export const activationOps: readonly OpDef[] = [
  { ...activation('Relu'), value: pointwise((x) => Math.max(x, 0)) },
  activation('LeakyRelu'),
  activation('ThresholdedRelu'),
  activation('Elu'),
  activation('Celu', 12),
  activation('Selu'),
  activation('Sigmoid'),
  activation('HardSigmoid'),
  activation('HardSwish', 14),
  activation('Swish', 24),
  activation('Mish', 18),
  activation('Gelu', 20),
  activation('Tanh'),
  activation('Softplus'),
  activation('Softsign'),
  activation('Shrink', 9),
  { opType: 'PRelu', category: 'activation', shape: prelu },
  { opType: 'SwiGLU', since: 28, category: 'activation', shape: swiglu },
  ...softmax('Softmax'),
  ...softmax('LogSoftmax'),
  ...softmax('Hardmax'),
];
