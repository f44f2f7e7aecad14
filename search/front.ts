// The last stage of a run: the measured candidates that are handed over are refitted, verified and written one by one, what others
// beat is dropped, and front.json says what is left.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Dataset } from '../src/data/dataset.js';
import { isOfTheSystem, messageOf, PareError } from '../src/errors.js';
import { evaluate, recordOutputs, type Evaluation, type RecordedOutputs } from '../src/measure/evaluate.js';
import type { OpTable } from '../src/ops/op.js';
import type { Predictor } from '../src/predictor/predictor.js';
import type { Rng } from '../src/rng.js';
import type { Session } from '../src/runtime/runtime.js';
import { writeJson } from './archive.js';
import { calibrate, type Calibrated } from './calibrate.js';
import { heldTo, priceOf, violation, type Constraints } from './constraints.js';
import type { LeastScore } from './least-score.js';
import { dominates } from './dominance.js';
import { ahead } from './evaluator.js';
import type { Measured } from './explore.js';
import type { Candidate } from './fitness.js';
import { figureOf, type Figure, type Finished, type FrontMember } from './finish.js';
import { genomeKey, type Genome } from './genome.js';
import type { FrontFile } from './front-file.js';
import { finishByTraining, type TrainingPlan } from './finish-by-training.js';
import { createForeteller, effortGain, type Foreteller } from './foretell.js';
import { chooseMembers, type Choice } from './members.js';
import { shortGenome } from './refusals.js';
import { beliefOf } from './trust.js';
import type { Rounding } from './rounding.js';
import type { Variation } from './variation.js';
import type { EffortPlan, Workshop } from './workshop.js';

export interface FrontOptions {
  readonly workshop: Workshop;
  /** The uncut network, with its latency where that counts. */
  readonly original: Measured;
  readonly measured: readonly Measured[];
  readonly predictor: Predictor;
  readonly constraints: Constraints;
  readonly variation: Variation;
  readonly plan: EffortPlan;
  /** Draws the networks that are refitted to learn what the refit makes of a score. */
  readonly rng: Rng;
  readonly table: OpTable;
  /** The run's folder. */
  readonly out: string;
  readonly rounding: Rounding;
  /** Of the original's file, for front.json. */
  readonly model: string;
  readonly recipe: { readonly sourceSha256: string; readonly version: string };
  /** Why candidates could not be measured. */
  readonly reasons?: ReadonlyMap<string, string>;
  /** What is asked of the score, where it is. */
  readonly least?: LeastScore;
  /** Why the budget is out of reach, where it is. */
  readonly note?: string;
  /** The best are distilled from the original after the refit. */
  readonly training?: TrainingPlan;
  readonly signal?: AbortSignal;
  /** Once aborted: what is under way is finished, what is still to do is done with little effort, or not at all. */
  readonly interrupt?: AbortSignal;
}

export interface FrontReport {
  readonly stage: 'finish';
  readonly text?: string;
  readonly warning?: string;
  readonly measured?: number;
  readonly of?: number;
}

export interface Refitted {
  readonly member: FrontMember;
  readonly objectives: readonly number[];
}

/** An interrupted run hands over so many, measured on so many samples: it ends soon. */
const HASTY_MEMBERS = 3;
const HASTY_SAMPLES = 1000;
/** So many that come closest are tried where none is likely to hold what is asked, and so many cheaper ones where one does. */
const CLOSEST = 3;
/** Signals that are named for each member. */
const REASONS = 6;
/** Where nothing passes, or less than was asked could do, so many times others are tried. */
const ROUNDS = 3;

/** Files that are refitted at most where an accuracy is asked for and some hold it. */
export function mostTried(members: number): number {
  return members + (ROUNDS - 1) * Math.min(CLOSEST, members);
}

