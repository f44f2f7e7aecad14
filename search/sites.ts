// Layers that can be replaced by cheaper ones, as choices beside the widths: the same greedy allocation then weighs factors of one
// layer against channels of another by what each is expected to lose per MAC.
import type { Analysis } from '../src/analysis/analyse.js';
import { costModelOf, type CostModel, type CostTerm } from './cost-model.js';
import type { Landscape } from './fitness.js';
import { genomeKey, type Edit, type Genome, type Json } from './genome.js';
import type { Mutation, Place } from './mutations/mutation.js';
import { recordOf } from './mutations/params.js';
import type { GroupChoice } from './progressive.js';
import type { Replayer } from './replay.js';

/** One layer and the replacements worth considering, dearest first. */
export interface Site extends GroupChoice {
  readonly mutation: Mutation;
  /** params of step k are options[k - 1]. */
  readonly options: readonly Json[];
  /** The replacement of the highest rank: its ranks are then cut like channels. */
  readonly widest: Json;
  readonly node: number;
  readonly macs: number;
  /** MACs of step k as a share of what the layer costs now: ratios[k - 1]. */
  readonly ratios: readonly number[];
}

/** Groups and sites in one list, with the cost of both: groups first. */
export interface Joint {
  readonly choices: readonly GroupChoice[];
  readonly sites: readonly Site[];
  readonly cost: CostModel;
}

export function jointChoices(landscape: Landscape, replayer: Replayer): Joint {
  const sites = sitesOf(landscape, replayer);
  const first = landscape.groups.length;
  const siteOf = new Map(sites.map((s, i) => [s.node, i]));
  const terms = landscape.macs.terms.map((term): CostTerm => {
    const i = term.node === undefined ? undefined : siteOf.get(term.node);
    return i === undefined ? term : { ...term, site: first + i, ratios: sites[i]!.ratios };
  });
  return {
    choices: [...landscape.groups, ...sites],
    sites,
    cost: costModelOf(terms, first + sites.length, landscape.macs.resolutions),
  };
}

/** Expected loss of structural edits (but for those whose ranks are groups with losses of their own), by stage of the base network; edits that are none of the choices count with the worst error seen. */
export function structureLosses(
  { sites, cost }: Joint,
  structure: Genome,
  covered: (weight: Json | undefined) => boolean,
): Float64Array {
  const losses = new Float64Array(cost.resolutions.length);
  const known = new Map<string, { readonly error: number; readonly stage: number }>();
  let worst = 0;
  const stages = new Map(cost.terms.map((t) => [t.node, t.stage]));
  for (const site of sites) {
    site.options.forEach((params, i) => {
      const error = site.losses[i + 1]!;
      worst = Math.max(worst, error);
      known.set(genomeKey([{ mutation: site.mutation.name, params }]), { error, stage: stages.get(site.node) ?? 0 });
    });
  }
  for (const { mutation, params } of structure) {
    for (const one of layersOf(params)) {
      if (covered(recordOf(one)?.['weight'])) continue;
      const found = known.get(genomeKey([{ mutation, params: one }]));
      losses[found?.stage ?? 0]! += found?.error ?? worst;
    }
  }
  return losses;
}

/** The structural edits that put the widest replacement at every chosen site, one joined edit a mutation. */
export function structureOf(sites: readonly Site[]): Genome {
  const byMutation = new Map<Mutation, Json[]>();
  sites.forEach((site) => {
    const params = site.widest;
    const list = byMutation.get(site.mutation);
    if (list === undefined) byMutation.set(site.mutation, [params]);
    else list.push(params);
  });
  return [...byMutation].flatMap(([mutation, list]): Edit[] =>
    mutation.join === undefined
      ? list.map((params) => ({ mutation: mutation.name, params }))
      : [{ mutation: mutation.name, params: mutation.join(list) }],
  );
}

function sitesOf(landscape: Landscape, replayer: Replayer): Site[] {
  const { analysis } = landscape;
  const nodes = nodesBySite(analysis, landscape.macs);
  const found: Site[] = [];
  const taken = new Set<number>();
  for (const mutation of replayer.options.mutations) {
    // Ranks are cut like channels afterwards; what is all or nothing is proposed by the mutation itself.
    if (mutation.removal === undefined) continue;
    const bySite = new Map<string, Place[]>();
    for (const place of mutation.places?.(replayer.context(analysis)) ?? []) {
      if (place.error === undefined) continue;
      const list = bySite.get(place.site);
      if (list === undefined) bySite.set(place.site, [place]);
      else list.push(place);
    }
    for (const [id, places] of bySite) {
      const at = nodes.get(id);
      if (at === undefined || taken.has(at.node)) continue;
      const site = siteFrom(id, mutation, at, places);
      if (site === undefined) continue;
      taken.add(at.node);
      found.push(site);
    }
  }
  return found;
}

