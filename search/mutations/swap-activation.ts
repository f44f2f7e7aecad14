// swap-activation: an activation that is slow to compute becomes a cheap one of nearly the same course: Sigmoid -> HardSigmoid, Swish, Mish and
// GELU (also when written out in several nodes) -> HardSwish or Relu, Tanh -> Clip. MACs stay as they are: it is for latency.
import { PareError } from '../../src/errors.js';
import { opsetOf, type Attribute, type Graph, type Model, type Node } from '../../src/ir/graph.js';
import { floatTensor } from '../../src/ir/tensor.js';
import { indexGraph, type GraphIndex } from '../../src/ir/walk.js';
import { smallValue } from '../../src/analysis/small-values.js';
import type { Rng } from '../../src/rng.js';
import type { Json } from '../genome.js';
import { editModel, type ModelEditor } from './edit.js';
import { proposeOne, type Mutation, type MutationContext, type Place } from './mutation.js';
import { recordOf } from './params.js';

const SWAP_ACTIVATION = 'swap-activation';

type Cheap = 'Relu' | 'HardSwish' | 'HardSigmoid' | 'Clip';

interface Found {
  /** Node that makes `value`; it is replaced. */
  readonly node: number;
  readonly input: string;
  readonly value: string;
  readonly to: readonly Cheap[];
}

export function swapActivation(): Mutation {
  const places = (context: MutationContext): Place[] =>
    findActivations(context).flatMap(({ value, to }) =>
      to.map((t) => ({ params: { value, to: t }, site: value, saving: 0 })),
    );
  return {
    name: SWAP_ACTIVATION,
    summary: 'replaces a slow activation by a cheap one of nearly the same course',
    law: 'approximate',
    propose: (context: MutationContext, rng: Rng): Json | undefined => proposeOne(places(context), rng),
    places,
    join: (params) => ({ values: params.flatMap((p) => valuesOf(p)).map(({ value, to }) => ({ value, to })) }),
    apply(params: Json, context: MutationContext): Model {
      const { model } = context.analysis;
      const known = new Map(findActivations(context).map((f) => [f.value, f]));
      const edit = editModel(model);
      for (const { value, to } of valuesOf(params)) {
        const found = known.get(value);
        const cheap = found?.to.find((t) => t === to);
        if (found === undefined || cheap === undefined) {
          throw new PareError(`${SWAP_ACTIVATION}: "${value}" is not an activation that ${to} may stand for here`);
        }
        const node = model.graph.nodes[found.node]!;
        edit.replace(found.node, [cheapNode(node, found, cheap, edit, opsetOf(model))]);
      }
      return edit.model();
    },
  };
}

function valuesOf(params: Json): readonly { readonly value: string; readonly to: string }[] {
  const list = recordOf(params)?.['values'];
  // the cast: Array.isArray does not narrow readonly arrays
  return (Array.isArray(list) ? (list as readonly Json[]) : [params]).map((p) => {
    const [value, to] = [recordOf(p)?.['value'], recordOf(p)?.['to']];
    if (typeof value === 'string' && typeof to === 'string') return { value, to };
    throw new PareError(
      `${SWAP_ACTIVATION}: parameters must be {"value": name, "to": operator}, or {"values": [such, ...]}, not ${JSON.stringify(p)}`,
    );
  });
}

function cheapNode(node: Node, found: Found, to: Cheap, edit: ModelEditor, opset: number): Node {
  const { input, value } = found;
  const plain = { name: node.name, opType: to, domain: '', outputs: [value] };
  const floats = (list: Readonly<Record<string, number>>): ReadonlyMap<string, Attribute> =>
    new Map(Object.entries(list).map(([name, v]) => [name, { name, kind: 'float', value: v }]));
  if (to === 'Clip') {
    // bounds are inputs since opset 11
    if (opset < 11) return { ...plain, inputs: [input], attributes: floats({ min: -1, max: 1 }) };
    const bound = (name: string, v: number): string =>
      edit.constant(floatTensor(`${value}.${name}`, [], Float32Array.of(v)), found.node);
    return { ...plain, inputs: [input, bound('min', -1), bound('max', 1)], attributes: new Map() };
  }
  // x / 6 + 1 / 2, as in HardSwish
  return { ...plain, inputs: [input], attributes: floats(to === 'HardSigmoid' ? { alpha: 1 / 6, beta: 0.5 } : {}) };
}

/** All places, in the order of the nodes. Values of FLOAT only: onnxruntime has no kernels of the cheap ones for the rest. */
function findActivations(context: MutationContext): Found[] {
  const { analysis, ignore } = context;
  const { graph } = analysis.model;
  const opset = opsetOf(analysis.model);
  const index = indexGraph(graph);
  const outputs = new Set(graph.outputs.map((v) => v.name));
  const view: View = { context, graph, index, outputs };
  const found: Found[] = [];
  graph.nodes.forEach((node, i) => {
    const input = node.inputs[0] ?? '';
    const type = analysis.shapes.types.get(input);
    if (type?.kind !== 'tensor' || type.elemType !== 1) return;
    const made = activationOf(view, node, i);
    if (made === undefined) return;
    const end = graph.nodes[made.node]!;
    if ([node, end].some((n) => ignore(n.name) || n.inputs.some(ignore) || n.outputs.some(ignore))) return;
    const to = made.to.filter((t) => t !== 'HardSwish' || opset >= 14);
    if (to.length > 0 && opset >= 6) found.push({ ...made, to });
  });
  return found;
}

