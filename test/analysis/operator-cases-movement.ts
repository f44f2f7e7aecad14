// Random networks around operators that move elements: their rule is the operator itself, run on labels.

import { float, floats } from '../../src/ir/builder.js';
import { opsetsFrom } from './operator-cases-pointwise.js';
import type { Field, OperatorCase } from './operator-field.js';

const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);

/** Dims with a few factors, so that Reshape has something to split and join. */
function factored(f: Field, rank: number): number[] {
  return Array.from({ length: rank }, (_, k) => (k === 0 && f.dynamic ? 1 : f.rng.pick([2, 3, 4, 6])));
}

/** Another shape of as many elements: neighbours joined, dims split. The first dim of a dynamic network stays. */
function reshaped(f: Field, shape: readonly number[]): number[] {
  let dims = [...shape];
  const first = f.dynamic ? 1 : 0;
  for (let n = f.int(1, 3); n > 0; n--) {
    const k = f.int(first, dims.length - 1);
    if (dims[k] === undefined) continue;
    if (f.chance(0.5) && k + 1 < dims.length) {
      dims = [...dims.slice(0, k), dims[k] * dims[k + 1]!, ...dims.slice(k + 2)];
    } else {
      const divisors = [2, 3].filter((d) => dims[k]! % d === 0 && dims[k]! > d);
      if (divisors.length === 0) continue;
      const d = f.rng.pick(divisors);
      const parts = f.chance(0.5) ? [d, dims[k] / d] : [dims[k] / d, d];
      dims = [...dims.slice(0, k), ...parts, ...dims.slice(k + 1)];
    }
  }
  return dims;
}

/** The shape as a network's own computation: Shape of a value, Gather, Concat. */
function target(f: Field, x: string, before: readonly number[], after: readonly number[]): string {
  const wanted = after.map((d, k) => (before[k] === d && f.chance(0.4) ? 0 : d));
  const free = [...wanted.keys()].filter((k) => !(f.dynamic && k === 0));
  if (f.dynamic) wanted[0] = 0;
  if (free.length > 0 && f.chance(0.4)) wanted[f.rng.pick(free)] = -1;
  if (f.chance(0.6)) return f.g.ints(wanted);
  const shape = f.op('Shape', [x]);
  const parts = wanted.map((d, k) => {
    if (d !== 0) return f.g.ints([d]);
    const one = f.op('Gather', [shape, f.g.ints(k)], { axis: 0 });
    return f.opset >= 13 ? f.op('Unsqueeze', [one, f.g.ints([0])]) : f.op('Unsqueeze', [one], { axes: [0] });
  });
  return f.op('Concat', parts, { axis: 0 });
}

