// What edits keep: fields that Pare does not know or model, exact values, unusual encodings.
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { expect, test } from 'vitest';
import { extendModel, graphBuilder } from '../src/ir/builder.js';
import { attrInts, attrTensor, intsAttribute, withAttributes, type Model, type Node } from '../src/ir/graph.js';
import { DataType, readNumbers } from '../src/ir/tensor.js';
import { parseModel } from '../src/onnx/read.js';
import { encodeModel } from '../src/onnx/write.js';
import { fullSchema, type Json } from './onnx-schema.js';

const { encode, decode } = fullSchema();

/** Fields of every message that Pare does not model, and some from the future (number 500). */
const strange: Json = {
  irVersion: 13,
  producerName: 'someone',
  domain: 'com.example',
  modelVersion: 7,
  docString: 'doc',
  opsetImport: [
    { domain: 'ai.onnx', version: 17 },
    { domain: 'me', version: 1 },
  ],
  metadataProps: [{ key: 'k', value: 'v' }],
  configuration: [{ name: 'pair', numDevices: 2, device: ['a', 'b'] }],
  trainingInfo: [
    { initialization: { name: 'init' }, algorithm: { name: 'step' }, updateBinding: [{ key: 'w', value: 'w2' }] },
  ],
  functions: [
    {
      name: 'f',
      domain: 'me',
      overload: 'one',
      input: ['i'],
      output: ['o'],
      attribute: ['a'],
      docString: 'fn',
      future: 'f',
      attributeProto: [{ name: 'd', type: 1, f: 0.5 }],
      opsetImport: [{ domain: '', version: 17 }],
      node: [{ opType: 'Elu', input: ['i'], output: ['o'], attribute: [{ name: 'alpha', type: 1, refAttrName: 'a' }] }],
      valueInfo: [{ name: 'o' }],
      metadataProps: [{ key: 'a', value: 'b' }],
    },
  ],
  future: 'model',
  graph: {
    name: 'g',
    docString: 'graph',
    future: 'graph',
    metadataProps: [{ key: 'g', value: 'h' }],
    quantizationAnnotation: [{ tensorName: 'x', quantParameterTensorNames: [{ key: 'SCALE_TENSOR', value: 's' }] }],
    input: [
      {
        name: 'x',
        docString: 'in',
        type: {
          denotation: 'IMAGE',
          tensorType: { elemType: 1, shape: { dim: [{ dimParam: 'N', denotation: 'DATA_BATCH' }, { dimValue: 3 }] } },
        },
      },
    ],
    output: [
      {
        name: 'y',
        type: {
          sequenceType: {
            elemType: {
              mapType: { keyType: 7, valueType: { optionalType: { elemType: { sparseTensorType: { elemType: 1 } } } } },
            },
          },
        },
      },
    ],
    valueInfo: [
      { name: 't', type: { opaqueType: { domain: 'd', name: 'n' } }, metadataProps: [{ key: 'a', value: 'b' }] },
    ],
    initializer: [
      {
        name: 'w',
        dataType: 1,
        dims: [2],
        floatData: [1, 2],
        docString: 'weight',
        future: 'tensor',
        metadataProps: [{ key: 'a', value: 'b' }],
      },
    ],
    sparseInitializer: [
      {
        values: { name: 's', dataType: 1, dims: [1], floatData: [5] },
        indices: { dataType: 7, dims: [1], int64Data: [3] },
        dims: [9],
      },
    ],
    node: [
      {
        name: '',
        opType: 'Op',
        domain: 'ai.onnx',
        input: ['x', '', 'w'],
        output: ['t', ''],
        docString: 'node',
        overload: '',
        future: 'node',
        metadataProps: [{ key: 'n', value: 'm' }],
        deviceConfigurations: [
          {
            configurationId: 'pair',
            pipelineStage: 1,
            shardingSpec: [
              {
                tensorName: 'w',
                device: [0, 1],
                shardedDim: [{ axis: 0, simpleSharding: [{ dimValue: 2, numShards: 2 }] }],
              },
            ],
          },
        ],
        attribute: [
          {
            name: 'big',
            type: 7,
            ints: ['9223372036854775807', '-9007199254740993', 4],
            docString: 'attr',
            future: 'attr',
          },
          { name: 'one', type: 2, i: '9007199254740993' },
          { name: 'sp', type: 11, sparseTensor: { dims: [4] } },
          { name: 'tp', type: 13, tp: { tensorType: { elemType: 1 } } },
          { name: 'empty', type: 3, s: Buffer.alloc(0) },
          { name: 'bytes', type: 3, s: Buffer.from([255, 254]) },
          { name: 'newer', type: 2, i: 1 },
        ],
      },
      { opType: 'Op2', domain: 'me', input: ['t'], output: ['y'] },
    ],
  },
};

