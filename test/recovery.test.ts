// Recovery on small networks made here: least squares against a naive dense solution, duplicates, recalibration, formats,
// determinism.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { analyse } from '../src/analysis/analyse.js';
import { pruneModel } from '../src/analysis/cut.js';
import { float, graphBuilder } from '../src/ir/builder.js';
import type { Model } from '../src/ir/graph.js';
import { DataType, floatTensor, readFloats } from '../src/ir/tensor.js';
import { encodeModel } from '../src/onnx/write.js';
import { standardOps } from '../src/ops/index.js';
import { recalibrate } from '../src/recovery/batch-norm.js';
import { encodeFloats } from '../src/recovery/constants.js';
import { criteria, criterionNames, orderBy } from '../src/recovery/importance.js';
import { knowledgeOf, learn } from '../src/recovery/knowledge.js';
import { findLayers } from '../src/recovery/layers.js';
import { reconstruct } from '../src/recovery/least-squares.js';
import { cholesky, solveRows } from '../src/recovery/linear-algebra.js';
import { finish } from '../src/recovery/recover.js';
import type { Feeds } from '../src/recovery/walk.js';
import { createRng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { floatData, floatsOf, withSession } from '../src/runtime/runtime.js';
import { threadRuntime } from '../src/runtime/threads.js';

const runtime = ortRuntime();

function normals(seed: string, length: number): Float32Array {
  const rng = createRng(seed);
  return Float32Array.from({ length }, () => rng.normal());
}

function images(seed: string, dims: readonly number[], batches = 3): Feeds[] {
  const size = dims.reduce((a, b) => a * b, 1);
  return Array.from({ length: batches }, (_, b) => new Map([['x', floatData(dims, normals(`${seed}/${b}`, size))]]));
}

async function outputs(model: Model, feeds: readonly Feeds[]): Promise<number[]> {
  return withSession(runtime, model, {}, async (session) => {
    const all: number[] = [];
    for (const f of feeds) all.push(...floatsOf([...(await session.run(f)).values()][0]!));
    return all;
  });
}

interface Shape {
  readonly kernel: number;
  readonly stride: number;
  readonly dilation: number;
  readonly pad: number;
  readonly group: number;
}

/** x [N, 4, 7, 6] -> Conv -> y; `seed` makes the weights. */
function oneConv(seed: string, s: Shape): Model {
  const g = graphBuilder();
  const x = g.input('x', DataType.FLOAT, ['N', 4, 7, 6]);
  const each = 4 / s.group;
  const w = g.constant(floatTensor('w', [4, each, s.kernel, s.kernel], normals(seed, 4 * each * s.kernel ** 2)));
  const b = g.constant(floatTensor('b', [4], normals(`${seed}/b`, 4)));
  const attributes = {
    strides: [s.stride, s.stride],
    dilations: [s.dilation, s.dilation],
    pads: [s.pad, s.pad, s.pad, s.pad],
    group: s.group,
    kernel_shape: [s.kernel, s.kernel],
  };
  g.output(g.op('Conv', [x, w, b], attributes, { outputs: ['y'] }), DataType.FLOAT);
  return g.model();
}

/** The unfolded input as rows [samples, channels of the group · taps], by loops alone. */
function unfold(x: Float32Array, n: number, s: Shape, group: number): number[][] {
  const [height, width] = [7, 6];
  const extent = (s.kernel - 1) * s.dilation + 1;
  const oh = Math.floor((height + 2 * s.pad - extent) / s.stride) + 1;
  const ow = Math.floor((width + 2 * s.pad - extent) / s.stride) + 1;
  const each = 4 / s.group;
  const rows: number[][] = [];
  for (let i = 0; i < n; i++) {
    for (let r = 0; r < oh; r++) {
      for (let c = 0; c < ow; c++) {
        const row: number[] = [];
        for (let k = 0; k < each; k++) {
          for (let ky = 0; ky < s.kernel; ky++) {
            for (let kx = 0; kx < s.kernel; kx++) {
              const yy = r * s.stride + ky * s.dilation - s.pad;
              const xx = c * s.stride + kx * s.dilation - s.pad;
              const inside = yy >= 0 && yy < height && xx >= 0 && xx < width;
              row.push(inside ? x[((i * 4 + group * each + k) * height + yy) * width + xx]! : 0);
            }
          }
        }
        rows.push(row);
      }
    }
  }
  return rows;
}

describe('least squares', () => {
  test('the refit of any Conv equals the naive dense solution', async () => {
    const shape = fc.record({
      kernel: fc.constantFrom(1, 2, 3),
      stride: fc.constantFrom(1, 2),
      dilation: fc.constantFrom(1, 2),
      pad: fc.constantFrom(0, 1, 2),
      group: fc.constantFrom(1, 2, 4),
    });
    await fc.assert(
      fc.asyncProperty(shape, fc.nat(), async (s, seed) => {
        // the "original" is another Conv: what its weights give is what the fit has to find again
        const start = oneConv(`${seed}/start`, s);
        const base = oneConv(`${seed}/base`, s);
        const feeds = images(`${seed}`, [9, 4, 7, 6]);
        const ridge = 1e-3;
        const fitted = await finish(
          reconstruct(base, start, feeds, { runtime, rng: createRng(1), positions: 1e6, ridge, all: true }),
        );
        const [weights, bias] = ['w', 'b'].map((name) => readFloats(fitted.graph.initializers.get(name)!));
        const targets = await withSession(runtime, base, {}, async (session) => {
          const all: Float32Array[] = [];
          for (const f of feeds) all.push(floatsOf((await session.run(f)).get('y')!));
          return all;
        });
        const w0 = readFloats(start.graph.initializers.get('w')!);
        const each = 4 / s.group;
        for (let g = 0; g < s.group; g++) {
          const rows = feeds.flatMap((f) => unfold(floatsOf(f.get('x')!), 9, s, g));
          const k = rows[0]!.length;
          const n = rows.length;
          const mean = rows[0]!.map((_, j) => rows.reduce((a, r) => a + r[j]!, 0) / n);
          const a = new Float64Array(k * k);
          for (const r of rows) {
            for (let i = 0; i < k; i++)
              for (let j = 0; j < k; j++) a[i * k + j]! += ((r[i]! - mean[i]!) * (r[j]! - mean[j]!)) / n;
          }
          let trace = 0;
          for (let i = 0; i < k; i++) trace += a[i * k + i]!;
          for (let i = 0; i < k; i++) a[i * k + i]! += (ridge * trace) / k;
          for (let o = g * each; o < (g + 1) * each; o++) {
            const spatial = n / 27;
            const y = rows.map((_, i) => {
              const image = Math.floor(i / spatial);
              return targets[Math.floor(image / 9)]![((image % 9) * 4 + o) * spatial + (i % spatial)]!;
            });
            const meanY = y.reduce((p, q) => p + q, 0) / n;
            const old = Array.from({ length: k }, (_, j) => w0[o * k + j]!);
            const rhs = new Float64Array(k);
            rows.forEach((r, i) => {
              let rest = y[i]! - meanY;
              for (let j = 0; j < k; j++) rest -= old[j]! * (r[j]! - mean[j]!);
              for (let j = 0; j < k; j++) rhs[j]! += ((r[j]! - mean[j]!) * rest) / n;
            });
            const change = solveRows(cholesky(a, k)!, k, rhs, 1);
            let b = meanY;
            for (let j = 0; j < k; j++) {
              expect(weights![o * k + j]!).toBeCloseTo(old[j]! + change[j]!, 3);
              b -= (old[j]! + change[j]!) * mean[j]!;
            }
            expect(bias![o]!).toBeCloseTo(b, 3);
          }
        }
      }),
      { numRuns: 12 },
    );
  });
});

/** Conv (6) -> norm -> Relu -> Conv (5) + shortcut Conv -> Relu -> pool -> Gemm; unit 4 of the first can be a copy of unit 1. */
function block(options: { readonly twin?: boolean; readonly norm?: boolean; readonly type?: number } = {}): Model {
  const type = options.type ?? DataType.FLOAT;
  const g = graphBuilder();
  const constant = (name: string, dims: readonly number[], values: Float32Array): string =>
    g.constant(encodeFloats(name, type, dims, values));
  const first = normals('first', 6 * 3 * 9).map((v) => v / 4);
  if (options.twin === true) first.copyWithin(4 * 27, 27, 2 * 27);
  const x = g.input('x', DataType.FLOAT, ['N', 3, 8, 8]);
  const inside = type === DataType.FLOAT ? x : g.op('Cast', [x], { to: type });
  const pads = { pads: [1, 1, 1, 1] };
  let h = g.op('Conv', [inside, constant('w1', [6, 3, 3, 3], first)], pads);
  if (options.norm !== false) {
    const positive = (name: string): Float32Array => normals(name, 6).map((v) => 0.5 + Math.abs(v));
    const vectors = [positive('scale'), normals('shift', 6), normals('mean', 6), positive('variance')];
    if (options.twin === true) for (const v of vectors) v[4] = v[1]!;
    const names = ['scale', 'shift', 'mean', 'variance'].map((n, i) => constant(n, [6], vectors[i]!));
    h = g.op('BatchNormalization', [h, ...names], { epsilon: float(1e-5) });
  }
  h = g.op('Relu', [h]);
  const main = g.op(
    'Conv',
    [
      h,
      constant(
        'w2',
        [5, 6, 3, 3],
        normals('second', 5 * 6 * 9).map((v) => v / 6),
      ),
      constant('b2', [5], normals('b2', 5)),
    ],
    pads,
  );
  const short = g.op('Conv', [
    inside,
    constant('w3', [5, 3, 1, 1], normals('short', 15)),
    constant('b3', [5], normals('b3', 5)),
  ]);
  h = g.op('Relu', [g.op('Add', [main, short])]);
  h = g.op('Flatten', [g.op('GlobalAveragePool', [h])]);
  h = g.op('Gemm', [h, constant('w4', [5, 4], normals('head', 20)), constant('b4', [4], normals('b4', 4))]);
  g.output(type === DataType.FLOAT ? h : g.op('Cast', [h], { to: DataType.FLOAT }), DataType.FLOAT);
  return g.model();
}

const difference = (a: readonly number[], b: readonly number[]): number => {
  const scale = Math.max(...a.map(Math.abs));
  return Math.max(...a.map((v, i) => Math.abs(v - b[i]!))) / scale;
};

describe('knowledge', () => {
  test('a duplicate channel goes first, costs nothing, and the closed-form refit gives the outputs back', async () => {
    for (const norm of [true, false]) {
      const base = analyse(block({ twin: true, norm }), standardOps);
      const feeds = images('learn', [16, 3, 8, 8]);
      const knowledge = knowledgeOf(base, await finish(learn(base, feeds, { runtime, rng: createRng(1) })));
      const group = base.groups.groups.find((g) => g.size === 6)!;
      const { order, errors } = knowledge.removal(group.id)!;
      expect([1, 4]).toContain(order[0]);
      expect(errors[1]! / errors[3]!).toBeLessThan(1e-2);
      const dead = new Map([[group.id, [order[0]!]]]);
      const pruned = pruneModel(base, dead);
      const before = await outputs(base.model, images('other', [4, 3, 8, 8], 1));
      const cut = await outputs(pruned, images('other', [4, 3, 8, 8], 1));
      const refitted = await outputs(knowledge.quickRefit(pruned, dead), images('other', [4, 3, 8, 8], 1));
      expect(difference(before, cut)).toBeGreaterThan(0.02);
      expect(difference(before, refitted)).toBeLessThan(2e-3);
    }
  });

  test('reconstruction loses less than the closed form, that less than nothing; the same bytes on any number of threads', async () => {
    const base = analyse(block(), standardOps);
    const feeds = images('learn', [16, 3, 8, 8], 4);
    const knowledge = knowledgeOf(base, await finish(learn(base, feeds, { runtime, rng: createRng(1) })));
    const group = base.groups.groups.find((g) => g.size === 6)!;
    const dead = new Map([
      [
        group.id,
        knowledge
          .removal(group.id)!
          .order.slice(0, 3)
          .toSorted((a, b) => a - b),
      ],
    ]);
    const pruned = pruneModel(base, dead);
    const quick = knowledge.quickRefit(pruned, dead);
    const options = { rng: createRng(2), groups: base.groups, dead };
    const fitted = await finish(reconstruct(base.model, quick, feeds, { runtime, ...options }));
    const test = images('other', [32, 3, 8, 8], 1);
    const truth = await outputs(base.model, test);
    const error = async (model: Model): Promise<number> => {
      const now = await outputs(model, test);
      return truth.reduce((s, v, i) => s + (v - now[i]!) ** 2, 0);
    };
    expect(await error(quick)).toBeLessThan(await error(pruned));
    expect(await error(fitted)).toBeLessThan(await error(quick));
    const threads = threadRuntime(2);
    try {
      const again = await finish(reconstruct(base.model, quick, feeds, { runtime: threads, ...options }));
      expect(Buffer.compare(encodeModel(again), encodeModel(fitted))).toBe(0);
    } finally {
      await threads.close();
    }
  });

  test('float16 networks are refitted in their own format', async () => {
    const base = analyse(block({ type: DataType.FLOAT16 }), standardOps);
    const feeds = images('learn', [16, 3, 8, 8]);
    const knowledge = knowledgeOf(base, await finish(learn(base, feeds, { runtime, rng: createRng(1) })));
    const group = base.groups.groups.find((g) => g.size === 6)!;
    const dead = new Map([
      [
        group.id,
        knowledge
          .removal(group.id)!
          .order.slice(0, 2)
          .toSorted((a, b) => a - b),
      ],
    ]);
    const pruned = pruneModel(base, dead);
    const fitted = await finish(
      reconstruct(base.model, knowledge.quickRefit(pruned, dead), feeds, {
        runtime,
        rng: createRng(2),
        groups: base.groups,
        dead,
      }),
    );
    expect(new Set([...fitted.graph.initializers.values()].map((t) => t.dataType))).toEqual(
      new Set([DataType.FLOAT16]),
    );
    const test = images('other', [16, 3, 8, 8], 1);
    const truth = await outputs(base.model, test);
    expect(difference(truth, await outputs(fitted, test))).toBeLessThan(difference(truth, await outputs(pruned, test)));
  });

  test('every criterion orders all units; random by its seed only', async () => {
    const base = analyse(block(), standardOps);
    const knowledge = knowledgeOf(
      base,
      await finish(learn(base, images('learn', [16, 3, 8, 8]), { runtime, rng: createRng(1) })),
    );
    const group = base.groups.groups.find((g) => g.size === 6)!;
    for (const name of criterionNames) {
      const of = (seed: number): number[] =>
        orderBy(criteria[name]({ analysis: base, group, knowledge, rng: createRng(seed) })!);
      expect(of(1).toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5]);
      expect(of(1)).toEqual(of(1));
    }
    expect(orderBy(criteria.obs({ analysis: base, group, knowledge, rng: createRng(1) })!)).toEqual(
      knowledge.removal(group.id)!.order,
    );
    expect(criteria.obs({ analysis: base, group, rng: createRng(1) })).toBeUndefined();
    // by hand: |scale| of the normalisation
    const scale = readFloats(base.model.graph.initializers.get('scale')!);
    expect(orderBy(criteria.bn({ analysis: base, group, rng: createRng(1) })!)).toEqual(orderBy(scale));
  });
});

