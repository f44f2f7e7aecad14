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

/** With another lowest score, or none. */
export function heldTo(constraints: Constraints, minScore: number | undefined): Constraints {
  const { minScore: _, ...costs } = constraints;
  return minScore === undefined ? costs : { ...costs, minScore };
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

/** Throws PareError for what no network can be asked for: said before anything is read. */
export function checkWishes(wishes: Wishes): void {
  for (const [option, text] of [
    ['--flops', wishes.flops],
    ['--params', wishes.params],
    ['--memory', wishes.memory],
    ['--latency', wishes.latency],
  ] as const) {
    if (text === undefined) continue;
    const { share } = parseAmount(option, text);
    if (share !== undefined && share > 1) {
      throw new PareError(`${option} ${text}: is more than the original has; give a share of it, at most 100%`);
    }
  }
  if (wishes.minAccuracy !== undefined) parseLeast(wishes.minAccuracy);
}

/** The wishes in absolute numbers, given what the original network needs. */
export function constraintsOf(wishes: Wishes, original: Figures): Constraints {
  const { flops, params, memory, latency, minAccuracy } = wishes;
  const of = (option: string, text: string, whole: number, scale = 1): number => {
    const parsed = parseAmount(option, text);
    return parsed.share === undefined ? parsed.amount * scale : parsed.share * whole;
  };
  return {
    ...(flops === undefined ? {} : { macs: of('--flops', flops, original.macs, 0.5) }),
    ...(params === undefined ? {} : { params: of('--params', params, original.params) }),
    ...(memory === undefined ? {} : { memoryBytes: of('--memory', memory, original.memoryBytes) }),
    ...(latency === undefined ? {} : { latencyMs: of('--latency', latency, original.latencyMs ?? Number.NaN) }),
    ...(minAccuracy === undefined ? {} : { minScore: leastScore(minAccuracy, original.score) }),
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

type Amount = { readonly share: number } | { readonly share?: undefined; readonly amount: number };

function parseAmount(option: string, text: string): Amount {
  const found = /^\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*(%|[a-z]*)\s*$/i.exec(text);
  const unit = UNITS.get(found?.[2]?.toLowerCase() ?? '');
  const value = Number(found?.[1]);
  if (found === null || (found[2] !== '%' && unit === undefined) || !(value > 0)) {
    throw new PareError(`${option} ${text}: give a share of the original such as 50%, or an amount such as 60M`);
  }
  return found[2] === '%' ? { share: value / 100 } : { amount: value * (unit ?? 1) };
}

function leastScore(text: string, original: number): number {
  const { relative, value } = parseLeast(text);
  return relative ? original + value : value;
}

function parseLeast(text: string): { readonly relative: boolean; readonly value: number } {
  const found = /^\s*([+-]?[0-9]*\.?[0-9]+)\s*(%?)\s*$/.exec(text);
  const value = Number(found?.[1]);
  const relative = /^\s*[+-]/.test(text);
  const least = relative || found?.[2] === '%' || value > 1 ? value / 100 : value;
  if (found === null || !Number.isFinite(value) || Math.abs(least) > 1) {
    throw new PareError(
      `--min-accuracy ${text}: give an accuracy such as 92% or 0.92, or points below the original such as -0.5`,
    );
  }
  return { relative, value: least };
}