interface View {
  readonly context: MutationContext;
  readonly graph: Graph;
  readonly index: GraphIndex;
  readonly outputs: ReadonlySet<string>;
}

const SWISH: readonly Cheap[] = ['HardSwish', 'Relu'];

/** By operator; domains in front of those that are not ONNX's own. */
const SWAPS: Readonly<Record<string, readonly Cheap[]>> = {
  Sigmoid: ['HardSigmoid'],
  Tanh: ['Clip'],
  Swish: SWISH,
  Mish: SWISH,
  Gelu: SWISH,
  HardSwish: ['Relu'],
  Elu: ['Relu'],
  Celu: ['Relu'],
  Softplus: ['Relu'],
  LeakyRelu: ['Relu'],
  PRelu: ['Relu'],
  'com.microsoft:Gelu': SWISH,
  'com.microsoft:FastGelu': SWISH,
  'com.microsoft:QuickGelu': SWISH,
};

function activationOf(view: View, node: Node, i: number): Found | undefined {
  const domain = node.domain === '' || node.domain === 'ai.onnx' ? '' : `${node.domain}:`;
  const input = node.inputs[0]!;
  const output = node.outputs[0]!;
  if (domain === '' && node.opType === 'Erf') return gelu(view, node, input);
  // the second input of FastGelu is a bias that would be lost
  if (node.inputs.slice(1).some((n) => n !== '') && node.opType !== 'PRelu') return undefined;
  const to = SWAPS[`${domain}${node.opType}`];
  if (to === undefined) return undefined;
  if (node.opType === 'Sigmoid') {
    // x · sigmoid(x), and nothing else uses the sigmoid
    const next = onlyUser(view, output);
    const end = next === undefined ? undefined : view.graph.nodes[next]!;
    if (next !== undefined && end?.opType === 'Mul' && end.inputs.includes(input)) {
      return { node: next, input, value: end.outputs[0]!, to: SWISH };
    }
  }
  return { node: i, input, value: output, to };
}

/** x / 2 · (1 + erf(x / √2)), in whatever order exporters multiply. */
function gelu(view: View, erf: Node, inner: string): Found | undefined {
  const { graph, index } = view;
  const scaled = graph.nodes[index.producer.get(inner) ?? -1];
  if (scaled === undefined || (scaled.opType !== 'Div' && scaled.opType !== 'Mul')) return undefined;
  const [a = '', b = ''] = scaled.inputs;
  const root = scaled.opType === 'Div' ? Math.SQRT2 : Math.SQRT1_2;
  const x = isScalar(view, b, root) ? a : scaled.opType === 'Mul' && isScalar(view, a, root) ? b : undefined;
  const one = onlyUser(view, erf.outputs[0]!);
  const sum = graph.nodes[one ?? -1];
  if (x === undefined || sum?.opType !== 'Add' || !sum.inputs.some((n) => isScalar(view, n, 1))) return undefined;
  // what has been multiplied in: the sum must meet x and one half, together or one after the other
  let [value, needX, needHalf] = [sum.outputs[0]!, true, true];
  for (let steps = 0; steps < 2; steps++) {
    const at = onlyUser(view, value);
    const mul = graph.nodes[at ?? -1];
    if (at === undefined || mul?.opType !== 'Mul') return undefined;
    const other = mul.inputs[0] === value ? mul.inputs[1]! : mul.inputs[0]!;
    if (needX && other === x) needX = false;
    else if (needHalf && isScalar(view, other, 0.5)) needHalf = false;
    else if (needX && needHalf && isHalfOf(view, other, x)) [needX, needHalf] = [false, false];
    else return undefined;
    value = mul.outputs[0]!;
    if (!needX && !needHalf) return { node: at, input: x, value, to: SWISH };
  }
  return undefined;
}

function isHalfOf(view: View, value: string, x: string): boolean {
  const node = view.graph.nodes[view.index.producer.get(value) ?? -1];
  if (node?.opType === 'Mul') return node.inputs.includes(x) && node.inputs.some((n) => isScalar(view, n, 0.5));
  return node?.opType === 'Div' && node.inputs[0] === x && isScalar(view, node.inputs[1]!, 2);
}

function isScalar({ context, graph }: View, name: string, wanted: number): boolean {
  const elems = smallValue(graph, context.analysis.shapes, name)?.elems;
  return elems?.length === 1 && elems[0] !== undefined && Math.abs(elems[0] - wanted) < 1e-3;
}

/** Index of the one node that uses a value that is no output. */
function onlyUser({ index, outputs }: View, value: string): number | undefined {
  const users = index.consumers.get(value) ?? [];
  return users.length === 1 && !outputs.has(value) ? users[0] : undefined;
}