describe('recalibration', () => {
  for (const norm of [true, false]) {
    test(`gives every channel its mean and variance back, ${norm ? 'with a normalisation' : 'folded'}`, async () => {
      const base = analyse(block({ norm }), standardOps);
      const group = base.groups.groups.find((g) => g.size === 6)!;
      const dead = new Map([[group.id, [0, 3]]]);
      const pruned = pruneModel(base, dead);
      const feeds = images('learn', [32, 3, 8, 8]);
      const fitted = await finish(recalibrate(base.model, pruned, feeds, { runtime, groups: base.groups, dead }));
      const layer = findLayers(base.model.graph).find((l) => l.weight === 'w2')!;
      const stats = async (model: Model): Promise<number[]> => {
        const exposed = { ...model, graph: { ...model.graph, outputs: [{ name: layer.output }] } };
        const values = await outputs(exposed, feeds);
        return Array.from({ length: 5 }, (_, c) => values.filter((_v, i) => Math.floor(i / 64) % 5 === c)).flatMap(
          (own) => {
            const mean = own.reduce((a, b) => a + b, 0) / own.length;
            return [mean, own.reduce((a, b) => a + (b - mean) ** 2, 0) / own.length];
          },
        );
      };
      const wanted = await stats(base.model);
      const cut = await stats(pruned);
      const now = await stats(fitted);
      expect(Math.max(...wanted.map((v, i) => Math.abs(v - cut[i]!)))).toBeGreaterThan(0.1);
      now.forEach((v, i) => expect(v).toBeCloseTo(wanted[i]!, 3));
    });
  }
});
