// AIO-P as the fitness of a search: what the pretrained predictor says of a candidate's graph, for every task that it has learnt, stands
// beside the cheap signals, and the ensemble learns from the measured candidates how much of it to believe.
import type { Model } from '../ir/graph.js';
import type { Rng } from '../rng.js';
import { AIOP, createAiopSignals } from './aiop-signals.js';
import { createEnsemble } from './ensemble.js';
import type { Predictor } from './predictor.js';

export interface AiopFitnessOptions {
  readonly rng: Rng;
  /** The network that is pared: candidates are its graph, changed. */
  readonly base: () => Model;
  /** A predictor file; the shipped one otherwise. */
  readonly file?: string;
}

export function createAiopFitness({ rng, base, file }: AiopFitnessOptions): Predictor {
  const aiop = createAiopSignals(base, file);
  const ensemble = createEnsemble(rng, [(name) => !name.startsWith(AIOP), () => true]);
  return {
    name: 'aiop',
    fit: async (samples) => ensemble.fit(await aiop.lookAt(samples)),
    predict: async (candidates) => ensemble.predict(await aiop.look(candidates)),
    leaveOneOut: () => ensemble.leaveOneOut(),
    explain: async (candidates, among) => ensemble.explain(await aiop.look(candidates), await aiop.look(among)),
  };
}
