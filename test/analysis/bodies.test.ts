// Weights inside the branches of an If that nobody can decide beforehand: cut by the same law as all others, whichever branch runs.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { analyse, type Analysis } from '../../src/analysis/analyse.js';
import { countCost } from '../../src/analysis/cost.js';
import type { DeadUnits } from '../../src/analysis/groups.js';
import { inferShapes } from '../../src/analysis/shapes.js';
import { macsAfter } from '../../src/analysis/macs.js';
import { maskModel } from '../../src/analysis/mask.js';
import { prepare } from '../../src/analysis/prepare.js';
import { pruneModel } from '../../src/analysis/cut.js';
import { checkModel } from '../../src/ir/check.js';
import { layOpen } from '../../src/ir/flow.js';
import type { Model } from '../../src/ir/graph.js';
import { hasSubgraphs } from '../../src/ir/walk.js';
import { parseModelText } from '../../src/ir/text.js';
import { parseModel, readModel } from '../../src/onnx/read.js';
import { encodeModel, writeModel } from '../../src/onnx/write.js';
import { standardOps } from '../../src/ops/index.js';
import { createRng, type Rng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatsOf, tensorOfNumbers, withSession, type RuntimeTensor } from '../../src/runtime/runtime.js';
import { pare } from '../pare-here.js';
import { randomDead, randomInputs } from './law.js';

const head = `<ir_version: 8, opset_import: ["" : 17]>`;

function weight(name: string, dims: readonly number[], rng: Rng): string {
  const n = dims.reduce((a, b) => a * b, 1);
  return `float[${dims.join()}] ${name} = {${Array.from({ length: n }, () => rng.normal().toFixed(3)).join()}}`;
}

/** Holds for every outcome of the conditions `a` and `b`. */
async function expectLaw(analysis: Analysis, dead: DeadUnits, rng: Rng, batch = 2): Promise<Model> {
  const feeds = randomInputs(analysis.model, rng.fork('inputs'), batch);
  const outcomes = [0, 1].flatMap((a) => [0, 1].map((b): readonly [number, number] => [a, b]));
  const run = (model: Model): Promise<readonly ReadonlyMap<string, RuntimeTensor>[]> =>
    withSession(ortRuntime(), model, { optimization: 'basic' }, async (session) => {
      const found = [];
      for (const [a, b] of outcomes) {
        feeds.set('a', tensorOfNumbers(9, [], [a])).set('b', tensorOfNumbers(9, [], [b]));
        found.push(
          await session.run(new Map([...feeds].filter(([name]) => session.inputs.some((i) => i.name === name)))),
        );
      }
      return found;
    });
  const pruned = pruneModel(analysis, dead);
  checkModel(pruned);
  const [left, right] = [await run(pruned), await run(maskModel(analysis, dead))];
  right.forEach((outputs, k) => {
    for (const [name, expected] of outputs) {
      const y = floatsOf(expected);
      const x = floatsOf(left[k]!.get(name)!);
      expect(left[k]!.get(name)!.dims, `${name}: dims`).toEqual(expected.dims);
      const scale = Math.max(...y.map(Math.abs));
      const worst = Math.max(...x.map((v, i) => Math.abs(v - y[i]!)));
      expect(worst, `${name}: largest difference, of values up to ${scale}`).toBeLessThanOrEqual(1e-4 * scale + 1e-12);
    }
  });
  const shapes = inferShapes(pruned, standardOps, { dynamic: 1 });
  expect(macsAfter(analysis, dead), 'MACs foretold').toBeCloseTo(countCost(pruned, standardOps, shapes).macs, 3);
  return pruned;
}

interface Draft {
  readonly rng: Rng;
  readonly width: number;
  /** Weights of the main graph. */
  readonly outer: string[];
  count: number;
}

