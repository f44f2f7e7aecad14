import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { drain } from '../../src/drain.js';
import { encodeModel } from '../../src/onnx/write.js';
import { parseModel } from '../../src/onnx/read.js';
import { aiopMethod, openAiop, shippedPredictor } from '../../src/predictor/aiop.js';
import { compress } from '../../src/predictor/compress.js';
import type { Candidate, Task } from '../../src/predictor/evaluate.js';
import { fitFewShot, type View } from '../../src/predictor/few-shot.js';
import { fitStack } from '../../src/predictor/few-shot-stack.js';
import { graphFeatureNames, graphFeatures } from '../../src/predictor/graph-features.js';
import { detailed } from '../../src/predictor/corpus.js';
import { openPredictor, predictorModel, type PredictorFile } from '../../src/predictor/predictor-file.js';
import { pretrain } from '../../src/predictor/pretrain.js';
import { fitRank, rankScores, standardized } from '../../src/predictor/rank.js';
import { SOURCES } from '../../src/predictor/sources.js';
import { nb201 } from '../../src/predictor/spaces/nb201.js';
import { spearman } from '../../src/predictor/correlation.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';

const runtime = ortRuntime();
const folder = mkdtempSync(join(tmpdir(), 'pare-aiop-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A table as NAS-Bench-201's: more convolutions of three are better. */
function tinyTable(rows: number): { readonly text: string; readonly cells: readonly string[] } {
  const rng = createRng('table');
  const cells = Array.from({ length: rows }, () => `(${Array.from({ length: 6 }, () => rng.int(5)).join(', ')})`);
  const columns = SOURCES[0]!.labels;
  const value = (cell: string): number => 40 + 8 * (cell.match(/2/g)?.length ?? 0) + (cell.match(/3/g)?.length ?? 0);
  const lines = cells.map((cell) => [`"${cell}"`, ...columns.map(() => value(cell))].join(','));
  return { text: [['op_indices', ...columns].join(','), ...lines].join('\n'), cells };
}

describe('pretraining', () => {
  let made: PredictorFile;
  const run = (seed: string): Promise<PredictorFile> =>
    drain(
      pretrain({
        tables: folder,
        sources: SOURCES.slice(0, 2),
        excludeSpaces: ['transnas101-micro'],
        excludeLabels: ['cifar100_test200_pct', 'in16_test200_pct', 'hp12_cifar100_val', 'hp12_in16_val'],
        rng: createRng(seed),
        runtime,
        perSpace: 40,
        epochs: { unlabelled: 1, base: 1, adapters: 1, trunk: 30 },
        unlabelled: 'fgp',
      }),
    );
  beforeAll(async () => {
    writeFileSync(join(folder, 'nb201.csv'), tinyTable(60).text);
    made = await run('a');
  }, 60_000);

  it('says what it has seen, and no more', () => {
    expect(made.card.labels.map((l) => l.column)).toEqual(['cifar10_test200_pct', 'hp12_cifar10_val']);
    expect(Object.keys(made.card.rows)).toEqual(['nb201']);
  });

  it('writes a file that reads back and says the same', async () => {
    const again = openPredictor(parseModel(encodeModel(predictorModel(made))), 'again');
    expect(again.card).toEqual(made.card);
    const graph = compress(nb201.parse(new Map([['op_indices', '(2, 2, 0, 4, 2, 0)']])).build(), { extras: true });
    const [a] = await openAiop(made, runtime).look([graph]);
    const [b] = await openAiop(again, runtime).look([graph]);
    expect(b).toEqual(a);
    expect(() => openPredictor({ ...predictorModel(made), metadata: new Map() }, 'x.onnx')).toThrow('is no predictor');
  });

  it('is the same for the same seed', async () => {
    const again = await run('a');
    expect(Buffer.compare(encodeModel(predictorModel(again)), encodeModel(predictorModel(made)))).toBe(0);
  }, 60_000);

  it('ranks its own space without labels and knows more with some', async () => {
    const { cells } = tinyTable(60);
    const candidates = cells.slice(0, 40).map((cell): Candidate => {
      const architecture = nb201.parse(new Map([['op_indices', cell]]));
      const graph = compress(architecture.build(), { extras: true });
      return {
        key: cell,
        group: architecture.twins,
        model: () => architecture.build(),
        graph: () => graph,
        macs: () => graph.macs,
        params: () => 0,
        recipe: new Map(),
        proxies: new Map(),
      };
    });
    const truth = cells.slice(0, 40).map((c) => (c.match(/2/g)?.length ?? 0) * 10 + (c.match(/3/g)?.length ?? 0));
    const task: Task = { space: 'nb201', label: 'new', prior: { mean: 1, deviation: 2 }, candidates };
    const method = aiopMethod({ file: made, runtime });
    const zero = await (await method.fit([], task, createRng(0))).predict(candidates);
    expect(
      spearman(
        zero.map((p) => p.mean),
        truth,
      ),
    ).toBeGreaterThan(0.5);
    const train = candidates.slice(0, 15).map((candidate, i) => ({ candidate, label: truth[i]! }));
    const said = await (await method.fit(train, task, createRng(0))).predict(candidates.slice(15));
    expect(
      spearman(
        said.map((p) => p.mean),
        truth.slice(15),
      ),
    ).toBeGreaterThan(0.7);
    expect(said.every((p) => p.deviation > 0)).toBe(true);
    const unknown = await (await method.fit([], { ...task, space: undefined }, createRng(0))).predict(candidates);
    expect(
      spearman(
        unknown.map((p) => p.mean),
        truth,
      ),
    ).toBeGreaterThan(0.3);
  });
});

describe('the head for few samples', () => {
  const rng = createRng('few');
  const x = Array.from({ length: 80 }, () => [rng.normal(), rng.normal()]);
  const noise = x.map(() => [rng.normal(), rng.normal(), rng.normal()]);
  const views: View[] = [
    { name: 'right', kernel: 'linear', rows: x },
    { name: 'wrong', kernel: 'rbf', rows: noise },
  ];
  const y = x.map(([a, b]) => 3 * a! - 2 * b! + 50);
  const train = Array.from({ length: 12 }, (_, i) => i);
  const rest = Array.from({ length: 68 }, (_, i) => 12 + i);

  it('finds the view that explains the labels', () => {
    const head = fitFewShot(
      views,
      train,
      train.map((i) => y[i]!),
    );
    const said = head.predict(rest);
    const error = rest.reduce((sum, i, k) => sum + Math.abs(said[k]!.mean - y[i]!), 0) / rest.length;
    expect(error).toBeLessThan(1);
    expect(head.shares[0]).toBeGreaterThan(head.shares[1]!);
  });

  it('carries a trend that bends beyond all that was measured', () => {
    const sizes = [...Array.from({ length: 20 }, () => [2 * rng.next() - 1]), [-3]];
    const curve = ([s]: readonly number[]): number => 60 + 4 * s! - s! ** 2;
    const near = Array.from({ length: 20 }, (_, i) => i);
    const labels = near.map((i) => curve(sizes[i]!));
    const farOff = (kernel: View['kernel']): number => {
      const [said] = fitFewShot([{ name: 'size', kernel, rows: sizes }], near, labels).predict([20]);
      return Math.abs(said!.mean - curve(sizes[20]!));
    };
    expect(farOff('quadratic')).toBeLessThan(0.5 * Math.min(farOff('linear'), farOff('rbf')));
  });

  it('has the unit of the labels, and is sure of what it has seen', () => {
    const labels = train.map((i) => y[i]!);
    const one = fitFewShot(views, train, labels).predict(rest);
    const ten = fitFewShot(
      views,
      train,
      labels.map((v) => 10 * v + 7),
    ).predict(rest);
    one.forEach((p, i) => {
      expect(ten[i]!.mean).toBeCloseTo(10 * p.mean + 7, 6);
      expect(ten[i]!.deviation).toBeCloseTo(10 * p.deviation, 6);
    });
    const seen = fitFewShot(views, train, labels).predict(train);
    const mean = (ps: readonly { readonly deviation: number }[]): number =>
      ps.reduce((sum, p) => sum + p.deviation, 0) / ps.length;
    expect(mean(seen)).toBeLessThan(mean(one));
  });

  it('starts from a belief that the labels confirm, and drops one that they contradict', () => {
    const few = [0, 1, 2, 3, 4];
    const labels = few.map((i) => y[i]!);
    const truth = standardized(y);
    const error = (verdict?: Float64Array): number => {
      const said = fitFewShot([views[1]!], few, labels, verdict).predict(rest);
      return rest.reduce((sum, i, k) => sum + Math.abs(said[k]!.mean - y[i]!), 0) / rest.length;
    };
    expect(error(truth)).toBeLessThan(0.75 * error());
    expect(error(truth.map((v) => -v))).toBeCloseTo(error(), 6);
  });

  it('predicts equal labels as they are', () => {
    const said = fitFewShot(
      views,
      train,
      train.map(() => 4),
    ).predict(rest);
    expect(said.every((p) => p.mean === 4 && p.deviation === 0)).toBe(true);
  });
});

describe('processes and a forest side by side', () => {
  const rng = createRng('stack');
  const rows = Array.from({ length: 200 }, () => Float64Array.from({ length: 6 }, () => rng.normal()));
  const views: View[] = [{ name: 'all', kernel: 'rbf', rows }];
  const train = Array.from({ length: 20 }, (_, i) => i);
  const rest = rows.map((_, i) => i).slice(20);
  /** Spearman of what is foretold of the rest: by the stack, by the processes alone. */
  const ranked = (label: (row: Float64Array) => number): readonly [number, number] => {
    const labels = rows.map(label);
    const known = train.map((i) => labels[i]!);
    const stack = fitStack({ views, rows, train, labels: known, rng: createRng('forest') }).predict(rest);
    const alone = fitFewShot(views, train, known).predict(rest);
    const truth = rest.map((i) => labels[i]!);
    return [
      spearman(
        stack.map((p) => p.mean),
        truth,
      ),
      spearman(
        alone.map((p) => p.mean),
        truth,
      ),
    ];
  };

  it('gain where labels jump, and lose little where they are smooth', () => {
    const [jump, jumpAlone] = ranked((r) => (r[0]! > 0.2 ? 1 : 0) + 0.01 * r[1]!);
    expect(jump).toBeGreaterThan(jumpAlone);
    const [smooth, smoothAlone] = ranked((r) => r[0]! + 0.7 * r[1]!);
    expect(smooth).toBeGreaterThan(smoothAlone - 0.1);
  });

  it('leave each sample out as a process fitted without it does, but for the mixtures', () => {
    const labels = train.map((i) => rows[i]![0]!);
    const { leaveOneOut } = fitFewShot(views, train, labels);
    const without = train.map((_, i) => {
      const others = train.filter((_, j) => j !== i);
      return fitFewShot(
        views,
        others,
        others.map((j) => labels[j]!),
      ).predict([train[i]!])[0]!.mean;
    });
    expect(spearman(leaveOneOut, without)).toBeGreaterThan(0.9);
    const own = fitFewShot(views, train, labels).predict(train);
    // what has been seen is known too well
    const error = (said: readonly number[]): number => said.reduce((sum, v, i) => sum + Math.abs(v - labels[i]!), 0);
    expect(error(leaveOneOut)).toBeGreaterThan(1.5 * error(own.map((p) => p.mean)));
  });
});

describe('the ranking of unknown spaces', () => {
  const names = graphFeatureNames();
  const row = (macs: number, convs: number): Float32Array => {
    const f = new Float32Array(names.length);
    f[names.indexOf('macs')] = macs;
    f[names.indexOf('count/conv')] = convs;
    return f;
  };

  it('learns within spaces, so that a space of small networks may be the better one', () => {
    const rng = createRng('rank');
    const rows = Array.from({ length: 120 }, (_, i) => {
      const convs = rng.next();
      const space = i % 2 === 0 ? 'small' : 'large';
      return { space, convs, features: row(space === 'small' ? 6 : 9, convs) };
    });
    const weights = fitRank(
      rows,
      rows.map((r) => r.convs),
    );
    expect(weights[names.indexOf('count/conv')]).toBeGreaterThan(0);
    expect(weights[names.indexOf('macs')]).toBe(0);
    const scores = rankScores([row(7, 0.1), row(7.5, 0.5), row(8, 0.9)], weights);
    expect(scores[0]).toBeLessThan(scores[1]!);
    expect(scores[1]).toBeLessThan(scores[2]!);
  });

  it('takes the larger for the better where nothing was learnt', () => {
    const scores = rankScores([row(9, 0), row(7, 0), row(8, 0)], new Float32Array(names.length));
    expect(scores[0]).toBeGreaterThan(scores[2]!);
    expect(scores[2]).toBeGreaterThan(scores[1]!);
  });
});

describe('graph features', () => {
  it('are finite and tell networks apart', () => {
    const features = ['(2, 2, 2, 2, 2, 2)', '(1, 1, 1, 1, 1, 1)', '(0, 3, 4, 2, 1, 0)'].map((cell) =>
      graphFeatures(detailed(compress(nb201.parse(new Map([['op_indices', cell]])).build(), { extras: true }))),
    );
    for (const f of features) expect(f.every((v) => Number.isFinite(v))).toBe(true);
    expect(features[0]).not.toEqual(features[2]);
    expect(features[0]).toHaveLength(graphFeatureNames().length);
  });
});

describe('the shipped predictor', () => {
  it('is small, and was not shown the tasks that it is judged on', () => {
    const { card, weights } = shippedPredictor();
    const bytes = [...weights.values()].reduce((n, t) => n + (t.bytes?.().byteLength ?? 0), 0);
    expect(bytes).toBeLessThan(3_000_000);
    for (const { space, column } of card.labels) {
      expect(`${space} ${column}`).not.toMatch(/segmentsemantic|room_layout|video|ninapro|nb101/);
    }
    expect(card.labels.length).toBeGreaterThan(15);
  });
});
