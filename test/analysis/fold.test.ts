// Constant folding: outputs in onnxruntime stay bit for bit, weights are not touched, and what may change is left alone.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { foldConstants } from '../../src/analysis/fold.js';
import type { Attribute, Dim, Model, Node } from '../../src/ir/graph.js';
import { DataType, floatTensor, int64Tensor, readNumbers, type Tensor } from '../../src/ir/tensor.js';
import { encodeModel } from '../../src/onnx/write.js';
import { parseModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatData, floatsOf, runtimeTensor, withSession, type RuntimeTensor } from '../../src/runtime/runtime.js';
import { conformanceCases } from '../conformance.js';
import { describeShared, sharedPath } from '../shared.js';

const runtime = ortRuntime();
afterAll(() => runtime.close());

const fold = (model: Model) => foldConstants(model, standardOps);
const run = (model: Model, feeds: ReadonlyMap<string, RuntimeTensor>) =>
  withSession(runtime, encodeModel(model), { optimization: 'disabled' }, (session) => session.run(feeds));

/** Attributes of small hand-made nodes. */
function attributes(given: Readonly<Record<string, number | readonly number[]>>): Map<string, Attribute> {
  return new Map(
    Object.entries(given).map(([name, value]) => [
      name,
      typeof value === 'number' ? { name, kind: 'int', value } : { name, kind: 'ints', value },
    ]),
  );
}

function node(opType: string, inputs: readonly string[], output: string, given = {}): Node {
  return { name: output, opType, domain: '', inputs, outputs: [output], attributes: attributes(given) };
}

/** Input x of the given dims (FLOAT), output y. */
function modelOf(nodes: readonly Node[], tensors: readonly Tensor[], dims: readonly Dim[], irVersion = 8): Model {
  return {
    irVersion,
    opsets: new Map([['', 13]]),
    producerName: '',
    producerVersion: '',
    metadata: new Map(),
    functions: [],
    graph: {
      name: 'g',
      nodes,
      initializers: new Map(tensors.map((t) => [t.name, t])),
      sparseInitializers: new Map(),
      inputs: [{ name: 'x', type: { kind: 'tensor', elemType: DataType.FLOAT, shape: dims } }],
      outputs: [{ name: 'y', type: { kind: 'tensor', elemType: DataType.FLOAT } }],
      valueInfo: new Map(),
    },
  };
}

/** One step of a chain over a weight: the node, its constants, and the dims behind it. */
interface Step {
  readonly node: Node;
  readonly constants: readonly Tensor[];
  readonly dims: readonly number[];
}
type MakeStep = (input: string, output: string, dims: readonly number[], pick: (n: number) => number) => Step;

const STEPS: readonly MakeStep[] = [
  (i, o, dims) => ({ node: node('Identity', [i], o), constants: [], dims }),
  (i, o, dims, pick) => {
    const shift = pick(dims.length);
    const perm = dims.map((_, k) => (k + shift) % dims.length);
    return { node: node('Transpose', [i], o, { perm }), constants: [], dims: perm.map((p) => dims[p]!) };
  },
  (i, o, dims) => {
    const flat = dims.reduce((a, b) => a * b, 1);
    return { node: node('Reshape', [i, `${o}.s`], o), constants: [int64Tensor(`${o}.s`, [1, -1])], dims: [1, flat] };
  },
  (i, o, dims, pick) => {
    const axis = pick(dims.length);
    const back = pick(2) === 1;
    const ends = back ? [-dims[axis]! - 1] : [dims[axis]!];
    const constants = [
      int64Tensor(`${o}.a`, back ? [-1] : [pick(dims[axis]!)]),
      int64Tensor(`${o}.b`, ends),
      int64Tensor(`${o}.c`, [axis]),
      int64Tensor(`${o}.d`, [back ? -1 : 1]),
    ];
    const start = back ? 0 : Number(readNumbers(constants[0]!)[0]);
    return {
      node: node('Slice', [i, ...constants.map((t) => t.name)], o),
      constants,
      dims: dims.map((d, k) => (k === axis ? d - start : d)),
    };
  },
  (i, o, dims, pick) => {
    const axis = pick(dims.length);
    const more = dims.map((d, k) => (k === axis ? 2 * d : d));
    return { node: node('Concat', [i, i], o, { axis }), constants: [], dims: more };
  },
  (i, o, dims) => ({
    node: node('Unsqueeze', [i, `${o}.u`], o),
    constants: [int64Tensor(`${o}.u`, [-1])],
    dims: [...dims, 1],
  }),
];

