// A mutation: parallel convolutions of one input that are added up become one (the form in which RepVGG and its kin are trained, Ding
// et al. 2021, arXiv 2101.03697). Exact: convolution is linear in its weights, so kernels are padded to one size and added.
// Run: pare optimize model.onnx --flops 60% --data calib.json --plugin examples/plugins/fuse-branches.mjs
import { floatTensor, PareError, readFloats } from 'pare-onnx';

/** @type {readonly import('pare-onnx').Mutation[]} */
export const mutations = [
  {
    name: 'fuse-branches',
    summary: 'adds parallel convolutions (1x1 and 3x3, batch norms and a shortcut included) up into one',
    law: 'exact',
    propose({ analysis, ignore }) {
      const add = analysis.model.graph.nodes.find(
        (n) => !ignore(n.name) && branchesOf(analysis.model.graph, n) !== undefined,
      );
      return add === undefined ? undefined : { sum: add.outputs[0] };
    },
    apply(params, { analysis }) {
      const { model } = analysis;
      const { graph } = model;
      const add = graph.nodes.find((n) => n.outputs[0] === params.sum);
      const branches = add === undefined ? undefined : branchesOf(graph, add);
      if (branches === undefined) throw new PareError(`fuse-branches: nothing can be fused at "${params.sum}"`);
      const { conv } = branches.find(
        (b) => b.conv !== undefined && b.size === Math.max(...branches.map((x) => x.size)),
      );
      const fused = sumOf(branches);
      const [weight, bias] = ['weight', 'bias'].map((what) => freshName(graph, `${params.sum}_${what}`));
      const initializers = new Map(graph.initializers)
        .set(weight, floatTensor(weight, fused.dims, fused.weight))
        .set(bias, floatTensor(bias, [fused.bias.length], fused.bias));
      const gone = new Set(branches.flatMap((b) => b.nodes));
      const node = { ...conv, inputs: [conv.inputs[0], weight, bias], outputs: [...add.outputs] };
      const nodes = graph.nodes.flatMap((n) => (n === add ? [node] : gone.has(n) ? [] : [n]));
      return { ...model, graph: withoutUnused({ ...graph, nodes, initializers }) };
    },
  },
];

/** The two operands of an Add as branches of one input; undefined where they are none. */
function branchesOf(graph, add) {
  if (add.opType !== 'Add' || add.domain !== '') return undefined;
  const found = add.inputs.map((name) => branchOf(graph, name, add));
  const convs = found.filter((b) => b?.conv !== undefined);
  if (convs.length === 0) return undefined;
  const [first] = convs;
  const input = first.conv.inputs[0];
  const channels = first.weight.dims[0];
  const branches = found.map((b, i) => {
    if (b?.conv !== undefined && b.conv.inputs[0] === input) return b;
    // a shortcut: the input itself
    const same = add.inputs[i] === input && first.stride === 1 && first.weight.dims[1] * first.group === channels;
    return same ? { ...first, conv: undefined, nodes: [], size: 1, identity: true } : undefined;
  });
  if (branches.some((b) => b === undefined)) return undefined;
  const alike = convs.every(
    (b) => b.group === first.group && b.stride === first.stride && b.weight.dims[0] === channels,
  );
  return alike ? branches : undefined;
}

/** Conv, perhaps with a BatchNormalization behind it, that nothing else reads. */
function branchOf(graph, name, reader) {
  const alone = (value, node) =>
    !graph.outputs.some((o) => o.name === value) &&
    graph.nodes.every((n) => n === node || !n.inputs.includes(value)) &&
    node.inputs.filter((x) => x === value).length === 1;
  const maker = graph.nodes.find((n) => n.outputs.includes(name));
  if (maker === undefined || !alone(name, reader)) return undefined;
  if (maker.opType === 'Conv') return convBranch(graph, maker);
  if (maker.opType !== 'BatchNormalization' || maker.outputs.length > 1) return undefined;
  const conv = graph.nodes.find((n) => n.outputs[0] === maker.inputs[0]);
  if (conv?.opType !== 'Conv' || !alone(conv.outputs[0], maker)) return undefined;
  const norm = maker.inputs.slice(1).map((x) => graph.initializers.get(x));
  const branch = convBranch(graph, conv);
  if (branch === undefined || norm.some((t) => t?.dataType !== 1)) return undefined;
  return { ...branch, norm, epsilon: attribute(maker, 'epsilon', 1e-5), nodes: [conv, maker] };
}

