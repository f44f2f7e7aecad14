// Mutations of the user's that change no output (a branch folded into another, say) are no choice: what they save is had for nothing.
// They are applied wherever they can be, and the search begins behind them as well as at the network itself.
import { PareError } from '../src/errors.js';
import type { Rng } from '../src/rng.js';
import type { Genome } from './genome.js';
import type { Mutation } from './mutations/mutation.js';
import type { Replayer } from './replay.js';
import type { Variation } from './variation.js';

/** Applications of one mutation at most. */
const MOST = 64;

/** The edits, as far as they fit and save something; empty where there is nothing to do. */
export function exactEdits(replayer: Replayer, mutations: readonly Mutation[], rng: Rng): Genome {
  let structure: Genome = [];
  for (const mutation of mutations.filter((m) => m.law === 'exact')) {
    for (let i = 0; i < MOST; i++) {
      try {
        const here = replayer.structure(structure);
        const params = mutation.propose(replayer.context(here), rng.fork(`${mutation.name}/${i}`));
        if (params === undefined) break;
        const longer = [...structure, { mutation: mutation.name, params }];
        const { cost } = replayer.structure(longer);
        const saves =
          cost.macs < here.cost.macs || cost.params < here.cost.params || cost.nodes.length < here.cost.nodes.length;
        if (!saves) break;
        structure = longer;
      } catch (error) {
        // proposed and then refused: it is not asked again
        if (!(error instanceof PareError)) throw error;
        break;
      }
    }
  }
  return structure;
}

/** Channels cut behind those edits, along the range of the budget. */
export function exactSeeds(structure: Genome, variation: Variation, low: number, high: number): Genome[] {
  if (structure.length === 0) return [];
  return [high, (low + high) / 2, low].map((share) => variation.behind(structure, share));
}
