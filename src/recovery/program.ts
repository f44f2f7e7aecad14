// Small ONNX programs (opset 17) that do the arithmetic over images in onnxruntime: sampled rows of a layer's unfolded input,
// second moments, activations under new weights.
import { intAttribute, intsAttribute, type Attribute, type Model, type Node, type ValueInfo } from '../ir/graph.js';
import { DataType, floatTensor, int64Tensor, type Tensor } from '../ir/tensor.js';

export interface Program {
  input(name: string, rank: number, elemType?: number): string;
  node(
    opType: string,
    inputs: readonly string[],
    attributes?: Readonly<Record<string, number | readonly number[]>>,
  ): string;
  ints(values: readonly number[]): string;
  float(value: number): string;
  floats(dims: readonly number[], values: Float32Array): string;
  output(value: string, name: string): void;
  model(): Model;
}

export function createProgram(): Program {
  const nodes: Node[] = [];
  const inputs: ValueInfo[] = [];
  const outputs: ValueInfo[] = [];
  const initializers = new Map<string, Tensor>();
  let count = 0;
  const fresh = (): string => `v${count++}`;
  const push = (node: Omit<Node, 'name' | 'domain'>): void => {
    nodes.push({ name: '', domain: '', ...node });
  };
  const floats = (dims: readonly number[], values: Float32Array): string => {
    const name = fresh();
    initializers.set(name, floatTensor(name, dims, values));
    return name;
  };
  return {
    input(name, rank, elemType = DataType.FLOAT) {
      const shape = Array.from({ length: rank }, () => undefined);
      inputs.push({ name, type: { kind: 'tensor', elemType, shape } });
      return name;
    },
    node(opType, names, attributes = {}) {
      const out = fresh();
      const attrs = new Map<string, Attribute>(
        Object.entries(attributes).map(([name, v]) => [
          name,
          typeof v === 'number' ? intAttribute(name, v) : intsAttribute(name, v),
        ]),
      );
      push({ opType, inputs: names, outputs: [out], attributes: attrs });
      return out;
    },
    ints(values) {
      const name = fresh();
      initializers.set(name, int64Tensor(name, values));
      return name;
    },
    float: (value) => floats([], Float32Array.of(value)),
    floats,
    output(value, name) {
      push({ opType: 'Identity', inputs: [value], outputs: [name], attributes: new Map() });
      outputs.push({ name, type: { kind: 'tensor', elemType: DataType.FLOAT } });
    },
    model: () => ({
      irVersion: 8,
      opsets: new Map([['', 17]]),
      producerName: 'pare',
      producerVersion: '',
      metadata: new Map(),
      functions: [],
      graph: {
        name: 'program',
        nodes,
        initializers,
        sparseInitializers: new Map(),
        inputs,
        outputs,
        valueInfo: new Map(),
      },
    }),
  };
}
