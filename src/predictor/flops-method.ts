// The floor of every predictor: the network's MACs alone; with labels a line through log MACs.
import type { Candidate, Method } from './evaluate.js';

export const flopsMethod: Method = {
  name: 'flops',
  fewest: 0,
  fit: async (train, task) => {
    const x = train.map((t) => logMacs(t.candidate));
    // without labels: standardised over the table, which needs no label, and set to the declared prior
    const all = train.length < 2 ? task.candidates.map(logMacs) : x;
    const { mean: mx, deviation: sx } = moments(all);
    const { mean: my, deviation: sy } = train.length < 2 ? task.prior : moments(train.map((t) => t.label));
    let slope = sx === 0 ? 0 : sy / sx;
    if (train.length >= 2) {
      const covariance = train.reduce((sum, t, i) => sum + ((x[i]! - mx) * (t.label - my)) / train.length, 0);
      slope = sx === 0 ? 0 : covariance / (sx * sx);
    }
    const left = train.map((t, i) => t.label - my - slope * (x[i]! - mx));
    const deviation =
      train.length < 2 ? sy : Math.sqrt(left.reduce((sum, e) => sum + e * e, 0) / Math.max(1, train.length - 2));
    return {
      predict: async (candidates) => candidates.map((c) => ({ mean: my + slope * (logMacs(c) - mx), deviation })),
    };
  },
};

function logMacs(candidate: Candidate): number {
  return Math.log(1 + candidate.macs());
}

function moments(values: readonly number[]): { mean: number; deviation: number } {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length;
  return { mean, deviation: Math.sqrt(variance) };
}