const shapes: readonly OperatorCase[] = [
  {
    operator: 'Reshape',
    opsets: opsetsFrom(7),
    build: (f) => {
      const shape = factored(f, f.int(1 + (f.dynamic ? 1 : 0), 4));
      const x = f.source(shape);
      return f.op('Reshape', [x, target(f, x, shape, reshaped(f, shape))]);
    },
  },
  {
    operator: 'Shape',
    opsets: opsetsFrom(7),
    build: (f) => {
      // one value folded and unfolded to the shape that it had
      const shape = factored(f, 4);
      const x = f.source(shape);
      const flat = f.op('Reshape', [x, f.g.ints([0, shape[1]!, -1])]);
      const like = f.chance(0.5) ? x : f.source(shape);
      const back = f.op('Reshape', [f.op('Relu', [flat]), f.op('Shape', [like])]);
      if (like === x) return back;
      // the other value is used too, so that it stays when its shape is written down
      return [back, f.op('Neg', [like])];
    },
  },
  {
    operator: 'Shape',
    opsets: opsetsFrom(9),
    build: (f) => {
      // a scale made from a channel count, as attention is exported
      const shape = f.dims(f.int(2, 4));
      const x = f.source(shape);
      const count = f.op('Gather', [f.op('Shape', [x]), f.g.ints(f.int(-1, shape.length - 1))]);
      const scale = f.op('Sqrt', [f.cast(count, 1)]);
      if (f.chance(0.5)) return f.op('Div', [x, scale]);
      return [f.op('Div', [f.source(shape), scale]), f.op('Neg', [x])];
    },
  },
  {
    operator: 'Size',
    opsets: opsetsFrom(7),
    build: (f) => {
      const x = f.source(f.dims(3));
      return f.op('Mul', [x, f.cast(f.op('Size', [f.weight(2, 3)]), 1)]);
    },
  },
  {
    operator: 'Flatten',
    opsets: opsetsFrom(7),
    build: (f) => {
      const rank = f.int(2, 4);
      return f.op('Flatten', [f.source(factored(f, rank))], f.chance(0.5) ? { axis: f.int(0, rank - 1) } : {});
    },
  },
  {
    operator: 'Squeeze',
    opsets: opsetsFrom(7),
    build: (f) => {
      const shape = f.dims(f.int(2, 4));
      // in order: onnxruntime's own shapes are wrong otherwise (1.30, below opset 13)
      const ones = f.rng
        .sample(shape.length, f.int(1, 2))
        .filter((k) => !(f.dynamic && k === 0))
        .toSorted((a, b) => a - b);
      for (const k of ones) shape[k] = 1;
      const x = f.source(shape);
      if (ones.length === 0) return x;
      if (f.opset >= 13) return f.op('Squeeze', [x, ...(f.chance(0.9) || f.dynamic ? [f.g.ints(ones)] : [])]);
      return f.op('Squeeze', [x], { axes: ones });
    },
  },
  {
    operator: 'Unsqueeze',
    opsets: opsetsFrom(7),
    build: (f) => {
      const shape = f.dims(f.int(1, 3));
      const rank = shape.length + f.int(1, 2);
      const axes = f.rng.sample(rank, rank - shape.length).map((a) => (f.opset >= 11 && f.chance(0.3) ? a - rank : a));
      const x = f.source(shape);
      return f.opset >= 13 ? f.op('Unsqueeze', [x, f.g.ints(axes)]) : f.op('Unsqueeze', [x], { axes });
    },
  },
  {
    operator: 'Transpose',
    opsets: opsetsFrom(7),
    build: (f) => {
      const rank = f.int(2, 5);
      const perm = f.rng.shuffle(Array.from({ length: rank }, (_, k) => k));
      return f.op('Transpose', [f.source(f.dims(rank))], f.chance(0.85) ? { perm } : {});
    },
  },
  {
    operator: 'Expand',
    opsets: opsetsFrom(8),
    build: (f) => {
      const shape = f.dims(f.int(1, 3));
      const own = shape.map((d) => (f.chance(0.4) ? 1 : d));
      const lead = f.chance(0.3) && !f.dynamic ? [f.int(1, 3)] : [];
      const wanted = [...lead, ...shape.map((d, k) => (own[k] === d && f.chance(0.5) ? 1 : d))];
      return f.op('Expand', [f.source(own), f.g.ints(wanted)]);
    },
  },
  {
    operator: 'Tile',
    opsets: opsetsFrom(7),
    build: (f) => {
      const shape = f.dims(f.int(1, 4));
      return f.op('Tile', [f.source(shape), f.g.ints(shape.map(() => (f.chance(0.5) ? 1 : f.int(2, 3))))]);
    },
  },
];

