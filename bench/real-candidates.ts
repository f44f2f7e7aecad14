// Real candidates: fresh pruned variants after their refit on data, foretold by predictors that were fitted to 20 others of the same
// network. Wanted within 50 to 100 % of the MACs, on at least 100 variants: mean absolute error at most 1 point, Spearman at least 0.9.
// Measurements are kept in the system's temporary folder, and a second call goes on with them.
// usage: npm run bench -- real-candidates [resnet56 | mobilenetv2 | densenet | example | ...] [fresh (100)] [fitted to (20)] [images of the refit (256)] [test images (all)] [known: judge by what an earlier call has measured]
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { openJsonLog } from '../search/checkpoint.js';
import { limited, recovered, resultOf, type Effort } from '../search/evaluator.js';
import { withMeasurement, type Measured } from '../search/explore.js';
import type { Candidate } from '../search/fitness.js';
import { createForeteller } from '../search/foretell.js';
import { drawFresh } from '../search/fresh.js';
import { DEFAULT_EFFORT } from '../search/optimize.js';
import { createVariation } from '../search/variation.js';
import type { Workshop } from '../search/workshop.js';
import { agreementOf, type Agreement } from '../src/compare/agreement.js';
import { openDataset } from '../src/data/dataset.js';
import type { Model } from '../src/ir/graph.js';
import { evaluate, recordOutputs, type Evaluation } from '../src/measure/evaluate.js';
import type { Estimate } from '../src/measure/statistics.js';
import { spearman } from '../src/predictor/correlation.js';
import { fitnessMethods } from '../src/predictor/fitness-methods.js';
import type { Prediction, Predictor } from '../src/predictor/predictor.js';
import { createRng, type Rng } from '../src/rng.js';
import { withSession, type Runtime, type Session } from '../src/runtime/runtime.js';
import { threadRuntime } from '../src/runtime/threads.js';
import { benchWorkshop, taskOf } from './support/workshop.js';

const SEED = 'real-candidates';
/** Others that only the search's cheap score is known of. */
const CHEAP = 40;
const LOW = 0.5;

const line = z.object({
  key: z.string(),
  macs: z.number(),
  cheap: z.number(),
  refitted: z.number().optional(),
  /** On every other test image, and on the rest. */
  halves: z.tuple([z.number(), z.number()]).optional(),
});
type Line = z.infer<typeof line>;

export async function run(args: string[]): Promise<void> {
  const [name, fresh = '100', learn = '20', images = '256', test, known] = args;
  const effort: Effort = { mode: 'reconstruct', images: Number(images), positions: 32 };
  const runtime = threadRuntime(2);
  try {
    for (const network of name === undefined ? ['resnet56', 'mobilenetv2', 'densenet'] : [name]) {
      const limit = test === undefined ? undefined : Number(test);
      const wanted = { fresh: Number(fresh), learn: Number(learn), effort, limit, known: known === 'known' };
      await judge(network, wanted, runtime);
    }
  } finally {
    await runtime.close();
  }
}

interface Variant {
  /** With the search's cheap score. */
  readonly candidate: Measured;
  /** On the test images. */
  readonly refitted: number;
  readonly halves: OnTest['halves'] | undefined;
}

interface OnTest {
  readonly refitted: number;
  readonly halves: [number, number];
}

interface Wanted {
  readonly fresh: number;
  readonly learn: number;
  readonly effort: Effort;
  readonly limit: number | undefined;
  /** Nothing more is measured. */
  readonly known: boolean;
}