export async function* handOver(options: FrontOptions): AsyncGenerator<FrontReport, FrontFile, void> {
  const { workshop, original, measured, predictor, constraints, plan, out, note, least, signal, interrupt } = options;
  const { session, dataset, context, place } = workshop;
  const { concurrency } = context.runtime;
  const hasty = (): boolean => interrupt?.aborted === true;
  const [early, most] = hasty() ? [true, Math.min(HASTY_MEMBERS, plan.members)] : [false, plan.members];
  if (measured.length === 0) {
    const [reason] = options.reasons?.values() ?? [];
    throw new PareError(
      early
        ? `interrupted before anything was measured; go on with --resume, or begin anew in another folder`
        : `no candidate could be measured${reason === undefined ? '' : `: ${reason}`}`,
      early ? { exitCode: 130 } : {},
    );
  }
  const how = early ? 'the best so far are written' : 'the front is refitted on more samples';
  yield { stage: 'finish', text: `${measured.length} candidates measured; ${how}` };
  const heldIndices = early ? workshop.heldIndices.slice(0, HASTY_SAMPLES) : workshop.heldIndices;
  const held = await recordOutputs(session, dataset, { indices: heldIndices, concurrency });
  const originalMeasured = await evaluate(session, dataset, { indices: heldIndices, concurrency, reference: held });
  const test = workshop.test === undefined || early ? undefined : await openTest(workshop.test, session, concurrency);
  const sign = originalMeasured.higherIsBetter ? -1 : 1;
  const foreteller = yield* foretellerOf(options, hasty());
  const gain = effortGain(-sign * originalMeasured.value);
  // What an earlier process left there belongs to no front.
  rmSync(join(out, 'candidates'), { recursive: true, force: true });
  mkdirSync(join(out, 'candidates'), { recursive: true });
  let interrupted = early;
  const refitted: Refitted[] = [];
  const handed = new Map<string, Measured>();
  const leftOut: { readonly genome: Genome; readonly reason: string }[] = [];
  // Where all that were chosen fail, others take their place.
  const failed = new Set<string>();
  // What is asked of the score is asked of the file: a candidate is likely to hold it, of a member it is measured.
  const asked = heldTo(constraints, options.least?.on(-sign * originalMeasured.value));
  const costs = heldTo(constraints, undefined);
  const overBy = (candidate: Measured, { value }: Figure): number =>
    violation(asked, { ...candidate, score: -sign * value });
  const cheapest = (): number =>
    refitted.reduce(
      (price, { member }) => (member.violation === 0 ? Math.min(price, priced(member)) : price),
      Infinity,
    );
  const priced = (m: { readonly macs: number; readonly params: number; readonly memoryBytes: number }): number => {
    const price = priceOf(costs);
    return price === 'latencyMs' ? m.macs : m[price];
  };
  const choose = (): Choice => {
    const open = measured.filter((m) => !failed.has(m.key) && !handed.has(m.key));
    // Where some hold what is asked of the score, cheaper ones may hold it as well.
    const most = cheapest();
    if (least !== undefined && most < Infinity) {
      const cheaper = open.filter((m) => least.likely(m) && violation(costs, m) === 0 && priced(m) < most);
      return {
        members: cheaper.toSorted((a, b) => priced(a) - priced(b)).slice(0, Math.min(CLOSEST, plan.members)),
        broken: [],
      };
    }
    const choice = chooseMembers(
      least === undefined ? open : likelyToHold(open, least),
      costs,
      plan.members,
      options.variation,
      workshop.fitness,
      original,
      new Set([...failed, ...handed.keys()]),
    );
    return early ? { ...choice, members: bestFirst(choice.members, constraints) } : choice;
  };
  const choice = choose();
  if (choice.broken.length > 0) yield { stage: 'finish', text: brokenText(choice.broken, original) };
  let chosen = choice.members;
  let round = 1;
  for (let number = 1; chosen.length > 0;) {
    const named = chosen.map((candidate) => ({
      candidate,
      name: `${String(number++).padStart(2, '0')}-macs-${((100 * candidate.macs) / original.macs).toFixed(1)}`,
    }));
    const refit = ({ candidate, name }: (typeof named)[number]): Promise<Finished> =>
      place.finish(candidate, name, {
        out,
        effort: interrupted ? plan.search : plan.final,
        held,
        recipe: options.recipe,
        ...(test === undefined ? {} : { test }),
        ...(signal === undefined ? {} : { signal }),
      });
    const already = refitted.length;
    const more = (pending: number): boolean => {
      signal?.throwIfAborted();
      if (refitted.length - already + pending >= most) return false;
      if (!hasty()) return true;
      interrupted = true;
      return early || refitted.length + pending === 0;
    };
    for await (const { item, result } of ahead(named, place.refits, refit, more)) {
      const { candidate, name } = item;
      try {
        // Foretold by what was known before the refits.
        const [said] = await foreteller.foretell([candidate]);
        const finished = await result;
        const calibrated = foreteller.quantity === 'refitted' && !interrupted;
        const predicted = calibrated ? gain.carry(said!) : said!;
        if (calibrated) gain.learn(said!, -sign * finished.measured.value);
        if (!interrupted) least?.learn(candidate, sign * (finished.measured.value - originalMeasured.value));
        const member: FrontMember = {
          ...finished,
          predicted,
          searched: candidate.score,
          violation: overBy(candidate, finished.measured),
          genome: candidate.genome,
        };
        const { latencyMs } = candidate;
        const objectives = [
          sign * finished.measured.value,
          finished.macs,
          ...(latencyMs === undefined ? [] : [latencyMs]),
        ];
        refitted.push({ member, objectives });
        handed.set(candidate.key, candidate);
        yield {
          stage: 'finish',
          measured: refitted.length,
          of: already + chosen.length,
          text: describeMember(member, original),
        };
      } catch (error) {
        if (signal?.aborted === true || isOfTheSystem(error)) throw error;
        const reason = messageOf(error);
        failed.add(candidate.key);
        leftOut.push({ genome: candidate.genome, reason });
        rmSync(join(out, 'candidates', `${name}.onnx`), { force: true });
        yield { stage: 'finish', warning: `${shortGenome(candidate.genome)} is left out: ${reason}` };
      }
    }
    // Where the refit gave less than was thought, others may still reach what is asked of the score; where it gave more, cheaper ones.
    const affordable = [...handed.values()].some((c) => violation(costs, c) === 0);
    if (refitted.length > 0 && (interrupted || least === undefined || !affordable)) break;
    const ended = refitted.length > 0 ? ++round > ROUNDS : number > ROUNDS * plan.members;
    chosen = ended ? [] : choose().members;
  }
  if (refitted.length === 0) {
    throw new PareError(`no candidate passed the last stage; the first one failed because: ${leftOut[0]!.reason}`);
  }

  const { training } = options;
  const trained =
    training === undefined || interrupted
      ? refitted
      : yield* finishByTraining(refitted, training, { ...options, held, test, sign });
  const finished = trained.map(({ member, objectives }) => {
    const candidate = handed.get(genomeKey(member.genome))!;
    return { member: { ...member, violation: overBy(candidate, member.measured) }, objectives };
  });

  // After the full refit some are beaten by others: those are no front.
  const holding = finished.some((r) => r.member.violation === 0);
  const members: FrontMember[] = [];
  for (const { member, objectives } of finished) {
    if (holding && member.violation > 0) {
      rmSync(join(out, member.file), { force: true });
      yield { stage: 'finish', text: `${member.file} is dropped: it does not hold what is asked, and others do` };
      continue;
    }
    const rival = finished.find((other) => dominates(other.objectives, objectives));
    if (rival === undefined) members.push(member);
    else {
      rmSync(join(out, member.file), { force: true });
      yield { stage: 'finish', text: `${member.file} is dropped: ${rival.member.file} is no larger and better` };
    }
  }
  await predictor.fit([original, ...measured]);
  const belief = beliefOf(predictor, [original, ...measured]);
  // The first sample is the original.
  const leaveOneOut = predictor.leaveOneOut?.()?.slice(1);
  const front: FrontFile = {
    model: options.model,
    metric: originalMeasured.metric,
    constraints: withoutVolatile(asked),
    ...(interrupted ? { interrupted } : {}),
    reached: holding,
    ...(holding ? {} : { note: note ?? 'no measured candidate holds all constraints; these come closest' }),
    rounding: options.rounding,
    original: {
      macs: original.macs,
      params: original.params,
      memoryBytes: original.memoryBytes,
      measured: figureOf(originalMeasured),
      ...(test === undefined ? {} : { test: figureOf(test.original) }),
    },
    ...(belief === undefined ? {} : { belief }),
    foretelling: {
      quantity:
        foreteller.quantity === 'refitted'
          ? `${originalMeasured.metric} after the refit on data, on held-out calibration samples`
          : `${originalMeasured.metric} on the samples that scored during the search, before the refit on data`,
      ...(foreteller.belief === undefined ? {} : { belief: foreteller.belief }),
    },
    ...(leaveOneOut === undefined ? {} : { leaveOneOut }),
    candidates: await explained(members, handed, options),
    ...(leftOut.length === 0 ? {} : { leftOut }),
  };
  writeJson(join(out, 'front.json'), front);
  return front;
}

