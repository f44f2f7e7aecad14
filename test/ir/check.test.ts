import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { extendModel, graphBuilder } from '../../src/ir/builder.js';
import { checkModel, type CheckOptions } from '../../src/ir/check.js';
import type { FunctionDef, Graph, Model, Node } from '../../src/ir/graph.js';
import { DataType, floatTensor } from '../../src/ir/tensor.js';
import { parseModel, readModel } from '../../src/onnx/read.js';
import { conformanceCases, unpackShared } from '../conformance.js';
import { describeShared, sharedPath } from '../shared.js';
import { PareError } from '../../src/errors.js';

function problem(model: Model, options?: CheckOptions): string {
  try {
    checkModel(model, options);
    return '';
  } catch (error) {
    if (error instanceof PareError) return error.message;
    throw error;
  }
}

/** x -> Relu -> a -> Neg -> b */
function chain(): Model {
  const g = graphBuilder();
  const a = g.op('Relu', [g.input('x', DataType.FLOAT, [2])], {}, { outputs: ['a'] });
  g.output(g.op('Neg', [a], {}, { outputs: ['b'] }), DataType.FLOAT, [2]);
  return g.model();
}

function edit(model: Model, graph: Partial<Graph>): Model {
  return { ...model, graph: { ...model.graph, ...graph } };
}

function node(opType: string, inputs: readonly string[], outputs: readonly string[]): Node {
  return { name: '', opType, domain: '', inputs, outputs, attributes: new Map() };
}

const withBody = (body: Graph): Model => {
  const model = chain();
  const branch: Node = {
    ...node('If', ['a'], ['c']),
    attributes: new Map([['then_branch', { name: 'then_branch', kind: 'graph', value: body }]]),
  };
  return edit(model, { nodes: [...model.graph.nodes, branch] });
};

const body = (nodes: readonly Node[], output: string): Graph => ({
  ...graphBuilder({ name: 'body' }).graph(),
  nodes,
  outputs: [{ name: output }],
});

test('each rule has its sentence', () => {
  const model = chain();
  const { nodes } = model.graph;
  expect(problem(model)).toBe('');
  expect(problem(edit(model, { nodes: nodes.toReversed() }))).toBe(
    'Neg "b" uses "a" before Relu "a" makes it: nodes must be in topological order',
  );
  expect(problem(edit(model, { nodes: [{ ...nodes[0]!, inputs: ['b'] }, nodes[1]!] }))).toMatch(/cycle/);
  expect(problem(edit(model, { nodes: [{ ...nodes[0]!, inputs: ['a'] }, nodes[1]!] }))).toMatch(/cycle/);
  expect(problem(edit(model, { nodes: [nodes[1]!] }))).toBe('Neg "b" uses "a", which nothing makes');
  expect(problem(edit(model, { nodes: [nodes[0]!] }))).toBe('graph "graph": nothing makes its output "b"');
  expect(problem(edit(model, { nodes: [...nodes, nodes[1]!] }))).toMatch(/"b" is made twice/);
  expect(problem(edit(model, { inputs: [...model.graph.inputs, ...model.graph.inputs] }))).toMatch(/"x" is made twice/);
  expect(problem(edit(model, { outputs: [] }))).toMatch(/no outputs/);
  expect(problem({ ...model, opsets: new Map() })).toMatch(/domain "ai.onnx", for which opset_import/);
  expect(problem({ ...model, opsets: new Map(), irVersion: 2 })).toBe('');
  const weight = { name: 'w', dataType: DataType.FLOAT, dims: [2] };
  expect(problem(edit(model, { initializers: new Map([['w', weight]]) }))).toMatch(/"w" has no data/);
  expect(problem(edit(model, { initializers: new Map([['w', weight]]) }), { placeholders: true })).toBe('');
  const short = floatTensor('w', [3], new Float32Array(2));
  expect(problem(edit(model, { initializers: new Map([['w', short]]) }), { data: true })).toMatch(
    /8 bytes of data, .* need 12/,
  );
  expect(problem(edit(model, { initializers: new Map([['w', { ...short, dims: [-1] }]]) }))).toMatch(/none negative/);
});