async function judge(name: string, wanted: Wanted, runtime: Runtime): Promise<void> {
  const { fresh, learn, effort, limit } = wanted;
  const task = taskOf(name);
  const workshop = await benchWorkshop(task, runtime, '1');
  const rng = createRng(SEED);
  try {
    const { session, original } = workshop;
    const dataset = openDataset(task.test, session.inputs);
    const n = Math.min(limit ?? dataset.size, dataset.size);
    const yardsticks = await Promise.all(
      [0, 1].map(async (half) => {
        const indices = Array.from({ length: n }, (_, i) => i).filter((i) => i % 2 === half);
        return { indices, reference: await recordOutputs(session, dataset, { indices, concurrency: 2 }) };
      }),
    );
    const onTest = async (on: Session): Promise<OnTest> => {
      const found: Evaluation[] = [];
      for (const { indices, reference } of yardsticks) {
        found.push(await evaluate(on, dataset, { indices, reference, concurrency: 2 }));
      }
      const [a, b] = found.map((e) => resultOf('', e).score);
      const sum = found.reduce((total, e) => total + e.n * resultOf('', e).score, 0);
      return { refitted: sum / n, halves: [a!, b!] };
    };
    const drawn = draw(workshop, fresh + learn + CHEAP, rng);
    const path = join(tmpdir(), `pare-real-${name}-${effort.images}-${n}.jsonl`);
    const lines = await measured(workshop, drawn, path, wanted, onTest);
    const whole = (await onTest(session)).refitted;

    const variants = drawn.slice(0, fresh + learn).flatMap((c): Variant[] => {
      const found = lines.get(c.key);
      if (found?.refitted === undefined) return [];
      return [{ candidate: withMeasurement(c, found.cheap), refitted: found.refitted, halves: found.halves }];
    });
    const train = variants.slice(0, learn);
    const unseen = variants.slice(learn);
    const cheap = drawn.slice(fresh + learn).flatMap((c) => {
      const found = lines.get(c.key);
      return found === undefined ? [] : [withMeasurement(c, found.cheap)];
    });

    const scores = unseen.map((v) => v.refitted);
    console.log(
      `\n${name}: ${unseen.length} fresh variants within 50 to 100 % of the MACs after a least-squares refit on ${effort.images} images, top-1 of ${n} test images ` +
        `${(100 * Math.min(...scores)).toFixed(2)} to ${(100 * Math.max(...scores)).toFixed(2)} % (original ${(100 * whole).toFixed(2)}); fitted to ${train.length} others; seed "${SEED}"; [95 %]`,
    );
    const halves = unseen.flatMap((v) => (v.halves === undefined ? [] : [v.halves]));
    if (halves.length > 0) console.log(ceiling(halves));
    console.log('| predictor | MAE, points | Spearman | Kendall | in its 90 % interval |\n|---|---|---|---|---|');
    const ways = await foretold(original, whole, train, unseen, cheap, () => workshop.replayer.base.model, rng);
    for (const [way, predictions] of ways) {
      const pairs = predictions.map(({ mean, deviation }, i) => ({ predicted: mean, deviation, measured: scores[i]! }));
      console.log(row(way, agreementOf(pairs, rng.fork('interval'))));
    }
  } finally {
    await workshop.close();
  }
}

/** Half of them made of what a search begins with, half anew; in an order that says nothing of their MACs. */
function draw({ fitness, replayer, assess, original }: Workshop, count: number, rng: Rng): readonly Candidate[] {
  const variation = createVariation(fitness, replayer, { kind: 'macs', low: LOW, high: 0.95 });
  const found = drawFresh({
    fitness,
    replayer,
    assess,
    parents: variation.seeds(20, rng.fork('seeds')),
    known: new Set([original.key]),
    count,
    low: LOW,
    high: 1,
    rng: rng.fork('draw'),
  });
  return rng.fork('order').shuffle(found);
}

