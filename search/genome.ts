// A candidate is data: the edits that make it from the base model. Small JSON, the same in jobs, checkpoints, caches and recipes.

/** Plain JSON. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

export interface Edit {
  /** Name of the mutation that applies it. */
  readonly mutation: string;
  readonly params: Json;
}

export type Genome = readonly Edit[];

/** Canonical text of a genome: equal genomes, equal keys (object keys sorted). */
export function genomeKey(genome: Genome): string {
  return canonical(genome as unknown as Json);
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
