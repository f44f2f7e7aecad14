// How far two candidates are from each other: units cut from one and not from the other, and layers edited in one and not in the other,
// as a share of all units. Candidates that differ by a few units have nearly the same score: measuring both teaches little.
import { oncePer } from '../src/once.js';
import { genomeKey, partsOf, type Genome, type Json } from './genome.js';
import { recordOf } from './mutations/params.js';

/** A layer that is edited in one of two networks only counts as this share of all units. */
const EDIT = 0.02;

/** 0 for equal genomes. `units`: of all groups of the base network. Sketches are kept as long as the genomes. */
export function distanceOver(units: number): (a: Genome, b: Genome) => number {
  const sketchOf = oncePer((genome: Genome): ReadonlyMap<string, number> => {
    const { structure, dead } = partsOf(genome);
    const made = new Map<string, number>();
    for (const { mutation, params } of structure) {
      for (const one of partsOfEdit(params)) made.set(genomeKey([{ mutation, params: one }]), EDIT * units);
    }
    for (const [group, list] of dead) made.set(group, list.length);
    return made;
  });
  return (a, b) => {
    const [x, y] = [sketchOf(a), sketchOf(b)];
    let apart = 0;
    for (const [name, value] of x) apart += Math.abs(value - (y.get(name) ?? 0));
    for (const [name, value] of y) if (!x.has(name)) apart += value;
    return apart / Math.max(1, units);
  };
}

/** The single layers or blocks of a joined edit. */
function partsOfEdit(params: Json): readonly Json[] {
  const record = recordOf(params);
  const list = record?.['layers'] ?? record?.['blocks'];
  // the cast: Array.isArray does not narrow to readonly arrays
  return Array.isArray(list) ? (list as readonly Json[]) : [params];
}
