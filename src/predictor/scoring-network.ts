// The same network as network.ts, written for speed where nothing is trained: a node and the sum of its neighbours lie side by side, so
// that a layer is one product; sums gather the first neighbour of each node and add the few others; heads of all adapters run as one.
import { graphBuilder, type GraphBuilder } from '../ir/builder.js';
import type { Model } from '../ir/graph.js';
import { DataType, readFloats } from '../ir/tensor.js';
import { floatData, type RuntimeTensor } from '../runtime/runtime.js';
import type { ComputationGraph } from './computation-graph.js';
import { packGraphs, RESOLUTIONS } from './graph-batch.js';
import { adapterCount, type NetworkSize, type Weights } from './network.js';

/** Outputs `latent` [G, d], `base` [G, 1] and, with adapters, `adapters` [G, K], as `networkModel` has them. */
export function scoringModel(size: NetworkSize, weights: Weights): Model {
  const g = graphBuilder();
  const { width: d, layers } = size;
  const of = (name: string): Float32Array => readFloats(weights.get(name)!);
  const whole = (name: string): string => g.input(name, DataType.INT32, ['rows']);
  const linear = (x: string, name: string): string =>
    g.op('Gemm', [x, g.constant(weights.get(`${name}.w`)!), g.constant(weights.get(`${name}.b`)!)]);
  const table = (name: string): string => g.constant(weights.get(`base/${name}`)!);
  const resolution = g.constant(weights.get('base/resolution.w')!);
  const shift = g.constant(weights.get('base/resolution.b')!);
  const resolutionOf = (kind: string): string =>
    g.op('Gemm', [g.input(`${kind}.resolution`, DataType.FLOAT, [kind, RESOLUTIONS]), resolution, shift]);
  const kernel = table('kernel');
  const weighted = [
    g.op('Gather', [table('weighted.op'), whole('weighted.op')]),
    resolutionOf('weighted'),
    g.op('Gather', [kernel, whole('weighted.kernel.height')]),
    g.op('Gather', [kernel, whole('weighted.kernel.width')]),
    linear(g.input('weighted.bias', DataType.FLOAT, ['weighted', 2]), 'base/bias'),
  ];
  const regular = [g.op('Gather', [table('regular.op'), whole('regular.op')]), resolutionOf('regular')];
  const first = g.op(
    'Concat',
    [g.op('Concat', weighted, { axis: 1 }), g.op('Concat', regular, { axis: 1 })],
    { axis: 0 },
    { name: 'embedding' },
  );

  const pairs = g.input('node.pair', DataType.INT32, ['pairs']);
  const from = g.input('extra.from', DataType.INT32, ['extras']);
  const to = g.input('extra.to', DataType.INT64, ['extras', 1]);
  const sign = g.input('extra.sign', DataType.FLOAT, ['extras', 1]);
  const side = g.ints([-1, 2 * d]);
  /** [N, d] -> [N, 2d]: the node, and the sum of those before it. */
  const paired = (x: string): string => {
    const more = g.op('Mul', [g.op('Gather', [x, from]), sign]);
    return g.op('Reshape', [g.op('ScatterND', [g.op('Gather', [x, pairs]), to, more], { reduction: 'add' }), side]);
  };
  const graphOf = g.input('node.graph', DataType.INT64, ['nodes', 1]);
  const share = g.input('graph.share', DataType.FLOAT, ['graphs', 1]);
  const empty = g.op('Mul', [share, g.floats(new Float32Array(d), [1, d])]);
  const mean = (x: string): string =>
    g.op('Mul', [g.op('ScatterND', [empty, graphOf, x], { reduction: 'add' }), share]);
  /** Both halves of a layer as one matrix [2d, d]. */
  const both = (own: string, neighbours: string): string =>
    g.floats(Float32Array.from([...of(own), ...of(neighbours)]), [2 * d, d]);

  const sides: string[] = [paired(first)];
  let h = first;
  for (let i = 0; i < layers; i++) {
    const name = `base/layer${i}`;
    const matrix = both(`${name}.own`, `${name}.neighbours`);
    h = g.op('Tanh', [g.op('Gemm', [sides[i]!, matrix, g.constant(weights.get(`${name}.b`)!)])]);
    sides.push(i + 1 === layers && adapterCount(weights) === 0 ? '' : paired(h));
  }
  const latent = g.op('Identity', [mean(h)], {}, { outputs: ['latent'] });
  g.output(latent, DataType.FLOAT, ['graphs', d]);
  const [inner, outer] = headOf(of, 'base', d, d);
  const hidden = g.op('Relu', [g.op('Gemm', [latent, g.floats(inner.w, [d, d]), g.floats(inner.b)])]);
  const base = g.op('Gemm', [hidden, g.floats(outer.w, [d, 1]), g.floats(outer.b)], {}, { outputs: ['base'] });
  g.output(base, DataType.FLOAT, ['graphs', 1]);

  const count = adapterCount(weights);
  if (count > 0) {
    const pooled = Array.from({ length: count }, (_, k) => {
      let a = '';
      for (let i = 0; i < layers; i++) {
        const name = `adapter${k}/layer${i}`;
        const read = both(`${name}.base.own`, `${name}.base.neighbours`);
        const y = g.op('Gemm', [sides[i + 1]!, read, g.constant(weights.get(`${name}.b`)!)]);
        // the first layer of every adapter reads the embedding
        a = g.op('Tanh', [
          g.op('Gemm', [i === 0 ? sides[0]! : paired(a), both(`${name}.own`, `${name}.neighbours`), y]),
        ]);
      }
      return mean(a);
    });
    const all = emitHeads(g, of, latent, pooled, d);
    g.output(all, DataType.FLOAT, ['graphs', count]);
  }
  return g.model();
}