const read = (): Model => parseModel(encode(strange));

/** The strange model as JSON after `edit`, and what it was. */
function after(edit: (m: Model) => Model): { readonly before: Json; readonly now: Json } {
  return { before: decode(encode(strange)), now: decode(encodeModel(edit(read()))) };
}

function editNode(m: Model, edit: (n: Node) => Node): Model {
  return { ...m, graph: { ...m.graph, nodes: m.graph.nodes.with(0, edit(m.graph.nodes[0]!)) } };
}

test('a model with every field, known and unknown, is written back byte for byte', () => {
  expect(Buffer.compare(encodeModel(read()), encode(strange))).toBe(0);
  const { before, now } = after((m) => ({
    ...m,
    opsets: new Map(m.opsets),
    metadata: new Map(m.metadata),
    functions: m.functions.map((f) => ({ ...f, nodes: [...f.nodes] })),
  }));
  expect(now).toEqual(before);
});

// The exact values of integers that stand where they stood are kept, even in a list that was edited elsewhere.
test('an edited node keeps its domain, documentation, unknown fields and the exact integers beside the edit', () => {
  const { before, now } = after((m) =>
    editNode(m, (n) => ({ ...withAttributes(n, { newer: intsAttribute('newer', [1, 2 ** 63]) }), inputs: ['x', 'w'] })),
  );
  const node = (before as { graph: { node: Record<string, Json>[] } }).graph.node[0]!;
  node['input'] = ['x', 'w'];
  // a hint on devices that may no longer fit
  delete node['deviceConfigurations'];
  (node['attribute'] as Json[])[6] = { name: 'newer', type: 'INTS', ints: ['1', '9223372036854775807'] };
  expect(now).toEqual(before);
  const list = after((m) =>
    editNode(m, (n) =>
      withAttributes(n, { big: { ...n.attributes.get('big')!, kind: 'ints', value: [2 ** 63, -(2 ** 53), 5] } }),
    ),
  );
  expect(list.now).toMatchObject({
    graph: {
      node: [
        {
          attribute: [
            { ints: ['9223372036854775807', '-9007199254740993', '5'], docString: 'attr', future: 'attr' },
            {},
            {},
            {},
            {},
            {},
            {},
          ],
        },
        {},
      ],
    },
  });
});

test('edited types keep denotations, edited tensors their documentation', () => {
  const { before, now } = after((m) => {
    const { graph } = m;
    const w = graph.initializers.get('w')!;
    const input = { ...graph.inputs[0]!, type: { kind: 'tensor', elemType: 1, shape: [1, 3] } } as const;
    const half = { ...w, dims: [1], bytes: () => w.bytes!().subarray(4, 8) };
    return { ...m, graph: { ...graph, inputs: [input], initializers: new Map([['w', half]]) } };
  });
  expect(before).toMatchObject({ graph: { initializer: [{ floatData: [1, 2] }] } });
  const expected = structuredClone(before) as { graph: { input: Json[]; initializer: Record<string, Json>[] } };
  expected.graph.input[0] = {
    name: 'x',
    docString: 'in',
    type: {
      denotation: 'IMAGE',
      tensorType: { elemType: 1, shape: { dim: [{ dimValue: '1', denotation: 'DATA_BATCH' }, { dimValue: '3' }] } },
    },
  };
  const { floatData: _, ...weight } = expected.graph.initializer[0]!;
  expected.graph.initializer[0] = {
    ...weight,
    dims: ['1'],
    rawData: Buffer.from(Float32Array.of(2).buffer).toString('base64'),
  };
  expect(now).toEqual(expected);
});

test('nodes and outputs added to the model leave the rest alone', () => {
  const { before, now } = after((m) => {
    const g = extendModel(m);
    g.output(g.op('Identity', ['w'], {}, { outputs: ['probe'] }), DataType.FLOAT, ['M', undefined]);
    return g.model();
  });
  const expected = structuredClone(before) as { graph: { node: Json[]; output: Json[] } };
  expected.graph.node.push({ input: ['w'], output: ['probe'], name: 'probe', opType: 'Identity' });
  expected.graph.output.push({
    name: 'probe',
    type: { tensorType: { elemType: 1, shape: { dim: [{ dimParam: 'M' }, {}] } } },
  });
  expect(now).toEqual(expected);
});

