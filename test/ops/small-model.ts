// A few nodes as a Model, for tests: names, dims and attributes in one literal.

import type { Attribute, Dim, Graph, Model, Node } from '../../src/ir/graph.js';
import { DataType } from '../../src/ir/tensor.js';
import type { Tensor } from '../../src/ir/tensor.js';

type Attr = number | string | readonly number[] | Attribute;

export interface SmallModel {
  readonly opset?: number;
  readonly elemType?: number;
  readonly inputs: Readonly<Record<string, readonly Dim[]>>;
  /** FLOAT placeholders by dims, or tensors. */
  readonly weights?: Readonly<Record<string, readonly number[] | Tensor>>;
  /** Operator, inputs, outputs, attributes; operators of other domains as `domain:Op`. */
  readonly nodes: readonly (readonly [string, readonly string[], readonly string[], Readonly<Record<string, Attr>>?])[];
  readonly outputs: readonly string[];
}

export function smallModel(m: SmallModel): Model {
  return {
    irVersion: 8,
    opsets: new Map([['', m.opset ?? 17]]),
    producerName: '',
    producerVersion: '',
    metadata: new Map(),
    functions: [],
    graph: smallGraph(m),
  };
}

export function smallGraph(m: SmallModel): Graph {
  const elemType = m.elemType ?? DataType.FLOAT;
  return {
    name: 'small',
    nodes: m.nodes.map(smallNode),
    initializers: new Map(Object.entries(m.weights ?? {}).map(([name, w]) => [name, weight(name, w)])),
    sparseInitializers: new Map(),
    inputs: Object.entries(m.inputs).map(([name, shape]) => ({ name, type: { kind: 'tensor', elemType, shape } })),
    outputs: m.outputs.map((name) => ({ name })),
    valueInfo: new Map(),
  };
}

function smallNode([op, inputs, outputs, attributes]: SmallModel['nodes'][number]): Node {
  const [opType = '', domain = ''] = op.split(':').toReversed();
  const given = Object.entries(attributes ?? {}).map(([name, a]) => [name, attribute(name, a)] as const);
  return { name: outputs[0] ?? '', opType, domain, inputs, outputs, attributes: new Map(given) };
}

function attribute(name: string, value: Attr): Attribute {
  if (typeof value === 'number') return { name, kind: 'int', value };
  if (typeof value === 'string') return { name, kind: 'string', value };
  if ('kind' in value) return value;
  return { name, kind: 'ints', value };
}

function weight(name: string, w: readonly number[] | Tensor): Tensor {
  return 'dims' in w ? { ...w, name } : { name, dataType: DataType.FLOAT, dims: w };
}