const parts: readonly OperatorCase[] = [
  {
    operator: 'Concat',
    opsets: opsetsFrom(7),
    build: (f) => {
      const rank = f.int(1, 4);
      const shape = f.dims(rank);
      const axis = f.int(0, rank - 1);
      const pieces = Array.from({ length: f.int(1, 3) }, (_, i) => {
        const own = shape.map((d, k) => (k === axis ? f.int(1, 4) : d));
        return i === 0 || f.chance(0.6) ? f.source(own) : f.any(own);
      });
      return f.op('Concat', f.rng.shuffle(pieces), { axis: f.opset >= 11 && f.chance(0.3) ? axis - rank : axis });
    },
  },
  {
    operator: 'Split',
    opsets: opsetsFrom(7),
    build: (f) => {
      const rank = f.int(1, 4);
      const shape = f.dims(rank);
      const axis = f.int(0, rank - 1);
      const count = f.int(2, 3);
      const even = f.chance(0.4);
      const one = f.int(1, 3);
      const sizes = Array.from({ length: count }, () => (even ? one : f.int(1, 3)));
      shape[axis] = sizes.reduce((a, b) => a + b, 0);
      const x = f.source(shape);
      const said = !even || f.chance(0.5);
      const made =
        f.opset >= 18 && !said
          ? f.g.ops('Split', [x], count, { axis, num_outputs: count })
          : f.opset >= 13
            ? f.g.ops('Split', [x, ...(said ? [f.g.ints(sizes)] : [])], count, { axis })
            : f.g.ops('Split', [x], count, { axis, ...(said ? { split: sizes } : {}) });
      return f.rng.sample(count, f.int(1, count)).map((i) => made[i]!);
    },
  },
  {
    operator: 'Slice',
    opsets: opsetsFrom(7),
    build: (f) => {
      const rank = f.int(1, 4);
      const shape = f.dims(rank);
      const axes = f.rng.sample(rank, f.int(1, rank)).filter((k) => !(f.dynamic && k === 0));
      if (axes.length === 0) axes.push(rank - 1);
      const starts: number[] = [];
      const ends: number[] = [];
      const steps: number[] = [];
      for (const k of axes) {
        const d = shape[k]!;
        const start = f.rng.int(d);
        const end = f.int(start + 1, d);
        const back = f.opset >= 10 && f.chance(0.15);
        steps.push(back ? -1 : f.opset >= 10 && f.chance(0.2) ? 2 : 1);
        starts.push(back ? d - 1 : f.chance(0.3) ? start - d : start);
        ends.push(back ? -d - 1 : end === d && f.chance(0.5) ? 2 ** 31 - 1 : f.chance(0.3) && end < d ? end - d : end);
      }
      const x = f.source(shape);
      if (f.opset < 10) return f.op('Slice', [x], { axes, starts, ends });
      const named = axes.map((a) => (f.chance(0.3) ? a - rank : a));
      const stepped = steps.some((s) => s !== 1) || f.chance(0.3) ? [f.g.ints(steps)] : [];
      return f.op('Slice', [x, f.g.ints(starts), f.g.ints(ends), f.g.ints(named), ...stepped]);
    },
  },
  {
    operator: 'Pad',
    opsets: opsetsFrom(7),
    build: (f) => {
      const rank = f.int(2, 4);
      const shape = f.dims(rank).map((d, k) => (k === 0 ? d : d + 1));
      const side = (): number[] => shape.map((_, k) => (k === 0 || f.chance(0.5) ? 0 : f.int(0, 2)));
      const pads = [...side(), ...side()];
      const mode = f.rng.pick(['constant', 'constant', 'constant', 'edge', 'reflect']);
      const x = f.source(shape);
      if (f.opset < 11) return f.op('Pad', [x], { pads, mode, value: float(f.chance(0.5) ? 0 : 0.5) });
      if (f.opset >= 18 && f.chance(0.4)) {
        const axes = f.rng.sample(rank - 1, f.int(1, rank - 1)).map((k) => k + 1);
        const own = [...axes.map((k) => pads[k]!), ...axes.map((k) => pads[k + rank]!)];
        return f.op('Pad', [x, f.g.ints(own), mode === 'constant' ? f.g.floats(0.5) : '', f.g.ints(axes)], { mode });
      }
      return f.op('Pad', [x, f.g.ints(pads), ...(f.chance(0.5) ? [f.g.floats(0.5)] : [])], { mode });
    },
  },
  {
    operator: 'Gather',
    opsets: opsetsFrom(7),
    build: (f) => {
      const rank = f.int(1, 4);
      const shape = f.dims(rank);
      const axis = f.int(0, rank - 1);
      const d = shape[axis]!;
      const indices = f.rng.pick([[], [f.int(1, 5)], [2, 2]]);
      const negative = f.opset >= 11 && f.chance(0.3);
      const list = Array.from({ length: size(indices) }, () => f.rng.int(d) - (negative ? d : 0));
      if (f.chance(0.15)) {
        // an embedding
        const ids = f.g.input('ids', 7, [f.dynamic ? 'N' : 2, 3]);
        return f.op('Gather', [f.weight(4, f.int(2, 6)), ids]);
      }
      return f.op('Gather', [f.source(shape), f.g.ints(list, indices)], { axis });
    },
  },
];