/** Text of a branch: from `h` [N, width] to a value of the same shape. Both branches use the same names, now and then. */
function branch(draft: Draft, depth: number): { readonly initializers: string[]; readonly text: string; out: string } {
  const { rng, width, outer } = draft;
  const initializers: string[] = [];
  const lines: string[] = [];
  const suffix = depth > 0 && rng.next() < 0.5 ? '' : `_${++draft.count}`;
  let at = 'h';
  const give = (stem: string): string => `${stem}${suffix}_${lines.length}`;
  const constant = (stem: string, dims: readonly number[]): string => {
    const kind = rng.int(3);
    const name = kind === 0 ? `${stem}_outer_${++draft.count}` : give(stem);
    if (kind === 0) outer.push(weight(name, dims, rng));
    else if (kind === 1) initializers.push(weight(name, dims, rng));
    else lines.push(`${name} = Constant <value = ${weight(name, dims, rng).replace(` ${name} =`, '')}> ()`);
    return name;
  };
  const layer = (rows: number, columns: number): void => {
    const w = constant('w', [rows, columns]);
    const y = give('y');
    lines.push(`${y} = MatMul (${at}, ${w})`);
    at = y;
  };
  const steps = 1 + rng.int(3);
  for (let k = 0; k < steps; k++) {
    const kind = rng.int(depth > 0 ? 9 : 8);
    const y = give('v');
    if (kind === 0) layer(width, width);
    else if (kind === 1) {
      const inner = 3 + rng.int(4);
      layer(width, inner);
      const r = give('r');
      lines.push(`${r} = Relu (${at})`);
      at = r;
      layer(inner, width);
    } else if (kind === 2) {
      const b = constant('b', [width]);
      lines.push(`${y} = Add (${at}, ${b})`);
      at = y;
    } else if (kind === 3) {
      lines.push(`${y} = Mul (${at}, h)`);
      at = y;
    } else if (kind === 4) {
      const z = constant('z', [2, width]);
      lines.push(`${y} = Sub (${at}, ${z})`);
      at = y;
    } else if (kind === 8) {
      lines.push(either(draft, 'b', y, depth - 1));
      at = y;
    } else {
      const k = 3 + rng.int(3);
      const [s, e, i, c, d, m, r, t, o] = 's e i c d m r t o'.split(' ').map((stem) => give(stem));
      const held: string[] = [];
      const inner = (stem: string, dims: readonly number[]): string => {
        if (rng.next() < 0.5) return constant(stem, dims);
        const name = give(`${stem}_held`);
        held.push(weight(name, dims, rng));
        return name;
      };
      const [up, down] = [inner('up', [width, k]), inner('down', [k, width])];
      const list = held.length === 0 ? '' : `<${held.join(', ')}>`;
      const layers = (from: string): string =>
        `${m} = MatMul (${from}, ${up}) ${r} = Relu (${m}) ${o} = MatMul (${r}, ${down})`;
      const value = (name: string): string => `float[2,${width}] ${name}`;
      const whole = give('whole');
      if (kind === 5) {
        const mix = rng.next() < 0.5 ? `Add (${s}, ${o})` : `Tanh (${o})`;
        lines.push(`${y} = Loop (three, yes, ${at}) <body = b${++draft.count} (int64 ${i}, bool ${c}, ${value(s!)}) => (bool ${d}, ${value(t!)}) ${list}
          { ${d} = Identity (${c}) ${layers(s!)} ${t} = ${mix} }>`);
      } else if (kind === 6) {
        lines.push(`${whole} = Loop (three, yes) <body = b${++draft.count} (int64 ${i}, bool ${c}) => (bool ${d}, ${value(t!)}) ${list}
          { ${d} = Identity (${c}) ${layers(at)} ${t} = Mul (${o}, h) }>`);
        lines.push(`${y} = ReduceSum <keepdims = 0> (${whole}, zero)`);
      } else {
        const [twice, last] = [give('twice'), give('last')];
        lines.push(
          `${e}_1 = Unsqueeze (${at}, zero) ${e}_2 = Unsqueeze (h, zero) ${twice} = Concat <axis = 0> (${e}_1, ${e}_2)`,
        );
        lines.push(`${last}, ${whole} = Scan <num_scan_inputs = 1, body = b${++draft.count} (${value(s!)}, ${value(e!)}) => (${value(t!)}, ${value(i!)}) ${list}
          { ${layers(s!)} ${t} = Add (${o}, ${e}) ${i} = Relu (${t}) }> (${at}, ${twice})`);
        lines.push(`${y}_1 = ReduceSum <keepdims = 0> (${whole}, zero) ${y} = Add (${y}_1, ${last})`);
      }
      at = y;
    }
  }
  if (rng.next() < 0.15) at = constant('k', [2, width]);
  if (at === 'h' || !lines.some((l) => l.startsWith(`${at} =`))) {
    const y = give('copy');
    lines.push(`${y} = Identity (${at})`);
    at = y;
  }
  return { initializers, text: lines.join('\n'), out: at };
}

function either(draft: Draft, condition: string, name: string, depth: number): string {
  const bodies = ['then_branch', 'else_branch'].map((attribute) => {
    const { initializers, text, out } = branch(draft, depth);
    const list = initializers.length === 0 ? '' : `<${initializers.join(', ')}>`;
    return `${attribute} = g${++draft.count} () => (float[2,${draft.width}] ${out}) ${list} { ${text} }`;
  });
  return `${name} = If (${condition}) <${bodies.join(', ')}>`;
}

