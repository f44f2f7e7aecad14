// AZ-NAS' four proxies (Lee and Ham, CVPR 2024; methods.md §5.1): noise goes in, and blocks are judged by their outputs F_0..F_L.
import { floatTensor } from '../../ir/tensor.js';
import { leadingEigen } from '../../recovery/eigen.js';
import { floatsOf } from '../../runtime/runtime.js';
import { createEmitter, type Emitter } from '../../training/emitter.js';
import { appendGradients } from '../../training/gradient.js';
import { blockOutputs, type BlockOutput } from './blocks.js';
import { byChannel, noiseInput } from './entropy.js';
import { macsPerSample } from './flops.js';
import { floatValue, withOutputs } from './network.js';
import type { Probe } from './probe.js';
import type { Proxy } from './proxy.js';

export const azExpressivity: Proxy = {
  name: 'az_expressivity',
  needs: 'forward',
  score: async (probe) => (await probe.entropies()).reduce((a, b) => a + b, 0),
};

export const azProgressivity: Proxy = {
  name: 'az_progressivity',
  needs: 'forward',
  score: async (probe) => {
    const h = await probe.entropies();
    return h.length < 2 ? NaN : Math.min(...h.slice(1).map((x, l) => x - h[l]!));
  },
};

export const azTrainability: Proxy = { name: 'az_trainability', needs: 'gradients', score: trainability };

export const azComplexity: Proxy = { name: 'az_complexity', needs: 'shapes', score: macsPerSample };

/** 0 where the largest singular value is 1, negative elsewhere. */
export function spectralScore(sigma: number): number {
  return -sigma - 1 / (sigma + 1e-6) + 2;
}

/** Largest singular value of A [rows, columns]; NaN where A is not finite. */
export function largestSingular(a: ArrayLike<number>, rows: number, columns: number): number {
  if (!Array.prototype.every.call(a, (x: number) => Number.isFinite(x))) return NaN;
  const gram = new Float64Array(rows * rows);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j <= i; j++) {
      let dot = 0;
      for (let k = 0; k < columns; k++) dot += a[i * columns + k]! * a[j * columns + k]!;
      gram[i * rows + j] = gram[j * rows + i] = dot;
    }
  }
  return Math.sqrt(Math.max(0, leadingEigen(gram, rows, 1).values[0] ?? 0));
}

/**
 * One run for all blocks: each block begins at a copy of the value before it, so that the gradient of the sum of F_l * signs_l
 * with respect to the copies is one vector-Jacobian product a block.
 */
