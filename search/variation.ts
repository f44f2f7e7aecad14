// How candidates come to be: seeds along the cubic schedule, crossover of two genomes, mutation of widths and structure. Every child
// is fitted to a target cost, so that the search spends its time where the budget is.
import type { Rng } from '../src/rng.js';
import type { CostModel } from './cost-model.js';
import type { Fitness, Landscape } from './fitness.js';
import { partsOf, PRUNE_CHANNELS, type Genome } from './genome.js';
import type { LatencyLaw } from './latency-law.js';
import { memoryModels } from './memory-model.js';
import type { Mutation } from './mutations/mutation.js';
import { allocate, cubicSchedule, type Limit } from './progressive.js';
import type { Replayer } from './replay.js';
import { idleSites, structureOf, type Site } from './sites.js';

/** Where candidates should lie. Shares are of the base network's cost. */
export interface Targets {
  /** What is spent: the cost that the main constraint limits. */
  readonly kind: 'macs' | 'params' | 'latency';
  readonly low: number;
  readonly high: number;
  /** Further limits that always hold, absolute. */
  readonly macs?: number;
  readonly params?: number;
  /** Peak of activations, bytes. */
  readonly memoryBytes?: number;
  /** Where time is limited: what it is held to be made of (which may change as more is timed), and its limit. */
  readonly latency?: { readonly law: () => LatencyLaw; readonly budgetMs: number };
  /** Factors are left alone: they were found to save no time. */
  readonly noFactors?: boolean;
}

export interface Variation {
  seeds(count: number, rng: Rng): Genome[];
  /** Made anew for a share of the cost, under random opinions of what is important: by a coin with structural edits where there are places. */
  draw(share: number, rng: Rng): Genome;
  /** The plain greedy answer for a share of the cost. */
  greedy(share: number): Genome;
  /** Factors and channels weighed together, or factors `alone`; undefined where nothing can be factorised. */
  mixed(share: number, view?: View): Genome | undefined;
  /** Channels cut to a share of the cost behind structural edits that are given. */
  behind(structure: Genome, share: number): Genome;
  /** Gives back whatever still fits into the budget: a candidate above it comes down to it. */
  fill(genome: Genome): Genome;
  /** The least share of the cost that is within reach. */
  readonly least: number;
  vary(a: Genome, b: Genome, rng: Rng): Genome | undefined;
}

/** How layers are seen by an allocation, beside their expected losses. */
export interface View {
  /** Random opinions of this strength. */
  readonly rng?: Rng;
  readonly strength?: number;
  /** No channels are cut. */
  readonly alone?: boolean;
  /** Losses weigh (largest resolution / own)^-coarse more: 0 = as learnt, 0.5 takes the weight of few positions away. */
  readonly coarse?: number;
  /** Losses at the start of the network weigh e^early more than at its end: they go through all that follows. */
  readonly early?: number;
}

