// Each table counts FLOPs its own way. These counters were found from the tables themselves (every one is a sum of our MACs and
// element counts, with whole coefficients) and reproduce their figures to the last digit: that is the proof of the networks.
import { countCost } from '../../../src/analysis/cost.js';
import { concreteShape, inferShapes } from '../../../src/analysis/shapes.js';
import type { Model, Node } from '../../../src/ir/graph.js';
import { elementCount } from '../../../src/ir/tensor.js';
import { standardOps } from '../../../src/ops/index.js';

export interface Counts {
  /** Our own MACs of one sample. */
  readonly macs: number;
  /** Parameters as PyTorch counts them: without running statistics. */
  readonly params: number;
  /** MACs of the nodes of one operator. */
  readonly macsOf: (opType: string) => number;
  /** Elements of the outputs (of the inputs) of all nodes of one operator. */
  readonly outputs: (opType: string, which?: (node: Node) => boolean) => number;
  readonly inputs: (opType: string) => number;
  /** Dims of the input of the only node of an operator. */
  readonly inputOf: (opType: string) => readonly number[];
}

export function countsOf(model: Model): Counts {
  const shapes = inferShapes(model, standardOps, { dynamic: 1 });
  const cost = countCost(model, standardOps, shapes);
  if (cost.uncounted.length > 0) throw new Error(cost.uncounted.join('; '));
  const dims = (value: string | undefined): readonly number[] => concreteShape(shapes, value ?? '') ?? [];
  const nodes = (opType: string): Node[] => model.graph.nodes.filter((n) => n.opType === opType);
  const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  return {
    macs: cost.macs,
    params: torchParams(model),
    macsOf: (opType) => total(cost.nodes.filter((n) => n.opType === opType).map((n) => n.macs)),
    outputs: (opType, which = () => true) =>
      total(nodes(opType).flatMap((n) => (which(n) ? [elementCount(dims(n.outputs[0]))] : []))),
    inputs: (opType) => total(nodes(opType).map((n) => elementCount(dims(n.inputs[0])))),
    inputOf: (opType) => dims(nodes(opType)[0]?.inputs[0]),
  };
}

export function torchParams(model: Model): number {
  const running = new Set<string>();
  for (const node of model.graph.nodes) {
    if (node.opType === 'BatchNormalization') for (const name of node.inputs.slice(3)) running.add(name);
  }
  let params = 0;
  for (const [name, t] of model.graph.initializers) {
    if (t.dataType === 1 && !running.has(name) && !name.startsWith('constant')) params += elementCount(t.dims);
  }
  return params;
}

const biased = (n: Node): boolean => n.inputs.length > 2;
const normsAndRelus = (c: Counts): number => 2 * c.outputs('BatchNormalization') + c.outputs('Relu');

/** The benchmark's own (API): the head's biases count. With 100 classes: the table holds the figures of CIFAR-100. */
export function nb201Flops(c: Counts): number {
  return c.macs + c.outputs('Gemm');
}

/** NASLib's: convolutions with biases, 2 for each element of a norm, 1 of an activation; pooling as (h+1)(w+1) a channel, transposed
 * convolutions not at all; of a puzzle's nine tiles one. */
export function transnasFlops(c: Counts, task: string): number {
  if (task === 'segmentsemantic' || task === 'autoencoder') {
    const leaky = c.outputs('LeakyRelu') + c.outputs('Conv', biased);
    return c.macs - c.macsOf('ConvTranspose') + normsAndRelus(c) + leaky;
  }
  const head = c.macsOf('Gemm');
  const [tiles = 1, channels = 0, h = 0, w = 0] = c.inputOf('GlobalAveragePool');
  return head + (c.macs - head + normsAndRelus(c)) / tiles + tiles * channels * (h + 1) * (w + 1);
}

/** thop's: 2 for each element of a norm, and the biases of the classifier. */
export function mrFlops(c: Counts): number {
  return c.macs + 2 * c.outputs('BatchNormalization') + c.outputs('Conv', biased);
}

/** thop's later version: 4 for each element of a norm; a global pool counts its input and its output. */
export function accelFlops(c: Counts): number {
  const pools = c.inputs('GlobalAveragePool') + c.outputs('GlobalAveragePool');
  return c.macs + 4 * c.outputs('BatchNormalization') + pools;
}

/** NASLib's: a pool counts its window for each output. */
export function nb101Flops(c: Counts): number {
  const window = (n: Node): number => {
    const k = n.attributes.get('kernel_shape');
    return k?.kind === 'ints' ? elementCount(k.value) : 1;
  };
  const pools = [4, 9].map((size) => size * c.outputs('MaxPool', (n) => window(n) === size));
  return c.macs + normsAndRelus(c) + pools[0]! + pools[1]!;
}
