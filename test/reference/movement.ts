// Reference kernels that move elements.

import { axisIn, broadcastDims, build, eachPlace, get, range, ref, size, type Ref } from './arrays.js';
import type { Kernel } from './interpreter.js';

const reshape: Kernel = (call) => {
  const x = call.in(0);
  const target = call.list(1, 'shape') ?? [];
  const allowZero = call.int('allowzero', 0) === 1;
  const dims = target.map((d, k) => (d === 0 && !allowZero ? x.dims[k]! : d));
  const rest = x.data.length / size(dims.filter((d) => d !== -1));
  return ref(
    dims.map((d) => (d === -1 ? rest : d)),
    x.data,
  );
};

const flatten: Kernel = (call) => {
  const x = call.in(0);
  const axis = axisIn(call.int('axis', 1), x.dims.length);
  const first = size(x.dims.slice(0, axis));
  return ref([first, size(x.dims.slice(axis))], x.data);
};

const squeeze: Kernel = (call) => {
  const x = call.in(0);
  const axes = call.list(1, 'axes')?.map((a) => axisIn(a, x.dims.length));
  return ref(
    x.dims.filter((d, k) => (axes === undefined ? d !== 1 : !axes.includes(k))),
    x.data,
  );
};

const unsqueeze: Kernel = (call) => {
  const x = call.in(0);
  const given = call.list(1, 'axes') ?? [];
  const rank = x.dims.length + given.length;
  const axes = given.map((a) => axisIn(a, rank));
  const dims = [...x.dims];
  for (const a of axes.toSorted((p, q) => p - q)) dims.splice(a, 0, 1);
  return ref(dims, x.data);
};

const transpose: Kernel = (call) => {
  const x = call.in(0);
  const perm = call.ints('perm') ?? range(x.dims.length).reverse();
  return build(
    perm.map((p) => x.dims[p]!),
    (at) => {
      const from = x.dims.map(() => 0);
      perm.forEach((p, k) => {
        from[p] = at[k]!;
      });
      return get(x, from);
    },
  );
};

const expand: Kernel = (call) => {
  const x = call.in(0);
  return build(broadcastDims(x.dims, [...call.in(1).data]), (at) => get(x, at));
};

const tile: Kernel = (call) => {
  const x = call.in(0);
  const repeats = [...call.in(1).data];
  return build(
    x.dims.map((d, k) => d * repeats[k]!),
    (at) =>
      get(
        x,
        at.map((a, k) => a % x.dims[k]!),
      ),
  );
};

const concat: Kernel = (call) => {
  const parts = call.inputs.map((_, i) => call.in(i));
  const first = parts[0]!;
  const axis = axisIn(call.int('axis', 1), first.dims.length);
  const total = parts.reduce((sum, p) => sum + p.dims[axis]!, 0);
  return build(first.dims.with(axis, total), (at) => {
    let rest = at[axis]!;
    const part = parts.find((p) => {
      if (rest < p.dims[axis]!) return true;
      rest -= p.dims[axis]!;
      return false;
    });
    return get(part!, at.with(axis, rest));
  });
};

const split: Kernel = (call) => {
  const x = call.in(0);
  const axis = axisIn(call.int('axis', 0), x.dims.length);
  const parts = call.int('num_outputs', call.node.outputs.length);
  const even = Math.ceil(x.dims[axis]! / parts);
  const sizes = call.list(1, 'split') ?? range(parts).map((k) => Math.min(even, x.dims[axis]! - k * even));
  let start = 0;
  return sizes.map((length) => {
    const from = start;
    start += length;
    return build(x.dims.with(axis, length), (at) => get(x, at.with(axis, at[axis]! + from)));
  });
};

const slice: Kernel = (call) => {
  const x = call.in(0);
  const starts = call.list(1, 'starts') ?? [];
  const ends = call.list(2, 'ends') ?? [];
  const axes = (call.list(3, 'axes') ?? range(starts.length)).map((a) => axisIn(a, x.dims.length));
  const steps = call.list(4, 'steps') ?? starts.map(() => 1);
  const reads = x.dims.map((d) => range(d));
  axes.forEach((axis, k) => {
    reads[axis] = positions(x.dims[axis]!, starts[k]!, ends[k]!, steps[k]!);
  });
  return build(
    reads.map((r) => r.length),
    (at) =>
      get(
        x,
        at.map((a, k) => reads[k]![a]!),
      ),
  );
};