async function* foretellerOf(options: FrontOptions, hasty: boolean): AsyncGenerator<FrontReport, Foreteller, void> {
  const { original, measured, predictor, rng, least } = options;
  const calibrated = least?.calibrated() ?? (yield* calibratedAt(options, hasty));
  if (least?.calibrated() === undefined) least?.take(calibrated);
  const foreteller = await createForeteller({
    predictor,
    original,
    measured,
    calibrated,
    rng: rng.fork('level'),
  });
  const { belief } = foreteller;
  if (belief !== undefined) {
    yield {
      stage: 'finish',
      text: `score after the refit foretold, each left out: rank correlation ${belief.spearman.toFixed(2)}, mean error ${belief.meanAbsoluteError.toPrecision(2)}, ${belief.samples} networks`,
    };
  }
  return foreteller;
}

async function* calibratedAt(options: FrontOptions, hasty: boolean): AsyncGenerator<FrontReport, Calibrated, void> {
  const { workshop, measured, plan, out, rng, signal, interrupt } = options;
  const calibrating = calibrate({
    workshop,
    measured,
    plan: hasty ? { ...plan, calibrators: 0 } : plan,
    out,
    rng,
    ...(signal === undefined ? {} : { signal }),
    ...(interrupt === undefined ? {} : { interrupt }),
  });
  for (;;) {
    const step = await calibrating.next();
    if (step.done === true) return step.value;
    const { done, of } = step.value;
    const text = 'refitted all over the range, to learn what the refit is worth';
    yield { stage: 'finish', measured: done, of, text };
  }
}

