// Networks near a given one, drawn at random: a few structural edits, then channels cut anywhere. Nothing is measured or weighed, and weights
// need not be there: what predictors learn from before any label.
import { orNothing } from '../src/errors.js';
import type { Model } from '../src/ir/graph.js';
import type { OpTable } from '../src/ops/op.js';
import type { Rng } from '../src/rng.js';
import { genomeOf, PRUNE_CHANNELS, type Genome } from './genome.js';
import { standardMutations } from './mutations/index.js';
import { createReplayer, openGroups, surgeryWith } from './replay.js';

export interface RandomMutantsOptions {
  readonly table: OpTable;
  readonly count: number;
  readonly rng: Rng;
}

/** Structural edits of a mutant at most. */
const EDITS = 3;

/** At most `count` networks: an edit that fits nowhere, or needs weights that are not there, is left out. */
export function* randomMutants(base: Model, { table, count, rng }: RandomMutantsOptions): Generator<Model, void> {
  const surgery = surgeryWith(table);
  const mutations = standardMutations(surgery);
  const structural = mutations.filter((m) => m.name !== PRUNE_CHANNELS && m.law !== 'exact');
  const replayer = createReplayer(surgery.analyse(base), {
    surgery,
    mutations,
    ignore: () => false,
    roundTo: 1,
    maxRatio: 1,
  });
  for (let i = 0; i < count; i++) {
    const own = rng.fork(`${i}`);
    let structure: Genome = [];
    for (let k = own.int(EDITS + 1); k > 0; k--) {
      const mutation = own.pick(structural);
      structure =
        orNothing(() => {
          const params = mutation.propose(replayer.context(replayer.structure(structure)), own);
          if (params === undefined) return undefined;
          const longer = [...structure, { mutation: mutation.name, params }];
          replayer.structure(longer);
          return longer;
        }) ?? structure;
    }
    // how far the network shrinks, and how unevenly
    const share = own.next() / 2;
    const dead = openGroups(replayer.structure(structure), () => false).map((g): [string, number[]] => {
      const units = Math.min(g.size - 1, Math.round(2 * share * own.next() * g.size));
      return [g.id, own.sample(g.size, units).sort((a, b) => a - b)];
    });
    const genome = genomeOf(structure, new Map(dead.filter(([, units]) => units.length > 0)));
    const made = genome.length === 0 ? undefined : orNothing(() => replayer.replay(genome));
    if (made !== undefined) yield made;
  }
}
