// Reference kernels with windows: convolutions, pooling, resizing, columns to images.

import { build, eachPlace, get, range, ref, size, type Ref } from './arrays.js';
import type { Call, Kernel } from './interpreter.js';

interface Lengths {
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly begins: readonly number[];
  readonly out: readonly number[];
}

function lengthsOf(call: Call, spatial: readonly number[], kernel: readonly number[]): Lengths {
  const n = kernel.length;
  const strides = call.ints('strides') ?? kernel.map(() => 1);
  const dilations = call.ints('dilations') ?? kernel.map(() => 1);
  const pads = call.ints('pads') ?? [...kernel, ...kernel].map(() => 0);
  const auto = call.text('auto_pad', 'NOTSET');
  const extent = kernel.map((k, i) => (k - 1) * dilations[i]! + 1);
  if (auto.startsWith('SAME')) {
    const out = spatial.map((d, i) => Math.ceil(d / strides[i]!));
    const total = out.map((o, i) => Math.max(0, (o - 1) * strides[i]! + extent[i]! - spatial[i]!));
    return { strides, dilations, out, begins: total.map((t) => (auto === 'SAME_UPPER' ? t >> 1 : t - (t >> 1))) };
  }
  const zero = auto === 'VALID';
  const ceil = call.int('ceil_mode', 0) === 1;
  const out = spatial.map((d, i) => {
    const before = zero ? 0 : pads[i]!;
    const room = d + before + (zero ? 0 : pads[i + n]!) - extent[i]!;
    const steps = ceil ? Math.ceil(room / strides[i]!) : Math.floor(room / strides[i]!);
    // a window that starts beyond data and padding is left out
    return ceil && steps * strides[i]! >= d + before ? steps : steps + 1;
  });
  return { strides, dilations, out, begins: kernel.map((_, i) => (zero ? 0 : pads[i]!)) };
}

const conv: Kernel = (call) => {
  const [x, w] = [call.in(0), call.in(1)];
  const group = call.int('group', 1);
  const kernel = w.dims.slice(2);
  const { strides, dilations, out, begins } = lengthsOf(call, x.dims.slice(2), kernel);
  const [filters = 1, perGroup = 1] = w.dims;
  const bias = call.inputs[2];
  return build([x.dims[0]!, filters, ...out], (at) => {
    const [n = 0, m = 0, ...place] = at;
    const first = Math.floor(m / (filters / group)) * perGroup;
    let sum = bias?.data[m] ?? 0;
    eachPlace(kernel, (tap) => {
      const from = place.map((p, k) => p * strides[k]! + tap[k]! * dilations[k]! - begins[k]!);
      if (from.some((f, k) => f < 0 || f >= x.dims[k + 2]!)) return;
      for (let c = 0; c < perGroup; c++) sum += strict(x, [n, first + c, ...from]) * strict(w, [m, c, ...tap]);
    });
    return sum;
  });
};

function strict(x: Ref, at: readonly number[]): number {
  return x.data[at.reduce((o, a, k) => o * x.dims[k]! + a, 0)]!;
}