const images: readonly OperatorCase[] = [
  {
    operator: 'Resize',
    opsets: opsetsFrom(10),
    build: (f) => {
      const shape = f.dims(4);
      const x = f.source(shape);
      const mode = f.rng.pick(['nearest', 'linear']);
      const odd = !f.dynamic && f.chance(0.15);
      const scales = [1, odd ? 2 : 1, f.rng.pick([1, 2]), f.rng.pick([1, 2, 3])];
      if (f.opset === 10) return f.op('Resize', [x, f.g.floats(scales)], { mode: 'nearest' });
      const roi = f.opset >= 13 ? '' : f.g.floats([], [0]);
      if (odd || f.chance(0.4)) return f.op('Resize', [x, roi, f.g.floats(scales)], { mode: odd ? 'nearest' : mode });
      const sizes = shape.map((d, k) => d * scales[k]!);
      const none = f.opset >= 13 ? '' : f.g.floats([], [0]);
      if (f.opset >= 18 && f.chance(0.5)) {
        return f.op('Resize', [x, '', '', f.g.ints(sizes.slice(2))], { mode, axes: [2, 3] });
      }
      if (!f.dynamic) return f.op('Resize', [x, roi, none, f.g.ints(sizes)], { mode });
      const batch = f.op('Gather', [f.op('Shape', [x]), f.g.ints([0])]);
      const computed = f.op('Concat', [batch, f.g.ints(sizes.slice(1))], { axis: 0 });
      return f.op('Resize', [x, roi, none, computed], { mode });
    },
  },
  {
    operator: 'Upsample',
    opsets: [7, 8, 9],
    build: (f) => {
      const x = f.source(f.dims(4));
      const scales = [1, 1, f.int(1, 2), f.int(1, 3)];
      if (f.opset < 9) return f.op('Upsample', [x], { mode: 'nearest', scales: floats(scales) });
      return f.op('Upsample', [x, f.g.floats(scales)], { mode: 'nearest' });
    },
  },
  {
    operator: 'DepthToSpace',
    opsets: opsetsFrom(7),
    build: (f) => {
      const x = f.source([f.dynamic ? 1 : 2, 4 * f.int(1, 3), f.int(2, 3), f.int(2, 3)]);
      const mode = f.opset >= 11 ? { mode: f.rng.pick(['DCR', 'CRD']) } : {};
      return f.op('DepthToSpace', [x], { blocksize: 2, ...mode });
    },
  },
  {
    operator: 'SpaceToDepth',
    opsets: opsetsFrom(7),
    build: (f) => f.op('SpaceToDepth', [f.source([f.dynamic ? 1 : 2, f.int(2, 5), 4, 4])], { blocksize: 2 }),
  },
  {
    operator: 'GridSample',
    opsets: opsetsFrom(16),
    build: (f) => {
      const shape = f.dims(4);
      const grid = [shape[0]!, 3, 2, 2];
      const places = f.chance(0.5) && !f.dynamic ? f.weight(...grid) : f.op('Tanh', [f.source(grid)]);
      return f.op('GridSample', [f.source(shape), places]);
    },
  },
  {
    operator: 'RoiAlign',
    opsets: opsetsFrom(10),
    build: (f) => {
      const shape = [1, f.int(2, 5), 6, 6];
      const rois = f.g.floats([0, 0, 3, 3, 1, 1, 5, 4], [2, 4]);
      const attributes = { output_height: 2, output_width: 3, sampling_ratio: 2 };
      return f.op('RoiAlign', [f.source(shape), rois, f.g.ints([0, 0])], attributes);
    },
  },
  {
    operator: 'CumSum',
    opsets: opsetsFrom(11),
    build: (f) => {
      const rank = f.int(1, 4);
      return f.op('CumSum', [f.source(f.dims(rank)), f.g.ints(f.int(-rank, rank - 1))], { reverse: f.int(0, 1) });
    },
  },
];

export const movementCases: readonly OperatorCase[] = [...shapes, ...parts, ...images];
