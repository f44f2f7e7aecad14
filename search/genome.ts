// A candidate is data: the edits that make it from the base model. Small JSON, the same in jobs, checkpoints, caches and recipes.
import { PareError } from '../src/errors.js';
import { oncePer } from '../src/once.js';

/** Plain JSON. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

export interface Edit {
  /** Name of the mutation that applies it. */
  readonly mutation: string;
  readonly params: Json;
}

export type Genome = readonly Edit[];

/** Name of the mutation whose edits are merged into one pass and stand last in a genome. */
export const PRUNE_CHANNELS = 'prune-channels';

/** Which units of one group die: indices into the group's units, ascending. */
export interface PruneParams {
  readonly group: string;
  readonly dead: readonly number[];
}

/** A genome taken apart: edits of the structure in their order, then dead units by group. */
export interface Parts {
  readonly structure: Genome;
  readonly dead: ReadonlyMap<string, readonly number[]>;
}

/** Canonical text of a genome: equal genomes, equal keys (object keys sorted). */
export const genomeKey: (genome: Genome) => string = oncePer((genome) =>
  canonical(genome.map((e) => ({ mutation: e.mutation, params: e.params }))),
);

/** The one form in which genomes are compared and stored: structure first, then one prune edit a group, by group name. */
export function normalise(genome: Genome): Genome {
  const { structure, dead } = partsOf(genome);
  return genomeOf(structure, dead);
}

export const partsOf: (genome: Genome) => Parts = oncePer((genome) => {
  const structure: Edit[] = [];
  const dead = new Map<string, readonly number[]>();
  for (const edit of genome) {
    if (edit.mutation !== PRUNE_CHANNELS) {
      structure.push(edit);
      continue;
    }
    const { group, dead: units } = pruneParams(edit.params);
    const all = new Set([...(dead.get(group) ?? []), ...units]);
    dead.set(
      group,
      [...all].sort((a, b) => a - b),
    );
  }
  return { structure, dead };
});

export function genomeOf(structure: Genome, dead: ReadonlyMap<string, readonly number[]>): Genome {
  const cuts = [...dead]
    .filter(([, units]) => units.length > 0)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([group, units]): Edit => ({ mutation: PRUNE_CHANNELS, params: { group, dead: units } }));
  return [...structure, ...cuts];
}

export function pruneParams(params: Json): PruneParams {
  // The cast: Array.isArray does not narrow readonly arrays away, so the record is checked field by field below.
  const record = params as { readonly [key: string]: Json } | null;
  const group = typeof record === 'object' ? record?.['group'] : undefined;
  const dead = typeof record === 'object' ? record?.['dead'] : undefined;
  if (typeof group !== 'string' || !isIndices(dead)) {
    throw new PareError(
      `${PRUNE_CHANNELS}: parameters must be {"group": name, "dead": [unit indices]}, not ${JSON.stringify(params)}`,
    );
  }
  return { group, dead };
}

function isIndices(value: Json | undefined): value is readonly number[] {
  return Array.isArray(value) && value.every((x) => typeof x === 'number' && Number.isSafeInteger(x) && x >= 0);
}

function canonical(value: Json): string {
  if (Array.isArray(value)) return `[${(value as readonly Json[]).map(canonical).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const record = value as { readonly [key: string]: Json };
    const keys = Object.keys(record).sort();
    return `{${keys.map((k) => `${JSON.stringify(k)}:${canonical(record[k]!)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}
