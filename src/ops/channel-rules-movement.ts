// Channel rules of operators that move elements: the operator itself, run on labels; counts held as data follow the cut.
import { attrInt, attrInts, attrString, intsAttribute } from '../ir/graph.js';
import { normal } from './channel-rules.js';
import { broadcast, concat, flat, insertAxis, isBlank, pick, reshape, slice, take, transpose } from './labels.js';
import type { ChannelContext, ChannelRule, Labels } from './op.js';

/** Reshape, Flatten, Squeeze, Unsqueeze: the order of elements stays. A target shape (input 1 of Reshape) follows. */
export const reshaped: ChannelRule = (c) => {
  const x = c.labels(0);
  if (isBlank(x)) return;
  const out = reshape(x, c.outputShape(0));
  c.output(0, out);
  if (c.node.opType === 'Squeeze') nameSqueezed(c, x);
  if (c.node.opType !== 'Reshape') return;
  const attribute = attrInts(c.node, 'shape');
  c.recount((r) => {
    const dims = r.dims(out);
    const from = r.dims(x);
    const target = attribute ?? r.value(1)?.elems;
    // what infers (-1) stays as it is, and what copies (0) where it copies the right dim
    const wanted = dims.map((d, k) => {
      const t = target?.[k] ?? 1;
      return t < 0 || (t === 0 && from[k] === d) ? undefined : d;
    });
    if (attribute === undefined) return { inputs: new Map([[1, wanted]]) };
    return {
      attributes: {
        shape: intsAttribute(
          'shape',
          attribute.map((t, k) => wanted[k] ?? t),
        ),
      },
    };
  });
};

/** A Squeeze that names no axes would take a cut axis of one channel along. */
function nameSqueezed(c: ChannelContext, x: Labels): void {
  if (attrInts(c.node, 'axes') !== undefined || c.present(1)) return;
  const axes = [...x.shape.keys()].filter((k) => x.shape[k] === 1);
  const old = c.opset < 13;
  c.recount((r) => {
    if (r.dims(x).every((d, k) => d > 1 || x.shape[k] === 1)) return {};
    return old ? { attributes: { axes: intsAttribute('axes', axes) } } : { inputs: new Map([[1, axes]]) };
  });
}

export const transposed: ChannelRule = (c) => {
  const x = c.labels(0);
  const rank = x.shape.length;
  c.output(0, transpose(x, attrInts(c.node, 'perm') ?? x.shape.map((_, k) => rank - 1 - k)));
};

export const expanded: ChannelRule = (c) => {
  const x = c.labels(0);
  if (isBlank(x)) return;
  const out = broadcast(x, c.outputShape(0));
  c.output(0, out);
  const axes = out.shape.map((_, k) => c.varies(out, k));
  c.recount((r) => {
    const dims = r.dims(out);
    const target = r.value(1)?.elems;
    const lead = dims.length - (target?.length ?? dims.length);
    const wanted = dims.map((d, k) => (axes[k]! && (target?.[k - lead] ?? 1) > 1 ? d : undefined));
    return { inputs: new Map([[1, wanted.slice(Math.max(0, lead))]]) };
  });
};

export const tiled: ChannelRule = (c) => {
  const x = c.labels(0);
  if (isBlank(x)) return;
  const repeats = c.value(1)?.elems;
  if (repeats === undefined || repeats.some((r) => r === undefined)) {
    c.freeze(x, 'Tile by unknown counts');
    return;
  }
  let out = x;
  for (let k = 0; k < x.shape.length; k++) {
    const times = repeats[k]!;
    if (times === 1) continue;
    const grown = insertAxis(out, k, times);
    out = reshape(
      grown,
      out.shape.map((d, j) => (j === k ? d * times : d)),
    );
  }
  c.output(0, out);
};

export const concatenated: ChannelRule = (c) =>
  join(
    c,
    c.node.inputs.map((_, i) => i),
  );

/** Inputs `all` side by side. */
export function join(c: ChannelContext, all: readonly number[]): void {
  const shape = c.outputShape(0);
  const axis = normal(attrInt(c.node, 'axis', 1), shape.length);
  const parts = new Map(all.map((i) => [i, c.labels(i)] as const));
  if ([...parts.values()].every(isBlank)) return;
  // axes across the join: all parts carry the same channels there
  for (let k = 0; k < shape.length; k++) {
    if (k === axis) continue;
    const carriers = all.filter((i) => c.varies(parts.get(i)!, k));
    if (carriers.length === 0) continue;
    if (all.some((i) => !c.isConstant(i) && !carriers.includes(i))) {
      for (const i of carriers) parts.set(i, c.whole(parts.get(i)!, k, 'joined with a value without these channels'));
      continue;
    }
    const first = parts.get(carriers[0]!)!;
    const along = acrossJoin(c, first, axis, k);
    for (const i of all) {
      const target = { ...along, shape: parts.get(i)!.shape };
      if (c.isConstant(i)) c.cut(i, target, 'along');
      else if (i !== carriers[0]) {
        c.tie(acrossJoin(c, parts.get(i)!, axis, k), target);
      }
    }
    for (const i of all) parts.set(i, { ...along, shape: parts.get(i)!.shape });
  }
  c.output(
    0,
    concat(
      all.map((i) => parts.get(i)!),
      axis,
    ),
  );
}

