import { describe, expect, test } from 'vitest';
import { createEnsemble } from '../../src/predictor/ensemble.js';
import type { Graph } from '../../src/ir/graph.js';
import { createRng, type Rng } from '../../src/rng.js';
import { violation, type Constraints } from '../../search/constraints.js';
import { explore, measuredFront, withMeasurement, type ExploreOptions, type Measured } from '../../search/explore.js';
import type { Candidate } from '../../search/fitness.js';
import { genomeKey, genomeOf, partsOf, type Genome } from '../../search/genome.js';

// A network that is a table: eight groups of ten units; unit costs and true losses differ by group, and the signals know the
// losses only roughly. The truth is cheap, so the best front can be computed and compared with.
const GROUPS = 8;
const UNITS = 10;
const graph: Graph = {
  name: '',
  nodes: [],
  initializers: new Map(),
  sparseInitializers: new Map(),
  inputs: [],
  outputs: [],
  valueInfo: new Map(),
};
const rng = createRng('table');
const price = Array.from({ length: GROUPS }, () => 1 + rng.int(9));
const harm = Array.from({ length: GROUPS }, () => 0.2 + rng.next());
const opinion = harm.map((h) => h * Math.exp(0.5 * rng.normal()));

const genome = (cut: readonly number[]): Genome =>
  genomeOf([], new Map(cut.map((k, g) => [`g${g}`, Array.from({ length: k }, (_, i) => i)])));
const cutsOf = (g: Genome): number[] => {
  const { dead } = partsOf(g);
  return Array.from({ length: GROUPS }, (_, i) => dead.get(`g${i}`)?.length ?? 0);
};
const whole = price.reduce((a, b) => a + b, 0) * UNITS * 1000;
const macsOf = (cut: readonly number[]): number => cut.reduce((s, k, g) => s - price[g]! * k * 1000, whole);
const scoreOf = (cut: readonly number[]): number =>
  0.95 - (0.3 * cut.reduce((s, k, g) => s + harm[g]! * (k / UNITS) ** 2, 0)) / GROUPS;

const assess = (g: Genome): Candidate => {
  const cut = cutsOf(g);
  const macs = macsOf(cut);
  const signals = new Map([
    ['loss', cut.reduce((s, k, i) => s + opinion[i]! * (k / UNITS) ** 2, 0)],
    ...cut.map((k, i): [string, number] => [`loss:${i}`, (k / UNITS) ** 2]),
    ['macs', macs / whole],
  ]);
  return { genome: g, key: genomeKey(g), macs, params: macs / 10, memoryBytes: 100, signals, graph };
};

const vary = (a: Genome, b: Genome, stream: Rng): Genome => {
  const other = cutsOf(b);
  return genome(
    cutsOf(a).map((k, i) => {
      const inherited = stream.next() < 0.5 ? k : other[i]!;
      const moved = inherited + (stream.next() < 0.3 ? stream.int(5) - 2 : 0);
      return Math.min(UNITS - 1, Math.max(0, moved));
    }),
  );
};

const setUp = (constraints: Constraints, evaluations: number, seed = 'run'): ExploreOptions & { batches: number[] } => {
  const root = createRng(seed);
  const batches: number[] = [];
  return {
    batches,
    base: withMeasurement(assess([]), 0.95),
    seeds: Array.from({ length: 16 }, (_, i) => {
      const stream = root.fork(`seed/${i}`);
      return genome(price.map(() => stream.int(UNITS)));
    }),
    assess,
    vary,
    measure: async (candidates) => {
      batches.push(candidates.length);
      return candidates.map((c) => ({ key: c.key, score: scoreOf(cutsOf(c.genome)) }));
    },
    predictor: createEnsemble(root.fork('predictor')),
    constraints,
    rng: root.fork('search'),
    evaluations,
  };
};

const run = async (options: ExploreOptions): Promise<Measured[]> => {
  let last: readonly Measured[] = [];
  for await (const report of explore(options)) last = report.measured;
  return [...last];
};

