// Turns genomes into candidates: exact costs, and the cheap signals from which a predictor foretells the score.
import type { Analysis } from '../src/analysis/analyse.js';
import type { ChannelGroup } from '../src/analysis/groups.js';
import type { Graph } from '../src/ir/graph.js';
import { oncePer } from '../src/once.js';
import { OPERATOR_CLASSES, operatorGraph, structuralFeatures } from '../src/predictor/graf.js';
import type { PredictorInput } from '../src/predictor/predictor.js';
import { EDITS } from '../src/predictor/refit-level.js';
import { createSketcher, type Sketcher } from '../src/predictor/sketch.js';
import { macsModel, paramsModel, type CostModel } from './cost-model.js';
import { genomeKey, genomeOf, partsOf, PRUNE_CHANNELS, type Genome, type Json } from './genome.js';
import { deadUnits, removalOf, type Removal } from './mutations/prune-channels.js';
import { allowedSteps, type GroupChoice } from './progressive.js';
import { openGroups, type Replayer } from './replay.js';
import { jointChoices, ranksOf, structureLosses, type Joint } from './sites.js';

/** What is known of a genome without running it. */
export interface Candidate extends PredictorInput {
  readonly genome: Genome;
  readonly key: string;
  readonly macs: number;
  readonly params: number;
  readonly memoryBytes: number;
}

export interface GroupLandscape extends GroupChoice {
  readonly removal: Removal;
  /** Index into the resolutions of the base network. */
  readonly stage: number;
  /** The group of the base network with the same channels: what it is called there, whatever edits renamed its weights. */
  readonly origin: string;
}

/** What can be cut after some structural edits, and what that is expected to cost. */
export interface Landscape {
  readonly structure: Genome;
  readonly analysis: Analysis;
  /** One entry a group of the analysis, in graph order; closed groups only allow step 0. */
  readonly groups: readonly GroupLandscape[];
  readonly macs: CostModel;
  readonly params: CostModel;
}

export interface Fitness {
  readonly base: Landscape;
  /** Replacements of layers beside the widths of the base network; computed when first asked for. */
  joint(): Joint;
  landscape(structure: Genome): Landscape;
  /** How many units each group has lost, in the order of the landscape's groups. */
  removed(genome: Genome, landscape: Landscape): Int32Array;
  /** The genome that removes so many units of each group, least important first. */
  genome(landscape: Landscape, removed: ArrayLike<number>): Genome;
  assess(genome: Genome): Candidate;
}

export interface FitnessOptions {
  /** Expected losses of a group by units removed; what calibration (or the weights) said of it otherwise. */
  readonly losses?: (group: ChannelGroup, removal: Removal) => ArrayLike<number>;
}

