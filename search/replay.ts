// From a genome to a network: structural edits one after the other, each on an analysis of the graph so far (prefixes are kept),
// then all dead channels in one pass. A pure function of (base, genome).
import { analyse, type Analysis } from '../src/analysis/analyse.js';
import { countCost, type Cost } from '../src/analysis/cost.js';
import { pruneModel } from '../src/analysis/cut.js';
import { inferShapes, type Binding } from '../src/analysis/shapes.js';
import type { OpTable } from '../src/ops/op.js';
import type { ChannelGroup, DeadUnits } from '../src/analysis/groups.js';
import { orNothing, PareError } from '../src/errors.js';
import { checkModel } from '../src/ir/check.js';
import type { Model } from '../src/ir/graph.js';
import type { Knowledge } from '../src/recovery/knowledge.js';
import { genomeKey, genomeOf, partsOf, type Genome } from './genome.js';
import type { Mutation, MutationContext } from './mutations/mutation.js';

/** What replay needs of the analysis layer. */
export interface Surgery {
  analyse(model: Model): Analysis;
  prune(analysis: Analysis, dead: DeadUnits): Model;
  /** Graph and shapes checked, cost counted, without looking for groups. */
  count(model: Model): Cost;
}

export interface ReplayOptions {
  readonly surgery: Surgery;
  readonly mutations: readonly Mutation[];
  readonly ignore: (name: string) => boolean;
  readonly roundTo: number;
  readonly maxRatio: number;
  readonly knowledge?: Knowledge;
}

export interface Replayer {
  readonly base: Analysis;
  readonly options: ReplayOptions;
  /** The analysis after the structural edits; throws PareError when one does not fit. */
  structure(structure: Genome): Analysis;
  context(analysis: Analysis): MutationContext;
  /** Throws PareError when an edit does not fit. */
  replay(genome: Genome): Model;
  /** The genome without the edits that do not fit any more, in its normal form. */
  repair(genome: Genome): Genome;
}

/** Analyses of this many structures are kept. */
const KEPT = 64;

export function createReplayer(base: Analysis, options: ReplayOptions): Replayer {
  const byName = new Map(options.mutations.map((m) => [m.name, m]));
  const known = new Map<string, Analysis>();

  const context = (analysis: Analysis): MutationContext => ({
    analysis,
    ignore: options.ignore,
    roundTo: options.roundTo,
    maxRatio: options.maxRatio,
    ...(options.knowledge === undefined ? {} : { knowledge: options.knowledge }),
  });

  const structure = (edits: Genome): Analysis => {
    const last = edits.at(-1);
    if (last === undefined) return base;
    const key = genomeKey(edits);
    const found = known.get(key);
    if (found !== undefined) return found;
    const mutation = byName.get(last.mutation);
    if (mutation === undefined) {
      throw new PareError(`mutation "${last.mutation}" is not known here; known: ${[...byName.keys()].join(', ')}`);
    }
    const before = structure(edits.slice(0, -1));
    const made = options.surgery.analyse(mutation.apply(last.params, context(before)));
    known.set(key, made);
    // The oldest goes first: a map keeps the order of insertion.
    if (known.size > KEPT) known.delete(known.keys().next().value!);
    return made;
  };

  const replay = (genome: Genome): Model => {
    const { structure: edits, dead } = partsOf(genome);
    const analysis = structure(edits);
    if (dead.size === 0) return analysis.model;
    checkDead(analysis, dead);
    return options.surgery.prune(analysis, dead);
  };

  const repair = (genome: Genome): Genome => {
    const { structure: edits, dead } = partsOf(genome);
    let fitting: Genome = [];
    for (const edit of edits) {
      const longer = [...fitting, edit];
      if (orNothing(() => structure(longer)) !== undefined) fitting = longer;
    }
    const groups = new Map(structure(fitting).groups.groups.map((g) => [g.id, g]));
    const kept = [...dead].map(([id, units]): [string, number[]] => {
      const group = groups.get(id);
      const inside = group === undefined ? [] : units.filter((u) => u < group.size);
      return [id, inside.length === group?.size ? inside.slice(0, -1) : inside];
    });
    return genomeOf(fitting, new Map(kept));
  };

  return { base, options, structure, context, replay, repair };
}

/** The analysis layer as it is: labels, cuts, counting at batch 1. */
export function surgeryWith(table: OpTable, binding: Binding = {}): Surgery {
  const bound: Binding = { dynamic: 1, ...binding };
  return {
    analyse: (model) => analyse(model, table, { binding: bound }),
    prune: pruneModel,
    count: (model) => {
      checkModel(model);
      return countCost(model, table, inferShapes(model, table, bound));
    },
  };
}

/** The groups that may be cut: exact ones that --ignore does not name. */
export function openGroups(analysis: Analysis, ignore: (name: string) => boolean): ChannelGroup[] {
  return analysis.groups.groups.filter(
    (g) =>
      g.inexact === undefined &&
      g.size > 1 &&
      !ignore(g.id) &&
      !g.members.some((m) => ignore(m.tensor) || m.nodes.some((n) => ignore(n))),
  );
}

function checkDead(analysis: Analysis, dead: DeadUnits): void {
  const groups = new Map(analysis.groups.groups.map((g) => [g.id, g]));
  for (const [id, units] of dead) {
    const group = groups.get(id);
    if (group === undefined) throw new PareError(`prune-channels: there is no group "${id}" in this network`);
    const wrong = units.find((u) => u >= group.size);
    if (wrong !== undefined)
      throw new PareError(`prune-channels: group "${id}" has ${group.size} units, not unit ${wrong}`);
    if (units.length >= group.size) throw new PareError(`prune-channels: group "${id}" must keep at least one unit`);
  }
}
