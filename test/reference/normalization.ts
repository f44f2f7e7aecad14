// Reference kernels of normalisations.

import { axisIn, build, get, range, ref, size, type Ref } from './arrays.js';
import type { Kernel } from './interpreter.js';
import { meanOf } from './reductions.js';

/** Mean and variance of the elements for which `keyOf` is equal. */
function statistics(x: Ref, keyOf: (at: readonly number[]) => string): Map<string, readonly [number, number]> {
  const lists = new Map<string, number[]>();
  build(x.dims, (at, n) => {
    const key = keyOf(at);
    const list = lists.get(key) ?? [];
    lists.set(key, list);
    return list.push(x.data[n]!);
  });
  return new Map(
    [...lists].map(([key, list]) => {
      const mean = meanOf(list);
      return [key, [mean, meanOf(list.map((v) => (v - mean) ** 2))] as const];
    }),
  );
}

function normalized(x: Ref, keyOf: (at: readonly number[]) => string, epsilon: number): Ref {
  const found = statistics(x, keyOf);
  return build(x.dims, (at, n) => {
    const [mean, variance] = found.get(keyOf(at))!;
    return (x.data[n]! - mean) / Math.sqrt(variance + epsilon);
  });
}

const batchNorm: Kernel = (call) => {
  const x = call.in(0);
  const [scale, bias, mean, variance] = [call.in(1), call.in(2), call.in(3), call.in(4)];
  const epsilon = call.float('epsilon', 1e-5);
  const apply = (m: Float64Array, v: Float64Array): Ref =>
    build(x.dims, (at, n) => {
      const c = at[1] ?? 0;
      return ((x.data[n]! - m[c]!) / Math.sqrt(v[c]! + epsilon)) * scale.data[c]! + bias.data[c]!;
    });
  if (call.int('training_mode', 0) === 0) return apply(mean.data, variance.data);
  const found = statistics(x, (at) => String(at[1] ?? 0));
  const own = range(scale.data.length).map((c) => found.get(String(c))!);
  const momentum = call.float('momentum', 0.9);
  const moved = (old: Ref, k: 0 | 1): Ref =>
    ref(
      old.dims,
      old.data.map((v, c) => v * momentum + own[c]![k] * (1 - momentum)),
    );
  const y = apply(
    Float64Array.from(own, ([m]) => m),
    Float64Array.from(own, ([, v]) => v),
  );
  return [y, moved(mean, 0), moved(variance, 1)];
};

const layerNorm: Kernel = (call) => {
  const x = call.in(0);
  const axis = axisIn(call.int('axis', -1), x.dims.length);
  const epsilon = call.float('epsilon', 1e-5);
  const key = (at: readonly number[]): string => at.slice(0, axis).join();
  const y = normalized(x, key, epsilon);
  const [scale, bias] = [call.in(1), call.inputs[2]];
  const found = statistics(x, key);
  const outer = x.dims.map((d, k) => (k < axis ? d : 1));
  const statistic = (f: (mean: number, variance: number) => number): Ref =>
    build(outer, (at) => f(...found.get(key(at))!));
  return [
    build(x.dims, (at, n) => y.data[n]! * get(scale, at) + (bias === undefined ? 0 : get(bias, at))),
    statistic((mean) => mean),
    statistic((_, variance) => 1 / Math.sqrt(variance + epsilon)),
  ];
};

const rmsNorm: Kernel = (call) => {
  const x = call.in(0);
  const axis = axisIn(call.int('axis', -1), x.dims.length);
  const each = size(x.dims.slice(axis));
  const scale = call.in(1);
  return build(x.dims, (at, n) => {
    const row = Math.floor(n / each) * each;
    const square = meanOf([...x.data.subarray(row, row + each)].map((v) => v * v));
    return (x.data[n]! / Math.sqrt(square + call.float('epsilon', 1e-5))) * get(scale, at);
  });
};

const instanceNorm: Kernel = (call) => {
  const x = call.in(0);
  const y = normalized(x, (at) => `${at[0]},${at[1]}`, call.float('epsilon', 1e-5));
  const [scale, bias] = [call.in(1), call.in(2)];
  return build(x.dims, (at, n) => y.data[n]! * scale.data[at[1]!]! + bias.data[at[1]!]!);
};

const groupNorm: Kernel = (call) => {
  const x = call.in(0);
  const groups = call.int('num_groups', 1);
  const each = x.dims[1]! / groups;
  const y = normalized(x, (at) => `${at[0]},${Math.floor(at[1]! / each)}`, call.float('epsilon', 1e-5));
  const [scale, bias] = [call.in(1), call.in(2)];
  const own = (p: Ref, c: number): number => p.data[call.opset < 21 ? Math.floor(c / each) : c]!;
  return build(x.dims, (at, n) => y.data[n]! * own(scale, at[1]!) + own(bias, at[1]!));
};

const meanVariance: Kernel = (call) => {
  const x = call.in(0);
  const axes = (call.ints('axes') ?? [0, 2, 3]).map((a) => axisIn(a, x.dims.length));
  const key = (at: readonly number[]): string => at.filter((_, k) => !axes.includes(k)).join();
  const found = statistics(x, key);
  return build(x.dims, (at, n) => {
    const [mean, variance] = found.get(key(at))!;
    return (x.data[n]! - mean) / (Math.sqrt(variance) + 1e-9);
  });
};

const lpNorm: Kernel = (call) => {
  const x = call.in(0);
  const axis = axisIn(call.int('axis', -1), x.dims.length);
  const p = call.int('p', 2);
  return build(x.dims, (at, n) => {
    const line = range(x.dims[axis]!).map((i) => Math.abs(get(x, at.with(axis, i))) ** p);
    return x.data[n]! / line.reduce((a, b) => a + b, 0) ** (1 / p);
  });
};

const lrn: Kernel = (call) => {
  const x = call.in(0);
  const width = call.int('size', 1);
  const [alpha, beta, bias] = [call.float('alpha', 1e-4), call.float('beta', 0.75), call.float('bias', 1)];
  return build(x.dims, (at, n) => {
    const first = at[1]! - Math.floor((width - 1) / 2);
    let sum = 0;
    for (let c = Math.max(first, 0); c < Math.min(first + width, x.dims[1]!); c++) sum += get(x, at.with(1, c)) ** 2;
    return x.data[n]! / (bias + (alpha / width) * sum) ** beta;
  });
};

export const normalization: readonly (readonly [string, Kernel])[] = [
  ['BatchNormalization', batchNorm],
  ['LayerNormalization', layerNorm],
  ['RMSNormalization', rmsNorm],
  ['InstanceNormalization', instanceNorm],
  ['GroupNormalization', groupNorm],
  ['MeanVarianceNormalization', meanVariance],
  ['LpNormalization', lpNorm],
  ['LRN', lrn],
];