/** Labels along the join as well as across it: across wins. */
function acrossJoin(c: ChannelContext, l: Labels, axis: number, k: number): Labels {
  return c.varies(l, axis) && c.varies(l, k) ? c.whole(l, axis, 'joined along another axis') : flatIfStill(l, axis);
}

function flatIfStill(l: Labels, axis: number): Labels {
  return flat(l, axis, l.shape[axis]!);
}

export const splitted: ChannelRule = (c) => {
  const x = c.labels(0);
  if (isBlank(x)) return;
  const axis = normal(attrInt(c.node, 'axis', 0), x.shape.length);
  let start = 0;
  const parts: Labels[] = [];
  c.node.outputs.forEach((name, i) => {
    const size = name === '' ? partSize(c, i) : c.outputShape(i)[axis]!;
    const part = slice(x, axis, start, 1, size);
    parts.push(part);
    c.output(i, part);
    start += size;
  });
  if (!c.varies(x, axis)) return;
  if (x.shape.some((_, k) => k !== axis && c.varies(x, k))) c.hold(x, axis);
  const attribute = c.opset < 13;
  c.recount((r) => {
    const sizes = parts.map((p) => r.dims(p)[axis]!);
    if (attribute) return { attributes: { split: intsAttribute('split', sizes) } };
    return { attributes: { num_outputs: undefined }, inputs: new Map([[1, sizes]]) };
  });
};

function partSize(c: ChannelContext, i: number): number {
  return attrInts(c.node, 'split')?.[i] ?? c.value(1)?.elems[i] ?? 0;
}

export const sliced: ChannelRule = (c) => {
  const x = c.labels(0);
  if (isBlank(x)) return;
  const shape = c.outputShape(0);
  const old = attrInts(c.node, 'starts') !== undefined;
  const list = (i: number, name: string): readonly (number | undefined)[] | undefined =>
    old ? attrInts(c.node, name) : c.present(i) ? c.value(i)?.elems : undefined;
  const starts = list(1, 'starts');
  const axes = list(3, 'axes') ?? starts?.map((_, k) => k);
  const steps = list(4, 'steps');
  if (starts === undefined || axes === undefined) {
    freezeVarying(c, x, shape, 'Slice at unknown places');
    return;
  }
  let out = x;
  const moved: { readonly at: number; readonly axis: number; readonly start: number }[] = [];
  for (let j = 0; j < axes.length; j++) {
    const axis = normal(axes[j] ?? 0, x.shape.length);
    const size = x.shape[axis]!;
    const step = steps?.[j] ?? 1;
    const count = shape[axis]!;
    const given = starts[j];
    if (count === size && step === 1) continue;
    if (!c.varies(x, axis)) {
      out = flat(out, axis, count);
      continue;
    }
    if (given === undefined || step !== 1) {
      out = flat(c.whole(out, axis, 'Slice with a step over channels'), axis, count);
      continue;
    }
    const start = Math.min(given < 0 ? Math.max(given + size, 0) : given, size);
    if (x.shape.some((_, k) => k !== axis && c.varies(x, k))) c.hold(x, axis);
    out = slice(out, axis, start, 1, count);
    moved.push({ at: j, axis, start });
  }
  c.output(0, out);
  if (moved.length === 0) return;
  const { node } = c;
  c.recount((r) => {
    const from: (number | undefined)[] = starts.map(() => undefined);
    const to: (number | undefined)[] = starts.map(() => undefined);
    for (const { at, axis, start } of moved) {
      const alive = r.alive(x, axis);
      const begin = alive.slice(0, start).filter(Boolean).length;
      from[at] = begin;
      to[at] = begin + alive.slice(start, start + shape[axis]!).filter(Boolean).length;
    }
    if (old) {
      const merged = (name: string, wanted: readonly (number | undefined)[]): readonly number[] =>
        attrInts(node, name)!.map((v, k) => wanted[k] ?? v);
      return {
        attributes: {
          starts: intsAttribute('starts', merged('starts', from)),
          ends: intsAttribute('ends', merged('ends', to)),
        },
      };
    }
    return {
      inputs: new Map([
        [1, from],
        [2, to],
      ]),
    };
  });
};

/** Axes on which the shape changes must stay whole; the rest passes. */
function freezeVarying(c: ChannelContext, x: Labels, shape: readonly number[], reason: string): void {
  let out = x;
  for (let k = 0; k < x.shape.length; k++) {
    if (shape[k] !== x.shape[k]) out = flat(c.whole(out, k, reason), k, shape[k]!);
  }
  c.output(0, out);
}

