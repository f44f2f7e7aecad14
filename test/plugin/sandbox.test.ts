import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { analyse, type Analysis } from '../../src/analysis/analyse.js';
import { PareError } from '../../src/errors.js';
import type { Model } from '../../src/ir/graph.js';
import { encodeModel } from '../../src/onnx/write.js';
import { parseModel, readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import type { OpTable } from '../../src/ops/op.js';
import { openPlugins, type Plugins } from '../../src/plugin/load.js';
import { outlineOf } from '../../src/plugin/plugin.js';
import { createRng } from '../../src/rng.js';
import type { Mutation, MutationContext } from '../../search/mutations/mutation.js';
import { projectRoot } from '../shared.js';

let folder: string;
let model: Model;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-plugin-'));
  model = readModel(join(projectRoot, 'examples', 'shapes', 'shapes-resnet.onnx'));
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Opened {
  readonly plugins: Plugins;
  readonly said: string[];
  readonly analysis: Analysis;
  readonly context: MutationContext;
  readonly look: (table: OpTable) => Analysis;
}

/** Calls `use` with what these modules offer. */
function withFiles(
  files: Readonly<Record<string, string>>,
  use: (opened: Opened) => void,
  limits: { readonly deadlineMs?: number; readonly maxBytes?: number } = {},
): void {
  const paths = Object.entries(files).map(([name, text]) => {
    const path = join(folder, `${name}.mjs`);
    writeFileSync(path, text);
    return path;
  });
  const said: string[] = [];
  const plugins = openPlugins(paths, { report: (sentence) => said.push(sentence), ...limits });
  try {
    const look = (table: OpTable): Analysis => analyse(model, table);
    const analysis = look(plugins.table);
    use({ plugins, said, analysis, look, context: { analysis, ignore: () => false, roundTo: 1, maxRatio: 1 } });
  } finally {
    plugins.close();
  }
}

const mutation = (name: string, apply: string, law = 'approximate', propose = 'return { a: 1 };'): string =>
  `export const mutations = [{ name: '${name}', summary: 'for a test', law: '${law}',
     propose(context, rng) { ${propose} }, apply(params, context) { ${apply} } }];`;

const named = (plugins: Plugins, name: string): Mutation => plugins.mutations.find((m) => m.name === name)!;

const DROP_RELU = `
  const { model } = context.analysis;
  const relu = model.graph.nodes.find((n) => n.opType === 'Relu');
  if (relu === undefined) throw new PareError('drop: there is no Relu');
  const [from, to] = [relu.outputs[0], relu.inputs[0]];
  const nodes = model.graph.nodes.filter((n) => n !== relu)
    .map((n) => n.inputs.includes(from) ? { ...n, inputs: n.inputs.map((x) => x === from ? to : x) } : n);
  return { ...model, graph: { ...model.graph, nodes } };`;

describe('a mutation of a plug-in', () => {
  test('gives what it would give here; what it leaves alone is the very same object', () => {
    const text = `import { PareError } from 'pare-onnx';\n${mutation('drop', DROP_RELU)}`;
    withFiles({ drop: text }, ({ plugins, said, context }) => {
      const drop = named(plugins, 'drop');
      const before = context.analysis.model;
      const made = drop.apply({}, context);
      expect(made.graph.nodes.length).toBe(before.graph.nodes.length - 1);
      const kept = made.graph.nodes.filter((n) => before.graph.nodes.includes(n));
      // one or two nodes read the Relu's output
      expect(made.graph.nodes.length - kept.length).toBeLessThan(3);
      for (const [name, t] of made.graph.initializers) expect(t).toBe(before.graph.initializers.get(name));
      const changed = made.graph.nodes.find((n) => !before.graph.nodes.includes(n))!;
      expect(changed.source).toBeDefined();
      expect(parseModel(encodeModel(made)).graph.nodes.length).toBe(made.graph.nodes.length);
      expect(drop.propose(context, createRng(1))).toEqual({ a: 1 });
      expect(said).toEqual([]);
    });
  });

  test('a sentence of its own means that the edit does not fit, nothing else', () => {
    const text = `import { PareError } from 'pare-onnx';\n${mutation('picky', `throw new PareError('picky: not here');`)}`;
    withFiles({ picky: text }, ({ plugins, said, context }) => {
      for (let i = 0; i < 2; i++) expect(() => named(plugins, 'picky').apply({}, context)).toThrow('picky: not here');
      expect(said).toEqual([]);
    });
  });

  test('new weights come back; what is proposed depends on the seed alone', () => {
    const apply = `
      const { model } = context.analysis;
      const [name, old] = [...model.graph.initializers].find(([, t]) => t.dims.length === 4);
      const bytes = old.bytes().slice().fill(0);
      const initializers = new Map(model.graph.initializers).set(name, { ...old, bytes: () => bytes });
      return { ...model, graph: { ...model.graph, initializers } };`;
    withFiles(
      { zero: mutation('zero', apply, 'approximate', 'return { x: rng.int(1000) };') },
      ({ plugins, said, context }) => {
        const zero = named(plugins, 'zero');
        const made = zero.apply({}, context);
        const changed = [...made.graph.initializers].filter(
          ([n, t]) => t !== context.analysis.model.graph.initializers.get(n),
        );
        expect(changed.length).toBe(1);
        expect(changed[0]![1].bytes!().every((b) => b === 0)).toBe(true);
        const draws = ['a', 'b', 'a'].map((seed) => JSON.stringify(zero.propose(context, createRng(seed))));
        expect(draws[0]).toBe(draws[2]);
        expect(draws[0]).not.toBe(draws[1]);
        expect(said).toEqual([]);
      },
    );
  });
});

describe('what misbehaves is disabled by name, and the rest goes on', () => {
  const hostile: Readonly<Record<string, readonly [string, RegExp, string?]>> = {
    throws: [`throw new Error('no luck\\nat all');`, /apply threw: no luck at all/],
    loops: ['for (;;);', /apply took longer than 3 s/],
    eats: [
      'const all = []; for (;;) all.push(new Uint8Array(2e7).fill(1));',
      /apply took (more than 300 MiB of memory|longer than 3 s)/,
    ],
    hoards: ['const all = []; for (;;) all.push({ all });', /apply took more than 300 MiB of memory|longer than 3 s/],
    exits: ['process.exit(0);', /apply ended the process with exit code 0/],
    aborts: ['process.abort();', /apply crashed the process \(SIGABRT\)/],
    edits: [
      'context.analysis.model.graph.nodes[0].inputs[0] = "x"; return context.analysis.model;',
      /apply threw: Cannot assign to read only property/,
    ],
    scribbles: [
      'for (const t of context.analysis.model.graph.initializers.values()) t.bytes().fill(1); return context.analysis.model;',
      /apply threw: it wrote to the weights of "/,
    ],
    clears: [
      'context.analysis.model.graph.initializers.clear(); return context.analysis.model;',
      /apply threw: a graph is read-only/,
    ],
    number: ['return 7;', /apply gave what cannot be used: model must be an object, not number/],
    functions: [
      'return { ...context.analysis.model, irVersion: () => 8 };',
      /apply threw: what it gave holds a function/,
    ],
    cycle: ['const a = { ...context.analysis.model }; a.graph = a; return a;', /nested too deep, or holds itself/],
    dangling: [
      'const { model } = context.analysis; return { ...model, graph: { ...model.graph, nodes: model.graph.nodes.slice(1) } };',
      /apply gave what cannot be used: .*which nothing makes/,
    ],
    twice: [
      'globalThis.count = (globalThis.count ?? 0) + 1; const { model } = context.analysis; return { ...model, metadata: new Map([["n", String(globalThis.count)]]) };',
      /apply gave two different graphs for the same parameters/,
    ],
    liar: [DROP_RELU, /the law allows 0.001/, 'exact'],
    costly: [
      `const { model } = context.analysis; const g = model.graph; const conv = g.nodes.find((n) => n.opType === 'Conv');
       return { ...model, graph: { ...g, nodes: [...g.nodes, { ...conv, name: 'again', outputs: ['again'] }] } };`,
      /apply gave what cannot be used: the network has \d+ MACs, before it had \d+/,
    ],
    unrunnable: [
      `const { model } = context.analysis; const g = model.graph;
       const relu = g.nodes.find((n) => n.opType === 'Relu');
       return { ...model, graph: { ...g, nodes: g.nodes.map((n) => n === relu ? { ...n, opType: 'NoSuchOp' } : n) } };`,
      /apply gave what cannot be used: .*(onnxruntime cannot load it|can no longer be counted)/,
    ],
  };
  test('apply', { timeout: 180_000 }, () => {
    const files = Object.fromEntries(
      Object.entries(hostile).map(([name, [apply, , law]]) => [name, mutation(name, apply, law)]),
    );
    withFiles(
      { ...files, good: mutation('good', 'return context.analysis.model;') },
      ({ plugins, said, context }) => {
        const out = join(folder, 'out');
        for (const [name, [, sentence]] of Object.entries(hostile)) {
          const before = said.length;
          expect(() => named(plugins, name).apply({ a: 1 }, context)).toThrow(PareError);
          expect(said.slice(before)).toEqual([expect.stringMatching(sentence) as string]);
          expect(said.at(-1)).toMatch(
            new RegExp(
              `^plug-in mutation "${name}" of .*${name}\\.mjs is disabled: .*its input was .*graph of 24 nodes`,
            ),
          );
          // and is not asked again
          expect(() => named(plugins, name).apply({ a: 1 }, context)).toThrow(/is disabled/);
          expect(named(plugins, name).propose(context, createRng(1))).toBeUndefined();
          expect(said.length).toBe(before + 1);
        }
        expect(named(plugins, 'good').apply({}, context)).toBe(context.analysis.model);
        expect(existsSync(out)).toBe(false);
        plugins.saveCasesIn(out);
        const cases = readdirSync(join(out, 'plugin-cases'));
        expect(cases.length).toBe(Object.keys(hostile).length);
        const about = JSON.parse(
          readFileSync(join(out, 'plugin-cases', '01-mutation-throws', 'case.json'), 'utf8'),
        ) as object;
        expect(about).toMatchObject({ part: 'mutation "throws"', call: 'apply', params: { a: 1 } });
        expect(readModel(join(out, 'plugin-cases', '01-mutation-throws', 'model.onnx')).graph.nodes.length).toBe(24);
      },
      { deadlineMs: 3000, maxBytes: 300 * 2 ** 20 },
    );
  });

  test('propose, and parameters that are no JSON', () => {
    withFiles(
      {
        late: mutation('late', '', 'approximate', 'setTimeout(() => process.exit(3), 1); return undefined;'),
        map: mutation('map', '', 'approximate', 'return { m: new Map() };'),
        nan: mutation('nan', '', 'approximate', 'return { x: NaN };'),
        fine: mutation('fine', '', 'approximate', 'return { x: [1, null, "a"] };'),
      },
      ({ plugins, said, context }) => {
        const ask = (name: string) => named(plugins, name).propose(context, createRng(1));
        expect([ask('late'), ask('map'), ask('nan')]).toEqual([undefined, undefined, undefined]);
        expect(ask('fine')).toEqual({ x: [1, null, 'a'] });
        expect(said.map((s) => /mutation "(\w+)"/.exec(s)?.[1])).toEqual(['map', 'nan']);
      },
    );
  });

  test('while it is loaded', () => {
    const files = { bang: 'throw new Error("bang");', gone: 'process.exit(4);', fine: mutation('fine', '') };
    withFiles(files, ({ plugins, said }) => {
      expect(plugins.mutations.map((m) => m.name)).toEqual(['fine']);
      expect(said).toEqual([
        expect.stringMatching(/plug-in file of .*bang\.mjs is disabled: loading it threw: bang/) as string,
        expect.stringMatching(
          /plug-in file of .*gone\.mjs is disabled: loading it ended the process with exit code 4/,
        ) as string,
      ]);
    });
  });
});

describe('what is no plug-in is one sentence', () => {
  const anything = (): undefined => undefined;
  const fine = { name: 'a', summary: 'x', law: 'exact', propose: anything, apply: anything };
  test.each<[unknown, RegExp]>([
    [{}, /it exports none of mutations, operators, criteria, fitness/],
    [undefined, /it exports nothing/],
    [{ default: {} }, /it exports "default"/],
    [{ mutation: [] }, /it exports "mutation"/],
    [{ mutations: {} }, /"mutations" must be an array/],
    [{ mutations: [null] }, /mutations\[0\] must be an object/],
    [{ mutations: [{ ...fine, name: 'A b' }] }, /mutations\[0\].name must be lower-case words/],
    [{ mutations: [{ ...fine, law: 'maybe' }] }, /mutations\[0\].law must be one of "exact"/],
    [{ mutations: [{ ...fine, apply: undefined }] }, /apply must be a function/],
    [{ mutations: [fine, fine] }, /two mutations are called "a"/],
    [{ operators: [fine] }, /operators\[0\].opType/],
    [{ operators: [{ opType: 'Conv', shape: anything }] }, /ai.onnx:Conv is built in/],
    [{ operators: [{ opType: 'Foo', domain: 'com.acme' }] }, /has none of the rules/],
    [{ operators: [{ opType: 'Foo', domain: 'com.acme', shape: 1 }] }, /shape must be a function/],
    [{ criteria: { a: 1 } }, /criteria: "a" must be a function/],
    [{ criteria: [] }, /"criteria" must be an object/],
    [{ fitness: [{ name: 'a', summary: 'b' }] }, /create must be a function/],
  ])('%j', (exports, sentence) => {
    expect(outlineOf(exports, standardOps)).toMatch(sentence);
  });

  test.each([
    ['export const mutations = [;', /Unexpected token/],
    [`import 'no-such-package-anywhere';`, /Cannot find package/],
    ['export const mutations = 7;', /plug-in .*wrong\.mjs: "mutations" must be an array/],
  ])('%s', (text, sentence) => {
    expect(() => withFiles({ wrong: text }, () => undefined)).toThrow(sentence);
  });

  test('files', () => {
    for (const path of ['none.mjs', folder, join(projectRoot, 'package.json')]) {
      expect(() => openPlugins([path], { report: () => undefined })).toThrow(PareError);
    }
  });
});