export function createFitness(replayer: Replayer, options: FitnessOptions = {}): Fitness {
  const { base: analysis, options: rules } = replayer;
  const landscapes = new Map<string, { landscape: Landscape; structural: ReadonlyMap<string, number> }>();
  const structural = rules.mutations.filter((m) => m.name !== PRUNE_CHANNELS).map((m) => m.name);

  /** Groups that a mutation made, such as the ranks of a factor, are known to that mutation. */
  const madeBy = (group: ChannelGroup, here: Analysis): Removal | undefined => {
    for (const m of rules.mutations) {
      const removal = m.removal?.(group, replayer.context(here));
      if (removal !== undefined) return removal;
    }
    return undefined;
  };

  const survey = (structure: Genome): { landscape: Landscape; structural: ReadonlyMap<string, number> } => {
    const key = genomeKey(structure);
    const known = landscapes.get(key);
    if (known !== undefined) return known;
    const here = replayer.structure(structure);
    const macs = macsModel(here);
    const stages = stagesOf(here, macs, landscapes.get('[]')?.landscape.macs ?? macs);
    const open = new Set(openGroups(here, rules.ignore).map((g) => g.id));
    const origins = originsOf(here, analysis);
    const groups = here.groups.groups.map((group, g): GroupLandscape => {
      const origin = origins.get(group.id) ?? group.id;
      const most = group.size - Math.max(1, group.atLeastOne.length);
      const steps = open.has(group.id)
        ? allowedSteps(group.size, rules.roundTo, rules.maxRatio).filter((k) => k <= most)
        : [0];
      const removal =
        steps.length === 1
          ? { order: [], losses: [0] }
          : (madeBy(group, here) ?? removalOf({ ...group, id: origin }, replayer.context(here)));
      const losses = steps.length > 1 ? (options.losses?.(group, removal) ?? removal.losses) : [0];
      return { id: group.id, size: group.size, steps, losses, removal, stage: stages[g]!, origin };
    });
    const landscape: Landscape = { structure, analysis: here, groups, macs, params: paramsModel(here) };
    const made = { landscape, structural: structuralFeatures(operatorGraph(here.model.graph)) };
    landscapes.set(key, made);
    // Never the base, which comes first.
    if (landscapes.size > 65) landscapes.delete([...landscapes.keys()][1]!);
    return made;
  };

  const base = survey([]).landscape;

  const sketcherOf = oncePer((here: Analysis): Sketcher => createSketcher(here, { extras: true }));

  const removedOf = (genome: Genome, landscape: Landscape): Int32Array => {
    const { structure, dead } = partsOf(genome);
    const own = survey(structure).landscape;
    const lost = new Map(own.groups.map((g) => [g.origin, dead.get(g.id)?.length ?? 0]));
    return Int32Array.from(landscape.groups, (g) => Math.min(lost.get(g.origin) ?? 0, g.steps.at(-1)!));
  };

  let known: Joint | undefined;
  const joint = (): Joint => (known ??= jointChoices(base, replayer));
  const lossOf = new Map<string, Float64Array>();
  const structureLoss = (structure: Genome): Float64Array | undefined => {
    if (structure.length === 0) return undefined;
    const key = genomeKey(structure);
    const ranked = new Set(survey(structure).landscape.groups.map((g) => g.id));
    const covered = (weight: Json | undefined): boolean =>
      typeof weight === 'string' && [0, 1].some((axis) => ranked.has(ranksOf(weight, axis)));
    const found = lossOf.get(key) ?? structureLosses(joint(), structure, covered);
    lossOf.set(key, found);
    return found;
  };

  return {
    base,
    joint,
    landscape: (structure) => survey(structure).landscape,
    removed: removedOf,
    genome: (landscape, removed) =>
      genomeOf(landscape.structure, new Map(landscape.groups.map((g, i) => [g.id, deadUnits(g.removal, removed[i]!)]))),
    assess(genome) {
      const { structure, dead } = partsOf(genome);
      const { landscape, structural: features } = survey(structure);
      const model = replayer.replay(genome);
      const cost = rules.surgery.count(model);
      const removed = Int32Array.from(landscape.groups, (g) => dead.get(g.id)?.length ?? 0);
      const signals = new Map<string, number>();
      lossSignals(signals, landscape, removed, base, structureLoss(structure));
      signals.set('macs', cost.macs / analysis.cost.macs);
      signals.set('params', cost.params / analysis.cost.params);
      signals.set('memory', cost.peakMemoryBytes / analysis.cost.peakMemoryBytes);
      for (const name of structural) {
        signals.set(`${EDITS}${name}`, structure.filter((e) => e.mutation === name).length);
      }
      for (const [name, value] of features) signals.set(name, value);
      macsByClass(signals, landscape, removed, analysis.cost.macs);
      return {
        genome,
        key: genomeKey(genome),
        macs: cost.macs,
        params: cost.params,
        memoryBytes: cost.peakMemoryBytes,
        signals,
        computation: () => sketcherOf(landscape.analysis)(dead),
        // Made anew when asked for: thousands of candidates would fill the memory.
        get graph(): Graph {
          return replayer.replay(genome).graph;
        },
      };
    },
  };
}