/** As Python reads start:end:step. */
function positions(d: number, start: number, end: number, step: number): number[] {
  const clamp = (v: number, low: number, high: number): number => Math.min(Math.max(v < 0 ? v + d : v, low), high);
  const found: number[] = [];
  if (step > 0) for (let i = clamp(start, 0, d); i < clamp(end, 0, d); i += step) found.push(i);
  else for (let i = clamp(start, 0, d - 1); i > clamp(end, -1, d - 1); i += step) found.push(i);
  return found;
}

const pad: Kernel = (call) => {
  const x = call.in(0);
  const rank = x.dims.length;
  const given = call.list(1, 'pads') ?? [];
  const axes = (call.list(3, 'no axes') ?? range(rank)).map((a) => axisIn(a, rank));
  const [before, after] = [x.dims.map(() => 0), x.dims.map(() => 0)];
  axes.forEach((axis, k) => {
    before[axis] = given[k]!;
    after[axis] = given[k + axes.length]!;
  });
  const value = call.inputs[2]?.data[0] ?? call.float('value', 0);
  const mode = call.text('mode', 'constant');
  return build(
    x.dims.map((d, k) => d + before[k]! + after[k]!),
    (at) => {
      const from = at.map((a, k) => padSource(mode, a - before[k]!, x.dims[k]!));
      return from.includes(-1) ? value : get(x, from);
    },
  );
};

function padSource(mode: string, at: number, d: number): number {
  if (at >= 0 && at < d) return at;
  if (mode === 'constant') return -1;
  if (mode === 'edge') return at < 0 ? 0 : d - 1;
  if (mode === 'wrap') return ((at % d) + d) % d;
  let there = at;
  while (there < 0 || there >= d) there = there < 0 ? -there : 2 * (d - 1) - there;
  return there;
}

const gather: Kernel = (call) => {
  const x = call.in(0);
  const index = call.in(1);
  const axis = axisIn(call.int('axis', 0), x.dims.length);
  return build([...x.dims.slice(0, axis), ...index.dims, ...x.dims.slice(axis + 1)], (at) => {
    const i = get(index, at.slice(axis, axis + index.dims.length));
    return get(x, [...at.slice(0, axis), axisIn(i, x.dims[axis]!), ...at.slice(axis + index.dims.length)]);
  });
};

const gatherElements: Kernel = (call) => {
  const x = call.in(0);
  const index = call.in(1);
  const axis = axisIn(call.int('axis', 0), x.dims.length);
  return build(index.dims, (at) => get(x, at.with(axis, axisIn(get(index, at), x.dims[axis]!))));
};

/** The place that a tuple of indices names. */
function tuple(index: Ref, at: readonly number[], dims: readonly number[]): number[] {
  const depth = index.dims.at(-1)!;
  return range(depth).map((k) => axisIn(get(index, [...at, k]), dims[k]!));
}

const gatherNd: Kernel = (call) => {
  const x = call.in(0);
  const index = call.in(1);
  const batch = call.int('batch_dims', 0);
  const outer = index.dims.length - 1;
  const depth = index.dims.at(-1)!;
  return build([...index.dims.slice(0, -1), ...x.dims.slice(batch + depth)], (at) => {
    const there = tuple(index, at.slice(0, outer), x.dims.slice(batch));
    return get(x, [...at.slice(0, batch), ...there, ...at.slice(outer)]);
  });
};

type Combine = (old: number, update: number) => number;

function combiner(name: string): Combine {
  if (name === 'add') return (a, b) => a + b;
  if (name === 'mul') return (a, b) => a * b;
  if (name === 'max') return Math.max;
  return name === 'min' ? Math.min : (_, b) => b;
}

