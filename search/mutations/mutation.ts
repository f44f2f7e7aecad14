// The seam for everything that changes a network: built in or plugged in, by one interface.
import type { Model } from '../../src/ir/graph.js';
import type { Rng } from '../../src/rng.js';
import type { Json } from '../genome.js';

/** What a mutation may look at besides the graph. The analysis of the current graph is computed once and shared. */
export interface MutationContext {
  readonly analysis: import('../../src/analysis/analyse.js').Analysis;
  /** Node or tensor names that must not change (--ignore). */
  readonly ignore: (name: string) => boolean;
  /** Widths round to multiples of this where possible. */
  readonly roundTo: number;
  /** Largest share of a group that may be cut, 0..1. */
  readonly maxRatio: number;
  /** Data-driven knowledge of the base network (Gram matrices, importances), when calibration data were given. */
  readonly knowledge?: import('../../src/recovery/knowledge.js').Knowledge;
}

export interface Mutation {
  readonly name: string;
  /** One sentence for --help and reports. */
  readonly summary: string;
  /** 'exact': outputs are unchanged up to rounding; 'masked': pruned == masked law holds; 'approximate': neither. */
  readonly law: 'exact' | 'masked' | 'approximate';
  /** Parameters for one application somewhere in the graph, or undefined when there is no place. All randomness comes from rng. */
  propose(model: Model, context: MutationContext, rng: Rng): Json | undefined;
  /** Deterministic; throws PareError when the parameters do not fit the graph. Weights are inherited; MACs never rise. */
  apply(model: Model, params: Json, context: MutationContext): Model;
}