async function trainability(probe: Probe): Promise<number> {
  const { network, table, rng } = probe;
  const { model } = network;
  const blocks = blockOutputs(network);
  const starts = new Map(blocks.slice(0, -1).map((b) => [b.name, `${b.name}/start`]));
  // the value itself feeds the product with the signs only
  const nodes = model.graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map((x) => starts.get(x) ?? x) }));
  const signs = blocks.slice(1).map(({ name, dims }) => {
    const stream = rng.fork(`signs/${name}`);
    const n = dims.reduce((a, b) => a * b, 1);
    return floatTensor(
      `${name}/signs`,
      dims,
      Float32Array.from({ length: n }, () => (stream.next() < 0.5 ? -1 : 1)),
    );
  });
  if (signs.length === 0) return NaN;
  const values = await probe.run(withOutputs(model, model, [...starts.keys()]), [...starts.keys()], noiseInput(probe));
  const inputs = [...model.graph.inputs, ...blocks.slice(0, -1).map((b) => floatValue(starts.get(b.name)!, b.dims))];
  const initializers = new Map([...model.graph.initializers, ...signs.map((t) => [t.name, t] as const)]);
  const cut = { ...model.graph, nodes, inputs, initializers };
  const m = createEmitter(cut, 'vjp', model.opsets.get('') ?? 17);
  const products = blocks
    .slice(1)
    .map(({ name }) => m.emit('ReduceSum', [m.emit('Mul', [name, `${name}/signs`])], { keepdims: 0 }));
  const loss = m.emit('Sum', products);
  const dims = new Map([...network.dims, ...blocks.slice(0, -1).map((b) => [starts.get(b.name)!, b.dims] as const)]);
  const parts = { graph: m.extended(cut), opsets: model.opsets, functions: model.functions };
  const made = appendGradients(parts, table, loss, [...starts.values()], { inputs: dims });
  const m2 = createEmitter(made.graph, 'transfer', made.opsets.get('') ?? 17);
  const pairs = blocks.slice(1).flatMap((after, l) => {
    const before = blocks[l]!;
    const back = made.of.get(starts.get(before.name)!);
    const matrix = back === undefined ? undefined : transfer(m2, back, before, after);
    return back === undefined || matrix === undefined ? [] : [{ back, matrix, signs: signs[l]!.name, before, after }];
  });
  if (pairs.length === 0) return NaN;
  const same = pairs.map(({ back, signs: s, before, after }) =>
    before.dims.join() === after.dims.join()
      ? m2.emit('ReduceMax', [m2.emit('Abs', [m2.emit('Sub', [back, s])])], { keepdims: 0 })
      : undefined,
  );
  const outputs = [...pairs.map((p) => p.matrix), ...same.filter((s) => s !== undefined)];
  const feeds = new Map([
    ...noiseInput(probe),
    ...[...starts].map(([name, start]) => [start, values.get(name)!] as const),
  ]);
  const complete = withOutputs(model, { graph: m2.extended(made.graph, outputs), opsets: made.opsets }, outputs);
  const found = await probe.run(complete, outputs, feeds);
  const scores = pairs.map(({ matrix }, i) => {
    const identical = same[i];
    if (identical !== undefined && floatsOf(found.get(identical)!)[0] === 0) return -Infinity;
    const {
      dims: [rows = 1, columns = 1],
    } = found.get(matrix)!;
    return spectralScore(largestSingular(floatsOf(found.get(matrix)!), rows, columns));
  });
  const mean = scores.reduce((a, b) => a + b, 0) / scores.length;
  return Number.isNaN(mean) ? -Infinity : mean;
}

/**
 * A = mean over positions of g_in g_out^T. Where the block's positions are fewer, those of one position of the output become its
 * channels (pixel-unshuffle), and the other way round; undefined where the sizes are no multiples.
 */
function transfer(m: Emitter, back: string, before: BlockOutput, after: BlockOutput): string | undefined {
  const ratio = ratioOf(before, after);
  if (ratio === undefined) return undefined;
  const [inwards, from] = ratio >= 1 ? unshuffled(m, back, before, ratio) : ([back, before] as const);
  const [outwards, to] =
    ratio < 1 ? unshuffled(m, `${after.name}/signs`, after, 1 / ratio) : ([`${after.name}/signs`, after] as const);
  const positions = from.dims.reduce((a, b) => a * b, 1) / from.dims[from.channelAxis]!;
  const gIn = byChannel(m, inwards, from);
  const gOut = byChannel(m, outwards, to);
  return m.emit('Mul', [
    m.emit('MatMul', [gIn, m.emit('Transpose', [gOut], { perm: [1, 0] })]),
    m.float(1 / positions),
  ]);
}

/** Positions along one axis before, a position after. */
function ratioOf(before: BlockOutput, after: BlockOutput): number | undefined {
  if (before.dims.length !== after.dims.length || before.dims[0] !== after.dims[0]) return undefined;
  const ratios = before.dims.flatMap((d, k) => (k === 0 || k === before.channelAxis ? [] : [d / after.dims[k]!]));
  const [first = 1] = ratios;
  const whole = Number.isInteger(first) || Number.isInteger(1 / first);
  if (!whole || ratios.some((r) => r !== first)) return undefined;
  return first === 1 || (before.channelAxis === 1 && before.dims.length === 4) ? first : undefined;
}

function unshuffled(
  m: Emitter,
  name: string,
  value: BlockOutput,
  blocksize: number,
): readonly [string, Pick<BlockOutput, 'dims' | 'channelAxis'>] {
  if (blocksize === 1) return [name, value];
  const [n = 1, c = 1, h = 1, w = 1] = value.dims;
  const dims = [n, c * blocksize * blocksize, h / blocksize, w / blocksize];
  return [m.emit('SpaceToDepth', [name], { blocksize }), { dims, channelAxis: value.channelAxis }];
}
