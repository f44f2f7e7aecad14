// Candidates that cannot be measured: said once each, and what made them is not tried again. A function of what was measured, so a
// resumed run avoids the same ones.
import { createHash } from 'node:crypto';
import type { Candidate } from './fitness.js';
import { genomeKey, partsOf, type Genome } from './genome.js';

export interface Refusals {
  failed(candidate: Pick<Candidate, 'genome' | 'key'>, reason: string): void;
  /** It was measured: what it is made of works. */
  worked(genome: Genome): void;
  /** False for a structure that failed, and for a mutation that failed again and again and never worked. */
  allows(genome: Genome): boolean;
  /** Sentences since the last call. */
  warnings(): readonly string[];
  /** By key, with the reason. */
  readonly reasons: ReadonlyMap<string, string>;
}

/** Failed structures before a mutation is left alone. */
const PATIENCE = 3;

export function createRefusals(): Refusals {
  const reasons = new Map<string, string>();
  const structures = new Set<string>();
  const working = new Set<string>();
  const failures = new Map<string, number>();
  let said: string[] = [];
  const namesOf = (structure: Genome): readonly string[] => [...new Set(structure.map((e) => e.mutation))];
  return {
    reasons,
    failed({ genome, key }, reason) {
      if (reasons.has(key)) return;
      reasons.set(key, reason);
      said.push(`a candidate cannot be measured and is left out: ${shortGenome(genome)}: ${reason}`);
      const { structure } = partsOf(genome);
      const own = genomeKey(structure);
      if (structure.length === 0 || structures.has(own)) return;
      structures.add(own);
      for (const name of namesOf(structure)) {
        const count = (failures.get(name) ?? 0) + 1;
        failures.set(name, count);
        if (count !== PATIENCE || working.has(name)) continue;
        said.push(`the mutation "${name}" failed ${count} times and never worked: it is not tried again`);
      }
    },
    worked(genome) {
      for (const name of namesOf(partsOf(genome).structure)) working.add(name);
    },
    allows(genome) {
      if (structures.size === 0) return true;
      const { structure } = partsOf(genome);
      if (structure.length === 0) return true;
      if (structures.has(genomeKey(structure))) return false;
      return namesOf(structure).every((name) => working.has(name) || (failures.get(name) ?? 0) < PATIENCE);
    },
    warnings() {
      const list = said;
      said = [];
      return list;
    },
  };
}

const LONGEST = 160;

/** A genome in words: its structural edits, how many groups are cut, and the first digits of its SHA-256. */
export function shortGenome(genome: Genome): string {
  const { structure, dead } = partsOf(genome);
  const edits = structure.map((e) => {
    const params = JSON.stringify(e.params);
    return `${e.mutation} ${params.length > LONGEST ? `${params.slice(0, LONGEST)}...` : params}`;
  });
  const units = [...dead.values()].reduce((sum, list) => sum + list.length, 0);
  if (units > 0) edits.push(`${units} units cut from ${dead.size} groups`);
  const hash = createHash('sha256').update(genomeKey(genome)).digest('hex').slice(0, 12);
  return `genome ${hash} (${edits.join('; ') || 'unchanged'})`;
}
