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
import { sensitivityFor } from '../src/recovery/importance-gradient.js';
import { criteria, criterionNames, orderBy } from '../src/recovery/importance.js';
import { knowledgeOf, learn } from '../src/recovery/knowledge.js';
import { findLayers } from '../src/recovery/layers.js';
import { reconstruct } from '../src/recovery/least-squares.js';
import { cholesky, solveRows } from '../src/recovery/linear-algebra.js';
import { drain } from '../src/drain.js';
import { withEditedLayers } from '../src/recovery/reference.js';
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
        const fitted = await drain(
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

describe('wide layers', () => {
  test('above the exact size: order by what is known, refit by conjugate gradients, and nothing quadratic in 20,000 columns', async () => {
    const make = (channels: number, taps: number): Model => {
      const g = graphBuilder();
      const x = g.input('x', DataType.FLOAT, ['N', 2, 5, 5]);
      const w1 = g.constant(floatTensor('w1', [channels, 2, 1, 1], normals('w1', channels * 2)));
      const b1 = g.constant(floatTensor('b1', [channels], normals('b1', channels)));
      const h = g.op('Relu', [g.op('Conv', [x, w1, b1])]);
      const w2 = g.constant(floatTensor('w2', [3, channels, taps, taps], normals('w2', 3 * channels * taps ** 2)));
      const b2 = g.constant(floatTensor('b2', [3], normals('b2', 3)));
      g.output(g.op('Conv', [h, w2, b2]), DataType.FLOAT);
      return g.model();
    };
    for (const [channels, taps, kind] of [
      [160, 3, 'channel'],
      [20_000, 1, 'diagonal'],
    ] as const) {
      const base = analyse(make(channels, taps), standardOps);
      const feeds = images('wide', [8, 2, 5, 5], 2);
      const data = await drain(learn(base, feeds, { runtime, rng: createRng(1) }));
      expect([...data.grams.values()].map((g) => g.kind)).toContain(kind);
      const knowledge = knowledgeOf(base, data);
      const group = base.groups.groups.find((g) => g.size === channels)!;
      const { order } = knowledge.removal(group.id)!;
      const dead = new Map([[group.id, order.slice(0, channels / 8).toSorted((a, b) => a - b)]]);
      const pruned = pruneModel(base, dead);
      const quick = knowledge.quickRefit(pruned, dead);
      const fitted = await drain(
        reconstruct(base.model, quick, feeds, { runtime, rng: createRng(1), groups: base.groups, dead }),
      );
      const truth = await outputs(base.model, feeds);
      const error = async (m: Model): Promise<number> => difference(truth, await outputs(m, feeds));
      expect(await error(quick)).toBeLessThan(await error(pruned));
      expect(await error(fitted)).toBeLessThanOrEqual(await error(quick));
    }
  });
});

describe('edited layers', () => {
  test('a factor that the original lacks aims at what it gave there, also when its channels were cut', async () => {
    // the original: one Conv; edited: the same as 3 x 1 then 1 x 3 of full rank
    const original = graphBuilder();
    const edited = graphBuilder();
    const dims = ['N', 4, 7, 6];
    const kernels = [normals('column', 6 * 4 * 3), normals('row', 5 * 6 * 3)];
    const whole = new Float32Array(5 * 4 * 9);
    for (let o = 0; o < 5; o++)
      for (let c = 0; c < 4; c++)
        for (let y = 0; y < 3; y++)
          for (let x = 0; x < 3; x++)
            for (let r = 0; r < 6; r++)
              whole[((o * 4 + c) * 3 + y) * 3 + x]! +=
                kernels[0]![(r * 4 + c) * 3 + y]! * kernels[1]![(o * 6 + r) * 3 + x]!;
    for (const g of [original, edited]) g.input('x', DataType.FLOAT, dims);
    const w = original.constant(floatTensor('w', [5, 4, 3, 3], whole));
    original.output(original.op('Conv', ['x', w], { pads: [1, 1, 1, 1] }, { outputs: ['y'] }), DataType.FLOAT);
    const column = edited.constant(floatTensor('column', [6, 4, 3, 1], kernels[0]!));
    const row = edited.constant(floatTensor('row', [5, 6, 1, 3], kernels[1]!));
    const between = edited.op('Conv', ['x', column], { pads: [1, 0, 1, 0] }, { outputs: ['between'] });
    edited.output(edited.op('Conv', [between, row], { pads: [0, 1, 0, 1] }, { outputs: ['y'] }), DataType.FLOAT);
    const feeds = images('edited', [16, 4, 7, 6]);
    const reference = withEditedLayers(original.model(), edited.model());
    expect(reference.graph.nodes.map((n) => n.outputs[0])).toEqual(['y', 'between']);
    // both factors start from nothing: only the targets can bring them back
    const lost = edited.model();
    const blank = new Map(
      [...lost.graph.initializers].map(([n, t]) => [
        n,
        floatTensor(
          n,
          t.dims,
          normals(
            n + '?',
            t.dims.reduce((a, b) => a * b, 1),
          ),
        ),
      ]),
    );
    const start = { ...lost, graph: { ...lost.graph, initializers: blank } };
    const fitted = await drain(
      reconstruct(original.model(), start, feeds, { runtime, rng: createRng(1), edited: lost, all: true, ridge: 1e-6 }),
    );
    expect(difference(await outputs(original.model(), feeds), await outputs(start, feeds))).toBeGreaterThan(0.3);
    expect(difference(await outputs(original.model(), feeds), await outputs(fitted, feeds))).toBeLessThan(1e-3);
  });
});

describe('knowledge', () => {
  test('a duplicate channel goes first, costs nothing, and the closed-form refit gives the outputs back', async () => {
    for (const norm of [true, false]) {
      const base = analyse(block({ twin: true, norm }), standardOps);
      const feeds = images('learn', [16, 3, 8, 8]);
      const knowledge = knowledgeOf(base, await drain(learn(base, feeds, { runtime, rng: createRng(1) })));
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
    const knowledge = knowledgeOf(base, await drain(learn(base, feeds, { runtime, rng: createRng(1) })));
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
    const fitted = await drain(reconstruct(base.model, quick, feeds, { runtime, ...options }));
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
      const again = await drain(reconstruct(base.model, quick, feeds, { runtime: threads, ...options }));
      expect(Buffer.compare(encodeModel(again), encodeModel(fitted))).toBe(0);
    } finally {
      await threads.close();
    }
  });

  test('float16 networks are refitted in their own format', async () => {
    const base = analyse(block({ type: DataType.FLOAT16 }), standardOps);
    const feeds = images('learn', [16, 3, 8, 8]);
    const knowledge = knowledgeOf(base, await drain(learn(base, feeds, { runtime, rng: createRng(1) })));
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
    const fitted = await drain(
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
      await drain(learn(base, images('learn', [16, 3, 8, 8]), { runtime, rng: createRng(1) })),
    );
    const group = base.groups.groups.find((g) => g.size === 6)!;
    // those by gradients have tests of their own (sensitivity.test.ts)
    for (const name of criterionNames.filter((n) => sensitivityFor(n) === undefined)) {
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
      const fitted = await drain(recalibrate(base.model, pruned, feeds, { runtime, groups: base.groups, dead }));
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