export function createVariation(fitness: Fitness, replayer: Replayer, targets: Targets): Variation {
  // Lossless edits do not compete: they are no choice.
  const structural = replayer.options.mutations.filter(
    (m) => m.name !== PRUNE_CHANNELS && m.law !== 'exact' && (targets.noFactors !== true || m.removal === undefined),
  );
  const costOf = (l: Landscape): CostModel => {
    if (targets.kind === 'latency' && targets.latency !== undefined) return targets.latency.law().costModel(l);
    return targets.kind === 'params' ? l.params : l.macs;
  };
  const whole = costOf(fitness.base).value(fitness.base.groups.map(() => 0));

  const memories = new WeakMap<Landscape, readonly CostModel[]>();
  const memoryOf = (landscape: Landscape): readonly CostModel[] => {
    const known = memories.get(landscape) ?? memoryModels(landscape, targets.memoryBytes ?? Infinity);
    memories.set(landscape, known);
    return known;
  };

  const limits = (landscape: Landscape, share: number): Limit[] => {
    const list: Limit[] = [{ cost: costOf(landscape), budget: share * whole }];
    if (targets.macs !== undefined && targets.kind !== 'macs')
      list.push({ cost: landscape.macs, budget: targets.macs });
    if (targets.params !== undefined && targets.kind !== 'params') {
      list.push({ cost: landscape.params, budget: targets.params });
    }
    if (targets.memoryBytes !== undefined) {
      for (const cost of memoryOf(landscape)) list.push({ cost, budget: targets.memoryBytes });
    }
    if (targets.latency !== undefined && targets.kind !== 'latency') {
      list.push({ cost: targets.latency.law().costModel(landscape), budget: targets.latency.budgetMs });
    }
    return list;
  };
  const fit = (landscape: Landscape, share: number, start?: Int32Array, weights?: Float64Array): Genome =>
    fitness.genome(
      landscape,
      allocate({
        groups: landscape.groups,
        limits: limits(landscape, share),
        ...(start === undefined ? {} : { start }),
        ...(weights === undefined ? {} : { weights }),
      }),
    );

  const tight = (landscape: Landscape, share: number, start?: Int32Array): Genome =>
    fitness.genome(
      landscape,
      allocate({
        groups: landscape.groups,
        limits: limits(landscape, share),
        tight: true,
        ...(start === undefined ? {} : { start }),
      }),
    );

  /** Factors and channels weighed together; undefined where there is nothing to replace. The widths are then fitted exactly. */
  const mixed = (share: number, view: View = {}): Genome | undefined => {
    const { rng, strength = 0.5, alone = false } = view;
    if (targets.kind !== 'macs' || targets.noFactors === true || fitness.joint().sites.length === 0) return undefined;
    const { choices, sites, cost } = fitness.joint();
    const groups = fitness.base.groups.length;
    // How much factors are trusted against channels is an opinion as well.
    const bias = rng === undefined ? 1 : Math.exp(strength * rng.normal());
    const own = rng === undefined ? undefined : opinions(fitness.base, rng, strength);
    const stages = stagesOfChoices(fitness.base, sites);
    const lean = (stage: number, at: number): number => leaning(view, fitness.base.macs.resolutions, stage, at);
    const weights = Float64Array.from(choices, (_, i) => {
      const opinion = i < groups ? (own?.[i] ?? 1) : bias * (rng === undefined ? 1 : Math.exp(0.3 * rng.normal()));
      return opinion * lean(stages[i]!, i < groups ? i / groups : (i - groups) / sites.length);
    });
    const byId = new Map(fitness.base.groups.map((g, i) => [g.id, own?.[i] ?? 1]));
    const weightOf = (origin: string): number => byId.get(origin) ?? bias;
    const steps = allocate({
      groups: choices.map((c, i) => (alone && i < groups ? { ...c, steps: [0] } : c)),
      limits: [{ cost, budget: share * whole }],
      weights,
    });
    let chosen = sites.filter((_, i) => steps[groups + i]! > 0);
    // Factors whose rank hardly falls cost more than they save: without them, until all that are left pay.
    for (let attempt = 0; ; attempt++) {
      if (chosen.length === 0) return undefined;
      const landscape = fitness.landscape(replayer.repair(structureOf(chosen)));
      const trust = Float64Array.from(
        landscape.groups,
        (g, i) => weightOf(g.origin) * lean(g.stage, i / landscape.groups.length),
      );
      const removed = allocate({
        groups: landscape.groups.map((g) => (alone && byId.has(g.origin) ? { ...g, steps: [0] } : g)),
        limits: limits(landscape, share),
        weights: trust,
        tight: rng === undefined,
      });
      const idle = attempt < 3 ? new Set(idleSites(chosen, landscape, removed)) : new Set<Site>();
      if (idle.size === 0) return fitness.genome(landscape, removed);
      chosen = chosen.filter((s) => !idle.has(s));
    }
  };

  /** Gradual pruning under changing opinions of what is important: each step of the schedule keeps what is cut. */
  const gradual = (goal: number, stream: Rng): Genome => {
    const { base } = fitness;
    const steps = 4;
    let removed = new Int32Array(base.groups.length);
    for (let t = 1; t <= steps; t++) {
      const weights = opinions(base, stream, 0.6);
      const share = cubicSchedule(1, goal, t, steps);
      removed = Int32Array.from(
        allocate({ groups: base.groups, limits: limits(base, share), start: removed, weights }),
      );
    }
    return fitness.genome(base, removed);
  };

  const seeds = (count: number, rng: Rng): Genome[] => {
    const { base } = fitness;
    const { low, high } = targets;
    // The best of every family at the budget, then factors and channels together along the range (channels where there are no
    // factors), then a few of channels alone to learn from.
    const found: Genome[] = [];
    const add = (genome: Genome | undefined): void => void (genome === undefined || found.push(genome));
    // How errors add up on their way through the network is not known before it is measured: several views of it.
    const both = mixed(high);
    add(both);
    add(tight(base, high));
    for (const view of VIEWS) add(mixed(high, view));
    for (let i = 1; i < 5; i++) {
      const share = high + ((low - high) * i) / 4;
      add(mixed(share, VIEWS[(i - 1) % VIEWS.length]) ?? fit(base, share));
    }
    if (both !== undefined) found.push(fit(base, (low + high) / 2), fit(base, low));
    found.push(fit(base, high, evenly(base, costOf(base), high * whole)));
    for (let i = found.length; i < count; i++) {
      const stream = rng.fork(`seed/${i}`);
      if (i % 2 === 0) {
        const both = mixed(i % 4 === 0 ? low + (high - low) * stream.next() : high, { rng: stream });
        if (both !== undefined) {
          found.push(both);
          continue;
        }
      }
      const goal = i % 3 === 0 ? low + (high - low) * stream.next() : high;
      found.push(gradual(goal, stream));
    }
    return found;
  };

  const vary = (a: Genome, b: Genome, rng: Rng): Genome | undefined => {
    // A new mixture now and then; it costs an analysis of the new graph.
    if (structural.length > 0 && rng.next() < 0.03) {
      const fresh = mixed(drawTarget(targets, targets.high, rng), { rng, strength: 0.7 });
      if (fresh !== undefined) return fresh;
    }
    const structure = crossStructure(partsOf(a).structure, partsOf(b).structure, replayer, structural, rng);
    const landscape = fitness.landscape(structure);
    const removed = crossWidths(fitness.removed(a, landscape), fitness.removed(b, landscape), rng);
    const weights = opinions(landscape, rng, 0.4);
    const target = drawTarget(targets, costOf(landscape).value(removed) / whole, rng);
    mutateWidths(landscape, removed, rng);
    return fit(landscape, target, removed, weights);
  };

  const fill = (genome: Genome): Genome => {
    const landscape = fitness.landscape(partsOf(genome).structure);
    return fit(landscape, targets.high, fitness.removed(genome, landscape));
  };
  const everything = fitness.base.groups.map((g) => g.steps.at(-1)!);
  const least = costOf(fitness.base).value(everything) / whole;
  const draw = (share: number, rng: Rng): Genome =>
    (rng.next() < 0.5 ? mixed(share, { rng: rng.fork('mixed') }) : undefined) ?? gradual(share, rng.fork('gradual'));
  const behind = (structure: Genome, share: number): Genome => fit(fitness.landscape(structure), share);
  return { seeds, mixed, draw, behind, fill, least, vary, greedy: (share) => tight(fitness.base, share) };
}

