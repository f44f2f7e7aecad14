// The graph network of AIO-P (arXiv 2211.17228; methods.md §1.2, 1.3) as ONNX: a base of 18,047 parameters and any number of k-adapters
// of 30,049 each beside it. Batches are lists of nodes and edges, see graph-batch.ts.
import { graphBuilder, type GraphBuilder } from '../ir/builder.js';
import type { Model } from '../ir/graph.js';
import { DataType, elementCount, floatTensor, type Tensor } from '../ir/tensor.js';
import type { Rng } from '../rng.js';
import { PareError } from '../errors.js';
import { inputDims, RESOLUTIONS } from './graph-batch.js';
import { VOCABULARY } from './vocabulary.js';

/** Width of everything inside; 32 is the paper's. The parts of an embedding are in its proportions. */
export interface NetworkSize {
  readonly width: number;
  readonly layers: number;
}

export const REFERENCE: NetworkSize = { width: 32, layers: 6 };

/** Trained values by name: `base/...` and `adapter0/...`, `adapter1/...`. */
export type Weights = ReadonlyMap<string, Tensor>;

export const KERNELS = 8;

/** Names of all tensors of base and adapters, with their dims. `adapters` 0: the base alone. */
export function weightDims(size: NetworkSize, adapters = 0): ReadonlyMap<string, readonly number[]> {
  const { width: d, layers } = size;
  const scale = d / REFERENCE.width;
  const [resolution, kernel, bias] = [8 * scale, 4 * scale, 2 * scale];
  const dims = new Map<string, readonly number[]>([
    ['base/regular.op', [VOCABULARY.length, d - resolution]],
    ['base/weighted.op', [VOCABULARY.length, d - resolution - 2 * kernel - bias]],
    ['base/resolution.w', [RESOLUTIONS, resolution]],
    ['base/resolution.b', [resolution]],
    ['base/kernel', [KERNELS, kernel]],
    ['base/bias.w', [2, bias]],
    ['base/bias.b', [bias]],
  ]);
  for (let i = 0; i < layers; i++) {
    dims.set(`base/layer${i}.own`, [d, d]).set(`base/layer${i}.neighbours`, [d, d]).set(`base/layer${i}.b`, [d]);
  }
  for (let i = 0; i < 4; i++) dims.set(`base/head${i}.w`, [d, d]).set(`base/head${i}.b`, [d]);
  dims.set('base/head4.w', [d, 1]).set('base/head4.b', [1]);
  for (let k = 0; k < adapters; k++) for (const [name, own] of adapterDims(size)) dims.set(`adapter${k}/${name}`, own);
  return dims;
}

function adapterDims({ width: d, layers }: NetworkSize): ReadonlyMap<string, readonly number[]> {
  const dims = new Map<string, readonly number[]>();
  for (let i = 0; i < layers; i++) {
    // the rows that read the base, and those that read the adapter itself
    for (const part of ['base.own', 'base.neighbours', 'own', 'neighbours']) dims.set(`layer${i}.${part}`, [d, d]);
    dims.set(`layer${i}.b`, [d]);
  }
  dims.set('head0.w', [2 * d, d]).set('head0.b', [d]);
  for (let i = 1; i < 4; i++) dims.set(`head${i}.w`, [d, d]).set(`head${i}.b`, [d]);
  return dims.set('head4.w', [d, 1]).set('head4.b', [1]);
}

/** Fresh weights: tables standard normal, layers uniform within one over the root of their fan-in; a stream for every tensor. */
export function freshWeights(dims: ReadonlyMap<string, readonly number[]>, rng: Rng): Weights {
  return new Map(
    [...dims].map(([name, d]) => {
      const stream = rng.fork(name);
      const table = /\.op$|kernel$/.test(name);
      const bound = 1 / Math.sqrt(fanIn(name, dims));
      const draw = table ? () => stream.normal() : () => (2 * stream.next() - 1) * bound;
      return [name, floatTensor(name, d, Float32Array.from({ length: elementCount(d) }, draw))] as const;
    }),
  );
}

