// Recalibration: every channel of the pruned network gets back the mean and the variance that it had. BatchNormalizations take the
// statistics of the activations they now see; layers without one (folded) are scaled and shifted to the original's statistics.
import type { ChannelGroups, DeadUnits } from '../analysis/groups.js';
import { graphBuilder } from '../ir/builder.js';
import { attrInt, type Model, type Node } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import { indexGraph } from '../ir/walk.js';
import { floatsOf, type Runtime, type RuntimeTensor } from '../runtime/runtime.js';
import { withConstants } from './constants.js';
import { addBiases, constantReader, readLayer, writeLayer, type Layer } from './layers.js';
import { asFloat } from './moments.js';
import { channelAxis, findTargets, type RefitTarget } from './targets.js';
import { inOrder, startWalk, type Feeds } from './walk.js';

export interface RecalibrateOptions {
  readonly runtime: Runtime;
  readonly groups?: ChannelGroups;
  readonly dead?: DeadUnits;
  readonly signal?: AbortSignal;
}

export interface RecalibrateReport {
  readonly layer: string;
  readonly index: number;
  readonly of: number;
}

type Step =
  | { readonly kind: 'norm'; readonly at: number; readonly node: Node }
  | { readonly kind: 'layer'; readonly at: number; readonly target: RefitTarget };

/** Layer by layer in topological order: each sees activations that are right already. */
export async function* recalibrate(
  base: Model,
  start: Model,
  feeds: readonly Feeds[],
  options: RecalibrateOptions,
): AsyncGenerator<RecalibrateReport, Model> {
  const { runtime, signal, groups, dead } = options;
  const context = {
    base,
    ...(groups === undefined ? {} : { groups }),
    ...(dead === undefined ? {} : { dead }),
  };
  const folded = (model: Model): RefitTarget[] =>
    findTargets({ ...context, pruned: model }).filter(
      (t) => t.pair === undefined && t.layer.bias.kind !== 'norm' && t.layer.bias.kind !== 'none',
    );
  let pruned = addBiases(
    start,
    folded(start).map((t) => t.layer),
  );
  const last = new Set(pruned.graph.outputs.map((v) => v.name));
  const layers = folded(pruned).filter((t) => !last.has(t.layer.output));
  const steps: Step[] = [
    ...normNodes(pruned).map(([at, node]): Step => ({ kind: 'norm', at, node })),
    ...layers.map((target): Step => ({ kind: 'layer', at: target.layer.node, target })),
  ].sort((a, b) => a.at - b.at);
  const seen = (step: Step): string => (step.kind === 'norm' ? step.node.inputs[0]! : step.target.layer.output);
  const current = startWalk(
    pruned,
    runtime,
    steps.map((s) => (s.kind === 'layer' ? [s.target.layer.input, seen(s)] : [seen(s)])),
    feeds,
  );
  const originals = startWalk(
    base,
    runtime,
    steps.map((s) => (s.kind === 'layer' ? [s.target.layer.output] : [])),
    feeds,
  );
  for (const [index, step] of steps.entries()) {
    signal?.throwIfAborted();
    await current.advance();
    await originals.advance();
    const value = (b: number): RuntimeTensor => current.value(b, seen(step));
    const rank = value(0).dims.length;
    const changes = new Map<string, Float32Array>();
    if (step.kind === 'norm') {
      const now = await statistics(runtime, feeds.length, value, 1);
      changes.set(step.node.inputs[3]!, Float32Array.from(now.mean));
      changes.set(step.node.inputs[4]!, Float32Array.from(now.variance));
    } else {
      const { layer, keep } = step.target;
      const axis = channelAxis(layer, rank);
      const now = await statistics(runtime, feeds.length, value, axis);
      const wanted = await statistics(runtime, feeds.length, (b) => originals.value(b, layer.output), axis);
      for (const [name, values] of matched(layer, pruned, now, wanted, keep)) changes.set(name, values);
    }
    pruned = withConstants(pruned, changes);
    // a layer's own value was computed with the old weights: the walk must make it again
    if (step.kind === 'layer') current.update(pruned, [step.target.layer.output]);
    else current.update(pruned);
    yield { layer: seen(step), index, of: steps.length };
  }
  return pruned;
}

