// Fresh weights for a network: He initialisation for what multiplies, 0 for biases, 1 and 0 for normalisations.
import { attrInt, type Model, type Node } from '../ir/graph.js';
import { DataType, elementCount, floatTensor, type Tensor } from '../ir/tensor.js';
import type { Rng } from '../rng.js';

/** Every weight of a layer drawn anew; each tensor has a stream of its own, by its name. */
export function reinitialized(model: Model, rng: Rng): Model {
  const initializers = new Map(model.graph.initializers);
  for (const node of model.graph.nodes) {
    node.inputs.forEach((name, i) => {
      const t = i === 0 ? undefined : model.graph.initializers.get(name);
      const fill = t?.dataType === DataType.FLOAT ? filling(node, i, t, rng) : undefined;
      if (t === undefined || fill === undefined) return;
      initializers.set(name, floatTensor(name, t.dims, Float32Array.from({ length: elementCount(t.dims) }, fill)));
    });
  }
  return { ...model, graph: { ...model.graph, initializers } };
}

function filling(node: Node, i: number, t: Tensor, rng: Rng): (() => number) | undefined {
  const [first = 1, ...rest] = t.dims;
  const area = elementCount(rest);
  const drawn = (fanIn: number): (() => number) => {
    const stream = rng.fork(t.name);
    const deviation = Math.sqrt(2 / Math.max(1, fanIn));
    return () => deviation * stream.normal();
  };
  switch (node.opType) {
    case 'Conv':
      return i === 1 ? drawn(area) : () => 0;
    case 'ConvTranspose':
      return i === 1 ? drawn((first * area) / Math.max(1, rest[0] ?? 1)) : () => 0;
    case 'Gemm':
      return i === 1 ? drawn(attrInt(node, 'transB', 0) === 1 ? area : first) : () => 0;
    case 'MatMul':
      return drawn(t.dims.at(-2) ?? first);
    case 'BatchNormalization':
      return i === 1 || i === 4 ? () => 1 : () => 0;
    case 'LayerNormalization':
    case 'GroupNormalization':
    case 'InstanceNormalization':
      return i === 1 ? () => 1 : () => 0;
    default:
      return undefined;
  }
}
