// What the user asked for, in absolute numbers, and how far a candidate is from it.

import { PareError } from '../src/errors.js';
export interface Constraints {
  readonly macs?: number;
  readonly params?: number;
  readonly memoryBytes?: number;
  readonly latencyMs?: number;
  /** Lowest score allowed, in the metric's unit. */
  readonly minScore?: number;
}

/** What is known or believed of a candidate. */
export interface Figures {
  readonly macs: number;
  readonly params: number;
  readonly memoryBytes: number;
  readonly latencyMs?: number;
  readonly score: number;
}

/** Sum of the relative excesses; 0 = all constraints hold. */
export function violation(constraints: Constraints, figures: Figures): number {
  const over = (value: number | undefined, budget: number | undefined): number =>
    value === undefined || budget === undefined ? 0 : Math.max(0, value / Math.max(budget, 1e-12) - 1);
  const missing = constraints.minScore === undefined ? 0 : Math.max(0, constraints.minScore - figures.score);
  return (
    over(figures.macs, constraints.macs) +
    over(figures.params, constraints.params) +
    over(figures.memoryBytes, constraints.memoryBytes) +
    over(figures.latencyMs, constraints.latencyMs) +
    missing
  );
}

export type Price = 'macs' | 'params' | 'memoryBytes' | 'latencyMs';

/** The cost that stands against the score: what is limited; who limits the time wants time, and others limit MACs before the rest. */
export function priceOf(constraints: Constraints): Price {
  if (constraints.latencyMs !== undefined) return 'latencyMs';
  if (constraints.macs !== undefined) return 'macs';
  if (constraints.params !== undefined) return 'params';
  if (constraints.memoryBytes !== undefined) return 'memoryBytes';
  return 'macs';
}

/** What the user wrote: `50%`, `60M`, `1.5GB`, `3ms`, `-0.5`. */
export interface Wishes {
  /** FLOPs; an absolute number is halved to MACs. */
  readonly flops?: string;
  readonly params?: string;
  readonly memory?: string;
  readonly latency?: string;
  readonly minAccuracy?: string;
}

/** The wishes in absolute numbers, given what the original network needs. */
export function constraintsOf(wishes: Wishes, original: Figures): Constraints {
  const macs = wishes.flops === undefined ? undefined : amount('--flops', wishes.flops, original.macs, 0.5);
  const params = wishes.params === undefined ? undefined : amount('--params', wishes.params, original.params);
  const memory = wishes.memory === undefined ? undefined : amount('--memory', wishes.memory, original.memoryBytes);
  const latency =
    wishes.latency === undefined ? undefined : amount('--latency', wishes.latency, original.latencyMs ?? Number.NaN);
  const score = wishes.minAccuracy === undefined ? undefined : leastScore(wishes.minAccuracy, original.score);
  return {
    ...(macs === undefined ? {} : { macs }),
    ...(params === undefined ? {} : { params }),
    ...(memory === undefined ? {} : { memoryBytes: memory }),
    ...(latency === undefined ? {} : { latencyMs: latency }),
    ...(score === undefined ? {} : { minScore: score }),
  };
}

const UNITS: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['k', 1e3],
  ['m', 1e6],
  ['g', 1e9],
  ['t', 1e12],
  ['b', 1],
  ['kb', 1e3],
  ['mb', 1e6],
  ['gb', 1e9],
  ['kib', 2 ** 10],
  ['mib', 2 ** 20],
  ['gib', 2 ** 30],
  ['ms', 1],
  ['s', 1e3],
  ['us', 1e-3],
]);

function amount(option: string, text: string, whole: number, scale = 1): number {
  const found = /^\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*(%|[a-z]*)\s*$/i.exec(text);
  const unit = UNITS.get(found?.[2]?.toLowerCase() ?? '');
  const value = Number(found?.[1]);
  if (found === null || (found[2] !== '%' && unit === undefined) || !(value > 0)) {
    throw new PareError(`${option} ${text}: give a share of the original such as 50%, or an amount such as 60M`);
  }
  return found[2] === '%' ? (value / 100) * whole : value * (unit ?? 1) * scale;
}

function leastScore(text: string, original: number): number {
  const found = /^\s*([+-]?[0-9]*\.?[0-9]+)\s*(%?)\s*$/.exec(text);
  const value = Number(found?.[1]);
  if (found === null || !Number.isFinite(value)) {
    throw new PareError(
      `--min-accuracy ${text}: give an accuracy such as 92% or 0.92, or points below the original such as -0.5`,
    );
  }
  if (text.trim().startsWith('-') || text.trim().startsWith('+')) return original + value / 100;
  return found[2] === '%' || value > 1 ? value / 100 : value;
}