/** Pad: constant padding along channels makes new channels of that constant (they are tied by what meets them). */
export const padded: ChannelRule = (c) => {
  const x = c.labels(0);
  if (isBlank(x)) return;
  const shape = c.outputShape(0);
  const rank = x.shape.length;
  const attribute = attrInts(c.node, 'pads') ?? attrInts(c.node, 'paddings');
  const data = attribute ?? c.value(1)?.elems;
  const axes = c.present(3) ? c.value(3)?.elems : undefined;
  const constant = attrString(c.node, 'mode', 'constant') === 'constant';
  let out = x;
  for (let k = 0; k < rank; k++) {
    if (shape[k] === x.shape[k]) continue;
    const j = axes === undefined ? k : axes.findIndex((a) => a !== undefined && normal(a, rank) === k);
    const before = data?.[j];
    const after = data?.[j + (data.length >> 1)];
    if (!c.varies(x, k)) {
      out = flat(out, k, shape[k]!);
      continue;
    }
    const simple = constant && before !== undefined && after !== undefined && before >= 0 && after >= 0;
    if (!simple || x.shape.some((_, q) => q !== k && c.varies(out, q))) {
      out = flat(c.whole(out, k, 'Pad over channels'), k, shape[k]!);
      continue;
    }
    const line = (n: number): Labels =>
      c.spread(
        c.fresh(n),
        k,
        x.shape.map((d, q) => (q === k ? n : (out.shape[q] ?? d))),
      );
    const pieces = [...(before > 0 ? [line(before)] : []), out, ...(after > 0 ? [line(after)] : [])];
    const joined = concat(pieces, k);
    out = joined;
    const name = attrInts(c.node, 'pads') === undefined ? 'paddings' : 'pads';
    c.recount((r) => {
      const alive = r.alive(joined, k);
      const wanted: (number | undefined)[] = Array.from({ length: data!.length }, () => undefined);
      wanted[j] = alive.slice(0, before).filter(Boolean).length;
      wanted[j + (data!.length >> 1)] = alive.slice(alive.length - after).filter(Boolean).length;
      if (attribute !== undefined) {
        return {
          attributes: {
            [name]: intsAttribute(
              name,
              attribute.map((v, q) => wanted[q] ?? v),
            ),
          },
        };
      }
      return { inputs: new Map([[1, wanted]]) };
    });
  }
  c.output(0, out);
};

/** Gather: a table of constants makes channels (embedding); along labels, the indices are recounted. */
export const gathered: ChannelRule = (c) => {
  const table = c.inputShape(0);
  const axis = normal(attrInt(c.node, 'axis', 0), table.length);
  const shape = c.outputShape(0);
  const rank = c.inputShape(1).length;
  if (c.isConstant(0)) {
    // an embedding: the last axis of the table is the width
    const last = table.length - 1;
    if (last === axis) return;
    const atoms = c.fresh(table[last]!);
    c.cut(0, c.spread(atoms, last, table), 'out');
    c.output(0, c.spread(atoms, shape.length - 1, shape));
    return;
  }
  const x = c.labels(0);
  if (isBlank(x)) {
    c.freeze(c.labels(1), 'used as an index');
    return;
  }
  const replaced = (l: Labels, size: readonly number[]): Labels => {
    let out = pick(l, axis, 0);
    size.forEach((d, k) => {
      out = insertAxis(out, axis + k, d);
    });
    return out;
  };
  if (!c.varies(x, axis)) {
    c.output(0, replaced(x, c.inputShape(1)));
    return;
  }
  const indices = c.value(1)?.elems;
  const others = x.shape.some((_, k) => k !== axis && c.varies(x, k));
  if (indices === undefined || indices.some((i) => i === undefined) || rank > 1) {
    c.output(0, replaced(c.whole(x, axis, 'Gather at unknown places'), c.inputShape(1)));
    return;
  }
  const size = table[axis]!;
  const places = indices.map((i) => normal(i!, size));
  if (rank === 0 && !others) {
    // one channel is read by its number: it must stay, and its number follows
    c.freeze(slice(x, axis, places[0]!, 1, 1), 'read by its index');
  } else if (others) c.hold(x, axis);
  c.output(0, rank === 0 ? pick(x, axis, places[0]!) : take(x, axis, places));
  c.recount((r) => {
    const alive = r.alive(x, axis);
    const rankOf = (p: number): number => alive.slice(0, p).filter(Boolean).length;
    return { inputs: new Map([[1, places.filter((p) => alive[p]).map(rankOf)]]) };
  });
};

/** CumSum along an axis given as data. */
export const cumulated: ChannelRule = (c) => {
  const x = c.labels(0);
  const axis = c.value(1)?.elems[0];
  if (axis === undefined) c.freeze(x, 'CumSum along an unknown axis');
  else c.output(0, c.whole(x, normal(axis, x.shape.length), 'CumSum over channels'));
};

/** Shape, Size: numbers about a value, recomputed by the pruned graph itself. */
export const shapeOnly: ChannelRule = () => {};
