// Reference kernels that multiply matrices: Gemm, MatMul, Einsum, Attention.

import { readEinsumText } from './einsum-text.js';
import { broadcastDims, build, eachPlace, get, range, ref, size, type Ref } from './arrays.js';
import type { Kernel } from './interpreter.js';

export function matMul(a: Ref, b: Ref): Ref {
  const left = a.dims.length === 1 ? ref([1, ...a.dims], a.data) : a;
  const right = b.dims.length === 1 ? ref([...b.dims, 1], b.data) : b;
  const [rows, inner] = left.dims.slice(-2) as [number, number]; // two axes, as just made
  const columns = right.dims.at(-1)!;
  const batch = broadcastDims(left.dims.slice(0, -2), right.dims.slice(0, -2), []);
  const full = build([...batch, rows, columns], (at) => {
    const outer = at.slice(0, -2);
    const [i = 0, j = 0] = at.slice(-2);
    let sum = 0;
    for (let k = 0; k < inner; k++) sum += strict(left, outer, i, k) * strict(right, outer, k, j);
    return sum;
  });
  const dims = [...batch, ...(a.dims.length === 1 ? [] : [rows]), ...(b.dims.length === 1 ? [] : [columns])];
  return ref(dims, full.data);
}

/** Batch axes broadcast, the last two do not. */
function strict(x: Ref, outer: readonly number[], i: number, j: number): number {
  const own = x.dims.slice(0, -2);
  const shift = outer.length - own.length;
  const o = own.reduce((at, d, k) => at * d + (d === 1 ? 0 : outer[k + shift]!), 0);
  return x.data[(o * x.dims.at(-2)! + i) * x.dims.at(-1)! + j]!;
}

function turned(x: Ref): Ref {
  return build([x.dims[1]!, x.dims[0]!], ([i = 0, j = 0]) => get(x, [j, i]));
}

const gemm: Kernel = (call) => {
  const a = call.int('transA', 0) === 0 ? call.in(0) : turned(call.in(0));
  const b = call.int('transB', 0) === 0 ? call.in(1) : turned(call.in(1));
  const product = matMul(a, b);
  const c = call.inputs[2];
  const [alpha, beta] = [call.float('alpha', 1), call.float('beta', 1)];
  return build(product.dims, (at, n) => alpha * product.data[n]! + (c === undefined ? 0 : beta * get(c, at)));
};

const einsum: Kernel = (call) => {
  const operands = call.inputs.map((_, i) => call.in(i));
  const { terms, result } = readEinsumText(
    call.text('equation', ''),
    operands.map((o) => o.dims.length),
  );
  const lengths = new Map<string, number>();
  terms.forEach((term, i) =>
    term.forEach((index, k) => lengths.set(index, Math.max(lengths.get(index) ?? 1, operands[i]!.dims[k]!))),
  );
  const all = [...lengths.keys()];
  const out = result.map((index) => lengths.get(index)!);
  const data = new Float64Array(size(out));
  eachPlace([...lengths.values()], (at) => {
    const value = (index: string): number => at[all.indexOf(index)]!;
    const product = terms.reduce((p, term, i) => p * get(operands[i]!, term.map(value)), 1);
    const o = result.reduce((sum, index) => sum * lengths.get(index)! + value(index), 0);
    data[o]! += product;
  });
  return { dims: out, data };
};

/** onnx__Attention.html, by its definition; past keys are not covered. */
const attention: Kernel = (call) => {
  const heads = (x: Ref, count: number): Ref => {
    if (x.dims.length === 4) return x;
    const [b = 1, s = 1, width = 1] = x.dims;
    const each = width / count;
    return build([b, count, s, each], ([i = 0, h = 0, t = 0, e = 0]) => get(x, [i, t, h * each + e]));
  };
  if (call.inputs.slice(4).some((x) => x !== undefined)) throw new Error('attention with a past');
  const q = heads(call.in(0), call.int('q_num_heads', 1));
  const k = heads(call.in(1), call.int('kv_num_heads', 1));
  const v = heads(call.in(2), call.int('kv_num_heads', 1));
  const [batch = 1, count = 1, queries = 1, width = 1] = q.dims;
  const [, keyHeads = 1, keys = 1] = k.dims;
  const scale = call.float('scale', 1 / Math.sqrt(width));
  const cap = call.float('softcap', 0);
  const mask = call.inputs[3];
  const boolean = mask?.data.every((m) => m === 0 || m === 1) === true;
  const causal = call.int('is_causal', 0) === 1;
  const out = build([batch, count, queries, v.dims[3]!], ([b = 0, h = 0, s = 0, e = 0]) => {
    const own = Math.floor(h / (count / keyHeads));
    const scores = range(keys).map((t) => {
      let dot = 0;
      for (let d = 0; d < width; d++) dot += get(q, [b, h, s, d]) * get(k, [b, own, t, d]);
      let score = dot * scale;
      if (cap !== 0) score = cap * Math.tanh(score / cap);
      if (mask !== undefined)
        score += boolean ? (get(mask, [b, h, s, t]) === 0 ? -Infinity : 0) : get(mask, [b, h, s, t]);
      return causal && t > s ? -Infinity : score;
    });
    const top = Math.max(...scores);
    const weights = scores.map((z) => Math.exp(z - top));
    const total = weights.reduce((a, z) => a + z, 0);
    return weights.reduce((sum, w, t) => sum + (w / total) * get(v, [b, own, t, e]), 0);
  });
  if (call.in(0).dims.length === 4) return [out];
  const each = v.dims[3]!;
  return [
    build([batch, queries, count * each], ([b = 0, s = 0, c = 0]) => get(out, [b, Math.floor(c / each), s, c % each])),
  ];
};

export const linear: readonly (readonly [string, Kernel])[] = [
  ['MatMul', (call) => matMul(call.in(0), call.in(1))],
  ['Gemm', gemm],
  ['Einsum', einsum],
  ['Attention', attention],
];