const VIEWS: readonly View[] = [
  { coarse: 0.25, early: 1 },
  { coarse: 0.25, early: 2 },
  { coarse: 0.5, early: 1 },
  { coarse: 0.5, early: 1, alone: true },
];

function leaning({ coarse = 0, early = 0 }: View, resolutions: readonly number[], stage: number, at: number): number {
  const finest = resolutions[0] ?? 1;
  return (finest / Math.max(1, resolutions[stage] ?? 1)) ** -coarse * Math.exp(early * (1 - at));
}

/** By choice: groups, then sites. */
function stagesOfChoices(base: Landscape, sites: readonly Site[]): number[] {
  const byNode = new Map(base.macs.terms.map((t) => [t.node, t.stage]));
  return [...base.groups.map((g) => g.stage), ...sites.map((s) => byNode.get(s.node) ?? 0)];
}

/** How much worse or better each group is thought to be: a factor by stage times a factor by group. */
function opinions(landscape: Landscape, rng: Rng, strength: number): Float64Array {
  const stages = landscape.groups.reduce((most, g) => Math.max(most, g.stage + 1), 1);
  const byStage = Array.from({ length: stages }, () => Math.exp(strength * rng.normal()));
  return Float64Array.from(landscape.groups, (g) => byStage[g.stage]! * Math.exp(strength * rng.normal()));
}

