// A model of opset 7 to 16 in the form of opset 17, so that gradient rules see and emit one form of each operator. Training
// graphs only: weights keep their names, and the user's file keeps its own opset. https://onnx.ai/onnx/operators/
import type { ModelParts } from '../analysis/shapes.js';
import { PareError } from '../errors.js';
import {
  attrFloat,
  attrInt,
  attrInts,
  attrString,
  describeNode,
  intAttribute,
  withAttributes,
  type Attribute,
  type Graph,
  type Node,
} from '../ir/graph.js';
import { floatTensor, int64Tensor, type Tensor } from '../ir/tensor.js';
import { allNames, hasSubgraphs, mapGraphs } from '../ir/walk.js';

/** The opset that gradient graphs are written in when the model's own is older. */
export const MODERN_OPSET = 17;

export function modernized(model: ModelParts): ModelParts {
  const opset = model.opsets.get('') ?? model.opsets.get('ai.onnx') ?? 1;
  if (opset >= MODERN_OPSET) return model;
  if (opset < 7) {
    throw new PareError(`the model is written in opset ${opset}: training needs opset 7 or newer, convert it first`);
  }
  const opsets = new Map(model.opsets);
  opsets.delete('ai.onnx');
  opsets.set('', MODERN_OPSET);
  return { ...model, opsets, graph: modernGraph(model.graph, opset, allNames(model.graph)) };
}

/** What a change of one node may use. */
interface Workshop {
  readonly opset: number;
  /** New initializers. */
  ints(values: readonly number[]): string;
  /** A FLOAT initializer; a scalar without dims. */
  float(values: readonly number[], dims?: readonly number[]): string;
  fresh(stem: string): string;
}

function modernGraph(graph: Graph, opset: number, taken: Set<string>): Graph {
  const tensors: Tensor[] = [];
  const fresh = (stem: string): string => {
    let n = taken.size;
    while (taken.has(`modern/${stem}_${n}`)) n++;
    taken.add(`modern/${stem}_${n}`);
    return `modern/${stem}_${n}`;
  };
  const add = (tensor: Tensor): string => {
    tensors.push(tensor);
    return tensor.name;
  };
  const shop: Workshop = {
    opset,
    fresh,
    ints: (values) => add(int64Tensor(fresh('ints'), values)),
    float: (values, dims = []) => add(floatTensor(fresh('float'), dims, Float32Array.from(values))),
  };
  const nodes = graph.nodes.flatMap((node) => {
    const change = node.domain === '' ? changes.get(node.opType) : undefined;
    const changed = change !== undefined && opset < change.before ? change.to(node, shop) : [node];
    return changed.map((n) => (hasSubgraphs(n) ? withInnerGraphs(n, (g) => modernGraph(g, opset, taken)) : n));
  });
  const initializers = new Map([...graph.initializers, ...tensors.map((t) => [t.name, t] as const)]);
  return { ...graph, nodes, initializers };
}

function withInnerGraphs(node: Node, edit: (g: Graph) => Graph): Node {
  return { ...node, attributes: new Map([...node.attributes].map(([name, a]) => [name, mapGraphs(a, edit)])) };
}

interface Change {
  /** The opset in which the operator took its present form. */
  readonly before: number;
  readonly to: (node: Node, shop: Workshop) => readonly Node[];
}

/** Attributes that became inputs: the inputs given follow the first; '' is an omitted one. */
function moved(node: Node, names: readonly string[], inputs: readonly string[], more: readonly Attribute[] = []): Node {
  const end = inputs.findLastIndex((name) => name !== '') + 1;
  const attributes = new Map(node.attributes);
  for (const name of names) attributes.delete(name);
  for (const a of more) attributes.set(a.name, a);
  return { ...node, inputs: [...node.inputs.slice(0, 1), ...inputs.slice(0, end)], attributes };
}

const axesBecomeInput: Change['to'] = (node, shop) => {
  const axes = attrInts(node, 'axes');
  return axes === undefined ? [node] : [moved(node, ['axes'], [shop.ints(axes)])];
};

