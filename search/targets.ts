// Where a search should look, from what the user wants: the cost that is spent and its range, kept within what can be reached.
import type { Constraints } from './constraints.js';
import type { Candidate, Fitness } from './fitness.js';
import type { Replayer } from './replay.js';
import { WORTHWHILE, type Timing } from './timing.js';
import { createVariation, type Targets } from './variation.js';

/** A timing is off by a few percent: what should hold the limit is aimed a little below it. */
const MARGIN = 0.94;

export function targetsOf(constraints: Constraints, original: Candidate, timing?: Timing): Targets {
  const { latencyMs, macs, params, memoryBytes } = constraints;
  const limits = {
    ...(macs === undefined ? {} : { macs }),
    ...(params === undefined ? {} : { params }),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(latencyMs === undefined || timing === undefined
      ? {}
      : { latency: { law: () => timing.law(), budgetMs: MARGIN * latencyMs } }),
    ...(timing?.factors === undefined || timing.factors.time >= WORTHWHILE * timing.factors.macs
      ? {}
      : { noFactors: true }),
  };
  if (macs === undefined && latencyMs !== undefined && timing !== undefined) {
    const high = Math.min(1, (MARGIN * latencyMs) / timing.law().of([]));
    return { kind: 'latency', low: 0.6 * high, high, ...limits };
  }
  if (macs === undefined && params !== undefined) {
    const high = Math.min(1, params / original.params);
    return { kind: 'params', low: 0.6 * high, high, ...limits };
  }
  const high = macs === undefined ? 0.97 : Math.min(1, macs / original.macs);
  return { kind: 'macs', low: macs === undefined ? 0.15 : 0.6 * high, high, ...limits };
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
  return `the budget of ${percent(targets.high)} ${NAMES[targets.kind]} is out of reach: with every group at its narrowest ${percent(least)} remain; the search goes for the best it can reach`;
}

const NAMES = { macs: 'MACs', params: 'parameters', latency: 'the latency' } as const;
