// Where a search should look, from what the user wants: the cost that is spent and its range, kept within what can be reached.
import { priceOf, type Constraints } from './constraints.js';
import type { Candidate, Fitness } from './fitness.js';
import type { Replayer } from './replay.js';
import { createVariation, type Targets } from './variation.js';

export function targetsOf(constraints: Constraints, original: Candidate): Targets {
  const limits = {
    ...(constraints.macs === undefined ? {} : { macs: constraints.macs }),
    ...(constraints.params === undefined ? {} : { params: constraints.params }),
  };
  const price = priceOf(constraints);
  if (price === 'params') {
    const high = Math.min(1, constraints.params! / original.params);
    return { kind: 'params', low: 0.6 * high, high, ...limits };
  }
  const high = constraints.macs === undefined ? 0.97 : Math.min(1, constraints.macs / original.macs);
  return { kind: 'macs', low: constraints.macs === undefined ? 0.15 : 0.6 * high, high, ...limits };
}

/** Where the budget is out of reach, the search stays just above what can be reached. */
export function reachable(fitness: Fitness, replayer: Replayer, targets: Targets): Targets {
  const { least } = createVariation(fitness, replayer, targets);
  const high = Math.max(targets.high, Math.min(1, least * 1.02));
  return { ...targets, high, low: Math.min(high, Math.max(targets.low, least)) };
}

export function unreachableNote(targets: Targets, least: number): string | undefined {
  if (least <= targets.high) return undefined;
  const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;
  return `the budget of ${percent(targets.high)} ${targets.kind === 'macs' ? 'MACs' : 'parameters'} is out of reach: with every group at its narrowest ${percent(least)} remain; the search goes for the best it can reach`;
}
