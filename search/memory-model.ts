// Peak memory of a structure by the units its groups lost: as many costs as there are moments at which too much is alive, since cutting
// at one moment moves the peak to another. Exact: a value's bytes shrink with the channels it carries.
import { momentsAbove } from '../src/analysis/memory.js';
import { costModelOf, lineReader, type CostModel, type CostTerm } from './cost-model.js';
import type { Landscape } from './fitness.js';

/** Moments are looked at in the order of their bytes; networks have few that differ much. */
const MOST = 48;

/** One cost in bytes for every moment that is over the budget in the uncut structure, the worst first. */
export function memoryModels(landscape: Landscape, budgetBytes: number): readonly CostModel[] {
  const { analysis, groups } = landscape;
  const shareOf = lineReader(analysis);
  return momentsAbove(analysis.model.graph, analysis.shapes.types, budgetBytes)
    .toSorted((a, b) => b.bytes - a.bytes)
    .slice(0, MOST)
    .map(({ alive }) => {
      const terms = [...alive].map(([value, base]): CostTerm => {
        const placed = analysis.plan.values.get(value);
        const share = placed === undefined ? [] : shareOf(placed.line);
        return { base, shares: share.length === 0 ? [] : [share], stage: 0 };
      });
      return costModelOf(terms, groups.length);
    });
}