const scatterElements: Kernel = (call) => {
  const x = call.in(0);
  const [index, updates] = [call.in(1), call.in(2)];
  const axis = axisIn(call.int('axis', 0), x.dims.length);
  const data = x.data.slice();
  const put = combiner(call.text('reduction', 'none'));
  eachPlace(index.dims, (at, n) => {
    const o = strictOffset(x, at.with(axis, axisIn(index.data[n]!, x.dims[axis]!)));
    data[o] = put(data[o]!, updates.data[n]!);
  });
  return { dims: x.dims, data };
};

function strictOffset(x: Ref, at: readonly number[]): number {
  return at.reduce((o, a, k) => o * x.dims[k]! + a, 0);
}

const scatterNd: Kernel = (call) => {
  const x = call.in(0);
  const [index, updates] = [call.in(1), call.in(2)];
  const outer = index.dims.length - 1;
  const data = x.data.slice();
  const put = combiner(call.text('reduction', 'none'));
  eachPlace(updates.dims, (at, n) => {
    const o = strictOffset(x, [...tuple(index, at.slice(0, outer), x.dims), ...at.slice(outer)]);
    data[o] = put(data[o]!, updates.data[n]!);
  });
  return { dims: x.dims, data };
};

const depthToSpace: Kernel = (call) => {
  const x = call.in(0);
  const b = call.int('blocksize', 1);
  const crd = call.text('mode', 'DCR') === 'CRD';
  const [n = 1, c = 1, h = 1, w = 1] = x.dims;
  const channels = c / (b * b);
  return build([n, channels, h * b, w * b], ([i = 0, k = 0, y = 0, z = 0]) => {
    const block = (y % b) * b + (z % b);
    const from = crd ? k * b * b + block : block * channels + k;
    return get(x, [i, from, Math.floor(y / b), Math.floor(z / b)]);
  });
};

const spaceToDepth: Kernel = (call) => {
  const x = call.in(0);
  const b = call.int('blocksize', 1);
  const [n = 1, c = 1, h = 1, w = 1] = x.dims;
  return build([n, c * b * b, h / b, w / b], ([i = 0, k = 0, y = 0, z = 0]) => {
    const crd = call.text('mode', 'DCR') === 'CRD';
    const [block, channel] = crd ? [k % (b * b), Math.floor(k / (b * b))] : [Math.floor(k / c), k % c];
    return get(x, [i, channel, y * b + Math.floor(block / b), z * b + (block % b)]);
  });
};

const trilu: Kernel = (call) => {
  const x = call.in(0);
  const k = call.inputs[1]?.data[0] ?? 0;
  const upper = call.int('upper', 1) === 1;
  return build(x.dims, (at, n) => {
    const [row = 0, column = 0] = at.slice(-2);
    return (upper ? column >= row + k : column <= row + k) ? x.data[n]! : 0;
  });
};

const constantOfShape: Kernel = (call) => {
  const a = call.node.attributes.get('value');
  const fill = a?.kind === 'tensor' ? new Float32Array(a.value.bytes!().slice().buffer)[0]! : 0;
  return build([...call.in(0).data], () => fill);
};

export const movement: readonly (readonly [string, Kernel])[] = [
  ['Reshape', reshape],
  ['Flatten', flatten],
  ['Squeeze', squeeze],
  ['Unsqueeze', unsqueeze],
  ['Transpose', transpose],
  ['Expand', expand],
  ['Tile', tile],
  ['Concat', concat],
  ['Split', split],
  ['Slice', slice],
  ['Pad', pad],
  ['Gather', gather],
  ['GatherElements', gatherElements],
  ['GatherND', gatherNd],
  ['ScatterElements', scatterElements],
  ['ScatterND', scatterNd],
  ['DepthToSpace', depthToSpace],
  ['SpaceToDepth', spaceToDepth],
  ['Trilu', trilu],
  [
    'Shape',
    (call) => {
      const { dims } = call.in(0);
      const part = dims.slice(call.int('start', 0), call.int('end', dims.length));
      return ref([part.length], part);
    },
  ],
  ['ConstantOfShape', constantOfShape],
];