/** BatchNormalizations with statistics of their own. */
function normNodes(model: Model): (readonly [number, Node])[] {
  const { consumers } = indexGraph(model.graph);
  return [...model.graph.nodes.entries()].filter(
    ([, node]) =>
      node.opType === 'BatchNormalization' &&
      attrInt(node, 'training_mode', 0) === 0 &&
      attrInt(node, 'spatial', 1) === 1 &&
      node.outputs.filter((o) => o !== '').length === 1 &&
      node.inputs[3] !== node.inputs[4] &&
      [3, 4].every(
        (i) => model.graph.initializers.has(node.inputs[i]!) && consumers.get(node.inputs[i]!)?.length === 1,
      ),
  );
}

interface Statistics {
  readonly mean: Float64Array;
  readonly variance: Float64Array;
}

function matched(
  layer: Layer,
  model: Model,
  now: Statistics,
  wanted: Statistics,
  keep: readonly number[] | undefined,
): ReadonlyMap<string, Float32Array> {
  const read = constantReader(model.graph);
  const { weights, bias } = readLayer(layer, read);
  const { columns } = layer;
  for (let o = 0; o < layer.outputs; o++) {
    const origin = keep?.[o] ?? o;
    const [v, w] = [now.variance[o]!, wanted.variance[origin]!];
    // a channel that stopped moving cannot be scaled back
    const factor = v > 1e-12 && v > 1e-6 * w ? Math.sqrt(w / v) : 1;
    for (let k = 0; k < columns; k++) weights[o * columns + k] = weights[o * columns + k]! * factor;
    bias[o] = (bias[o]! - now.mean[o]!) * factor + wanted.mean[origin]!;
  }
  return writeLayer(layer, { weights, bias }, read);
}

/** Mean and variance along one axis over all batches, summed in onnxruntime. */
async function statistics(
  runtime: Runtime,
  batches: number,
  value: (batch: number) => RuntimeTensor,
  axis: number,
): Promise<Statistics> {
  const { dims } = value(0);
  const channels = dims[axis]!;
  const g = graphBuilder();
  const x = g.input(
    'x',
    DataType.FLOAT,
    dims.map(() => undefined),
  );
  const axes = g.ints(dims.map((_, i) => i).filter((i) => i !== axis));
  // around the mean of the batch: squares of small numbers
  const mean = g.op('ReduceMean', [x], { axes: dims.map((_, i) => i).filter((i) => i !== axis), keepdims: 1 });
  const centred = g.op('Sub', [x, mean]);
  const squares = g.op('ReduceSum', [g.op('Mul', [centred, centred]), axes], { keepdims: 0 });
  g.output(g.op('Identity', [squares], {}, { outputs: ['squares'] }), DataType.FLOAT);
  g.output(g.op('Identity', [mean], {}, { outputs: ['mean'] }), DataType.FLOAT);
  const session = await runtime.load(g.model(), { label: 'the statistics of a layer' });
  try {
    let n = 0;
    const means = new Float64Array(channels);
    const sums = new Float64Array(channels);
    await inOrder(
      batches,
      runtime.concurrency,
      async (b) => {
        const now = value(b);
        const out = await session.run(new Map([['x', asFloat(now)]]));
        return {
          count: now.dims.reduce((a, d) => a * d, 1) / channels,
          mean: floatsOf(out.get('mean')!),
          squares: floatsOf(out.get('squares')!),
        };
      },
      (_, batch) => {
        // Chan's update of mean and sum of squares
        for (let c = 0; c < channels; c++) {
          const difference = batch.mean[c]! - means[c]!;
          means[c] = means[c]! + (difference * batch.count) / (n + batch.count);
          sums[c] = sums[c]! + batch.squares[c]! + (difference * difference * n * batch.count) / (n + batch.count);
        }
        n += batch.count;
      },
    );
    return { mean: means, variance: sums.map((v) => v / Math.max(1, n)) };
  } finally {
    await session.release();
  }
}
