// Reference kernels that reduce axes, and those that count along one.

import { axisIn, build, eachPlace, get, offset, range, ref, size, type Ref } from './arrays.js';
import type { Call, Kernel } from './interpreter.js';

const reduce = (f: (values: readonly number[]) => number): Kernel => {
  return (call) => {
    const x = call.in(0);
    const rank = x.dims.length;
    const given = call.list(1, 'axes') ?? [];
    if (given.length === 0 && call.int('noop_with_empty_axes', 0) === 1) return x;
    const axes = given.length === 0 ? range(rank) : given.map((a) => axisIn(a, rank));
    const kept = x.dims.map((d, k) => (axes.includes(k) ? 1 : d));
    const lists: number[][] = range(size(kept)).map(() => []);
    const shell = ref(kept, new Float64Array(size(kept)));
    eachPlace(x.dims, (at, n) => lists[offset(shell, at)]!.push(x.data[n]!));
    const dims = call.int('keepdims', 1) === 1 ? kept : x.dims.filter((_, k) => !axes.includes(k));
    return ref(dims, lists.map(f));
  };
};

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

const cumSum: Kernel = (call) => {
  const x = call.in(0);
  const axis = axisIn(call.in(1).data[0]!, x.dims.length);
  const length = x.dims[axis]!;
  const [exclusive, reverse] = [call.int('exclusive', 0) === 1, call.int('reverse', 0) === 1];
  return build(x.dims, (at) => {
    let total = 0;
    for (let i = 0; i < length; i++) {
      const inside = reverse ? i >= at[axis]! : i <= at[axis]!;
      if (inside && !(exclusive && i === at[axis])) total += get(x, at.with(axis, i));
    }
    return total;
  });
};

const topK: Kernel = (call) => {
  const x = call.in(0);
  const axis = axisIn(call.int('axis', -1), x.dims.length);
  const k = call.list(1, 'k')?.[0] ?? call.int('k', 1);
  const sign = call.int('largest', 1) === 1 ? -1 : 1;
  const dims = x.dims.with(axis, k);
  const chosen = (at: readonly number[]): number => {
    const order = range(x.dims[axis]!).sort(
      (a, b) => sign * (get(x, at.with(axis, a)) - get(x, at.with(axis, b))) || a - b,
    );
    return order[at[axis]!]!;
  };
  return [build(dims, (at) => get(x, at.with(axis, chosen(at)))), build(dims, chosen)];
};

const globalPool = (f: (values: readonly number[], call: Call) => number): Kernel => {
  return (call) => {
    const x = call.in(0);
    const [n = 1, c = 1] = x.dims;
    const each = size(x.dims.slice(2));
    const dims = x.dims.map((d, k) => (k < 2 ? d : 1));
    return ref(
      dims,
      range(n * c).map((i) => f([...x.data.subarray(i * each, (i + 1) * each)], call)),
    );
  };
};

export const meanOf = (values: readonly number[]): number => sum(values) / values.length;

/** -log p of labels; see onnx__SoftmaxCrossEntropyLoss.html. */
const likelihood = (softmax: boolean): Kernel => {
  return (call) => {
    const x = call.in(0);
    const labels = call.in(1);
    const weight = call.inputs[2];
    const ignore = call.node.attributes.has('ignore_index') ? call.int('ignore_index', 0) : undefined;
    const log = softmax ? logSoftmax(x) : x;
    let total = 0;
    let count = 0;
    const each = build(labels.dims, (at) => {
      const label = get(labels, at);
      if (label === ignore) return 0;
      const w = weight?.data[label] ?? 1;
      const loss = -w * get(log, [at[0]!, label, ...at.slice(1)]);
      total += loss;
      count += w;
      return loss;
    });
    const reduction = call.text('reduction', 'mean');
    const loss = reduction === 'none' ? each : ref([], [reduction === 'sum' ? total : total / count]);
    return softmax ? [loss, log] : [loss];
  };
};

function logSoftmax(x: Ref): Ref {
  return build(x.dims, (at) => {
    let total = 0;
    for (let c = 0; c < x.dims[1]!; c++) total += Math.exp(get(x, at.with(1, c)));
    return get(x, at) - Math.log(total);
  });
}

export const reductions: readonly (readonly [string, Kernel])[] = [
  ['ReduceSum', reduce(sum)],
  ['ReduceMean', reduce(meanOf)],
  ['ReduceMax', reduce((v) => Math.max(...v))],
  ['ReduceMin', reduce((v) => Math.min(...v))],
  ['ReduceProd', reduce((v) => v.reduce((a, b) => a * b, 1))],
  ['ReduceL1', reduce((v) => sum(v.map(Math.abs)))],
  ['ReduceL2', reduce((v) => Math.sqrt(sum(v.map((a) => a * a))))],
  ['ReduceSumSquare', reduce((v) => sum(v.map((a) => a * a)))],
  ['ReduceLogSum', reduce((v) => Math.log(sum(v)))],
  ['ReduceLogSumExp', reduce((v) => Math.log(sum(v.map(Math.exp))))],
  ['CumSum', cumSum],
  ['TopK', topK],
  ['GlobalAveragePool', globalPool(meanOf)],
  ['GlobalMaxPool', globalPool((v) => Math.max(...v))],
  ['GlobalLpPool', globalPool((v, c) => sum(v.map((a) => Math.abs(a) ** c.int('p', 2))) ** (1 / c.int('p', 2)))],
  ['NegativeLogLikelihoodLoss', likelihood(false)],
  ['SoftmaxCrossEntropyLoss', likelihood(true)],
];
