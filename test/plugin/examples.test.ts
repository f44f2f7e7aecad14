// The plug-ins of examples/plugins, on networks that they are about.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { analyse, type Analysis } from '../../src/analysis/analyse.js';
import { pruneModel } from '../../src/analysis/cut.js';
import { maskModel } from '../../src/analysis/mask.js';
import type { Model } from '../../src/ir/graph.js';
import { parseModelText } from '../../src/ir/text.js';
import { standardOps } from '../../src/ops/index.js';
import type { OpTable } from '../../src/ops/op.js';
import { openPlugins, type Plugins } from '../../src/plugin/load.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatData, floatsOf, withSession } from '../../src/runtime/runtime.js';
import type { MutationContext } from '../../search/mutations/mutation.js';
import { fillRandom } from '../analysis/random-weights.js';
import { projectRoot } from '../shared.js';

function withPlugin<T>(name: string, use: (plugins: Plugins, said: string[]) => T): T {
  const said: string[] = [];
  const file = join(projectRoot, 'examples', 'plugins', `${name}.mjs`);
  const plugins = openPlugins([file], { report: (sentence) => said.push(sentence) });
  try {
    return use(plugins, said);
  } finally {
    plugins.close();
  }
}

const look =
  (model: Model) =>
  (table: OpTable): Analysis =>
    analyse(model, table);

async function run(model: Model, dims: readonly number[]): Promise<Float32Array> {
  const rng = createRng('input');
  const x = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => rng.normal());
  return withSession(ortRuntime(), model, {}, async (session) => {
    const outputs = await session.run(new Map([['x', floatData(dims, x)]]));
    return floatsOf(outputs.get('y')!);
  });
}

function difference(a: Float32Array, b: Float32Array): number {
  return Math.sqrt(a.reduce((s, x, i) => s + (x - b[i]!) ** 2, 0) / b.reduce((s, x) => s + x * x, 0));
}

describe('fuse-branches', () => {
  // a block as RepVGG trains it: 3x3, 1x1 and shortcut, batch norms behind the convolutions; then a grouped pair with stride 2
  const model = fillRandom(
    parseModelText(`
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1,8,8,8] x) => (float[1,8,4,4] y)
    <float[8,8,3,3] w3, float[8,8,1,1] w1, float[8] b1, float[8] s3, float[8] o3, float[8] m3, float[8] v3,
     float[8] s1, float[8] o1, float[8] m1, float[8] v1, float[8,4,3,3] g3, float[8,4,1,1] g1>
    {
      a = Conv <pads = [1,1,1,1]> (x, w3)
      an = BatchNormalization <epsilon = 0.001> (a, s3, o3, m3, v3)
      b = Conv (x, w1, b1)
      bn = BatchNormalization (b, s1, o1, m1, v1)
      ab = Add (an, bn)
      abx = Add (ab, x)
      r = Relu (abx)
      c = Conv <pads = [1,1,1,1], strides = [2,2], group = 2> (r, g3)
      d = Conv <strides = [2,2], group = 2> (r, g1)
      y = Add (d, c)
    }`),
    createRng('weights'),
  );

  test('becomes two convolutions and a Relu with the same outputs', async () => {
    const made = withPlugin('fuse-branches', (plugins, said) => {
      let analysis = analyse(model, plugins.table);
      const [fuse] = plugins.mutations;
      for (let i = 0; i < 10; i++) {
        const context: MutationContext = { analysis, ignore: () => false, roundTo: 1, maxRatio: 1 };
        const params = fuse!.propose(context, createRng(i));
        if (params === undefined) break;
        analysis = analyse(fuse!.apply(params, context), plugins.table);
      }
      expect(said).toEqual([]);
      return analysis;
    });
    expect(made.model.graph.nodes.map((n) => n.opType)).toEqual(['Conv', 'Relu', 'Conv']);
    expect(made.model.graph.initializers.size).toBe(4);
    expect(made.cost.macs).toBe(8 * 8 * 8 * 8 * 9 + 4 * 4 * 8 * 4 * 9);
    const dims = [1, 8, 8, 8];
    expect(difference(await run(made.model, dims), await run(model, dims))).toBeLessThan(1e-5);
  });

  test('leaves alone what is no such pair', () => {
    const others = [
      // other strides, another input, no common centre
      'c = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w3) d = Conv <strides = [2,2], pads = [0,0,0,0], dilations = [2,2]> (x, w1)',
      'c = Conv <pads = [1,1,1,1]> (x, w3) d = Conv (r, w1)',
      'c = Conv <pads = [0,0,2,2]> (x, w3) d = Conv (x, w1)',
    ];
    withPlugin('fuse-branches', (plugins, said) => {
      for (const nodes of others) {
        const text = `<ir_version: 8, opset_import: ["" : 17]>
          net (float[1,8,8,8] x) => (float[?,?,?,?] y) <float[8,8,3,3] w3, float[8,8,1,1] w1>
          { r = Relu (x) ${nodes} y = Add (c, d) }`;
        const analysis = analyse(fillRandom(parseModelText(text), createRng('weights')), plugins.table);
        const context: MutationContext = { analysis, ignore: () => false, roundTo: 1, maxRatio: 1 };
        expect(plugins.mutations[0]!.propose(context, createRng(1))).toBeUndefined();
      }
      expect(said).toEqual([]);
    });
  });
});

