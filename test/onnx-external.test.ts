import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onnx } from 'onnx-proto';
import { expect, test } from 'vitest';
import { extendModel, graphBuilder } from '../src/ir/builder.js';
import { checkModel } from '../src/ir/check.js';
import { attrTensor, type Model } from '../src/ir/graph.js';
import { DataType, floatTensor, hasData, readNumbers, type Tensor } from '../src/ir/tensor.js';
import { parseModel, readModel } from '../src/onnx/read.js';
import { encodeModel, writeModel } from '../src/onnx/write.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { floatData, floatsOf, withSession } from '../src/runtime/runtime.js';
import { PareError } from '../src/errors.js';
import { describeShared, sharedPath } from './shared.js';

const folder = (): string => mkdtempSync(join(tmpdir(), 'pare-external-'));

/** A model whose weight `w`, FLOAT [4], has the external_data given; made with onnx-proto, not with our own writer. */
function modelWith(
  entries: Readonly<Record<string, string>>,
  where: 'initializer' | 'constant' = 'initializer',
): Uint8Array {
  const externalData = Object.entries(entries).map(([key, value]) => ({ key, value }));
  const tensor = { name: 'w', dataType: 1, dims: [4], dataLocation: 1, externalData };
  const inConstant = where === 'constant';
  return onnx.ModelProto.encode({
    irVersion: 8,
    opsetImport: [{ domain: '', version: 17 }],
    graph: {
      name: 'g',
      node: [
        ...(inConstant
          ? [{ opType: 'Constant', output: ['w'], attribute: [{ name: 'value', type: 4, t: tensor }] }]
          : []),
        { opType: 'Identity', input: ['w'], output: ['y'] },
      ],
      initializer: inConstant ? [] : [tensor],
      output: [{ name: 'y' }],
    },
  }).finish();
}

function problem(directory: string, entries: Readonly<Record<string, string>>): string {
  try {
    const model = parseModel(modelWith(entries), { directory });
    model.graph.initializers.get('w')?.bytes?.();
    return '';
  } catch (error) {
    if (error instanceof PareError) return error.message;
    throw error;
  }
}

test('several files, offsets, keys of other tools; read when asked, weights in Constant nodes too', () => {
  const directory = folder();
  mkdirSync(join(directory, 'sub'));
  writeFileSync(join(directory, 'a.bin'), Buffer.from(Float32Array.of(9, 9, 1, 2, 3, 4).buffer));
  writeFileSync(join(directory, 'sub', 'b.bin'), Buffer.from(Float32Array.of(5, 6, 7, 8).buffer));
  const a = { location: 'a.bin', offset: '8', length: '16', checksum: 'whatever', basepath: '/nowhere' };
  const model = parseModel(modelWith(a), { directory });
  const w = model.graph.initializers.get('w')!;
  expect([...readNumbers(w)]).toEqual([1, 2, 3, 4]);
  const constant = parseModel(modelWith({ location: 'sub/b.bin' }, 'constant'), { directory });
  expect([...readNumbers(attrTensor(constant.graph.nodes[0]!, 'value')!)]).toEqual([5, 6, 7, 8]);
  // written inside the model, and beside it again, each as an independent reader sees it
  const inline = onnx.ModelProto.decode(encodeModel(constant)).graph!.node![0]!.attribute![0]!.t!;
  expect([...new Float32Array(new Uint8Array(inline.rawData!).buffer)]).toEqual([5, 6, 7, 8]);
  expect(inline.externalData).toEqual([]);
  expect(writeModel(constant, join(directory, 'c.onnx')).length).toBe(1); // 16 bytes are not worth a file
});