/** [G, K] of the adapters' pooled values. */
function emitHeads(
  g: GraphBuilder,
  of: (name: string) => Float32Array,
  latent: string,
  pooled: readonly string[],
  d: number,
): string {
  const count = pooled.length;
  const heads = pooled.map((_, k) => headOf(of, `adapter${k}`, 2 * d, d));
  // columns of all adapters beside each other: what reads the base; matrices of all adapters above each other: what reads their own
  const shared = new Float32Array(d * count * d);
  heads.forEach(([{ w }], k) => {
    for (let r = 0; r < d; r++) shared.set(w.subarray(r * d, (r + 1) * d), (r * count + k) * d);
  });
  const join = (parts: readonly Float32Array[]): Float32Array => Float32Array.from(parts.flatMap((p) => [...p]));
  const own = g.floats(join(heads.map(([{ w }]) => w.subarray(d * d))), [count, d, d]);
  const shift = g.floats(join(heads.map(([{ b }]) => b)));
  const ofBase = g.op('Gemm', [latent, g.floats(shared, [d, count * d]), shift]);
  const split = g.ints([-1, count, d]);
  const stacked = g.op('Transpose', [g.op('Reshape', [g.op('Concat', pooled, { axis: 1 }), split])], {
    perm: [1, 0, 2],
  });
  const ofOwn = g.op('Transpose', [g.op('MatMul', [stacked, own])], { perm: [1, 0, 2] });
  const hidden = g.op('Relu', [g.op('Add', [g.op('Reshape', [ofBase, split]), ofOwn])]);
  const last = g.floats(join(heads.map(([, { w }]) => w)), [1, count, d]);
  const sums = g.op('ReduceSum', [g.op('Mul', [hidden, last]), g.ints([2])], { keepdims: 0 });
  const bias = g.floats(join(heads.map(([, { b }]) => b)));
  return g.op('Add', [sums, bias], {}, { outputs: ['adapters'] });
}

interface Affine {
  readonly w: Float32Array;
  readonly b: Float32Array;
}

/** Linear, Linear, ReLU, Linear, Linear, Linear: the maps on either side of the ReLU are one each. */
function headOf(
  of: (name: string) => Float32Array,
  part: string,
  inputs: number,
  d: number,
): readonly [Affine, Affine] {
  const layer = (i: number): Affine => ({ w: of(`${part}/head${i}.w`), b: of(`${part}/head${i}.b`) });
  return [after(layer(0), layer(1), inputs, d, d), after(after(layer(2), layer(3), d, d, d), layer(4), d, d, 1)];
}

/** x -> (x a + a.b) b + b.b. */
function after(a: Affine, b: Affine, rows: number, inner: number, columns: number): Affine {
  const times = (m: Float32Array, count: number): Float64Array => {
    const out = new Float64Array(count * columns);
    for (let r = 0; r < count; r++) {
      for (let i = 0; i < inner; i++) {
        const v = m[r * inner + i]!;
        for (let c = 0; c < columns; c++) out[r * columns + c]! += v * b.w[i * columns + c]!;
      }
    }
    return out;
  };
  return { w: Float32Array.from(times(a.w, rows)), b: Float32Array.from(times(a.b, 1), (v, c) => v + b.b[c]!) };
}

/** The feeds of `scoringModel`. */
export function packForScoring(graphs: readonly ComputationGraph[]): ReadonlyMap<string, RuntimeTensor> {
  const packed = new Map(packGraphs(graphs));
  // the casts: packGraphs makes them of int32
  const [source, target, graphOf] = ['edge.from', 'edge.to', 'node.graph'].map(
    (name) => packed.get(name)!.data as Int32Array,
  ) as [Int32Array, Int32Array, Int32Array];
  const nodes = graphOf.length;
  const pair = new Int32Array(2 * nodes);
  const met = new Uint8Array(nodes);
  for (let v = 0; v < nodes; v++) pair[2 * v] = pair[2 * v + 1] = v;
  const from: number[] = [];
  const to: number[] = [];
  const sign: number[] = [];
  for (let e = 0; e < source.length; e++) {
    const v = target[e]!;
    if (met[v] === 0) {
      met[v] = 1;
      pair[2 * v + 1] = source[e]!;
    } else {
      from.push(source[e]!);
      to.push(2 * v + 1);
      sign.push(1);
    }
  }
  for (let v = 0; v < nodes; v++) {
    // nothing comes before a first node: what was gathered in its place, itself, is taken away again
    if (met[v] === 1) continue;
    from.push(v);
    to.push(2 * v + 1);
    sign.push(-1);
  }
  const rows = (data: BigInt64Array): RuntimeTensor => ({ dataType: DataType.INT64, dims: [data.length, 1], data });
  const whole = (data: Int32Array): RuntimeTensor => ({ dataType: DataType.INT32, dims: [data.length], data });
  packed.delete('edge.from');
  packed.delete('edge.to');
  return packed
    .set('node.graph', rows(BigInt64Array.from(graphOf, BigInt)))
    .set('node.pair', whole(pair))
    .set('extra.from', whole(Int32Array.from(from)))
    .set('extra.to', rows(BigInt64Array.from(to, BigInt)))
    .set('extra.sign', floatData([sign.length, 1], Float32Array.from(sign)));
}