/** Keeps the lower hull of error over saving, of the first kind that the mutation offers: every error has to be computed. */
function siteFrom(
  id: string,
  mutation: Mutation,
  at: { readonly node: number; readonly macs: number },
  places: readonly Place[],
): Site | undefined {
  const kind = kindOf(places[0]!.params);
  const points = places
    .filter((p) => kindOf(p.params) === kind && p.saving > 0 && p.saving < at.macs)
    .map((p) => ({ params: p.params, saving: p.saving, error: p.error!() }))
    .sort((a, b) => a.saving - b.saving || a.error - b.error);
  const hull: { params: Json; saving: number; error: number }[] = [{ params: null, saving: 0, error: 0 }];
  for (const point of points) {
    for (;;) {
      const b = hull.at(-1)!;
      const a = hull.at(-2);
      if (
        a === undefined ||
        (b.error - a.error) * (point.saving - a.saving) < (point.error - a.error) * (b.saving - a.saving)
      )
        break;
      hull.pop();
    }
    hull.push(point);
  }
  if (hull.length < 2) return undefined;
  const kept = hull.slice(1);
  return {
    id,
    size: kept.length + 1,
    steps: hull.map((_, k) => k),
    losses: hull.map((h) => h.error),
    mutation,
    options: kept.map((h) => h.params),
    widest: points[0]!.params,
    node: at.node,
    macs: at.macs,
    ratios: kept.map((h) => 1 - h.saving / at.macs),
  };
}

/** The node that a weight or value names, where one term of the cost model is all of it. */
function nodesBySite(analysis: Analysis, cost: CostModel): Map<string, { node: number; macs: number }> {
  const terms = new Map<number, number[]>();
  for (const t of cost.terms) {
    if (t.node !== undefined) terms.set(t.node, [...(terms.get(t.node) ?? []), t.base]);
  }
  const found = new Map<string, { node: number; macs: number }>();
  for (const [node, bases] of terms) {
    if (bases.length !== 1) continue;
    const { inputs, outputs } = analysis.graph.nodes[node]!;
    for (const name of [...inputs, ...outputs]) if (name !== '') found.set(name, { node, macs: bases[0]! });
  }
  return found;
}

function kindOf(params: Json): Json | undefined {
  return recordOf(params)?.['kind'];
}

/** The single replacements of a joined edit. */
function layersOf(params: Json): readonly Json[] {
  const layers = recordOf(params)?.['layers'];
  // the cast: Array.isArray does not narrow to readonly arrays
  return Array.isArray(layers) ? (layers as readonly Json[]) : [params];
}

/** Id of the group that the ranks of a factorised layer are. */
export function ranksOf(weight: string, axis: number): string {
  return `${weight}.first:${axis}`;
}

/** Sites whose two factors cost no less than the layer would with the same channels. */
export function idleSites(sites: readonly Site[], landscape: Landscape, removed: ArrayLike<number>): Site[] {
  const { macs, analysis, groups } = landscape;
  const byInput = new Map<string, CostTerm>();
  for (const term of macs.terms) {
    const node = term.node === undefined ? undefined : analysis.graph.nodes[term.node];
    for (const name of node?.inputs ?? []) byInput.set(name, term);
  }
  const byId = new Map(groups.map((g, i) => [g.id, i]));
  return sites.filter((site) => {
    const [first, second] = [byInput.get(`${site.id}.first`), byInput.get(`${site.id}.second`)];
    const ranks = byId.get(ranksOf(site.id, 0)) ?? byId.get(ranksOf(site.id, 1));
    if (first === undefined || second === undefined || ranks === undefined) return false;
    const now = macs.termValue(first, removed) + macs.termValue(second, removed);
    const whole = Int32Array.from(removed);
    whole[ranks] = 0;
    const whole2 = macs.termValue(first, whole) * macs.termValue(second, whole);
    return now >= 0.97 * ((site.macs * whole2) / (first.base * second.base));
  });
}