test('paths that leave the folder, and data that are not there, are refused', () => {
  const outside = folder();
  writeFileSync(join(outside, 'secret'), Buffer.alloc(16));
  const directory = join(outside, 'model');
  mkdirSync(directory);
  symlinkSync(join(outside, 'secret'), join(directory, 'link'));
  symlinkSync(outside, join(directory, 'up'));
  mkdirSync(join(directory, 'folder'));
  execFileSync('mkfifo', [join(directory, 'pipe')]);
  writeFileSync(join(directory, 'short'), Buffer.alloc(10));
  writeFileSync(join(directory, 'good'), Buffer.alloc(16));
  symlinkSync('good', join(directory, 'inner'));
  expect(problem(directory, { location: 'good' })).toBe('');
  expect(problem(directory, { location: './good' })).toBe('');
  expect(problem(directory, { location: 'inner' })).toBe('');
  const paths = [
    '../secret',
    '/etc/passwd',
    'C:\\x',
    '\\\\host\\x',
    'folder/../../secret',
    'folder\\..\\..\\secret',
    '..',
    '',
    'a\0b',
  ];
  for (const location of paths)
    expect(problem(directory, { location })).toMatch(/only files beside the model or below it/);
  for (const location of ['link', 'up/secret']) expect(problem(directory, { location })).toMatch(/link that leaves/);
  expect(problem(directory, { location: 'folder' })).toMatch(/no regular file/);
  expect(problem(directory, { location: '.' })).not.toBe('');
  expect(problem(directory, { location: 'pipe' })).toMatch(/no regular file/);
  expect(problem(directory, { location: 'short' })).toMatch(/end at byte 16 of "short", which has only 10/);
  expect(problem(directory, { location: 'good', offset: '4' })).toMatch(/only 16/);
  expect(problem(directory, { location: 'good', length: '8' })).toMatch(/8 bytes long, but .* need 16/);
  expect(problem(directory, { location: 'good', offset: '18446744073709551615' })).toMatch(/not a whole number/);
  for (const offset of ['-1', '1e1', ' 1', '0x1', ''])
    expect(problem(directory, { location: 'good', offset })).toMatch(/offset/);
  expect(problem(directory, { location: 'absent' })).toMatch(/"absent" is not in the model's folder/);
  expect(problem(directory, {})).toMatch(/name no file/);
  const counted = parseModel(modelWith({ location: 'absent' }), { directory, allowMissingData: true });
  expect(hasData(counted.graph.initializers.get('w')!)).toBe(false);
  expect(() => parseModel(modelWith({ location: 'good' })).graph.initializers.get('w')!.bytes!()).toThrow(PareError);
});

test('a file of 3 GB is not loaded', () => {
  const directory = folder();
  const path = join(directory, 'large');
  writeFileSync(path, '');
  truncateSync(path, 3 * 2 ** 30); // sparse: takes no room
  const before = process.memoryUsage().rss;
  const model = parseModel(modelWith({ location: 'large', offset: String(3 * 2 ** 30 - 16) }), { directory });
  expect([...readNumbers(model.graph.initializers.get('w')!)]).toEqual([0, 0, 0, 0]);
  expect(process.memoryUsage().rss - before).toBeLessThan(2 ** 29);
});

const large = (name: string, fill: number): Tensor => floatTensor(name, [50, 10], new Float32Array(500).fill(fill));

function summing(): Model {
  const g = graphBuilder();
  const x = g.input('x', DataType.FLOAT, [50, 10]);
  const c = g.op('Constant', [], { value: large('', 3) });
  const sum = g.op('Sum', [x, g.constant(large('v', 1)), g.constant(large('w', 2)), c, g.floats(4)]);
  g.output(sum, DataType.FLOAT, [50, 10]);
  return g.model();
}

async function total(path: string): Promise<number> {
  return withSession(ortRuntime(), path, {}, async (session) => {
    const outputs = await session.run(new Map([['x', floatData([50, 10], new Float32Array(500))]]));
    return floatsOf([...outputs.values()][0]!).reduce((a, b) => a + b, 0);
  });
}

test('weights are written beside the model, aligned, and onnxruntime finds them', async () => {
  const directory = folder();
  const path = join(directory, 'm.onnx');
  expect(writeModel(summing(), path, { external: 'always' })).toEqual([`${path}.data`, path]);
  expect(readdirSync(directory).toSorted()).toEqual(['m.onnx', 'm.onnx.data']);
  expect(statSync(`${path}.data`).size).toBe(2 * 4096 + 2000);
  expect(await total(path)).toBe(5000);
  const proto = onnx.ModelProto.decode(readFileSync(path));
  const keys = proto.graph!.initializer!.map((t) => t.externalData!.map((e) => `${e.key}=${e.value}`));
  expect(keys).toEqual([
    ['location=m.onnx.data', 'offset=4096', 'length=2000'],
    ['location=m.onnx.data', 'offset=8192', 'length=2000'],
    [],
  ]);
  const model = readModel(path);
  checkModel(model, { data: true });
  // the same bytes again, and once more from a model whose own data they are
  const copy = join(directory, 'copy.onnx');
  expect(writeModel(model, copy)).toEqual([`${copy}.data`, copy]);
  expect(Buffer.compare(readFileSync(`${copy}.data`), readFileSync(`${path}.data`))).toBe(0);
  expect(await total(copy)).toBe(5000);
  expect(Buffer.compare(encodeModel(model), encodeModel(summing()))).toBe(0);
});

test('a model is written over its own file without losing the data it is read from', async () => {
  const directory = folder();
  const path = join(directory, 'm.onnx');
  writeModel(summing(), path, { external: 'always' });
  const data = readFileSync(`${path}.data`);
  const model = readModel(path);
  const { graph } = model;
  const initializers = new Map(graph.initializers);
  for (const name of ['v', 'w']) initializers.delete(name);
  const changed: Model = {
    ...model,
    graph: {
      ...graph,
      initializers: new Map([['w', large('w', 7)], ['v', graph.initializers.get('v')!], ...initializers]),
    },
  };
  expect(writeModel(changed, path)).toEqual([`${path}.1.data`, path]);
  expect(Buffer.compare(readFileSync(`${path}.data`), data)).toBe(0);
  expect(await total(path)).toBe(7500);
  expect(readNumbers(model.graph.initializers.get('w')!)[0]).toBe(2);
});

test('what cannot be written leaves nothing behind', () => {
  const directory = folder();
  const path = join(directory, 'm.onnx');
  const g = extendModel(summing());
  g.output(g.op('Identity', [g.constant({ ...large('bad', 0), bytes: () => new Uint8Array(1999) })]));
  for (const external of ['always', 'never'] as const) {
    expect(() => writeModel(g.model(), path, { external })).toThrow(/"bad": 1999 bytes of data, but .* need 2000/);
    expect(readdirSync(directory)).toEqual([]);
  }
  writeFileSync(path, 'old');
  expect(() => writeModel(g.model(), path)).toThrow(PareError);
  expect(readFileSync(path, 'utf8')).toBe('old');
  expect(() => writeModel(summing(), join(directory, 'absent', 'm.onnx'))).toThrow(
    /m\.onnx: there is no such file or folder/,
  );
  expect(existsSync(join(directory, 'absent'))).toBe(false);
});

test('a file that cannot be read is a sentence', () => {
  const directory = folder();
  expect(() => readModel(join(directory, 'absent.onnx'))).toThrow(PareError);
  expect(() => readModel(directory)).toThrow(/is no file/);
  execFileSync('mkfifo', [join(directory, 'pipe')]);
  expect(() => readModel(join(directory, 'pipe'))).toThrow(/is no file/);
  const path = join(directory, 'm.onnx');
  writeFileSync(path, '');
  chmodSync(path, 0o600);
  expect(() => readModel(path)).toThrow(/m\.onnx is empty/);
  truncateSync(path, 2 ** 31);
  expect(() => readModel(path)).toThrow(/protobuf ends at 2 GiB/);
});

describeShared('shared models', ['models'], () => {
  test('a network with external weights computes what it did', () => {
    const directory = folder();
    const model = readModel(sharedPath('models', 'cifar10-resnet20.onnx'));
    const path = join(directory, 'r.onnx');
    writeModel(model, path, { external: 'always' });
    expect(statSync(path).size).toBeLessThan(60_000);
    expect(Buffer.compare(encodeModel(readModel(path)), encodeModel({ ...model, graph: { ...model.graph } }))).toBe(0);
  });
});

test('a model whose data files have checksums is written with that of its new data file', () => {
  const directory = folder();
  writeFileSync(join(directory, 'good'), new Uint8Array(4096));
  const given = { location: 'good', length: '16', checksum: '0000000000000000000000000000000000000000' };
  const model = parseModel(modelWith(given), { directory });
  const big = { ...summing(), graph: { ...summing().graph } };
  const w = model.graph.initializers.get('w')!;
  const initializers = new Map(big.graph.initializers).set('w2', { ...w, name: 'w2' });
  const path = join(directory, 'out.onnx');
  writeModel({ ...big, graph: { ...big.graph, initializers } }, path, { external: 'always' });
  const sha1 = createHash('sha1')
    .update(readFileSync(`${path}.data`))
    .digest('hex');
  const written = onnx.ModelProto.decode(readFileSync(path));
  const entries = written.graph!.initializer!.flatMap((t) => t.externalData ?? []);
  const checksums = entries.filter((e) => e.key === 'checksum').map((e) => e.value);
  expect(checksums.length).toBeGreaterThan(0);
  expect(new Set(checksums)).toEqual(new Set([sha1]));
  // without any in the source there are none
  writeModel(big, path, { external: 'always' });
  const plain = onnx.ModelProto.decode(readFileSync(path)).graph!.initializer!.flatMap((t) => t.externalData ?? []);
  expect(plain.some((e) => e.key === 'checksum')).toBe(false);
});
