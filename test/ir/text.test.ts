import { expect, test } from 'vitest';
import { checkModel } from '../../src/ir/check.js';
import { attrInts } from '../../src/ir/graph.js';
import { hasData, readNumbers } from '../../src/ir/tensor.js';
import { parseGraph, parseModelText, printGraph, printModel } from '../../src/ir/text.js';
import { parseModel } from '../../src/onnx/read.js';
import { encodeModel } from '../../src/onnx/write.js';
import { PareError } from '../../src/errors.js';
import { conformanceCases } from '../conformance.js';
import { describeShared } from '../shared.js';

const example = `
  <ir_version: 8, opset_import: ["" : 17, "local" : 1], producer_name: "a \\"b\\"">
  agraph (float[N,3,32,32] x) => (float[N,16,32,32] y, int64 n, seq(float[?]) s)
  <float[16,3,3,3] w, float[2] b = {1.0, -2e3}, int64[1] "a/b.c" = {9007199254740993}, float[N,16,32,32] t>
  {
    # a comment
    ["conv 1"] t = Conv <pads = [1,1,1,1], auto_pad = "NOTSET"> (x, w)
    u = local.scaled <alpha = 1.0> (t)
    y = If (b) <then_branch = g () => (float[N] v) { v = Neg(u) }, else_branch = h () => (v2) { v2 = Clip(u, , b) }>
    n = Constant <value = int64 {7}> ()
    s = SequenceConstruct (b)
  }
  <domain: "local", opset_import: ["" : 17]> scaled <alpha, beta: float = 2> (i) => (o)
  { c = Constant <value_float = @alpha> ()
    o = Mul (i, c) }`.replace('(v2)', '(float[N] v2)');

test('a model in the syntax of the ONNX project', () => {
  const model = parseModelText(example);
  checkModel(model, { placeholders: true });
  const { graph } = model;
  expect(model.producerName).toBe('a "b"');
  expect([...model.opsets]).toEqual([
    ['', 17],
    ['local', 1],
  ]);
  expect(graph.nodes.map((n) => `${n.domain}:${n.opType}`)).toEqual([
    ':Conv',
    'local:scaled',
    ':If',
    ':Constant',
    ':SequenceConstruct',
  ]);
  expect(graph.nodes[0]!.name).toBe('conv 1');
  expect(attrInts(graph.nodes[0]!, 'pads')).toEqual([1, 1, 1, 1]);
  expect(hasData(graph.initializers.get('w')!)).toBe(false);
  expect([...readNumbers(graph.initializers.get('b')!)]).toEqual([1, -2000]);
  expect([...graph.valueInfo.keys()]).toEqual(['t']);
  expect(graph.outputs[1]!.type).toEqual({ kind: 'tensor', elemType: 7, shape: [] });
  expect(graph.nodes[2]!.attributes.get('else_branch')).toMatchObject({
    value: { nodes: [{ inputs: ['u', '', 'b'] }] },
  });
  expect(model.functions[0]).toMatchObject({ attributes: ['alpha'], name: 'scaled', domain: 'local' });
  expect(model.functions[0]!.attributeDefaults.get('beta')).toMatchObject({ kind: 'float', value: 2 });
});

test('printing and parsing are inverse, through protobuf too', () => {
  const model = parseModelText(example);
  const text = printModel(model);
  expect(printModel(parseModelText(text))).toBe(text);
  expect(printModel(parseModel(encodeModel(model)))).toBe(text);
  expect(printGraph(parseGraph(printGraph(model.graph)))).toBe(printGraph(model.graph));
});

test('mistakes are named with their line', () => {
  expect(() => parseGraph('g (float[2] x) => (float[2] y) {\n y = (x) }')).toThrow(
    'ONNX text, line 2: expected a name, found "("',
  );
  expect(() => parseGraph('g (float[2] x) => (flat[2] y) {}')).toThrow('(flat is none)');
  expect(() => parseGraph('g (float[2] x) => (float[2] x) <float[2] w = {1.0}> {}')).toThrow(PareError);
  expect(() => parseGraph('g () => () <float[N] w> {}')).toThrow(PareError);
  expect(() => parseGraph('g () => () {')).toThrow('found the end');
});

describeShared('conformance cases', ['onnx-node-tests.tar.xz'], () => {
  test('print, parse and print the same', () => {
    const differing = conformanceCases().filter((c) => {
      const model = c.model();
      const text = printModel(model, { maxElements: 64 });
      // attributes of kinds that are only kept (types, sparse tensors) cannot be parsed
      return !text.includes(' = ?') && printModel(parseModelText(text), { maxElements: 64 }) !== text;
    });
    expect(differing.map((c) => c.name)).toEqual([]);
  });
});
