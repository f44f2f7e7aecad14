// zen: how much the features before the global pooling move when the input moves by a hundredth of noise, with the scale that
// BatchNormalization took away given back (Lin et al., ICCV 2021). Fresh weights are N(0, 1) here, and the input is noise.
import { PareError } from '../../errors.js';
import { concreteShape } from '../../analysis/shapes.js';
import { attrInts, type Graph, type Model } from '../../ir/graph.js';
import { elementCount, floatTensor } from '../../ir/tensor.js';
import { floatData, floatsOf, type RuntimeTensor } from '../../runtime/runtime.js';
import { withOutputs, type Network } from './network.js';
import { weightNames, type Probe } from './probe.js';
import type { Proxy } from './proxy.js';

const STEP = 0.01;

export const zen: Proxy = {
  name: 'zen',
  needs: 'forward',
  score: async (probe) => {
    const { network, weights, rng, batch } = probe;
    const own = weights === 'fresh' ? unitNormal(probe) : network.model;
    const features = featureValue(network);
    const noise = rng.fork('zen');
    const base = new Map<string, RuntimeTensor>();
    const moved = new Map<string, RuntimeTensor>();
    for (const [name, t] of batch.inputs) {
      if (!(t.data instanceof Float32Array)) continue;
      const first = Float32Array.from(t.data, () => noise.normal());
      base.set(name, floatData(t.dims, first));
      moved.set(
        name,
        floatData(
          t.dims,
          Float32Array.from(first, (x) => x + STEP * noise.normal()),
        ),
      );
    }
    const outputs = [features, ...network.variances];
    const made = withOutputs(own, own, outputs);
    const still = await probe.run(made, outputs, base);
    const after = await probe.run(made, outputs, moved);
    const [a, b] = [floatsOf(still.get(features)!), floatsOf(after.get(features)!)];
    const samples = still.get(features)!.dims[0] ?? 1;
    return zenOf(
      a,
      b,
      samples,
      network.variances.map((name) => floatsOf(still.get(name)!)),
    );
  },
};

/** ln of the mean distance of a sample, plus ln of the root of each normalisation's mean variance. */
export function zenOf(a: Float32Array, b: Float32Array, samples: number, variances: readonly Float32Array[]): number {
  let distance = 0;
  a.forEach((x, i) => (distance += Math.abs(x - b[i]!)));
  const scale = variances.reduce((sum, v) => sum + 0.5 * Math.log(v.reduce((s, x) => s + x, 0) / v.length), 0);
  return Math.log(distance / samples) + scale;
}

/** Biases stay 0 and normalisations 1, as fresh weights have them. */
function unitNormal({ network, rng }: Probe): Model {
  const initializers = new Map(network.model.graph.initializers);
  for (const name of weightNames(network)) {
    const stream = rng.fork(`zen/${name}`);
    const { dims } = initializers.get(name)!;
    initializers.set(
      name,
      floatTensor(
        name,
        dims,
        Float32Array.from({ length: elementCount(dims) }, () => stream.normal()),
      ),
    );
  }
  return { ...network.model, graph: { ...network.model.graph, initializers } };
}

/** The value before the last global pooling; without one, the input of the last dense layer. */
function featureValue({ model, shapes, layers }: Network): string {
  const pool = model.graph.nodes.findLast((node) => isGlobalPool(model.graph, node, (v) => concreteShape(shapes, v)));
  const value = pool?.inputs[0] ?? layers.at(-1)?.node.inputs[0];
  if (value === undefined) throw new PareError('zen reads the features before the global pooling, and there are none');
  return value;
}

function isGlobalPool(
  graph: Graph,
  node: Graph['nodes'][number],
  shape: (value: string) => readonly number[] | undefined,
): boolean {
  if (/^Global(Average|Max)Pool$/.test(node.opType)) return true;
  const before = shape(node.inputs[0] ?? '');
  const after = shape(node.outputs[0] ?? '');
  if (before === undefined || after === undefined || before.length < 3) return false;
  const ends = after.slice(2).every((d) => d === 1) && before.slice(2).some((d) => d > 1) && before[1] === after[1];
  if (/^(AveragePool|MaxPool)$/.test(node.opType)) return ends && attrInts(node, 'kernel_shape') !== undefined;
  return node.opType === 'ReduceMean' && ends && before[0] === after[0];
}