/** With what moved the fitted predictor: of each member against the mean of all, or of all that was measured where it is alone. */
async function explained(
  members: readonly FrontMember[],
  handed: ReadonlyMap<string, Measured>,
  { measured, predictor }: FrontOptions,
): Promise<FrontMember[]> {
  const candidates = members.map((m) => handed.get(genomeKey(m.genome))!);
  const why = await predictor.explain?.(candidates, candidates.length > 1 ? candidates : measured);
  return members.map((m, i) =>
    why === undefined ? m : { ...m, why: { ...why[i]!, effects: why[i]!.effects.slice(0, REASONS) } },
  );
}

/** The most accurate within the budget first. */
function bestFirst(list: readonly Measured[], constraints: Constraints): readonly Measured[] {
  const over = new Map(list.map((m) => [m, violation(constraints, m)]));
  return list.toSorted((a, b) => over.get(a)! - over.get(b)! || b.score - a.score);
}

/** Those that may well reach what is asked; where there is none, the few that come closest. */
function likelyToHold(open: readonly Measured[], least: LeastScore): readonly Measured[] {
  const likely = open.filter((m) => least.likely(m));
  const scoreOf = (m: Measured): number => least.comparable(m, m.score);
  return likely.length > 0 ? likely : open.toSorted((a, b) => scoreOf(b) - scoreOf(a)).slice(0, CLOSEST);
}

interface Test {
  readonly path: string;
  readonly dataset: Dataset;
  readonly reference: RecordedOutputs;
  readonly original: Evaluation;
}

async function openTest(
  { path, dataset }: Pick<Test, 'path' | 'dataset'>,
  session: Session,
  concurrency: number,
): Promise<Test> {
  const reference = await recordOutputs(session, dataset, { concurrency });
  return { path, dataset, reference, original: await evaluate(session, dataset, { reference, concurrency }) };
}

function brokenText(broken: readonly Measured[], original: Candidate): string {
  const list = broken.map(
    (m) => `${((100 * m.macs) / original.macs).toFixed(1)} % MACs, score ${m.score.toPrecision(3)}`,
  );
  return `not handed over, since they lose far more than the best one within the budget: ${list.join('; ')}`;
}

function describeMember(m: FrontMember, original: Candidate): string {
  return `${m.file}: ${((100 * m.macs) / original.macs).toFixed(1)} % MACs, ${m.measured.metric} ${m.measured.value.toFixed(4)}`;
}

/** Limits on latency were given or derived in milliseconds of this machine; as a wish they stand in config.json. */
function withoutVolatile(constraints: Constraints): Constraints {
  const { latencyMs: _volatile, ...rest } = constraints;
  return rest;
}