describe('channel-gate', () => {
  const model = fillRandom(
    parseModelText(`
    <ir_version: 8, opset_import: ["" : 17, "com.acme" : 1]>
    net (float[1,3,8,8] x) => (float[1,4,8,8] y)
    <float[16,3,3,3] w1, float[16] gate, float[4,16,1,1] w2>
    {
      a = Conv <pads = [1,1,1,1]> (x, w1)
      g = com.acme.ChannelGate (a, gate)
      y = Conv (g, w2)
    }
    <domain: "com.acme", opset_import: ["" : 17]> ChannelGate (x, gate) => (y)
    {
      s = Sigmoid (gate)
      axes = Constant <value_ints = [0, 2, 3]> ()
      u = Unsqueeze (s, axes)
      y = Mul (x, u)
    }`),
    createRng('weights'),
  );

  test('frees the channels around it, by the law pruned == masked', async () => {
    const { groups, analysis } = withPlugin('channel-gate', (plugins, said) => {
      expect(plugins.rehearse(look(model))).toEqual([]);
      expect(said).toEqual([]);
      const with_ = analyse(model, plugins.table);
      return { groups: with_.groups.groups, analysis: with_ };
    });
    const group = groups.find((g) => g.size === 16)!;
    expect(group.members.map((m) => m.tensor).toSorted()).toEqual(['gate', 'w1', 'w2']);
    const dead = new Map([[group.id, [0, 3, 15]]]);
    const dims = [1, 3, 8, 8];
    const pruned = pruneModel(analysis, dead);
    expect(pruned.graph.initializers.get('gate')!.dims).toEqual([13]);
    expect(difference(await run(pruned, dims), await run(maskModel(analysis, dead), dims))).toBeLessThan(1e-5);
    // the expression below would be empty if Pare knew the operator by itself
    const without = analyse({ ...model, functions: [] }, standardOps);
    expect(without.groups.groups.filter((g) => g.size === 16)).toEqual([]);
  });

  test('a rule that breaks the law, or tells wrong shapes, is found in the rehearsal', async () => {
    const { writeFileSync, mkdtempSync, rmSync } = await import('node:fs');
    const folder = mkdtempSync(join((await import('node:os')).tmpdir(), 'pare-gate-'));
    const rule = (text: string): string =>
      `export const operators = [{ opType: 'ChannelGate', domain: 'com.acme', ${text} }];`;
    const cases: readonly (readonly [string, RegExp])[] = [
      // the gate's own channels in the wrong order
      [
        rule(
          'shape: (c) => [c.type(0)], channels(c) { c.cut(1, c.spread(c.along(c.labels(0), 1).slice().reverse(), 0, c.inputShape(1)), "along"); c.output(0, c.labels(0)); }',
        ),
        /breaks the law pruned == masked/,
      ],
      [
        rule('shape: (c) => [{ ...c.type(0), shape: [1, 16, 4, 4] }]'),
        /said \[1, 16, 4, 4\] of .* and onnxruntime gives \[1, 16, 8, 8\]/,
      ],
      [rule('shape: (c) => 7'), /shape rule gave no list of types/],
      [
        rule('shape: (c) => [c.type(0)], channels(c) { c.output(0, c.none([1])); }'),
        /labels of shape \[1\] for a value of shape/,
      ],
      [
        rule('shape: (c) => [c.type(0)], channels(c) { for (;;) c.fresh(1e6); }'),
        /channel rule (took longer|took more|threw|crashed)/,
      ],
    ];
    try {
      for (const [i, [text, sentence]] of cases.entries()) {
        const file = join(folder, `${i}.mjs`);
        writeFileSync(file, text);
        const said: string[] = [];
        const plugins = openPlugins([file], { report: (s) => said.push(s), deadlineMs: 4000 });
        try {
          plugins.rehearse(look(model));
          expect(said).toEqual([expect.stringMatching(sentence) as string]);
          // as if it were unknown
          expect(analyse(model, plugins.table).groups.groups.filter((g) => g.size === 16)).toEqual([]);
        } finally {
          plugins.close();
        }
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
