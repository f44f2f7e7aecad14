// What the user asked for, in absolute numbers, and how far a candidate is from it.

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

/** The cost that stands against the score: what is limited, MACs first. */
export function priceOf(constraints: Constraints): Price {
  if (constraints.latencyMs !== undefined && constraints.macs === undefined) return 'latencyMs';
  if (constraints.macs !== undefined) return 'macs';
  if (constraints.params !== undefined) return 'params';
  if (constraints.memoryBytes !== undefined) return 'memoryBytes';
  return 'macs';
}