function convBranch(graph, conv) {
  const weight = graph.initializers.get(conv.inputs[1]);
  const bias = conv.inputs[2] ? graph.initializers.get(conv.inputs[2]) : undefined;
  if (weight?.dataType !== 1 || weight.dims.length !== 4 || (conv.inputs[2] && bias?.dataType !== 1)) return undefined;
  const [size, width] = weight.dims.slice(2);
  const [stride, across] = attribute(conv, 'strides', [1, 1]);
  const dilated = attribute(conv, 'dilations', [1, 1]).some((d) => d !== 1);
  // padded so that every kernel is centred on the same positions
  const centred = attribute(conv, 'pads', [0, 0, 0, 0]).every((p) => p === (size - 1) / 2);
  if (size !== width || size % 2 === 0 || stride !== across || dilated || !centred) return undefined;
  if (attribute(conv, 'auto_pad', 'NOTSET') !== 'NOTSET') return undefined;
  return { conv, weight, bias, size, stride, group: attribute(conv, 'group', 1), nodes: [conv] };
}

/** Kernels centred in the largest and added, with the scales of batch norms in them. */
function sumOf(branches) {
  const size = Math.max(...branches.map((b) => b.size));
  const [out, within] = branches[0].weight.dims;
  const weight = new Float64Array(out * within * size * size);
  const bias = new Float64Array(out);
  for (const b of branches) {
    const values = b.identity ? undefined : readFloats(b.weight);
    const shift = (size - b.size) / 2;
    const perGroup = out / b.group;
    const [scale, offset, mean, variance] = b.norm?.map(readFloats) ?? [];
    const own = b.bias === undefined || b.identity ? undefined : readFloats(b.bias);
    for (let o = 0; o < out; o++) {
      const factor = scale === undefined || b.identity ? 1 : scale[o] / Math.sqrt(variance[o] + b.epsilon);
      const moved = scale === undefined || b.identity ? 0 : offset[o] - mean[o] * factor;
      bias[o] += (own?.[o] ?? 0) * factor + moved;
      for (let i = 0; i < within; i++) {
        for (let y = 0; y < b.size; y++) {
          for (let x = 0; x < b.size; x++) {
            const at = ((o * within + i) * size + y + shift) * size + x + shift;
            const own_ = values?.[((o * within + i) * b.size + y) * b.size + x] ?? (i === o % perGroup ? 1 : 0);
            weight[at] += own_ * factor;
          }
        }
      }
    }
  }
  return { dims: [out, within, size, size], weight: Float32Array.from(weight), bias: Float32Array.from(bias) };
}

function attribute(node, name, fallback) {
  return node.attributes.get(name)?.value ?? fallback;
}

function freshName(graph, wish) {
  const taken = new Set([...graph.initializers.keys(), ...graph.nodes.flatMap((n) => n.outputs)]);
  let name = wish;
  for (let i = 1; taken.has(name); i++) name = `${wish}_${i}`;
  return name;
}

function withoutUnused(graph) {
  const used = new Set([...graph.nodes.flatMap((n) => n.inputs), ...graph.outputs.map((o) => o.name)]);
  const inputs = new Set(graph.inputs.map((v) => v.name));
  const made = new Set(graph.nodes.flatMap((n) => n.outputs));
  const initializers = new Map([...graph.initializers].filter(([name]) => used.has(name) || inputs.has(name)));
  const valueInfo = new Map([...graph.valueInfo].filter(([name]) => made.has(name)));
  return { ...graph, initializers, valueInfo };
}
