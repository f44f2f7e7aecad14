// What a network's time is made of, learnt from networks that were timed: every layer costs something for being there (by resolution)
// and something for each MAC (by resolution, depthwise apart), every run something for being called. Linear, so that an allocation can weigh milliseconds where MACs mislead:
// two thin layers in the place of one save arithmetic and not time, a layer that is gone saves both.
import { oncePer } from '../src/once.js';
import { costModelOf, type CostModel, type CostTerm } from './cost-model.js';
import type { Fitness, Landscape } from './fitness.js';
import { partsOf, type Genome } from './genome.js';

export interface Timed {
  readonly genome: Genome;
  readonly latencyMs: number;
}

export interface LatencyLaw {
  /** Milliseconds. */
  of(genome: Genome): number;
  /** Milliseconds of a structure by the units its groups lost. */
  costModel(landscape: Landscape): CostModel;
}

/** Before anything is timed, so much of the time is held to be arithmetic, and so much the price of a run; the rest is spent by layers. */
const ARITHMETIC = 0.65;
const CALL = 0.1;
/** How far a share may be from what was held of it, and how far a timing is off, relative. */
const SPREAD = 1;
const NOISE = 0.03;

/** The uncut network must be among the samples, first. */
export function learnLatency(fitness: Fitness, samples: readonly Timed[]): LatencyLaw {
  const { base } = fitness;
  const whole = samples[0]?.latencyMs ?? 1;
  const none = base.groups.map(() => 0);
  const widest = rowOf(base, none, base);
  // Features are shares of the uncut network's MACs and layers, so that weights are milliseconds.
  const [macs, layers] = [sum(widest.macs), sum(widest.layers)];
  const features = ({ macs: m, layers: l }: Row): number[] => [
    ...m.map((x) => x / Math.max(1, macs)),
    ...l.map((x) => x / Math.max(1, layers)),
    1,
  ];
  const prior = [
    ...widest.macs.map(() => ARITHMETIC * whole),
    ...widest.layers.map(() => (1 - ARITHMETIC - CALL) * whole),
    CALL * whole,
  ];
  const rows = samples.map(({ genome }) => {
    const { structure } = partsOf(genome);
    const landscape = fitness.landscape(structure);
    return features(rowOf(landscape, fitness.removed(genome, landscape), base));
  });
  const weights = fitNonNegative(
    rows,
    samples.map((s) => s.latencyMs),
    prior,
    NOISE * whole,
  );
  const kinds = widest.macs.length;
  const costModel = oncePer((landscape: Landscape): CostModel => {
    const terms: CostTerm[] = landscape.macs.terms.flatMap((term): CostTerm[] => {
      const at = kindOf(term, landscape, base);
      const arithmetic = { ...term, base: (term.base * weights[at]!) / Math.max(1, macs) };
      if (term.node === undefined) return [arithmetic];
      const { shares: _shares, ...rest } = term;
      return [arithmetic, { ...rest, shares: [], base: weights[kinds + at]! / Math.max(1, layers) }];
    });
    terms.push({ base: weights.at(-1)!, shares: [], stage: 0 });
    return costModelOf(terms, landscape.groups.length, landscape.macs.resolutions);
  });
  return {
    costModel,
    of(genome) {
      const landscape = fitness.landscape(partsOf(genome).structure);
      const row = features(rowOf(landscape, fitness.removed(genome, landscape), base));
      return row.reduce((ms, x, i) => ms + x * weights[i]!, 0);
    },
  };
}

/** MACs and layers by resolution of the base network, then those of depthwise layers. */
interface Row {
  readonly macs: readonly number[];
  readonly layers: readonly number[];
}

function rowOf(landscape: Landscape, removed: ArrayLike<number>, base: Landscape): Row {
  const kinds = base.macs.resolutions.length + 1;
  const macs = Array.from({ length: kinds }, () => 0);
  const layers = Array.from({ length: kinds }, () => 0);
  for (const term of landscape.macs.terms) {
    const at = kindOf(term, landscape, base);
    macs[at]! += landscape.macs.termValue(term, removed);
    if (term.node !== undefined) layers[at]! += 1;
  }
  return { macs, layers };
}

/** The resolution that is nearest in the base network; one more for depthwise layers. */
function kindOf(term: CostTerm, landscape: Landscape, base: Landscape): number {
  const { resolutions } = base.macs;
  if (term.kind === 'depthwise') return resolutions.length;
  const own = landscape.macs.resolutions[term.stage] ?? 1;
  const distance = (r: number): number => Math.abs(Math.log(r / own));
  return resolutions.reduce((best, r, i) => (distance(r) < distance(resolutions[best]!) ? i : best), 0);
}

/** Least squares with weights >= 0, each drawn to its prior: coordinate descent, which converges since the problem is convex. */
export function fitNonNegative(
  rows: readonly (readonly number[])[],
  targets: readonly number[],
  prior: readonly number[],
  noise: number,
): number[] {
  const weights = [...prior];
  const left = targets.map((t, i) => t - rows[i]!.reduce((s, x, j) => s + x * weights[j]!, 0));
  for (let sweep = 0; sweep < 300; sweep++) {
    let moved = 0;
    for (let j = 0; j < prior.length; j++) {
      const pull = (noise / Math.max(1e-12, SPREAD * prior[j]!)) ** 2;
      let [up, down] = [pull * (prior[j]! - weights[j]!), pull];
      rows.forEach((row, i) => {
        up += row[j]! * left[i]!;
        down += row[j]! ** 2;
      });
      const next = Math.max(0, weights[j]! + up / down);
      const step = next - weights[j]!;
      if (step === 0) continue;
      weights[j] = next;
      rows.forEach((row, i) => (left[i]! -= row[j]! * step));
      moved = Math.max(moved, Math.abs(step) / Math.max(1e-12, prior[j]!));
    }
    if (moved < 1e-6) break;
  }
  return weights;
}

/** Networks that tell the shares apart: all groups narrower, those of one resolution narrower. */
export function latencyProbes(fitness: Fitness): Genome[] {
  const { base } = fitness;
  const cut = (share: number, which: (stage: number) => boolean): Genome =>
    fitness.genome(
      base,
      Int32Array.from(base.groups, (g) => (which(g.stage) ? (g.steps.findLast((k) => k <= share * g.size) ?? 0) : 0)),
    );
  const stages = [...new Set(base.groups.filter((g) => g.steps.length > 1).map((g) => g.stage))].sort((a, b) => a - b);
  const probes = [cut(0.5, () => true), cut(0.75, () => true)];
  if (stages.length > 1) for (const s of stages) probes.push(cut(0.5, (stage) => stage === s));
  return probes.filter((g) => g.length > 0);
}

function sum(list: readonly number[]): number {
  return list.reduce((a, b) => a + b, 0);
}