/** Expected loss in all, at worst, by stage; MACs by stage; how many groups were touched and how deeply. */
function lossSignals(
  signals: Map<string, number>,
  landscape: Landscape,
  removed: Int32Array,
  base: Landscape,
  structural: Float64Array | undefined,
): void {
  const stages = base.macs.resolutions.length;
  const lossByStage = new Float64Array(stages);
  let total = 0;
  let squares = 0;
  let worst = 0;
  let touched = 0;
  landscape.groups.forEach((g, i) => {
    const loss = g.losses[removed[i]!] ?? 1;
    total += loss;
    squares += loss * loss;
    worst = Math.max(worst, loss);
    lossByStage[g.stage]! += loss;
    if (removed[i]! > 0) touched++;
  });
  const replaced = structural?.reduce((a, b) => a + b, 0) ?? 0;
  structural?.forEach((x, stage) => (lossByStage[stage]! += x));
  signals.set('loss', total + replaced);
  signals.set('loss:replaced', replaced);
  signals.set('loss:rms', Math.sqrt(squares));
  signals.set('loss:worst', worst);
  signals.set('groups:cut', touched / Math.max(1, landscape.groups.length));
  const macs = landscape.macs.byStage(removed);
  const whole = base.macs.value(base.groups.map(() => 0));
  base.macs.resolutions.forEach((resolution, s) => {
    signals.set(`loss:stage/${s}`, lossByStage[s]!);
    const here = landscape.macs.resolutions.indexOf(resolution);
    signals.set(`macs:stage/${s}`, here < 0 ? 0 : macs[here]! / whole);
  });
}

function macsByClass(signals: Map<string, number>, landscape: Landscape, removed: Int32Array, whole: number): void {
  const sums = new Float64Array(OPERATOR_CLASSES.length);
  for (const term of landscape.macs.terms) {
    if (term.kind === undefined) continue;
    sums[OPERATOR_CLASSES.indexOf(term.kind)]! += landscape.macs.termValue(term, removed);
  }
  OPERATOR_CLASSES.forEach((name, c) => {
    if (name === 'conv' || name === 'pointwise' || name === 'depthwise' || name === 'other') {
      signals.set(`graf:macs:${name}`, sums[c]! / whole);
    }
  });
}

/**
 * Groups by the values that carry their channels: edits rename weights, but keep the names of values. A group of the edited network
 * stands for the base's group of equal size whose units lie at the same places of the same value (one value may carry several
 * groups: behind a shortcut that pads, say).
 */
function originsOf(here: Analysis, base: Analysis): ReadonlyMap<string, string> {
  if (here === base) return new Map();
  const own = unitsByClass(here);
  const theirs = unitsByClass(base);
  const found = new Map<string, string>();
  const taken = new Set<string>();
  for (const [value, { line }] of here.plan.values) {
    const before = base.plan.values.get(value);
    if (before === undefined || before.line.length !== line.length) continue;
    // group -> the only base group at its places; '' = they disagree
    const pairs = new Map<string, { origin: string; places: number; size: number }>();
    line.forEach((c, i) => {
      const unit = own.get(c);
      if (unit === undefined || found.has(unit.id)) return;
      const twin = theirs.get(before.line[i]!);
      const same = twin !== undefined && twin.unit === unit.unit && twin.size === unit.size;
      const pair = pairs.get(unit.id);
      if (pair === undefined) pairs.set(unit.id, { origin: same ? twin.id : '', places: 1, size: unit.size });
      else {
        if (!same || pair.origin !== twin.id) pair.origin = '';
        pair.places++;
      }
    });
    for (const [id, { origin, places, size }] of pairs) {
      if (origin === '' || places < size || taken.has(origin)) continue;
      found.set(id, origin);
      taken.add(origin);
    }
  }
  return found;
}

interface UnitPlace {
  readonly id: string;
  readonly unit: number;
  readonly size: number;
}

function unitsByClass(a: Analysis): ReadonlyMap<number, UnitPlace> {
  const places = new Map<number, UnitPlace>();
  for (const g of a.groups.groups) {
    g.units.forEach((atoms, unit) => {
      for (const atom of atoms) places.set(a.groups.find(atom), { id: g.id, unit, size: g.size });
    });
  }
  return places;
}

/** The stage of each group: the one where most of its MACs are, by resolution, numbered as in the base network. */
function stagesOf(analysis: Analysis, macs: CostModel, base: CostModel): number[] {
  const weight = analysis.groups.groups.map(() => new Float64Array(base.resolutions.length));
  for (const term of macs.terms) {
    const stage = Math.max(0, base.resolutions.indexOf(macs.resolutions[term.stage] ?? 1));
    for (const s of term.shares.flat()) weight[s.group]![stage]! += term.base * s.slope;
  }
  return weight.map((w) => w.reduce((best, x, i) => (x > w[best]! ? i : best), 0));
}
