// Latency of candidates from those that were timed: log-linear in their MACs, by stage; proportional to MACs before there are enough.
import { fitBayesianRidge } from '../src/predictor/bayesian-ridge.js';
import type { Candidate } from './fitness.js';

interface Timed extends Candidate {
  readonly latencyMs?: number;
}

/** Milliseconds; in units of the base's latency where nothing was timed. */
export function latencyModel(base: Timed, measured: readonly Timed[]): (c: Candidate) => number {
  const samples = [base, ...measured].filter((m) => m.latencyMs !== undefined);
  const row = (c: Candidate): number[] => {
    const own = [Math.log(c.macs / base.macs + 1e-9)];
    for (const [name, value] of c.signals) if (name.startsWith('macs:stage/')) own.push(value);
    return own;
  };
  if (samples.length < 3) {
    const whole = base.latencyMs ?? 1;
    return (c) => (whole * c.macs) / base.macs;
  }
  const fitted = fitBayesianRidge(
    samples.map(row),
    samples.map((m) => Math.log(m.latencyMs!)),
  );
  return (c) => Math.exp(fitted.predict(row(c)).mean);
}