const convTranspose: Kernel = (call) => {
  const [x, w] = [call.in(0), call.in(1)];
  const group = call.int('group', 1);
  const kernel = w.dims.slice(2);
  const [n = 1, channels = 1, ...spatial] = x.dims;
  const perGroup = w.dims[1]!;
  const rank = kernel.length;
  const strides = call.ints('strides') ?? kernel.map(() => 1);
  const dilations = call.ints('dilations') ?? kernel.map(() => 1);
  const extra = call.ints('output_padding') ?? kernel.map(() => 0);
  const auto = call.text('auto_pad', 'NOTSET');
  const full = spatial.map((d, k) => (d - 1) * strides[k]! + (kernel[k]! - 1) * dilations[k]! + 1 + extra[k]!);
  const wanted =
    call.ints('output_shape')?.slice(-rank) ??
    (auto.startsWith('SAME') ? spatial.map((d, k) => d * strides[k]!) : undefined);
  const pads = call.ints('pads') ?? [...kernel, ...kernel].map(() => 0);
  const out = wanted ?? full.map((d, k) => d - pads[k]! - pads[k + rank]!);
  const begins =
    wanted?.map((d, k) => {
      const total = Math.max(0, full[k]! - d);
      return auto === 'SAME_UPPER' ? total >> 1 : total - (total >> 1);
    }) ?? pads.slice(0, rank);
  const dims = [n, perGroup * group, ...out];
  const bias = call.inputs[2];
  const data = build(dims, ([, m = 0]) => bias?.data[m] ?? 0).data;
  eachPlace(x.dims, (at, from) => {
    const [b = 0, c = 0, ...place] = at;
    const g = Math.floor(c / (channels / group));
    eachPlace(kernel, (tap) => {
      const to = place.map((p, k) => p * strides[k]! + tap[k]! * dilations[k]! - begins[k]!);
      if (to.some((t, k) => t < 0 || t >= out[k]!)) return;
      for (let m = 0; m < perGroup; m++) {
        const o = [b, g * perGroup + m, ...to].reduce((sum, a, k) => sum * dims[k]! + a, 0);
        data[o]! += x.data[from]! * strict(w, [c, m, ...tap]);
      }
    });
  });
  return { dims, data };
};

/** Visits the taps of each window that lie inside the input. */
function pool(
  call: Call,
  reduce: (values: readonly number[], froms: readonly number[], counted: number) => number,
): Ref {
  const x = call.in(0);
  const kernel = call.ints('kernel_shape') ?? [];
  const lengths = lengthsOf(call, x.dims.slice(2), kernel);
  const { strides, dilations, out, begins } = lengths;
  const pads = call.ints('pads') ?? [...kernel, ...kernel].map(() => 0);
  const ends = kernel.map((_, k) =>
    call.text('auto_pad', 'NOTSET').startsWith('SAME') ? Infinity : pads[k + kernel.length]!,
  );
  return build([x.dims[0]!, x.dims[1]!, ...out], (at) => {
    const [n = 0, c = 0, ...place] = at;
    const values: number[] = [];
    const froms: number[] = [];
    let counted = 0;
    eachPlace(kernel, (tap) => {
      const from = place.map((p, k) => p * strides[k]! + tap[k]! * dilations[k]! - begins[k]!);
      if (from.every((f, k) => f < x.dims[k + 2]! + ends[k]!)) counted++;
      if (from.some((f, k) => f < 0 || f >= x.dims[k + 2]!)) return;
      const o = [n, c, ...from].reduce((sum, a, k) => sum * x.dims[k]! + a, 0);
      values.push(x.data[o]!);
      froms.push(o);
    });
    return reduce(values, froms, counted);
  });
}

const averagePool: Kernel = (call) => {
  const includePad = call.int('count_include_pad', 0) === 1;
  return pool(call, (values, _, counted) => values.reduce((a, b) => a + b, 0) / (includePad ? counted : values.length));
};

const maxPool: Kernel = (call) => [
  pool(call, (values) => Math.max(...values)),
  pool(call, (values, froms) => froms[values.indexOf(Math.max(...values))]!),
];

const lpPool: Kernel = (call) => {
  const p = call.int('p', 2);
  return pool(call, (values) => values.reduce((a, b) => a + Math.abs(b) ** p, 0) ** (1 / p));
};

/** Position by position, as the operator's page defines it; without antialias and regions. */
const resize: Kernel = (call) => {
  const x = call.in(0);
  const rank = x.dims.length;
  const axes = call.ints('axes')?.map((a) => (a < 0 ? a + rank : a)) ?? range(rank);
  const sizes = call.inputs[3];
  const scales = call.inputs[2];
  const [out, factor] = [[...x.dims], x.dims.map(() => 1)];
  axes.forEach((axis, k) => {
    const d = x.dims[axis]!;
    out[axis] = sizes === undefined ? Math.floor(d * scales!.data[k]!) : sizes.data[k]!;
    factor[axis] = sizes === undefined ? scales!.data[k]! : out[axis] / d;
  });
  let current = x;
  for (const axis of axes) current = resizeAxis(call, current, axis, out[axis]!, factor[axis]!);
  return current;
};