function randomNet(rng: Rng): Model {
  const draft: Draft = { rng, width: 4 + rng.int(3), outer: [], count: 0 };
  const text = either(draft, 'a', 'r', 1);
  const residual = rng.next() < 0.4;
  const { width } = draft;
  return parseModelText(`${head}
    g (float[2,3] x, bool a, bool b) => (float[2,2] y)
      <${[weight('w0', [3, width], rng), weight('w1', [width, 2], rng), 'int64 three = {3}', 'bool yes = {1}', 'int64[1] zero = {0}', ...draft.outer].join(', ')}> {
      h0 = MatMul (x, w0)
      h = Relu (h0)
      ${text}
      s = ${residual ? 'Add (r, h)' : 'Tanh (r)'}
      y = MatMul (s, w1)
    }`);
}

test('random networks with branches and loops in branches: pruned equals masked, whichever run', async () => {
  let [cut, inside, loops] = [0, 0, 0];
  for (let n = 0; n < 18; n++) {
    const rng = createRng(`bodies/${n}`);
    const model = randomNet(rng);
    const analysis = analyse(prepare(model, standardOps), standardOps);
    const dead = randomDead(analysis, rng);
    if (dead.size === 0) continue;
    cut++;
    const outer = analysis.model.graph.initializers;
    const tensors = analysis.groups.groups.flatMap((g) => (dead.has(g.id) ? g.members.map((m) => m.tensor) : []));
    if (tensors.some((name) => !outer.has(name))) inside++;
    if (tensors.some((name) => /^(up|down)/u.test(name))) loops++;
    await expectLaw(analysis, dead, rng);
  }
  expect(cut).toBeGreaterThan(15);
  expect(inside).toBeGreaterThan(11);
  expect(loops).toBeGreaterThan(8);
});

test('what is not cut stays byte for byte', () => {
  const kinds = new Set<string>();
  for (let n = 0; n < 10; n++) {
    const model = parseModel(encodeModel(randomNet(createRng(`bodies/${n}`))));
    const flow = layOpen(model, hasSubgraphs);
    for (const body of flow.bodies) kinds.add(body.node.opType);
    expect(flow.close(flow.model)).toBe(model);
    const nodes = [...flow.model.graph.nodes];
    expect(flow.close({ ...flow.model, graph: { ...flow.model.graph, nodes } })).toBe(model);
    expect(pruneModel(analyse(model, standardOps), new Map())).toBe(model);
  }
  expect(kinds).toEqual(new Set(['If', 'Loop', 'Scan']));
});