test('chains over a weight fold away unread, and the outputs stay bit for bit', async () => {
  const chains = fc.tuple(
    fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 3 }),
    fc.array(fc.tuple(fc.nat(STEPS.length - 1), fc.nat(1000)), { minLength: 1, maxLength: 5 }),
  );
  await fc.assert(
    fc.asyncProperty(chains, async ([dims, picks]) => {
      const n = dims.reduce((a, b) => a * b, 1);
      const weight = floatTensor(
        'w',
        dims,
        Float32Array.from({ length: n }, (_, i) => Math.sin(i + 1)),
      );
      let read = 0;
      const watched: Tensor = {
        ...weight,
        bytes: () => {
          read++;
          return weight.bytes!();
        },
      };
      const nodes: Node[] = [];
      const constants: Tensor[] = [watched];
      let last = { name: 'w', dims: dims as readonly number[] };
      picks.forEach(([which, seed], k) => {
        const step = STEPS[which]!(last.name, `t${k}`, last.dims, (m) => seed % m);
        nodes.push(step.node);
        constants.push(...step.constants);
        last = { name: `t${k}`, dims: step.dims };
      });
      nodes.push(node('Mul', ['x', last.name], 'y'));
      const model = modelOf(nodes, constants, [1]);
      read = 0;
      const folded = fold(model);
      expect(read).toBe(0);
      expect(folded.graph.nodes.map((k) => k.opType)).toEqual(['Mul']);
      expect([...folded.graph.initializers.keys()]).toEqual([last.name]);
      const feeds = new Map([['x', floatData([1], Float32Array.of(1.5))]]);
      expect((await run(folded, feeds)).get('y')).toEqual((await run(model, feeds)).get('y'));
    }),
    { numRuns: 40 },
  );
});

/** x -> Reshape to [dim 0 of x, -1], the way PyTorch writes a flatten. */
function flattenLikePyTorch(dims: readonly Dim[], irVersion = 8): Model {
  const nodes = [
    node('Shape', ['x'], 's'),
    node('Gather', ['s', 'zero'], 'g', { axis: 0 }),
    node('Unsqueeze', ['g', 'first'], 'u'),
    node('Concat', ['u', 'rest'], 't', { axis: 0 }),
    node('Reshape', ['x', 't'], 'y'),
  ];
  const constants = [int64Tensor('zero', [0], []), int64Tensor('first', [0]), int64Tensor('rest', [-1])];
  return modelOf(nodes, constants, dims, irVersion);
}

test('a chain over a fixed shape becomes one constant; over a dynamic dim it stays', () => {
  const folded = fold(flattenLikePyTorch([2, 3, 4]));
  expect(folded.graph.nodes.map((n) => n.opType)).toEqual(['Reshape']);
  expect([...readNumbers(folded.graph.initializers.get('t')!)]).toEqual([2, -1]);
  const dynamic = flattenLikePyTorch(['batch', 3, 4]);
  expect(fold(dynamic)).toBe(dynamic);
});

test('before IR 4 a folded node becomes a Constant, since every initializer would be an input', () => {
  const folded = fold(flattenLikePyTorch([2, 3, 4], 3));
  expect(folded.graph.nodes.map((n) => n.opType)).toEqual(['Constant', 'Reshape']);
  expect(folded.graph.initializers.size).toBe(0);
});