/** The same share of every group. */
function evenly(landscape: Landscape, cost: CostModel, budget: number): Int32Array {
  const at = (share: number): Int32Array =>
    Int32Array.from(landscape.groups, (g) => g.steps.findLast((k) => k <= share * g.size) ?? 0);
  let [low, high] = [0, 1];
  for (let i = 0; i < 12; i++) {
    const middle = (low + high) / 2;
    if (cost.value(at(middle)) > budget) low = middle;
    else high = middle;
  }
  return at(high);
}

/** Mostly near the parent and near the budget; now and then anywhere in the range. */
function drawTarget(targets: Targets, parent: number, rng: Rng): number {
  const { low, high } = targets;
  const dice = rng.next();
  if (dice < 0.3) return high;
  if (dice < 0.5) return low + (high - low) * rng.next();
  return Math.min(high, Math.max(low, parent * Math.exp(0.06 * rng.normal())));
}

/** One cut point in graph order, or a coin for each group. */
function crossWidths(a: Int32Array, b: Int32Array, rng: Rng): Int32Array {
  if (rng.next() < 0.5) {
    const cut = rng.int(a.length + 1);
    return a.map((x, i) => (i < cut ? x : b[i]!));
  }
  return a.map((x, i) => (rng.next() < 0.5 ? x : b[i]!));
}

/** A few groups go up or down some steps; the fit to the target then pays for it elsewhere. */
function mutateWidths(landscape: Landscape, removed: Int32Array, rng: Rng): void {
  const open = landscape.groups.map((_, g) => g).filter((g) => landscape.groups[g]!.steps.length > 1);
  if (open.length === 0) return;
  const count = 1 + rng.int(Math.max(1, Math.min(4, Math.ceil(open.length / 8))));
  for (let i = 0; i < count; i++) {
    const g = rng.pick(open);
    const { steps } = landscape.groups[g]!;
    const at = steps.findLastIndex((k) => k <= removed[g]!);
    const reach = Math.max(1, Math.round((steps.length - 1) / 4));
    const to = at + (1 + rng.int(reach)) * (rng.next() < 0.5 ? 1 : -1);
    removed[g] = steps[Math.min(steps.length - 1, Math.max(0, to))]!;
  }
}

/** The structure of one parent; seldom an edit less, or one more. What does not fit is dropped. */
function crossStructure(a: Genome, b: Genome, replayer: Replayer, mutations: readonly Mutation[], rng: Rng): Genome {
  if (mutations.length === 0) return [];
  const inherited = rng.next() < 0.5 ? a : b;
  const dice = rng.next();
  if (dice < 0.03 && inherited.length > 0) return replayer.repair(inherited.toSpliced(rng.int(inherited.length), 1));
  if (dice < 0.94) return inherited;
  const mutation = rng.pick(mutations);
  const params = mutation.propose(replayer.context(replayer.structure(inherited)), rng);
  return params === undefined ? inherited : replayer.repair([...inherited, { mutation: mutation.name, params }]);
}