function fanIn(name: string, dims: ReadonlyMap<string, readonly number[]>): number {
  const base = name.replace(/\.b$/, '');
  const first = (n: string): number | undefined => dims.get(n)?.at(-2);
  const layer = /^(.*layer\d+)\./.exec(name)?.[1];
  // a layer of an adapter reads twice the width
  const own = layer === undefined ? first(`${base}.w`) : first(`${layer}.own`);
  return Math.max(1, own ?? first(name) ?? 1) * (layer?.startsWith('adapter') === true ? 2 : 1);
}

/** What the network gives for the graphs of a batch. */
export interface NetworkValues {
  /** [N, d]: the last layer of the base, node by node. */
  readonly nodes: string;
  /** [G, d]: mean over the nodes. */
  readonly latent: string;
  /** [G, 1]: the base's own head. */
  readonly base: string;
  /** Of each adapter: [G, 2d] and [G, 1]. */
  readonly adapterLatents: readonly string[];
  readonly adapters: readonly string[];
}

/** Declares the inputs of a batch and emits base and adapters. */
export function emitNetwork(g: GraphBuilder, size: NetworkSize, weights: Weights): NetworkValues {
  const inputs = new Map<string, string>();
  for (const [name, d] of inputDims({ weighted: 0, regular: 0, edges: 0, graphs: 0 })) {
    const whole = /\.op$|kernel|edge|graph$/.test(name);
    inputs.set(name, g.input(name, whole ? DataType.INT32 : DataType.FLOAT, [symbolOf(name), ...d.slice(1)]));
  }
  const input = (name: string): string => inputs.get(name)!;
  const w = (name: string): string => {
    if (!g.has(name)) g.constant(weights.get(name) ?? missing(name));
    return name;
  };
  const count = adapterCount(weights);
  const { layers } = size;

  const linear = (x: string, name: string): string => g.op('Gemm', [x, w(`${name}.w`), w(`${name}.b`)]);
  // a matrix product that is added to what there is, without a pass of its own
  const plus = (sum: string, x: string, name: string): string => g.op('Gemm', [x, w(name), sum]);
  const picked = (table: string, index: string): string => g.op('Gather', [w(table), input(index)]);
  const resolution = (kind: string): string => linear(input(`${kind}.resolution`), 'base/resolution');
  const weighted = [
    picked('base/weighted.op', 'weighted.op'),
    resolution('weighted'),
    picked('base/kernel', 'weighted.kernel.height'),
    picked('base/kernel', 'weighted.kernel.width'),
    linear(input('weighted.bias'), 'base/bias'),
  ];
  const regular = [picked('base/regular.op', 'regular.op'), resolution('regular')];
  const first = g.op(
    'Concat',
    [g.op('Concat', weighted, { axis: 1 }), g.op('Concat', regular, { axis: 1 })],
    { axis: 0 },
    { name: 'embedding' },
  );

  const rowsOf = (index: string): string =>
    g.op('Unsqueeze', [g.op('Cast', [index], { to: DataType.INT64 }), g.ints([-1])]);
  const zeros = (like: string): string => g.op('ConstantOfShape', [g.op('Shape', [like])]);
  const sumBy = (into: string, index: string, x: string): string =>
    g.op('ScatterND', [into, index, x], { reduction: 'add' });
  const to = rowsOf(input('edge.to'));
  const nothing = zeros(first);
  const collect = (x: string): string => sumBy(nothing, to, g.op('Gather', [x, input('edge.from')]));
  const graphOf = rowsOf(input('node.graph'));
  const empty = g.op('Mul', [input('graph.share'), g.floats(new Float32Array(size.width), [1, size.width])]);
  const mean = (x: string): string => g.op('Mul', [sumBy(empty, graphOf, x), input('graph.share')]);

  const hidden: string[] = [];
  // sums over neighbours of each layer of the base
  const sums: string[] = [];
  let h = first;
  const ofFirst = collect(first);
  for (let i = 0; i < layers; i++) {
    const name = `base/layer${i}`;
    const around = i === 0 ? ofFirst : collect(h);
    if (i > 0) sums.push(around);
    h = g.op('Tanh', [plus(plus(w(`${name}.b`), h, `${name}.own`), around, `${name}.neighbours`)]);
    hidden.push(h);
  }
  const latent = g.op('Identity', [mean(h)], {}, { outputs: ['latent'] });
  const base = g.op('Identity', [emitHead(g, latent, 'base', linear)], {}, { outputs: ['base'] });
  if (count === 0) return { nodes: h, latent, base, adapterLatents: [], adapters: [] };

  sums.push(collect(h));
  const adapterLatents: string[] = [];
  const adapters: string[] = [];
  for (let k = 0; k < count; k++) {
    let a = first;
    hidden.forEach((layer, i) => {
      const name = `adapter${k}/layer${i}`;
      let y = plus(w(`${name}.b`), layer, `${name}.base.own`);
      y = plus(y, sums[i]!, `${name}.base.neighbours`);
      y = plus(y, a, `${name}.own`);
      // the first layer of every adapter reads the embedding, whose sums the base has
      a = g.op('Tanh', [plus(y, i === 0 ? ofFirst : collect(a), `${name}.neighbours`)]);
    });
    adapterLatents.push(g.op('Concat', [latent, mean(a)], { axis: 1 }));
    const scaled = (x: string, layer: string): string => {
      const own = `adapter${k}/rescale`;
      if (!weights.has(`${own}.alpha`) || !layer.endsWith('head4')) return linear(x, layer);
      // fine-tuning by scales alone: the last layer is (alpha + b) times what it was
      const times = (part: string): string =>
        g.op('Mul', [w(`${layer}.${part}`), g.op('Add', [w(`${own}.alpha`), w(`${own}.${part}`)])]);
      return g.op('Gemm', [x, times('w'), times('b')]);
    };
    adapters.push(emitHead(g, adapterLatents[k]!, `adapter${k}`, scaled));
  }
  return { nodes: h, latent, base, adapterLatents, adapters };
}

