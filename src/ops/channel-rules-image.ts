// Channel rules of operators on images: resizing, depth and space, sampling at places.
import { attrInt, attrInts, attrString } from '../ir/graph.js';
import { normal } from './channel-rules.js';
import { flat, isBlank } from './labels.js';
import type { ChannelContext, ChannelRule, Labels } from './op.js';

/** Resize, Upsample: channels pass; sizes that name the channel count follow. */
export const resized: ChannelRule = (c) => {
  const x = c.labels(0);
  if (isBlank(x)) return;
  const shape = c.outputShape(0);
  let out = x;
  for (let k = 0; k < x.shape.length; k++) {
    if (shape[k] !== x.shape[k]) out = flat(c.whole(out, k, 'channels lie along space'), k, shape[k]!);
  }
  c.output(0, out);
  if (!c.present(3)) return;
  const axes = attrInts(c.node, 'axes');
  const end = out;
  c.recount((r) => {
    const dims = r.dims(end);
    const wanted = (axes ?? dims.map((_, k) => k)).map((a) => {
      const k = normal(a, dims.length);
      return dims[k] === shape[k] ? undefined : dims[k];
    });
    return { inputs: new Map([[3, wanted]]) };
  });
};

/** Channels lie along axis 1 of an image only. */
function byChannel(c: ChannelContext): Labels {
  let x = c.labels(0);
  for (let k = 0; k < x.shape.length; k++) if (k !== 1) x = c.whole(x, k, 'channels lie along space');
  return x;
}

/** DepthToSpace: the block x block channels that make one output channel are one unit. */
export const depthToSpace: ChannelRule = (c) => {
  const x = byChannel(c);
  if (isBlank(x)) return;
  const atoms = c.along(x, 1);
  const block = attrInt(c.node, 'blocksize', 1) ** 2;
  const count = atoms.length / block;
  const depthFirst = attrString(c.node, 'mode', 'DCR') === 'DCR';
  const made = new Int32Array(count);
  for (let o = 0; o < count; o++) {
    const members = Int32Array.from({ length: block }, (_, b) => atoms[depthFirst ? b * count + o : o * block + b]!);
    c.tieAll(members);
    made[o] = members[0]!;
  }
  c.output(0, c.spread(made, 1, c.outputShape(0)));
};

/** SpaceToDepth: every channel becomes block x block channels that share its label. */
export const spaceToDepth: ChannelRule = (c) => {
  const x = byChannel(c);
  if (isBlank(x)) return;
  const atoms = c.along(x, 1);
  const shape = c.outputShape(0);
  c.output(
    0,
    c.spread(
      Int32Array.from({ length: shape[1]! }, (_, i) => atoms[i % atoms.length]!),
      1,
      shape,
    ),
  );
};

/** GridSample, RoiAlign: channels (axis 1) are read at places that further operands name. */
export const sampled: ChannelRule = (c) => {
  for (let i = 1; i < c.arity; i++) if (c.present(i)) c.freeze(c.labels(i), 'used as places');
  const x = byChannel(c);
  if (!isBlank(x)) c.output(0, c.spread(c.along(x, 1), 1, c.outputShape(0)));
};
