// The seam for everything that changes a network: built in or plugged in, by one interface.
import type { Analysis } from '../../src/analysis/analyse.js';
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

export interface Mutation {
  readonly name: string;
  /** One sentence for --help and reports. */
  readonly summary: string;
  /** 'exact': outputs are unchanged up to rounding; 'masked': the law pruned == masked holds; 'approximate': neither. */
  readonly law: 'exact' | 'masked' | 'approximate';
  /** Parameters for one application somewhere in the graph, or undefined when there is no place. All randomness comes from rng. */
  propose(context: MutationContext, rng: Rng): Json | undefined;
  /** Deterministic; throws PareError when the parameters do not fit the graph. Weights are inherited; MACs never rise. */
  apply(params: Json, context: MutationContext): Model;
}