function resizeAxis(call: Call, x: Ref, axis: number, out: number, scale: number): Ref {
  const d = x.dims[axis]!;
  if (out === d && scale === 1) return x;
  const how = call.text('coordinate_transformation_mode', 'half_pixel');
  const mode = call.text('mode', 'nearest');
  const where = (o: number): number => {
    if (how === 'asymmetric') return o / scale;
    if (how === 'align_corners') return out === 1 ? 0 : (o * (d - 1)) / (out - 1);
    if (how === 'pytorch_half_pixel' && out === 1) return 0;
    return (o + 0.5) / scale - 0.5;
  };
  const round = (p: number): number => {
    const nearest = call.text('nearest_mode', 'round_prefer_floor');
    if (nearest === 'floor') return Math.floor(p);
    if (nearest === 'ceil') return Math.ceil(p);
    return nearest === 'round_prefer_ceil' ? Math.floor(p + 0.5) : Math.ceil(p - 0.5);
  };
  const a = call.float('cubic_coeff_a', -0.75);
  const keys = (t: number): number => {
    const u = Math.abs(t);
    if (u <= 1) return (a + 2) * u ** 3 - (a + 3) * u ** 2 + 1;
    return u < 2 ? a * u ** 3 - 5 * a * u ** 2 + 8 * a * u - 4 * a : 0;
  };
  const clamp = (i: number): number => Math.min(Math.max(i, 0), d - 1);
  return build(x.dims.with(axis, out), (at) => {
    const p = where(at[axis]!);
    const value = (i: number): number => get(x, at.with(axis, clamp(i)));
    if (mode === 'nearest') return value(round(p));
    if (mode === 'linear') {
      const low = Math.floor(p);
      return value(low) * (low + 1 - p) + value(low + 1) * (p - low);
    }
    const taps = range(4).map((k) => Math.floor(p) - 1 + k);
    const used = call.int('exclude_outside', 0) === 1 ? taps.filter((i) => i >= 0 && i < d) : taps;
    const total = used.reduce((sum, i) => sum + keys(p - i), 0);
    return used.reduce((sum, i) => sum + (keys(p - i) / total) * value(i), 0);
  });
}

/** Resize as it was before it could say how: positions o / scale, the lower neighbour. */
const upsample: Kernel = (call) => {
  const scales = call.in(1).data;
  const text = (name: string, fallback: string): string => {
    if (name === 'coordinate_transformation_mode') return 'asymmetric';
    return name === 'nearest_mode' ? 'floor' : call.text(name, fallback);
  };
  let current = call.in(0);
  scales.forEach((scale, axis) => {
    const d = current.dims[axis]!;
    current = resizeAxis({ ...call, text }, current, axis, Math.floor(d * scale), scale);
  });
  return current;
};

const col2Im: Kernel = (call) => {
  const x = call.in(0);
  const image = [...call.in(1).data];
  const block = [...call.in(2).data];
  const { strides, dilations, out, begins } = lengthsOf(call, image, block);
  const [n = 1, columns = 1] = x.dims;
  const channels = columns / size(block);
  const dims = [n, channels, ...image];
  const shell = ref(dims, new Float64Array(size(dims)));
  eachPlace([n, channels, ...block, ...out], (at, k) => {
    const [b = 0, c = 0] = at;
    const to = block.map((_, i) => at[2 + block.length + i]! * strides[i]! + at[2 + i]! * dilations[i]! - begins[i]!);
    if (to.some((t, i) => t < 0 || t >= image[i]!)) return;
    const o = [b, c, ...to].reduce((sum, a, i) => sum * dims[i]! + a, 0);
    shell.data[o]! += x.data[k]!;
  });
  return shell;
};

export const windows: readonly (readonly [string, Kernel])[] = [
  ['Conv', conv],
  ['ConvTranspose', convTranspose],
  ['AveragePool', averagePool],
  ['MaxPool', maxPool],
  ['LpPool', lpPool],
  ['Resize', resize],
  ['Upsample', upsample],
  ['Col2Im', col2Im],
];