/** Over all axes from `axis` on, seen as one. */
const softmaxOverMany: Change['to'] = (node, shop) => {
  const axis = attrInt(node, 'axis', 1);
  const [x = '', y = ''] = [node.inputs[0], node.outputs[0]];
  if (axis === -1) return [node];
  const [flat, normal, shape] = [shop.fresh('flat'), shop.fresh('softmax'), shop.fresh('shape')];
  const plain = (opType: string, inputs: string[], output: string, attributes: Attribute[] = []): Node => ({
    name: output,
    opType,
    domain: '',
    inputs,
    outputs: [output],
    attributes: new Map(attributes.map((a) => [a.name, a])),
  });
  return [
    plain('Flatten', [x], flat, [intAttribute('axis', axis)]),
    { ...withAttributes(node, { axis: intAttribute('axis', -1) }), inputs: [flat], outputs: [normal] },
    plain('Shape', [x], shape),
    plain('Reshape', [normal, shape], y),
  ];
};

const text = (name: string, value: string): Attribute => ({ name, kind: 'string', value });

/** Upsample, and Resize before it could say how positions are computed. */
const resized = (node: Node, scales: string): Node[] => [
  {
    ...moved({ ...node, opType: 'Resize' }, ['scales', 'height_scale', 'width_scale'], ['', scales]),
    attributes: new Map([
      ['mode', text('mode', attrString(node, 'mode', 'nearest'))],
      ['coordinate_transformation_mode', text('coordinate_transformation_mode', 'asymmetric')],
      ['nearest_mode', text('nearest_mode', 'floor')],
    ]),
  },
];

const changes: ReadonlyMap<string, Change> = new Map<string, Change>([
  ['Squeeze', { before: 13, to: axesBecomeInput }],
  ['Unsqueeze', { before: 13, to: axesBecomeInput }],
  ['ReduceSum', { before: 13, to: axesBecomeInput }],
  ['Softmax', { before: 13, to: softmaxOverMany }],
  ['LogSoftmax', { before: 13, to: softmaxOverMany }],
  ['Hardmax', { before: 13, to: softmaxOverMany }],
  [
    'Split',
    {
      before: 13,
      to: (node, shop) => {
        const sizes = attrInts(node, 'split');
        return sizes === undefined ? [node] : [moved(node, ['split'], [shop.ints(sizes)])];
      },
    },
  ],
  [
    'Clip',
    {
      before: 11,
      to: (node, shop) => {
        const bound = (name: string): string =>
          node.attributes.has(name) ? shop.float([attrFloat(node, name, 0)]) : '';
        return [moved(node, ['min', 'max'], [bound('min'), bound('max')])];
      },
    },
  ],
  [
    'Pad',
    {
      before: 11,
      to: (node, shop) => {
        const value = attrFloat(node, 'value', 0);
        const inputs = [shop.ints(attrInts(node, 'pads') ?? []), value === 0 ? '' : shop.float([value])];
        return [moved(node, ['pads', 'value'], inputs)];
      },
    },
  ],
  [
    'Slice',
    {
      before: 10,
      to: (node, shop) => {
        const axes = attrInts(node, 'axes');
        const list = (name: string): string => shop.ints(attrInts(node, name) ?? []);
        const inputs = [list('starts'), list('ends'), axes === undefined ? '' : shop.ints(axes)];
        return [moved(node, ['starts', 'ends', 'axes'], inputs)];
      },
    },
  ],
  [
    'TopK',
    { before: 10, to: (node, shop) => [moved(node, ['k'], [node.inputs[1] ?? shop.ints([attrInt(node, 'k', 1)])])] },
  ],
  [
    'Upsample',
    {
      before: MODERN_OPSET,
      to: (node, shop) => {
        const given = node.attributes.get('scales');
        const scales =
          given?.kind === 'floats' ? shop.float(given.value, [given.value.length]) : (node.inputs[1] ?? '');
        return resized(node, scales);
      },
    },
  ],
  ['Resize', { before: 11, to: (node) => resized(node, node.inputs[1] ?? '') }],
  // the ratio only matters in training, which these old forms cannot say
  ['Dropout', { before: 12, to: (node) => [withAttributes(node, { ratio: undefined, is_test: undefined })] }],
  ['Scatter', { before: MODERN_OPSET, to: (node) => [{ ...node, opType: 'ScatterElements' }] }],
  [
    'BatchNormalization',
    {
      before: 14,
      to: (node) => {
        if (attrInt(node, 'spatial', 1) !== 1) {
          throw new PareError(`${describeNode(node)}: statistics per position (spatial 0) cannot be trained`);
        }
        return [{ ...withAttributes(node, { spatial: undefined }), outputs: node.outputs.slice(0, 1) }];
      },
    },
  ],
  [
    'RoiAlign',
    {
      before: 16,
      to: (node) => [
        withAttributes(node, {
          coordinate_transformation_mode: text('coordinate_transformation_mode', 'output_half_pixel'),
        }),
      ],
    },
  ],
]);