test('`pare prune` meets its budget where the branches differ in cost, and `pare groups` names what lies in them', async () => {
  const rng = createRng('bodies/command');
  const model = parseModelText(`${head}
    g (float[N,3,6,6] x, bool a) => (float[N,4] y)
      <${weight('w0', [12, 3, 3, 3], rng)}, ${weight('w1', [12, 4], rng)}> {
      h0 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w0)
      h = Relu (h0)
      r = If (a) <
        then_branch = t () => (float[N,12,6,6] p) <${weight('wide', [16, 12, 3, 3], rng)}, ${weight('back', [12, 16, 1, 1], rng)}> {
          t0 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (h, wide)
          t1 = Relu (t0)
          p = Conv (t1, back) },
        else_branch = e () => (float[N,12,6,6] q) <${weight('thin', [12, 12, 3, 3], rng)}> {
          q = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (h, thin) }>
      m = GlobalAveragePool (r)
      f = Flatten (m)
      y = MatMul (f, w1)
    }`);
  const folder = mkdtempSync(join(tmpdir(), 'pare-bodies-'));
  try {
    const [from, to] = [join(folder, 'a.onnx'), join(folder, 'b.onnx')];
    writeModel(model, from);
    const listed = await pare('groups', from, '--json');
    expect(listed.code, `groups: ${listed.text}`).toBe(0);
    expect(listed.out).toContain('"wide:0"');
    const made = await pare('prune', from, '--flops', '60%', '-o', to, '--json');
    expect(made.code, `prune: ${made.text}`).toBe(0);
    const analysis = analyse(model, standardOps);
    const pruned = readModel(to);
    const { macs } = countCost(pruned, standardOps, inferShapes(pruned, standardOps, { dynamic: 1 }));
    expect(macs).toBeLessThanOrEqual(0.6 * analysis.cost.macs);
    expect(macs).toBeGreaterThan(0.5 * analysis.cost.macs);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('inside branches, too, calls become nodes and branches that are known are taken', async () => {
  const rng = createRng('bodies/nested');
  const model = parseModelText(`<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
    g (float[N,3] x, bool a) => (float[N,2] y)
      <${weight('w0', [3, 6], rng)}, ${weight('w1', [6, 2], rng)}, int64 one = {1}, int64 six = {6}> {
      h = MatMul (x, w0)
      r = If (a) <
        then_branch = t () => (float[N,6] p) <${weight('wt', [6, 5], rng)}, ${weight('wb', [5, 6], rng)}> {
          t0 = local.layer (h, wt)
          s = Shape (h)
          d = Gather (s, one)
          c = Equal (d, six)
          t1 = If (c) <
            then_branch = t2 () => (float[N,5] u) { u = Relu (t0) },
            else_branch = t3 () => (float[N,1,5] v) { k = Constant <value_ints = [1]> () v = Unsqueeze (t0, k) }>
          p = MatMul (t1, wb) },
        else_branch = e () => (float[N,6] q) { q = Tanh (h) }>
      y = MatMul (r, w1)
    }
    <domain: "local", opset_import: ["" : 17]>
    layer (m, n) => (o) { i = MatMul (m, n) o = LeakyRelu <alpha = 0.2> (i) }`);
  const prepared = prepare(model, standardOps);
  checkModel(prepared);
  const analysis = analyse(prepared, standardOps);
  expect(analysis.groups.groups.map((g) => g.size).toSorted((p, q) => p - q)).toEqual([5, 6]);
  await expectLaw(analysis, randomDead(analysis, rng), rng);
});

test('a branch that runs for the dims at hand is cut as the other is', async () => {
  const rng = createRng('bodies/batch');
  const model = parseModelText(`${head}
    g (float[N,3] x) => (float[N,2] y)
      <${weight('w0', [3, 6], rng)}, ${weight('w1', [6, 2], rng)}, int64 zero = {0}, int64 one = {1}> {
      h = MatMul (x, w0)
      s = Shape (x)
      n = Gather (s, zero)
      single = Equal (n, one)
      r = If (single) <
        then_branch = t () => (float[N,6] p) <${weight('wt', [6, 6], rng)}> { p = MatMul (h, wt) },
        else_branch = e () => (float[N,6] q) <${weight('we', [6, 4], rng)}, ${weight('wf', [4, 6], rng)}> {
          e0 = MatMul (h, we)
          e1 = Relu (e0)
          q = MatMul (e1, wf) }>
      y = MatMul (r, w1)
    }`);
  const analysis = analyse(prepare(model, standardOps), standardOps);
  expect(analysis.groups.groups.map((g) => g.size).toSorted((p, q) => p - q)).toEqual([4, 6, 6]);
  const dead = randomDead(analysis, rng);
  for (const batch of [1, 3]) await expectLaw(analysis, dead, rng, batch);
});

test('weights in bodies that are not looked into are named with the reason', () => {
  const rng = createRng('bodies/closed');
  const analysis = analyse(
    parseModelText(`${head}
    g (float[2,3] x, int64 n) => (float[N,3] y) <${weight('table', [7, 3], rng)}, bool yes = {1}> {
      z, y = Loop (n, yes, x) <body = b (int64 i, bool c, float[M,3] s) => (bool d, float[K,3] t, float[3] r) {
        d = Identity (c)
        r = Gather <axis = 0> (table, i)
        t = Concat <axis = 0> (s, table)
      }>
    }`),
    standardOps,
  );
  expect(analysis.groups.groups).toEqual([]);
  expect(analysis.groups.frozen).toEqual([
    { name: 'table', channels: 3, reason: 'lies in a body that is not looked into at Loop "z"' },
  ]);
});

test('a value that runs through a branch and a loop is one group; a weight whose use has no known shape is named', async () => {
  const rng = createRng('bodies/script');
  const model = parseModelText(`${head}
    g (float[N,3] x, bool a, int64[K] rows) => (float[N,2] y, float[M,5] z)
      <${weight('w0', [3, 6], rng)}, ${weight('wb', [6, 6], rng)}, ${weight('w1', [6, 2], rng)}, ${weight('table', [9, 5], rng)},
       int64 zero = {0}, bool yes = {1}, int64[1] some = {1}, int64[1] first = {0}> {
      h = MatMul (x, w0)
      r = If (a) <then_branch = t () => (float[?,6] p) { p = Relu (h) }, else_branch = e () => (float[?,6] q) { q = MatMul (h, wb) }>
      s = Shape (x)
      n = Gather (s, zero)
      v = Loop (n, yes, r) <body = b (int64 i, bool c, float[?,6] u) => (bool d, float[?,6] o) {
        d = Identity (yes)
        m = MatMul (u, wb)
        k = Tanh (m)
        o = Add (u, k) }>
      y = MatMul (v, w1)
      f = NonZero (rows)
      l = Squeeze (f, first)
      z = Gather (table, l)
    }`);
  const analysis = analyse(prepare(model, standardOps), standardOps);
  expect(analysis.groups.groups.map((g) => g.size)).toEqual([6]);
  expect(analysis.groups.frozen).toContainEqual({
    name: 'table',
    channels: 5,
    reason: 'shapes are not known at Gather "z"',
  });
  for (const batch of [1, 4]) await expectLaw(analysis, randomDead(analysis, rng), rng, batch);
});