/** The cheap score of all, the refit of the first ones. */
async function measured(
  { context, reference }: Workshop,
  drawn: readonly Candidate[],
  path: string,
  { fresh, learn, effort, known: closed }: Wanted,
  onTest: (on: Session) => Promise<OnTest>,
): Promise<ReadonlyMap<string, Line>> {
  const { runtime, dataset } = context;
  const log = openJsonLog(path, (json) => line.parse(json));
  try {
    const known = new Map(log.earlier.map((l) => [l.key, l]));
    const all = drawn.map((c, i) => ({ c, dear: i < fresh + learn }));
    const missing = all.filter(({ c, dear }) => (dear ? known.get(c.key)?.refitted === undefined : !known.has(c.key)));
    const open = closed ? [] : missing;
    console.log(`${open.length} variants to measure, ${drawn.length - missing.length} known from ${path}`);
    await limited(open, 2, async ({ c, dear }) => {
      const scored = await withSession(runtime, await recovered(context, c.genome, DEFAULT_EFFORT.search), {}, (on) =>
        evaluate(on, dataset, { indices: reference.indices, reference, concurrency: 2 }),
      );
      const refitted = dear
        ? await withSession(runtime, await recovered(context, c.genome, effort), {}, onTest)
        : undefined;
      const made: Line = {
        key: c.key,
        macs: c.macs,
        cheap: resultOf('', scored).score,
        ...refitted,
      };
      log.append([made]);
      known.set(c.key, made);
    });
    return known;
  } finally {
    log.close();
  }
}

/** By every fitness that foretells, straight from the refitted ones; and by two levels, the cheap score foretold or measured. */
async function foretold(
  original: Measured,
  whole: number,
  train: readonly Variant[],
  unseen: readonly Variant[],
  cheap: readonly Measured[],
  base: () => Model,
  rng: Rng,
): Promise<readonly (readonly [string, readonly Prediction[]])[]> {
  const samples = [withMeasurement(original, whole), ...train.map((v) => withMeasurement(v.candidate, v.refitted))];
  const candidates = unseen.map((v) => v.candidate);
  const found: (readonly [string, readonly Prediction[]])[] = [];
  const calibrated = { refits: train, original: whole };
  for (const method of fitnessMethods) {
    if (!('create' in method)) continue;
    const straight = await method.create({ rng: rng.fork(method.name), base });
    await straight.fit(samples);
    found.push([method.name, await straight.predict(candidates)]);
    const predictor = await method.create({ rng: rng.fork(method.name), base });
    const levels = await createForeteller({ predictor, original, measured: cheap, calibrated, rng: rng.fork('level') });
    found.push([`${method.name}, two levels`, await levels.foretell(candidates)]);
  }
  const known = new Map([original, ...train.map((v) => v.candidate), ...candidates].map((m) => [m.signals, m.score]));
  const measuring: Predictor = {
    name: 'measured',
    fit: async () => {},
    predict: async (asked) => asked.map((c) => ({ mean: known.get(c.signals) ?? 0, deviation: 0 })),
  };
  const levels = await createForeteller({
    predictor: measuring,
    original,
    measured: [],
    calibrated,
    rng: rng.fork('level'),
  });
  found.push(['the cheap score measured, two levels', await levels.foretell(candidates)]);
  return found;
}

/** How well any predictor could rank them: Spearman and Brown's reliability of the whole from that of its halves, and its root. */
function ceiling(halves: readonly OnTest['halves'][]): string {
  const rho = spearman(
    halves.map(([a]) => a),
    halves.map(([, b]) => b),
  );
  const reliability = Math.max(0, (2 * rho) / (1 + rho));
  return `two halves of the test images rank ${halves.length} of them alike with a Spearman of ${rho.toFixed(2)}: one that knew the true order would reach about ${Math.sqrt(reliability).toFixed(2)} on all images`;
}

function row(way: string, a: Agreement): string {
  const show = (e: Estimate | undefined, scale: number): string =>
    e === undefined ? '-' : `${(scale * e.value).toFixed(2)} [${e.ci95.map((x) => (scale * x).toFixed(2)).join(', ')}]`;
  return `| ${way} | ${show(a.meanAbsoluteError, 100)} | ${show(a.spearman, 1)} | ${show(a.kendall, 1)} | ${(100 * a.coverage90.value).toFixed(0)} % |`;
}
