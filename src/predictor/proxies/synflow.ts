// synflow: the flow through |weights| from an input of ones, normalisations left out (Tanaka et al., NeurIPS 2020); its logarithm,
// as the public tables have it. The score itself passes the range of float32 in deep networks, and onnxruntime has no float64
// Conv; so every value stands for itself times e^s, its s kept apart: layers are scaled to gain 1, and branches that meet are
// weighed. For bias-free networks of positively homogeneous operators that is exact.
import { PareError } from '../../errors.js';
import { attrInt, type Graph, type Model, type Node } from '../../ir/graph.js';
import { DataType, elementCount, floatTensor, readFloats, type Tensor } from '../../ir/tensor.js';
import { removeDead } from '../../ir/walk.js';
import { floatData, floatsOf, tensorOfNumbers, type RuntimeTensor } from '../../runtime/runtime.js';
import { createEmitter } from '../../training/emitter.js';
import { appendGradients } from '../../training/gradient.js';
import { bound, floatValue, withOutputs, type Network } from './network.js';
import { weightNames, type Probe } from './probe.js';
import type { Proxy } from './proxy.js';

export const synflow: Proxy = {
  name: 'synflow',
  needs: 'gradients',
  score: async (probe) => (await synflowOf(probe)).logScore,
};

export interface Flow {
  /** ln of the sum over layers of |weight times the gradient of R|. */
  readonly logScore: number;
  /** ln R, R being the sum of the outputs. */
  readonly logFlow: number;
  /** ln of each layer's own sum. */
  readonly logLayers: readonly number[];
}

export async function synflowOf(probe: Probe): Promise<Flow> {
  const dims = probe.network.dims;
  const single = new Map([...dims].map(([name, d]) => [name, [1, ...d.slice(1)]] as const));
  try {
    return await flowThrough(probe, single);
  } catch (error) {
    // a batch that the graph has inside: equal samples then, the score being that of one
    if (!(error instanceof PareError)) throw error;
    return flowThrough(probe, dims);
  }
}

async function flowThrough(probe: Probe, dims: ReadonlyMap<string, readonly number[]>): Promise<Flow> {
  const { network, table, batch } = probe;
  const { model, exponent } = linearised(network, dims);
  const ones = new Map<string, RuntimeTensor>();
  for (const [name, t] of batch.inputs) {
    const own = dims.get(name)!;
    if (t.dataType !== DataType.FLOAT)
      ones.set(name, tensorOfNumbers(t.dataType, own, new Float64Array(elementCount(own))));
    else ones.set(name, floatData(own, new Float32Array(elementCount(own)).fill(1)));
  }
  const m = createEmitter(model.graph, 'flow', model.opsets.get('') ?? 17);
  const sum = m.emit('ReduceSum', [network.scores.name], { keepdims: 0 });
  const parts = { ...model, graph: m.extended(model.graph) };
  const made = appendGradients(parts, table, sum, weightNames(network), { inputs: dims });
  const outputs = [sum, ...made.of.values()];
  const found = await probe.run(withOutputs(model, made, outputs), outputs, ones);
  const samples = [...dims.values()][0]?.[0] ?? 1;
  const layers = [...made.of].map(([name, gradient]) => {
    const g = floatsOf(found.get(gradient)!);
    let own = 0;
    readFloats(model.graph.initializers.get(name)!).forEach((w, i) => (own += Math.abs(w * g[i]!)));
    return own / samples;
  });
  return {
    logScore: exponent + Math.log(layers.reduce((a, b) => a + b, 0)),
    logFlow: exponent + Math.log(floatsOf(found.get(sum)!)[0]! / samples),
    logLayers: layers.map((x) => exponent + Math.log(x)),
  };
}

const NORMALISING =
  /^(BatchNormalization|InstanceNormalization|GroupNormalization|LayerNormalization|RMSNormalization|LRN)$/;
/** Positive values come out in proportion: what scales the input scales the output. */
const PROPORTIONAL =
  /^(Identity|Dropout|Relu|LeakyRelu|PRelu|MaxPool|AveragePool|Global.*Pool|Reduce(Mean|Sum|Max|Min|L1|L2)|Abs|Neg|Reshape|Flatten|Transpose|Squeeze|Unsqueeze|Slice|Split|Gather|GatherElements|GatherND|Expand|Tile|Pad|Resize|DepthToSpace|SpaceToDepth|Cast)$/;
const MEETING = /^(Add|Sub|Sum|Mean|Max|Min|Concat|Where)$/;
/** Saturating only above: on positive values a Relu, as in the linearised network. */
const CLIPPED = /^(Clip|HardSwish|Selu|Elu|Celu|Gelu|Mish|Swish|Softplus)$/;

