import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onnx } from 'onnx-proto';
import { expect, test } from 'vitest';
import {
  intsAttribute,
  withAttributes,
  type Attribute,
  type Graph,
  type Model,
  type ValueInfo,
} from '../src/ir/graph.js';
import { floatTensor, readFloats, type Tensor } from '../src/ir/tensor.js';
import { parseModel, parseTensor, readModel, sha256OfFile } from '../src/onnx/read.js';
import { encodeModel, encodeTensor, withRecipe, writeModel } from '../src/onnx/write.js';
import { conformanceCases, unpackShared } from './conformance.js';
import { describeShared, sharedPath } from './shared.js';

const resnet20 = (): Model => readModel(sharedPath('models', 'cifar10-resnet20.onnx'));

/** The model with new objects at every level, so that its fields are encoded anew and not copied as their original bytes. */
function rebuilt(model: Model): Model {
  return { ...model, opsets: new Map(model.opsets), graph: rebuiltGraph(model.graph) };
}

function rebuiltGraph(graph: Graph): Graph {
  const nodes = graph.nodes.map((n) => ({
    ...n,
    inputs: [...n.inputs],
    attributes: new Map([...n.attributes].map(([k, a]) => [k, rebuiltAttribute(a)])),
  }));
  const rebuiltTensor = (t: Tensor): Tensor => ({ ...t, dims: [...t.dims] });
  const initializers = new Map([...graph.initializers].map(([k, t]) => [k, rebuiltTensor(t)]));
  const rebuiltInfo = (v: ValueInfo): ValueInfo =>
    v.type === undefined || v.type.kind === 'opaque' ? v : { ...v, type: { ...v.type } };
  const valueInfo = new Map([...graph.valueInfo].map(([k, v]) => [k, rebuiltInfo(v)]));
  const [inputs, outputs] = [graph.inputs.map(rebuiltInfo), graph.outputs.map(rebuiltInfo)];
  return { ...graph, nodes, initializers, valueInfo, inputs, outputs };
}

function rebuiltAttribute(a: Attribute): Attribute {
  switch (a.kind) {
    case 'ints':
    case 'floats':
      return { ...a, value: [...a.value] };
    case 'strings':
      return { ...a, value: [...a.value] };
    case 'tensor':
      return { ...a, value: { ...a.value, dims: [...a.value.dims] } };
    case 'graph':
      return { ...a, value: rebuiltGraph(a.value) };
    default:
      return { ...a };
  }
}

describeShared('conformance cases', ['onnx-node-tests.tar.xz'], () => {
  test('unmodified models are written back byte for byte, edited ones field for field', () => {
    const cases = conformanceCases();
    const differing = (write: (m: Model) => Model): string[] =>
      cases.filter((c) => Buffer.compare(encodeModel(write(c.model())), c.modelBytes()) !== 0).map((c) => c.name);
    expect(cases.length).toBe(1910);
    expect(differing((m) => m)).toEqual([]);
    expect(differing((m) => ({ ...m, graph: { ...m.graph } }))).toEqual([]);
    expect(differing(rebuilt)).toEqual([]);
  });
});

describeShared('shared models', ['models', 'graphs/graphs.tar.xz'], () => {
  const folders = (): string[] => {
    const graphs = unpackShared('graphs', 'graphs.tar.xz');
    const inner = readdirSync(graphs, { withFileTypes: true }).filter((e) => e.isDirectory());
    return [sharedPath('models'), sharedPath('models', 'light'), graphs, ...inner.map((e) => join(graphs, e.name))];
  };
  const files = (): string[] =>
    folders().flatMap((d) =>
      readdirSync(d)
        .filter((f) => f.endsWith('.onnx'))
        .map((f) => join(d, f)),
    );

  test('are written back byte for byte, rebuilt ones too', () => {
    expect(files().length).toBeGreaterThan(860);
    // every graph as it is; to save time one in twelve rebuilt, and all models
    const differing = files().filter((path, i) => {
      const bytes = readFileSync(path);
      const model = parseModel(bytes);
      const rebuild = i < 40 || i % 12 === 0;
      return [model, ...(rebuild ? [rebuilt(model)] : [])].some((m) => Buffer.compare(encodeModel(m), bytes) !== 0);
    });
    expect(differing).toEqual([]);
  });

  test('an edit changes what it says and nothing else, as an independent reader sees', () => {
    const path = sharedPath('models', 'cifar10-resnet20.onnx');
    const model = readModel(path);
    const at = model.graph.nodes.findIndex((n) => n.opType === 'Conv');
    const node = withAttributes(model.graph.nodes[at]!, { strides: intsAttribute('strides', [2, 2]) });
    const weight = floatTensor(node.inputs[1]!, [1, 1, 1, 2], Float32Array.of(1, 2));
    const edited: Model = {
      ...model,
      graph: {
        ...model.graph,
        nodes: model.graph.nodes.with(at, node),
        initializers: new Map(model.graph.initializers).set(weight.name, weight),
      },
    };
    // onnx-proto knows IR 8 only: another schema, another protobufjs
    const decode = (bytes: Uint8Array): onnx.ModelProto => onnx.ModelProto.decode(bytes);
    const [before, after] = [decode(readFileSync(path)), decode(encodeModel(edited))];
    const json = (m: object): string => JSON.stringify(m);
    const graphs = [before.graph!, after.graph!] as const;
    const changed = graphs[1].node!.flatMap((n, i) => (json(n) === json(graphs[0].node![i]!) ? [] : [i]));
    expect(changed).toEqual([at]);
    expect(graphs[1].node![at]!.attribute!.find((a) => a.name === 'strides')!.ints!.map(Number)).toEqual([2, 2]);
    const weights = graphs[1].initializer!.flatMap((t, i) => (json(t) === json(graphs[0].initializer![i]!) ? [] : [t]));
    expect(weights.map((t) => t.name)).toEqual([weight.name]);
    expect(weights[0]!.dims!.map(Number)).toEqual([1, 1, 1, 2]);
    expect(Buffer.compare(weights[0]!.rawData!, weight.bytes!())).toBe(0);
    const rest = (m: onnx.ModelProto): string =>
      JSON.stringify(m, (key, value: unknown) => (key === 'node' || key === 'initializer' ? null : value));
    expect(rest(after)).toBe(rest(before));
  });

  test('a recipe is added to metadata_props and touches nothing else', async () => {
    const path = sharedPath('models', 'cifar10-resnet20.onnx');
    const recipe = { genome: '[]', sourceSha256: await sha256OfFile(path), seed: '7', version: '0.1.0' };
    const model = resnet20();
    const out = join(mkdtempSync(join(tmpdir(), 'pare-')), 'a.onnx');
    expect(writeModel(withRecipe(model, recipe), out)).toEqual([out]);
    const back = readModel(out);
    expect(back.metadata.get('pare.source_sha256')).toMatch(/^[0-9a-f]{64}$/);
    expect(back.metadata.get('pare.recipe')).toBe('[]');
    expect(back.producerName).toBe(model.producerName);
    expect(Buffer.compare(encodeModel({ ...back, metadata: model.metadata }), encodeModel(model))).toBe(0);
  });
});

test('a tensor comes back as it was', () => {
  const t = floatTensor('t', [2, 2], Float32Array.of(1, -0, NaN, 4));
  const back = parseTensor(encodeTensor(t));
  expect(back.dims).toEqual([2, 2]);
  expect(readFloats(back)).toEqual(Float32Array.of(1, -0, NaN, 4));
});
