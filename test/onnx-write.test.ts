import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onnx } from 'onnx-proto';
import { expect, test } from 'vitest';
import { intsAttribute, withAttributes, type Model } from '../src/ir/graph.js';
import { floatTensor, readFloats } from '../src/ir/tensor.js';
import { parseModel, parseTensor, readModel, sha256OfFile } from '../src/onnx/read.js';
import { encodeModel, encodeTensor, withRecipe, writeModel } from '../src/onnx/write.js';
import { conformanceCases, unpackShared } from './conformance.js';
import { describeShared, sharedPath } from './shared.js';

const resnet20 = (): Model => readModel(sharedPath('models', 'cifar10-resnet20.onnx'));

/** The model with new objects at every level, so that nothing is written as its original bytes. */
function rebuilt(model: Model): Model {
  const { graph } = model;
  const nodes = graph.nodes.map((n) => ({
    ...n,
    inputs: [...n.inputs],
    attributes: new Map([...n.attributes].map(([k, a]) => [k, { ...a }])),
  }));
  const initializers = new Map([...graph.initializers].map(([k, t]) => [k, { ...t, dims: [...t.dims] }]));
  return { ...model, opsets: new Map(model.opsets), graph: { ...graph, nodes, initializers } };
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
    const differing = files().filter((path) => {
      const bytes = readFileSync(path);
      const model = parseModel(bytes);
      return (
        Buffer.compare(encodeModel(model), bytes) !== 0 || Buffer.compare(encodeModel(rebuilt(model)), bytes) !== 0
      );
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