/** |weights| in layers of gain 1, no normalisation; `exponent`: the s of the scores. */
function linearised(
  { model, scores }: Network,
  dims: ReadonlyMap<string, readonly number[]>,
): { readonly model: Model; readonly exponent: number } {
  const { graph } = model;
  const initializers = new Map(graph.initializers);
  const m = createEmitter(graph, 'linear', model.opsets.get('') ?? 17);
  // s of each value; constants have none
  const exponents = new Map<string, number>();
  for (const v of graph.inputs) if (!graph.initializers.has(v.name)) exponents.set(v.name, 0);
  const gains = new Map<string, number>();
  const nodes: Node[] = [];
  const push = (node: Node, exponent: number): void => {
    nodes.push(...m.take(), node);
    for (const o of node.outputs) if (o !== '') exponents.set(o, exponent);
  };
  /** The value as it would be with exponent `to`. */
  const brought = (name: string, to: number): string => {
    const from = exponents.get(name) ?? 0;
    return name === '' || from === to || !floating(name)
      ? name
      : m.emit('Mul', [name, m.float(Math.exp(clamp(from - to)))]);
  };
  const floating = (name: string): boolean => {
    const t = graph.initializers.get(name);
    return exponents.has(name) || t?.dataType === DataType.FLOAT;
  };
  for (const t of graph.initializers.values()) {
    if (t.dataType === DataType.FLOAT && t.bytes !== undefined) initializers.set(t.name, magnitudes(t));
  }
  for (const node of graph.nodes) {
    const [first = '', second = ''] = node.inputs;
    const flowing = node.inputs.filter((name) => exponents.has(name));
    if (flowing.length === 0) {
      nodes.push(node);
      continue;
    }
    const own = exponents.get(first) ?? 0;
    if (NORMALISING.test(node.opType)) {
      push(simple('Identity', [first], node), own);
    } else if (/^(Conv|ConvTranspose|Gemm|MatMul)$/.test(node.opType)) {
      if (flowing.length > 1) {
        push(
          node,
          flowing.reduce((s, name) => s + exponents.get(name)!, 0),
        );
        continue;
      }
      const weight = initializers.get(second) ?? initializers.get(first);
      const known = weight === undefined ? undefined : gains.get(weight.name);
      const gain = known ?? (weight === undefined ? 1 : gainOf(node, weight));
      if (weight !== undefined && known === undefined) {
        gains.set(weight.name, gain);
        initializers.set(weight.name, scaled(weight, 1 / gain));
      }
      const exponent = (exponents.get(flowing[0]!) ?? 0) + Math.log(gain);
      const bias = node.inputs[2] ?? '';
      const inputs = bias === '' ? node.inputs : [first, second, brought(bias, exponent)];
      push({ ...node, inputs }, exponent);
    } else if (CLIPPED.test(node.opType)) {
      push(simple('Relu', [first], node), own);
    } else if (PROPORTIONAL.test(node.opType)) {
      push(node, own);
    } else if (MEETING.test(node.opType)) {
      const meeting = flowing.map((name) => exponents.get(name)!);
      const most = Math.max(...meeting);
      const adds = /^(Add|Sub|Sum)$/.test(node.opType);
      const common = adds ? most + Math.log(meeting.reduce((sum, s) => sum + Math.exp(s - most), 0)) : most;
      push({ ...node, inputs: node.inputs.map((name) => brought(name, common)) }, common);
    } else if (node.opType === 'Mul') {
      push(
        node,
        flowing.reduce((s, name) => s + exponents.get(name)!, 0),
      );
    } else if (node.opType === 'Div') {
      push(node, own - (exponents.get(second) ?? 0));
    } else if (node.opType === 'Sqrt') {
      push(node, own / 2);
    } else {
      // Sigmoid and the like: as large as the value itself, and no proportion behind
      push({ ...node, inputs: node.inputs.map((name) => (exponents.has(name) ? brought(name, 0) : name)) }, 0);
    }
  }
  const outputs = [floatValue(scores.name)];
  const inputs = graph.inputs.map((v) => bound(v, dims));
  const complete: Graph = m.extended({ ...graph, nodes, initializers, inputs, outputs });
  const exponent = exponents.get(scores.name);
  if (exponent === undefined) throw new PareError('the scores do not depend on the input');
  return { model: { ...model, graph: removeDead(complete) }, exponent };
}

function clamp(exponent: number): number {
  return Math.min(80, Math.max(-80, exponent));
}

function simple(opType: string, inputs: readonly string[], node: Node): Node {
  return { ...node, opType, inputs, outputs: node.outputs.slice(0, 1), attributes: new Map() };
}

function magnitudes(t: Tensor): Tensor {
  return floatTensor(
    t.name,
    t.dims,
    readFloats(t).map((x) => Math.abs(x)),
  );
}

function scaled(t: Tensor, factor: number): Tensor {
  return floatTensor(
    t.name,
    t.dims,
    readFloats(t).map((x) => x * factor),
  );
}

/** What comes out where ones go in, about: the sum of a layer's weights over its outputs. */
function gainOf(node: Node, weight: Tensor): number {
  const total = readFloats(weight).reduce((sum, x) => sum + x, 0);
  const [a = 1, b = 1] = weight.dims;
  const outputs =
    node.opType === 'Conv'
      ? a
      : node.opType === 'ConvTranspose'
        ? b * attrInt(node, 'group', 1)
        : node.opType === 'Gemm' && attrInt(node, 'transB', 0) === 1
          ? a
          : elementCount(weight.dims) / Math.max(1, weight.dims.at(-2) ?? 1);
  return total > 0 ? total / outputs : 1;
}
