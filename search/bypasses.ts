// Seeds for runs that want time rather than MACs: every block that can be bypassed is bypassed alone and measured; the least missed
// ones then go together, more and more of them, with channels cut behind them. Whole layers that are gone always save time.
import type { Analysis } from '../src/analysis/analyse.js';
import { withMeasurement, type Evaluation, type Measured } from './explore.js';
import type { Candidate } from './fitness.js';
import type { Genome } from './genome.js';
import type { Place } from './mutations/mutation.js';
import { recordOf } from './mutations/params.js';
import type { Replayer } from './replay.js';
import type { Variation } from './variation.js';

export interface BypassOptions {
  readonly replayer: Replayer;
  readonly variation: Variation;
  assess(genome: Genome): Candidate;
  /** Scores in the order of the candidates; undefined for one that could not be measured. */
  measure(candidates: readonly Candidate[]): Promise<readonly (Evaluation | undefined)[]>;
  /** Of the uncut network. */
  readonly score: number;
  /** What a genome saves, in any unit; its MACs otherwise. */
  saves?(genome: Genome): number;
  /** Share of the cost that the seeds are fitted to. */
  readonly share: number;
}

interface Block {
  readonly place: Place;
  readonly genome: Genome;
  /** Weights of the layers that are gone. */
  readonly gone: ReadonlySet<string>;
}

const NOTHING: ReadonlySet<string> = new Set();

/** More blocks than this are not tried one by one: the dearest are. */
const MOST_BLOCKS = 32;
const MUTATION = 'remove-block';

export interface Bypasses {
  /** One genome for each of several numbers of bypassed blocks, fewest first; none where no block can be bypassed. */
  readonly seeds: readonly Genome[];
  /** Each block bypassed alone. */
  readonly alone: readonly Measured[];
}

export async function bypassSeeds(options: BypassOptions): Promise<Bypasses> {
  const { replayer, variation, share } = options;
  const mutation = replayer.options.mutations.find((m) => m.name === MUTATION);
  const places = longestWays(mutation?.places?.(replayer.context(replayer.base)) ?? []);
  if (mutation?.join === undefined || places.length === 0) return { seeds: [], alone: [] };
  const blocks = different(
    places
      .map((place): Block => ({ place, genome: [{ mutation: MUTATION, params: place.params }], gone: NOTHING }))
      .filter(({ genome }) => fits(genome, replayer))
      .map((block) => ({ ...block, gone: goneLayers(block.genome, replayer) })),
  );
  const candidates = blocks.map(({ genome }) => options.assess(genome));
  const results = await options.measure(candidates);
  // Least missed for what it saves first.
  const ranked = blocks
    .flatMap((block, i) => {
      const result = results[i];
      if (result === undefined) return [];
      const saved = options.saves?.(block.genome) ?? block.place.saving;
      return [{ block, harm: (options.score - result.score) / Math.max(saved, 1e-9) }];
    })
    .toSorted((x, y) => x.harm - y.harm);
  const together = effective(ranked.map(({ block }) => block));
  const seeds: Genome[] = [];
  for (const count of countsUpTo(together.length)) {
    const params = mutation.join(together.slice(0, count).map(({ place }) => place.params));
    const structure: Genome = [{ mutation: MUTATION, params }];
    if (fits(structure, replayer)) seeds.push(variation.behind(structure, share));
  }
  return { seeds, alone: measuredOf(candidates, results) };
}

/** Those that could be measured. */
export function measuredOf(
  candidates: readonly Candidate[],
  results: readonly (Evaluation | undefined)[],
): readonly Measured[] {
  return candidates.flatMap((c, i): Measured[] => {
    const result = results[i];
    return result === undefined ? [] : [withMeasurement(c, result.score, result.latencyMs)];
  });
}

/** Of the ways round from one value the one that saves most, the last in the graph among equals; the dearest where there are many. */
function longestWays(places: readonly Place[]): Place[] {
  const best = new Map<string, Place>();
  for (const place of places) {
    const from = JSON.stringify(recordOf(place.params)?.['from'] ?? place.site);
    const known = best.get(from);
    if (known === undefined || place.saving >= known.saving) best.set(from, place);
  }
  return [...best.values()].toSorted((a, b) => b.saving - a.saving).slice(0, MOST_BLOCKS);
}

/** Weights of layers with MACs that the edited network has not. */
function goneLayers(genome: Genome, replayer: Replayer): ReadonlySet<string> {
  const left = new Set(weightsOf(replayer.structure(genome)));
  return new Set(weightsOf(replayer.base).filter((w) => !left.has(w)));
}

function weightsOf(analysis: Analysis): string[] {
  const { nodes } = analysis.graph;
  return analysis.groups.macShares.flatMap(({ node }) => nodes[node]!.inputs.slice(1, 2));
}

/** Of the ways that take the same layers out, the first. */
function different(blocks: readonly Block[]): Block[] {
  const byLayers = new Map<string, Block>();
  for (const block of blocks) {
    const key = [...block.gone].sort().join('\n');
    if (block.gone.size > 0 && !byLayers.has(key)) byLayers.set(key, block);
  }
  return [...byLayers.values()];
}

/** Without the ways that take nothing out beyond what earlier ones do. */
function effective(ranked: readonly Block[]): Block[] {
  const gone = new Set<string>();
  return ranked.filter((block) => {
    const before = gone.size;
    for (const w of block.gone) gone.add(w);
    return gone.size > before;
  });
}

function fits(genome: Genome, replayer: Replayer): boolean {
  return replayer.repair(genome).length === genome.length;
}

/** About eight counts up to half of what there is. */
function countsUpTo(blocks: number): number[] {
  const most = Math.max(1, Math.floor(blocks / 2));
  const step = Math.max(1, Math.ceil(most / 8));
  return Array.from({ length: Math.ceil(most / step) }, (_, i) => Math.min(most, (i + 1) * step));
}
