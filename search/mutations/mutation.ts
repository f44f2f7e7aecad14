// The seam for everything that changes a network: built in or plugged in, by one interface.
import type { Analysis } from '../../src/analysis/analyse.js';
import type { ChannelGroup } from '../../src/analysis/groups.js';
import type { Removal } from './prune-channels.js';
import type { Model } from '../../src/ir/graph.js';
import type { Knowledge } from '../../src/recovery/knowledge.js';
import type { Rng } from '../../src/rng.js';
import type { Json } from '../genome.js';

/** What a mutation may look at besides the graph. The analysis of the current graph is computed once and shared. */
export interface MutationContext {
  readonly analysis: Analysis;
  /** Node or tensor names that must not change (--ignore). */
  readonly ignore: (name: string) => boolean;
  /** Widths round to multiples of this where possible. */
  readonly roundTo: number;
  /** Largest share of a group that may be cut, 0..1. */
  readonly maxRatio: number;
  /** Data-driven knowledge of the base network, when calibration data were given. */
  readonly knowledge?: Knowledge;
}

/** One way to apply a mutation somewhere, with what it saves. */
export interface Place {
  readonly params: Json;
  /** What it is about (a weight or a value): places with the same site are alternatives, at most one of them applies. */
  readonly site: string;
  /** MACs it saves, exactly, at the sizes of the analysis. */
  readonly saving: number;
  /**
   * Unexplained share of the variance of the layer's output (weighted like `Knowledge.removal`) when it is refitted on the base
   * network's data, or of its weights' energy without data. Computed when asked. Absent where nothing is foretold.
   */
  readonly error?: () => number;
}

export interface Mutation {
  readonly name: string;
  /** One sentence for --help and reports. */
  readonly summary: string;
  /** 'exact': outputs are unchanged up to rounding; 'masked': the law pruned == masked holds; 'approximate': neither. */
  readonly law: 'exact' | 'masked' | 'approximate';
  /**
   * What it makes is worth little before a refit on data: whenever candidates are measured, the layers that it brought in or changed are
   * fitted (all layers where it brought none).
   */
  readonly refit?: boolean;
  /** Parameters for one application somewhere in the graph, or undefined when there is no place. All randomness comes from rng. */
  propose(context: MutationContext, rng: Rng): Json | undefined;
  /** Every place where it applies, in a fixed order, for searches that allocate rather than draw. */
  places?(context: MutationContext): readonly Place[];
  /** One edit that does what several places say, of different sites: one analysis instead of many. */
  join?(params: readonly Json[]): Json;
  /** Of a channel group that this mutation made (the ranks of a factor): in which order its units go, and what that loses. */
  removal?(group: ChannelGroup, context: MutationContext): Removal | undefined;
  /** Deterministic; throws PareError when the parameters do not fit the graph. Weights are inherited; MACs never rise. */
  apply(params: Json, context: MutationContext): Model;
}

/** The proposal of a mutation that lists its places: the parameters of one of them, or undefined when there is none. */
export function proposeOne(places: readonly Place[], rng: Rng): Json | undefined {
  return places.length === 0 ? undefined : rng.pick(places).params;
}
