// Which measured candidates become the front that is handed over.
import { heldTo, priceOf, violation, type Constraints, type Price } from './constraints.js';
import { measuredFront, withMeasurement, type Measured } from './explore.js';
import type { Fitness } from './fitness.js';
import { genomeKey, partsOf } from './genome.js';
import type { Variation } from './variation.js';

export interface Choice {
  /** Dearest first. */
  readonly members: readonly Measured[];
  /** On the front, but not useful. */
  readonly broken: readonly Measured[];
}

/** What costs more than this share of the best one within the budget is a rival of it. */
const NEAR = 0.97;

/** `refused`: keys of candidates that did not pass the last stage. The most accurate one within the budget, filled up to it, and others evenly along the price, those that cost nearly as much last. */
export function chooseMembers(
  measured: readonly Measured[],
  constraints: Constraints,
  count: number,
  variation: Variation,
  fitness: Fitness,
  original: { readonly score: number },
  refused: ReadonlySet<string> = new Set(),
): Choice {
  const front = measuredFront(constraints, measured);
  const best = front.reduce<Measured | undefined>((a, b) => (a === undefined || b.score > a.score ? b : a), undefined);
  if (best === undefined) return { members: [], broken: [] };
  const price = priceOf(constraints);
  // Without a budget there is nothing to fill: the front itself is what was asked for.
  if (Object.keys(heldTo(constraints, undefined)).length === 0) {
    const useful = front.filter((m) => m !== best && isUseful(m, best, original));
    const members = [best, ...spread(useful, count - 1, price)].toSorted((a, b) => b.macs - a.macs);
    return { members, broken: front.filter((m) => m !== best && !useful.includes(m)) };
  }
  const filled = fitness.assess(variation.fill(best.genome));
  const top =
    // Whether it still holds a limit on time would have to be measured.
    constraints.latencyMs === undefined &&
    !refused.has(filled.key) &&
    filled.macs >= best.macs &&
    violation(constraints, { ...filled, score: best.score }) <= violation(constraints, best)
      ? withMeasurement(filled, best.score, best.latencyMs)
      : best;
  // The one that uses the budget best stays too, where the most accurate one leaves some of it.
  const cost = (m: Measured): number => m[price] ?? m.macs;
  const fullest = measured
    .filter((m) => violation(constraints, m) === 0)
    .reduce<Measured | undefined>((a, b) => (a === undefined || cost(b) > cost(a) ? b : a), undefined);
  const kept = fullest !== undefined && cost(fullest) > 1.01 * cost(top) ? [top, fullest] : [top];
  // Low fidelity does not tell factors from channels for sure: the runners-up of other structures are refitted as well.
  const isNear = (m: Measured): boolean => cost(m) > NEAR * cost(top);
  const rivals = measured
    .filter((m) => violation(constraints, m) === 0 && isNear(m))
    .toSorted((a, b) => b.score - a.score || (a.key < b.key ? -1 : 1));
  const structures = new Set(kept.map((m) => genomeKey(partsOf(m.genome).structure)));
  for (const rival of rivals) {
    const structure = genomeKey(partsOf(rival.genome).structure);
    if (kept.length + 2 >= count || kept.length >= 3) break;
    if (structures.has(structure)) continue;
    structures.add(structure);
    kept.push(rival);
  }
  const taken = new Set([best.key, ...kept.map((m) => m.key)]);
  const others = front.filter((m) => !taken.has(m.key));
  const useful = others.filter((m) => isUseful(m, best, original));
  // Those that cost nearly as much are no smaller models: they come last.
  const smaller = spread(
    useful.filter((m) => !isNear(m)),
    count - kept.length,
    price,
  );
  const rest = spread(useful.filter(isNear), count - kept.length - smaller.length, price);
  const members = [...kept, ...smaller, ...rest].toSorted((a, b) => b.macs - a.macs);
  return { members, broken: others.filter((m) => !isUseful(m, best, original)) };
}

/**
 * What has lost most of its score is no smaller model but a broken one: nobody takes a network that loses more than three times what
 * the best one within the budget loses (a tenth of the score where that is little), or half the score. Losses are those at the search's
 * low fidelity; the full refit makes them smaller, and does not change their order by so much.
 */
export function isUseful(
  m: { readonly score: number },
  best: { readonly score: number },
  original: { readonly score: number },
): boolean {
  const loss = original.score - m.score;
  if (original.score > 0 && m.score < 0.5 * original.score && m.score < best.score) return false;
  return loss <= Math.max(3 * (original.score - best.score), 0.1 * Math.abs(original.score)) || m.score >= best.score;
}

/** A few of the front, evenly along the price, ends included. */
function spread(front: readonly Measured[], count: number, price: Price): Measured[] {
  if (front.length <= count) return [...front];
  const at = (m: Measured): number => m[price] ?? m.macs;
  const sorted = front.toSorted((a, b) => at(b) - at(a));
  const chosen = new Set<Measured>();
  const high = at(sorted[0]!);
  const low = at(sorted.at(-1)!);
  for (let i = 0; i < count; i++) {
    const goal = high + ((low - high) * i) / Math.max(1, count - 1);
    const open = sorted.filter((m) => !chosen.has(m));
    chosen.add(open.reduce((a, b) => (Math.abs(at(b) - goal) < Math.abs(at(a) - goal) ? b : a)));
  }
  return [...chosen];
}
