// What the fuzzer (bench/fuzz.ts) found, by name: each ended in a hang, a crash or no clear sentence.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { analyse } from '../src/analysis/analyse.js';
import { openDataset } from '../src/data/dataset.js';
import { parseNumpy } from '../src/data/numpy.js';
import { PareError } from '../src/errors.js';
import { checkModel } from '../src/ir/check.js';
import { parseModelText } from '../src/ir/text.js';
import { standardOps } from '../src/ops/index.js';
import { reshape, spread } from '../src/ops/labels.js';

const small = parseModelText(`
  <ir_version: 8, opset_import: ["" : 17]>
  net (float[1,3,4,4] x) => (float[1,8,4,4] y) <float[8,3,1,1] w, int64[2] s = {1, 128}, float[8,8,1,1] v>
  { a = Conv (x, w)
    r = Reshape (a, s)
    y = Conv (a, v) }`);

test('a node without outputs ends the run of channels (it looked for equal products for ever)', () => {
  const nodes = small.graph.nodes.map((n) => (n.opType === 'Reshape' ? { ...n, outputs: [] } : n));
  const { groups } = analyse({ ...small, graph: { ...small.graph, nodes } }, standardOps);
  // nothing is cut beside such a node
  expect(groups.groups).toEqual([]);
  expect(groups.frozen.map((f) => f.reason).join()).toMatch(/at Reshape/);
});

test('a reshape of labels to another number of elements is a sentence', () => {
  const labels = spread(
    Int32Array.from({ length: 8 }, (_, i) => i + 1),
    1,
    [1, 8, 4],
  );
  for (const shape of [[], [7], [1, 8], [64], [1, 8, 5]]) expect(() => reshape(labels, shape)).toThrow(PareError);
});

test('names with line breaks stay in one line', () => {
  const nodes = small.graph.nodes.map((n) => (n.opType === 'Reshape' ? { ...n, inputs: ['a\n\tb', 's'] } : n));
  const broken = { ...small, graph: { ...small.graph, nodes } };
  expect(() => checkModel(broken, { placeholders: true })).toThrow('uses "a\\n\\u0009b", which nothing makes');
});

test('a manifest without files, one whose data are a folder, and names that the system refuses', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pare-finds-'));
  try {
    const path = join(folder, 'm.json');
    const inputs = [{ name: 'x', dataType: 1, dims: ['N', 1, 4, 4] }];
    writeFileSync(path, JSON.stringify({ format: 'idx' }));
    expect(() => openDataset(path, inputs)).toThrow(/"files" is missing/);
    writeFileSync(path, JSON.stringify({ format: 'idx', files: ['.'] }));
    expect(() => openDataset(path, inputs)).toThrow(/is no file of data: it is a folder or a device/);
    for (const name of ['a'.repeat(5000), 'a\u0000b']) {
      writeFileSync(path, JSON.stringify({ format: 'idx', files: [name] }));
      expect(() => openDataset(path, inputs)).toThrow(PareError);
    }
    for (const format of ['npz', 'images', 'idx']) {
      writeFileSync(path, JSON.stringify({ format, files: ['/dev/zero'] }));
      expect(() => openDataset(path, inputs).batch([0])).toThrow(/it is a folder or a device/);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.each([2 ** 40, -5])('a Scan of %i scanned inputs', (scans) => {
  const scan = parseModelText(`
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[2] s, float[3,2] x) => (float[2] y, float[3,2] z)
    { y, z = Scan <num_scan_inputs = ${scans}, body = b (float[2] a, float[2] c) => (float[2] d, float[2] e)
      { d = Add (a, c) e = Identity (d) }> (s, x) }`);
  expect(() => analyse(scan, standardOps)).toThrow(/num_scan_inputs is .*, but it has 2 inputs/);
});

test.each(['(x, 4)', '(-1, 4)', '(1e308, 1e308)', '(0.5, 4)'])('a NumPy header with the shape %s', (shape) => {
  const header = `{'descr': '<f4', 'fortran_order': False, 'shape': ${shape}, }`.padEnd(118);
  const start = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, 118, 0]);
  const bytes = Buffer.concat([start, Buffer.from(header), Buffer.alloc(64)]);
  expect(() => parseNumpy(bytes, 'x')).toThrow(/which is no list of sizes/);
});