/** How many adapters there are. */
export function adapterCount(weights: Weights): number {
  let count = 0;
  while (weights.has(`adapter${count}/layer0.b`)) count++;
  return count;
}

/** Linear, Linear, ReLU, Linear, Linear, and one number. */
function emitHead(g: GraphBuilder, x: string, part: string, linear: (x: string, name: string) => string): string {
  let y = linear(linear(x, `${part}/head0`), `${part}/head1`);
  y = g.op('Relu', [y]);
  for (let i = 2; i < 5; i++) y = linear(y, `${part}/head${i}`);
  return y;
}

/** The network that predicts: outputs `latent` [G, d], `base` [G, 1] and, with adapters, `adapters` [G, K]. */
export function networkModel(size: NetworkSize, weights: Weights): Model {
  const g = graphBuilder();
  const values = emitNetwork(g, size, weights);
  g.output(values.latent, DataType.FLOAT, ['graphs', size.width]);
  g.output(values.base, DataType.FLOAT, ['graphs', 1]);
  if (values.adapters.length > 0) {
    const all = g.op('Concat', values.adapters, { axis: 1 }, { outputs: ['adapters'] });
    g.output(all, DataType.FLOAT, ['graphs', values.adapters.length]);
  }
  return g.model();
}

/** The base with these adapters, renumbered in this order. */
export function selectAdapters(weights: Weights, which: readonly number[]): Weights {
  const kept = new Map([...weights].filter(([name]) => name.startsWith('base/')));
  which.forEach((from, to) => {
    for (const [name, t] of adapterWeights(weights, from)) {
      const full = `adapter${to}/${name}`;
      kept.set(full, { ...t, name: full });
    }
  });
  return kept;
}

/** The base of `weights` with its adapters and those of `more` behind them. */
export function withAdapters(weights: Weights, more: Weights): Weights {
  const joined = new Map(weights);
  const first = adapterCount(weights);
  for (let k = 0; k < adapterCount(more); k++) {
    for (const [name, t] of adapterWeights(more, k)) {
      const full = `adapter${first + k}/${name}`;
      joined.set(full, { ...t, name: full });
    }
  }
  return joined;
}

function adapterWeights(weights: Weights, k: number): [string, Tensor][] {
  const prefix = `adapter${k}/`;
  return [...weights].flatMap(([name, t]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), t]] : []));
}

function symbolOf(name: string): string {
  if (name.startsWith('graph.')) return 'graphs';
  if (name.startsWith('node.')) return 'nodes';
  return name.startsWith('edge.') ? 'edges' : name.startsWith('weighted') ? 'weighted' : 'regular';
}

function missing(name: string): never {
  throw new PareError(`the predictor has no tensor "${name}": it was not written by "pare predictor pretrain"`);
}