/** A Constant node with one tensor, the fields of which are given as wire bytes. */
function constantOf(fill: (w: protobuf.Writer) => void): ReturnType<typeof attrTensor> {
  const tensor = new protobuf.Writer();
  fill(tensor);
  const wrap = (field: number, bytes: Uint8Array): Uint8Array =>
    new protobuf.Writer()
      .uint32(field * 8 + 2)
      .bytes(bytes)
      .finish();
  const attribute = Buffer.concat([wrap(1, Buffer.from('value')), wrap(5, tensor.finish()), Uint8Array.of(0xa0, 1, 4)]);
  const node = Buffer.concat([wrap(2, Buffer.from('c')), wrap(4, Buffer.from('Constant')), wrap(5, attribute)]);
  const model = Buffer.concat([Uint8Array.of(8, 8), wrap(7, wrap(1, node))]);
  expect(Buffer.compare(encodeModel(parseModel(model)), model)).toBe(0);
  return attrTensor(parseModel(model).graph.nodes[0]!, 'value');
}

test('typed data in every encoding', () => {
  const dims = (w: protobuf.Writer, n: number, type: number): protobuf.Writer =>
    w.uint32(8).int64(n).uint32(16).int32(type);
  // packed in two runs, and unpacked as old writers did
  const runs = constantOf((w) =>
    dims(w, 3, 1)
      .uint32(34)
      .bytes(Buffer.from(Float32Array.of(1, 2).buffer))
      .uint32(34)
      .bytes(Buffer.from(Float32Array.of(3).buffer)),
  );
  expect([...readNumbers(runs!)]).toEqual([1, 2, 3]);
  const loose = constantOf((w) => dims(w, 2, 1).uint32(37).float(1.5).uint32(37).float(-2));
  expect([...readNumbers(loose!)]).toEqual([1.5, -2]);
  const packedDims = constantOf((w) =>
    w.uint32(10).bytes(Uint8Array.of(2, 1)).uint32(16).int32(6).uint32(40).int32(-5).uint32(40).int32(7),
  );
  expect([packedDims!.dims, [...readNumbers(packedDims!)]]).toEqual([
    [2, 1],
    [-5, 7],
  ]);
  fc.assert(
    fc.property(
      fc.array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), { minLength: 1, maxLength: 20 }),
      (values) => {
        const t = constantOf((w) => dims(w, values.length, 7).uint32(58).int64s(values.map(String)));
        expect([...new BigInt64Array(t!.bytes!().slice().buffer)]).toEqual(values);
      },
    ),
    { seed: 7, numRuns: 200 },
  );
  const small: readonly (readonly [number, number, number])[] = [
    [2, 0, 255],
    [3, -128, 127],
    [4, 0, 65535],
    [5, -32768, 32767],
    [6, -(2 ** 31), 2 ** 31 - 1],
    [9, 0, 1],
  ];
  fc.assert(
    fc.property(
      fc.constantFrom(...small),
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 20 }),
      ([type, low, high], fractions) => {
        const values = fractions.map((f) => Math.round(low + f * (high - low)));
        const t = constantOf((w) => dims(w, values.length, type).uint32(42).int32s(values));
        expect([...readNumbers(t!)]).toEqual(values);
      },
    ),
    { seed: 7, numRuns: 200 },
  );
});

test('a message given in two parts is joined, as protobuf demands', () => {
  const part = (fill: (w: protobuf.Writer) => void): Uint8Array => {
    const w = new protobuf.Writer();
    fill(w);
    return new protobuf.Writer().uint32(58).bytes(w.finish()).finish();
  };
  const g = part((w) => w.uint32(18).string('joined'));
  const output = part((w) => w.uint32(98).bytes(new protobuf.Writer().uint32(10).string('o').finish()));
  const model = parseModel(Buffer.concat([Uint8Array.of(8, 8), g, output]));
  expect([model.graph.name, model.graph.outputs[0]!.name]).toEqual(['joined', 'o']);
  const again = parseModel(encodeModel({ ...model, producerName: 'me' }));
  expect([again.graph.name, again.graph.outputs[0]!.name, again.producerName]).toEqual(['joined', 'o', 'me']);
});

test('what an attribute list holds is read as it is', () => {
  expect(attrInts(read().graph.nodes[0]!, 'big')).toEqual([2 ** 63, -(2 ** 53), 4]);
  const g = graphBuilder();
  g.op('Op', [], { list: [] });
  expect(attrInts(parseModel(encodeModel(g.model())).graph.nodes[0]!, 'list')).toEqual([]);
});
