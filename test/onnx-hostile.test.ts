import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { expect, test } from 'vitest';
import { checkModel } from '../src/ir/check.js';
import type { Graph } from '../src/ir/graph.js';
import { printModel } from '../src/ir/text.js';
import { subgraphs } from '../src/ir/walk.js';
import { parseModel } from '../src/onnx/read.js';
import { encodeModel } from '../src/onnx/write.js';
import { PareError } from '../src/errors.js';
import { conformanceCases } from './conformance.js';
import { describeShared, sharedPath } from './shared.js';

/** Everything one can do with bytes; the message of the PareError it ends with, or ''. Any other error fails the test. */
function outcome(bytes: Uint8Array): string {
  const attempt = (use: () => void): string => {
    try {
      use();
      return '';
    } catch (error) {
      if (error instanceof PareError) return error.message;
      throw error;
    }
  };
  return attempt(() => {
    const model = parseModel(bytes);
    touch(model.graph);
    const checked = attempt(() => checkModel(model, { data: true }));
    printModel(model);
    // what was read can be written, and reads as the same again
    const graph = { ...model.graph, nodes: model.graph.nodes.map((n) => ({ ...n, inputs: [...n.inputs] })) };
    const again = parseModel(encodeModel({ ...model, metadata: new Map(model.metadata), graph }));
    expect(printModel(again)).toBe(printModel(model));
    expect(attempt(() => checkModel(again, { data: true }))).toBe(checked);
  });
}

function touch(graph: Graph): void {
  for (const t of graph.initializers.values()) t.bytes?.();
  for (const node of graph.nodes) for (const g of subgraphs(node)) touch(g);
}

describeShared('damaged files', ['onnx-node-tests.tar.xz', 'models'], () => {
  test('end in a model or in a sentence, whatever byte is damaged', () => {
    const names = [
      'test_if',
      'test_loop11',
      'test_sequence_map_identity_1_sequence',
      'test_constant',
      'test_gelu_default_1_expanded',
      'test_string_concat',
    ];
    const cases = conformanceCases().filter((c) => names.some((n) => c.name === `node/${n}`));
    expect(cases.length).toBe(names.length);
    const files = [...cases.map((c) => c.modelBytes()), readFileSync(sharedPath('models', 'mnist-cntk.onnx'))];
    const damage = fc.record({
      file: fc.constantFrom(...files),
      flips: fc.array(
        fc.tuple(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), fc.integer({ min: 0, max: 255 })),
        { maxLength: 8 },
      ),
      keep: fc.oneof(fc.constant(1), fc.double({ min: 0, max: 1, noNaN: true })),
    });
    fc.assert(
      fc.property(damage, ({ file, flips, keep }) => {
        const bytes = Uint8Array.from(file.subarray(0, Math.ceil(file.length * keep)));
        for (const [at, value] of flips) bytes[Math.floor(at * bytes.length)] = value;
        outcome(bytes);
      }),
      { seed: 7, numRuns: 1500 },
    );
  });

  test('every truncation of a small model, and every value of every byte of its start', () => {
    const [file] = conformanceCases()
      .filter((c) => c.name === 'node/test_if')
      .map((c) => c.modelBytes());
    for (let n = 0; n < file!.length; n++) outcome(file!.subarray(0, n));
    for (let at = 0; at < 24; at++) {
      for (let value = 0; value < 256; value++) {
        const bytes = Uint8Array.from(file!);
        bytes[at] = value;
        outcome(bytes);
      }
    }
  });
});

test('arbitrary bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(outcome(bytes)).not.toBe('');
    }),
    { seed: 7, numRuns: 1000 },
  );
  expect(outcome(Buffer.from('{"ir_version": 8}'))).not.toBe('');
  expect(outcome(new Uint8Array(0))).toMatch(/is empty \(0 bytes\)/);
});

type W = protobuf.Writer;
const bytesField = (w: W, field: number, bytes: Uint8Array): W => w.uint32(field * 8 + 2).bytes(bytes);
type Field = readonly [number, Uint8Array | string | number];
const message = (...fields: readonly Field[]): Uint8Array => {
  const w = new protobuf.Writer();
  for (const [field, value] of fields) {
    if (typeof value === 'number') w.uint32(field * 8).int64(value);
    else bytesField(w, field, typeof value === 'string' ? Buffer.from(value) : value);
  }
  return w.finish();
};
const modelOf = (graph: Uint8Array): Uint8Array => message([1, 8], [7, graph], [8, message([2, 17])]);
const withTensor = (...fields: readonly Field[]): Uint8Array => modelOf(message([5, message(...fields, [8, 'w'])]));

test('dims and data that cannot be', () => {
  expect(outcome(withTensor([1, -1], [2, 1]))).toMatch(/"w": dims \[-1\] hold a negative length/);
  expect(outcome(withTensor([1, 2 ** 40], [1, 2 ** 40], [2, 1]))).toMatch(/more elements than any file holds/);
  expect(outcome(withTensor([1, -(2 ** 63)], [2, 1]))).toMatch(/negative/);
  expect(outcome(withTensor([1, new Uint8Array(300)], [2, 1]))).toMatch(/has 300 dimensions/);
  expect(outcome(withTensor([1, 3], [2, 1], [9, new Uint8Array(8)]))).toMatch(/"w": 8 bytes of data, .* need 12/);
  expect(outcome(withTensor([1, 3], [2, 7], [7, Uint8Array.of(1, 2)]))).toMatch(/16 bytes of data, .* need 24/);
  expect(outcome(withTensor([1, 3], [2, 8], [6, 'a']))).toMatch(/1 strings, but dims \[3\]/);
  expect(outcome(modelOf(message([5, message([8, 'w'])], [5, message([8, 'w'])])))).toMatch(
    /two initializers are called "w"/,
  );
  expect(outcome(message([1, 0], [7, message()]))).toMatch(/ir_version is 0/);
});

test('nesting ends in a sentence', () => {
  let graph = message([2, 'inner']);
  for (let i = 0; i < 40; i++) graph = message([1, message([4, 'If'], [5, message([1, 'b'], [6, graph], [20, 5])])]);
  expect(outcome(modelOf(graph))).toMatch(/nests more than 100 messages/);
  const groups = new Uint8Array(100_000).fill(0x3b); // start of group 7, again and again
  expect(outcome(groups)).toMatch(/not a valid ONNX file/);
});

test.each([
  ['empty nodes', /more than \d+ messages/, () => modelOf(repeated(message([1, new Uint8Array(0)]), 2_100_000))],
  [
    'unknown fields of one byte',
    /more than \d+ numbers and strings/,
    () => repeated(Uint8Array.of(0x78, 0), 1_100_000),
  ],
  ['dims of one byte', /more than \d+ numbers and strings/, () => withTensor([1, new Uint8Array(8_100_000)])],
])('a few bytes do not become gigabytes of objects: %s', (_, sentence, bytes) => {
  expect(outcome(bytes())).toMatch(sentence);
});

function repeated(entry: Uint8Array, times: number): Uint8Array {
  return Buffer.alloc(entry.length * times, entry);
}
