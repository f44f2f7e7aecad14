// A ResNet-50 for ImageNet in torchvision's layout and names, BatchNormalization kept, random weights: 102 MB as ONNX.

import { floatTensor, elementCount } from '../../src/ir/tensor.js';
import type { Attribute, Model, Node } from '../../src/ir/graph.js';
import type { Tensor } from '../../src/ir/tensor.js';
import { createRng } from '../../src/rng.js';

/** Blocks and inner width of the four stages (He et al. 2015, table 1). */
const STAGES = [
  [3, 64],
  [4, 128],
  [6, 256],
  [3, 512],
] as const;

export function resnet50(seed = 'resnet50'): Model {
  const rng = createRng(seed);
  const nodes: Node[] = [];
  const initializers = new Map<string, Tensor>();

  const weight = (name: string, dims: readonly number[], scale: number): string => {
    const values = new Float32Array(elementCount(dims));
    for (let i = 0; i < values.length; i++) values[i] = (rng.next() - 0.5) * scale;
    initializers.set(name, floatTensor(name, dims, values));
    return name;
  };
  const constant = (name: string, n: number, value: number): string => {
    initializers.set(name, floatTensor(name, [n], new Float32Array(n).fill(value)));
    return name;
  };
  const add = (
    opType: string,
    name: string,
    inputs: readonly string[],
    attributes: readonly Attribute[] = [],
  ): string => {
    const output = `${name}_output_0`;
    const given = new Map(attributes.map((a) => [a.name, a]));
    nodes.push({ name, opType, domain: '', inputs, outputs: [output], attributes: given });
    return output;
  };
  const ints = (name: string, value: readonly number[]): Attribute => ({ name, kind: 'ints', value });

  const conv = (x: string, name: string, from: number, to: number, kernel: number, stride: number): string => {
    const pad = (kernel - 1) / 2;
    const w = weight(`${name}.weight`, [to, from, kernel, kernel], Math.sqrt(24 / (from * kernel * kernel)));
    return add(
      'Conv',
      `/${name}/Conv`,
      [x, w],
      [
        ints('dilations', [1, 1]),
        { name: 'group', kind: 'int', value: 1 },
        ints('kernel_shape', [kernel, kernel]),
        ints('pads', [pad, pad, pad, pad]),
        ints('strides', [stride, stride]),
      ],
    );
  };
  const norm = (x: string, name: string, n: number): string =>
    add('BatchNormalization', `/${name}/BatchNormalization`, [
      x,
      constant(`${name}.weight`, n, 1),
      constant(`${name}.bias`, n, 0),
      constant(`${name}.running_mean`, n, 0),
      constant(`${name}.running_var`, n, 1),
    ]);

  let x = add('Relu', '/relu/Relu', [norm(conv('input', 'conv1', 3, 64, 7, 2), 'bn1', 64)]);
  x = add(
    'MaxPool',
    '/maxpool/MaxPool',
    [x],
    [ints('kernel_shape', [3, 3]), ints('pads', [1, 1, 1, 1]), ints('strides', [2, 2])],
  );
  let channels = 64;
  STAGES.forEach(([blocks, width], stage) => {
    for (let block = 0; block < blocks; block++) {
      const at = `layer${stage + 1}.${block}`;
      const stride = block === 0 && stage > 0 ? 2 : 1;
      let y = add('Relu', `/${at}/relu/Relu`, [
        norm(conv(x, `${at}.conv1`, channels, width, 1, 1), `${at}.bn1`, width),
      ]);
      y = add('Relu', `/${at}/relu_1/Relu`, [
        norm(conv(y, `${at}.conv2`, width, width, 3, stride), `${at}.bn2`, width),
      ]);
      y = norm(conv(y, `${at}.conv3`, width, 4 * width, 1, 1), `${at}.bn3`, 4 * width);
      const shortcut =
        block === 0
          ? norm(conv(x, `${at}.downsample.0`, channels, 4 * width, 1, stride), `${at}.downsample.1`, 4 * width)
          : x;
      x = add('Relu', `/${at}/relu_2/Relu`, [add('Add', `/${at}/Add`, [y, shortcut])]);
      channels = 4 * width;
    }
  });
  x = add('GlobalAveragePool', '/avgpool/GlobalAveragePool', [x]);
  x = add('Flatten', '/Flatten', [x], [{ name: 'axis', kind: 'int', value: 1 }]);
  x = add(
    'Gemm',
    '/fc/Gemm',
    [x, weight('fc.weight', [1000, 2048], 0.04), constant('fc.bias', 1000, 0)],
    [{ name: 'transB', kind: 'int', value: 1 }],
  );
  return {
    irVersion: 8,
    opsets: new Map([['', 17]]),
    producerName: 'pare-bench',
    producerVersion: '',
    metadata: new Map(),
    functions: [],
    graph: {
      name: 'resnet50',
      nodes,
      initializers,
      sparseInitializers: new Map(),
      inputs: [{ name: 'input', type: { kind: 'tensor', elemType: 1, shape: ['batch', 3, 224, 224] } }],
      outputs: [{ name: x, type: { kind: 'tensor', elemType: 1, shape: ['batch', 1000] } }],
      valueInfo: new Map(),
    },
  };
}