test('an initializer that is an input may be overridden: what depends on it stays', () => {
  const w = floatTensor('w', [2], Float32Array.of(1, 2));
  const base = modelOf([node('Identity', ['w'], 't'), node('Add', ['x', 't'], 'y')], [w], [2]);
  const input = { name: 'w', type: { kind: 'tensor', elemType: DataType.FLOAT, shape: [2] } as const };
  const model = { ...base, graph: { ...base.graph, inputs: [...base.graph.inputs, input] } };
  expect(fold(model)).toBe(model);
  expect(fold(base).graph.nodes.map((n) => n.opType)).toEqual(['Add']);
});

test('a node that makes a graph output stays, and a placeholder stays a placeholder', () => {
  const w: Tensor = { name: 'w', dataType: DataType.FLOAT, dims: [2, 3] };
  const output = modelOf([node('Transpose', ['w'], 'y')], [w], [1]);
  expect(fold(output).graph.nodes.map((n) => n.opType)).toEqual(['Transpose']);
  const inner = fold(modelOf([node('Transpose', ['w'], 't'), node('Add', ['x', 't'], 'y')], [w], [1]));
  expect(inner.graph.initializers.get('t')).toEqual({ name: 't', dataType: DataType.FLOAT, dims: [3, 2] });
});

test('a large weight that is used elsewhere is not stored twice', () => {
  const w: Tensor = { name: 'w', dataType: DataType.FLOAT, dims: [300, 300] };
  const twice = [node('Transpose', ['w'], 't'), node('MatMul', ['w', 't'], 'm'), node('Add', ['x', 'm'], 'y')];
  const tied = modelOf(twice, [w], [1]);
  expect(fold(tied)).toBe(tied);
});

describeShared('folding real models', ['models', 'onnx-node-tests.tar.xz'], () => {
  test.each([
    ['cifar10-resnet20.onnx', 80],
    ['cifar10-mobilenetv2-w0.5.onnx', 153],
    ['ultraface-rfb-320.onnx', 164],
    ['vit-cifar10-ibp.onnx', 150],
    ['mnist-cntk.onnx', 12],
  ])('%s: fewer nodes, equal outputs', async (name, atMost) => {
    const model = parseModel(readFileSync(sharedPath('models', name)), { name });
    const folded = fold(model);
    expect(folded.graph.nodes.length).toBeLessThanOrEqual(atMost);
    const input = model.graph.inputs.find((v) => !model.graph.initializers.has(v.name))!;
    const shape = input.type?.kind === 'tensor' ? (input.type.shape ?? []) : [];
    const dims = shape.map((d) => (typeof d === 'number' && d > 0 ? d : 2));
    const n = dims.reduce((a, b) => a * b, 1);
    const x = floatData(
      dims,
      Float32Array.from({ length: n }, (_, i) => Math.sin(i)),
    );
    const feeds = new Map([[input.name, x]]);
    const [before, after] = [await run(model, feeds), await run(folded, feeds)];
    for (const [output, y] of before) {
      const was = floatsOf(y);
      // a weight that is constant from the start is packed for another kernel: its sums may round otherwise
      const largest = was.reduce((m, v) => Math.max(m, Math.abs(v)), 1);
      const apart = floatsOf(after.get(output)!).map((v, i) => Math.abs(v - was[i]!));
      expect(Math.max(...apart) / largest).toBeLessThan(1e-6);
    }
  });

  test('operator cases that fold give the outputs they gave', async () => {
    // the cases written out as functions hold long chains; every sixth keeps the test short
    const cases = conformanceCases().filter((c, i) => i % 6 === 0 && c.name.includes('expanded'));
    let compared = 0;
    for (const c of cases) {
      const model = c.model();
      const folded = fold(model);
      const inputs = [...c.sets[0]!.inputs()];
      if (folded === model || (model.opsets.get('') ?? 1) > 25) continue;
      const feeds = new Map(
        inputs.flatMap(([name, v]) => (v.kind === 'tensor' ? [[name, runtimeTensor(v.tensor)] as const] : [])),
      );
      expect([c.name, await run(folded, feeds)]).toEqual([c.name, await run(model, feeds)]);
      compared++;
    }
    expect(compared).toBeGreaterThan(30);
  });
});
