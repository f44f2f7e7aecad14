// NSGA-II over any kind of candidate (Deb et al. 2002): constraint domination, crowding, elitist survival. Candidates that
// repeat are never scored twice. Yields once a generation, so that callers can report, stop and log the hypervolume.
import type { Rng } from '../src/rng.js';
import { sortNondominated, type Scored } from './dominance.js';
import { hypervolume } from './hypervolume.js';
import { standings, survivors, tournament } from './selection.js';

export interface Individual<G> extends Scored {
  readonly genome: G;
  readonly key: string;
}

export interface Nsga2Options<G> {
  /** The first population; repeats are dropped. */
  readonly seeds: readonly G[];
  readonly size: number;
  readonly generations: number;
  readonly rng: Rng;
  /** Equal candidates have equal keys. */
  key(genome: G): string;
  /** Objectives and violation of each, in order. */
  score(genomes: readonly G[]): Promise<readonly Scored[]>;
  /** A child of two parents (they may be the same); undefined when nothing came out. */
  vary(a: G, b: G, rng: Rng): G | undefined;
  /** For the logged hypervolume; points beyond it count for nothing. */
  readonly reference: readonly number[];
}

export interface Generation<G> {
  readonly generation: number;
  readonly population: readonly Individual<G>[];
  /** The feasible first front of the population (or the least infeasible ones). */
  readonly front: readonly Individual<G>[];
  readonly hypervolume: number;
  /** How many different candidates have been scored so far. */
  readonly scored: number;
}

export async function* nsga2<G>(options: Nsga2Options<G>): AsyncGenerator<Generation<G>, void, void> {
  const seen = new Set<string>();
  let population = survive(await scoreNew(options, options.seeds, seen), options.size);
  yield describe(options, 0, population, seen.size);
  for (let generation = 1; generation <= options.generations; generation++) {
    const rng = options.rng.fork(`generation/${generation}`);
    const standing = standings(population);
    const children: G[] = [];
    const planned = new Set<string>();
    for (let child = 0; child < options.size && population.length > 0; child++) {
      const stream = rng.fork(`child/${child}`);
      // A few tries: a child that was seen before teaches nothing.
      for (let attempt = 0; attempt < 4; attempt++) {
        const a = population[tournament(standing, stream)]!.genome;
        const b = population[tournament(standing, stream)]!.genome;
        const made = options.vary(a, b, stream);
        if (made === undefined) continue;
        const key = options.key(made);
        if (seen.has(key) || planned.has(key)) continue;
        planned.add(key);
        children.push(made);
        break;
      }
    }
    population = survive([...population, ...(await scoreNew(options, children, seen))], options.size);
    yield describe(options, generation, population, seen.size);
  }
}

async function scoreNew<G>(
  options: Nsga2Options<G>,
  genomes: readonly G[],
  seen: Set<string>,
): Promise<Individual<G>[]> {
  const fresh: { genome: G; key: string }[] = [];
  for (const genome of genomes) {
    const key = options.key(genome);
    if (seen.has(key)) continue;
    seen.add(key);
    fresh.push({ genome, key });
  }
  const scores = await options.score(fresh.map((f) => f.genome));
  return fresh.map((f, i) => ({ ...f, objectives: scores[i]!.objectives, violation: scores[i]!.violation }));
}

function survive<G>(all: readonly Individual<G>[], size: number): Individual<G>[] {
  return survivors(all, size).map((i) => all[i]!);
}

function describe<G>(
  options: Nsga2Options<G>,
  generation: number,
  population: readonly Individual<G>[],
  scored: number,
): Generation<G> {
  const front = (sortNondominated(population)[0] ?? []).map((i) => population[i]!);
  const feasible = front.filter((x) => x.violation === 0).map((x) => x.objectives);
  return { generation, population, front, hypervolume: hypervolume(feasible, options.reference), scored };
}