test('subgraphs may capture what was made before, and may not shadow it', () => {
  expect(problem(withBody(body([node('Neg', ['a'], ['inner'])], 'inner')))).toBe('');
  expect(problem(withBody(body([], 'b')))).toBe('');
  expect(problem(withBody(body([node('Neg', ['later'], ['inner'])], 'inner')))).toMatch(/"later", which nothing makes/);
  expect(problem(withBody(body([node('Neg', ['x'], ['a'])], 'a')))).toMatch(/like a value of the graph around it/);
});

test('nesting has a limit and functions must not call themselves', () => {
  let graph = body([], 'a');
  for (let i = 0; i < 40; i++) {
    const branch: Node = {
      ...node('If', ['a'], [`o${i}`]),
      attributes: new Map([['then_branch', { name: 'then_branch', kind: 'graph', value: graph }]]),
    };
    graph = body([branch], `o${i}`);
  }
  expect(problem(withBody(graph))).toMatch(/nested more than 33 deep/);
  const f = (name: string, callee: string): FunctionDef => ({
    name,
    domain: 'me',
    overload: '',
    inputs: ['i'],
    outputs: ['o'],
    attributes: [],
    attributeDefaults: new Map(),
    nodes: [{ ...node(callee, ['i'], ['o']), domain: 'me' }],
    opsets: new Map([['me', 1]]),
  });
  const chained = (n: number): FunctionDef[] => Array.from({ length: n }, (_, i) => f(`f${i}`, `f${i + 1}`));
  expect(problem({ ...chain(), functions: chained(20_000) })).toBe('');
  expect(problem({ ...chain(), functions: [...chained(20_000), f('f20000', 'f0')] })).toMatch(/calls itself/);
  expect(problem({ ...chain(), functions: [f('f', 'g'), f('f', 'g')] })).toMatch(/defined twice/);
  expect(problem({ ...chain(), functions: [{ ...f('f', 'g'), outputs: ['p'] }] })).toMatch(
    /nothing makes its output "p"/,
  );
});

test('the builder refuses what the check would', () => {
  const g = graphBuilder();
  expect(() => g.op('Relu', ['nowhere'])).toThrow(PareError);
  g.input('x', DataType.FLOAT);
  expect(() => g.input('x', DataType.FLOAT)).toThrow(PareError);
  expect(() => g.output('y')).toThrow(PareError);
});

describeShared('public files', ['models', 'onnx-node-tests.tar.xz', 'graphs/graphs.tar.xz'], () => {
  test('all are valid, and stay so with a probe on every node', () => {
    const folder = unpackShared('graphs', 'graphs.tar.xz');
    const graphs = readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((f) => f.endsWith('.onnx'))
      .filter((_, i) => i % 8 === 0);
    const models = ['models', 'models/light'].flatMap((d) =>
      readdirSync(sharedPath(d))
        .filter((f) => f.endsWith('.onnx'))
        .map((f) => sharedPath(d, f)),
    );
    const problems = [
      ...conformanceCases().map((c) => `${c.name}: ${problem(c.model(), { data: true })}`),
      ...models.map((path) => `${path}: ${problem(probed(readModel(path)), { data: true })}`),
      ...graphs.map((f) => `${f}: ${problem(parseModel(readFileSync(join(folder, f))), { placeholders: true })}`),
    ];
    expect(problems.length).toBeGreaterThan(2000);
    expect(problems.filter((p) => !p.endsWith(': '))).toEqual([]);
  });
});

function probed(model: Model): Model {
  const g = extendModel(model);
  for (const n of model.graph.nodes) g.output(g.op('Identity', [n.outputs[0]!], {}, { name: 'probe' }));
  return g.model();
}