/** The best score within a budget, by dynamic programming over units of price. */
const bestWithin = (budget: number): number => {
  const toSave = Math.ceil((whole - budget) / 1000);
  let least = new Float64Array(toSave + 1).fill(Infinity);
  least[0] = 0;
  for (let g = 0; g < GROUPS; g++) {
    const next = new Float64Array(toSave + 1).fill(Infinity);
    for (let s = 0; s <= toSave; s++) {
      for (let k = 0; k < UNITS; k++) {
        const at = Math.min(toSave, s + k * price[g]!);
        next[at] = Math.min(next[at]!, least[s]! + harm[g]! * (k / UNITS) ** 2);
      }
    }
    least = next;
  }
  return 0.95 - (0.3 * least[toSave]!) / GROUPS;
};

describe('explore', () => {
  test('comes close to the best within the budget in 32 measurements, from random seeds', async () => {
    const budget = whole / 2;
    const measured = await run(setUp({ macs: budget }, 32));
    expect(measured).toHaveLength(32);
    expect(new Set(measured.map((m) => m.key)).size).toBe(32);
    const best = measuredFront({ macs: budget }, measured)[0]!;
    expect(best.macs).toBeLessThanOrEqual(budget);
    expect(bestWithin(budget) - best.score).toBeLessThan(0.01);
    // random seeds alone are far from it
    const seeds = setUp({ macs: budget }, 32)
      .seeds.map(cutsOf)
      .filter((c) => macsOf(c) <= budget);
    expect(best.score).toBeGreaterThan(Math.max(...seeds.map(scoreOf)));
  });

  test('a lowest score: the cheapest found holds it', async () => {
    const constraints = { minScore: 0.9 };
    const measured = await run(setUp(constraints, 32));
    const cheapest = measuredFront(constraints, measured).at(-1)!;
    expect(violation(constraints, cheapest)).toBe(0);
    expect(cheapest.macs).toBeLessThan(0.62 * whole);
  });

  test('is a function of its seed, and a shorter run is the beginning of a longer one', async () => {
    const keys = async (n: number, seed?: string): Promise<string[]> =>
      (await run(setUp({ macs: whole / 2 }, n, seed))).map((m) => m.key);
    const long = await keys(16);
    expect(await keys(16)).toEqual(long);
    expect(await keys(10)).toEqual(long.slice(0, 10));
    expect(await keys(16, 'other')).not.toEqual(long);
  });

  test('stops between batches when it is told to', async () => {
    const options = setUp({ macs: whole / 2 }, 32);
    const measured = await run({ ...options, stop: () => options.batches.length >= 3 });
    expect(measured).toHaveLength(12);
  });

  test('an impossible budget ends with what breaks it least', async () => {
    const constraints = { macs: whole / 100 };
    const measured = await run(setUp(constraints, 16));
    const front = measuredFront(constraints, measured);
    expect(violation(constraints, front[0]!)).toBe(Math.min(...measured.map((m) => violation(constraints, m))));
  });
});

// Two floors to compare a predictor with, and what the predictor is worth on this table.
test('without a predictor the search still spends its evaluations within the budget; with one it finds more', async () => {
  const volumes = new Map<string, number>();
  for (const how of ['predictor', 'diverse', 'random'] as const) {
    let volume = 0;
    for (const seed of ['a', 'b', 'c']) {
      const { predictor, ...rest } = setUp({ macs: 0.5 * whole }, 28, seed);
      const options = how === 'predictor' ? { ...rest, predictor: predictor! } : { ...rest, blindly: how };
      let last: { hypervolume: number; measured: readonly Measured[] } | undefined;
      for await (const report of explore(options)) last = report;
      expect(last!.measured).toHaveLength(28);
      expect(new Set(last!.measured.map((m) => m.key)).size).toBe(28);
      volume += last!.hypervolume / 3;
      if (how === 'predictor') continue;
      const again: Measured[] = [];
      for await (const report of explore(options)) again.splice(0, again.length, ...report.measured);
      expect(again.map((m) => m.key)).toEqual(last!.measured.map((m) => m.key));
    }
    volumes.set(how, volume);
  }
  expect(volumes.get('predictor')!).toBeGreaterThan(volumes.get('diverse')!);
  expect(volumes.get('diverse')!).toBeGreaterThan(volumes.get('random')!);
});
