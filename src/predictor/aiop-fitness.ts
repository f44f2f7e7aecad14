// AIO-P as the fitness of a search: what the pretrained predictor says of a candidate's graph, for every task that it has learnt, stands
// beside the cheap signals, and the ensemble learns from the measured candidates how much of it to believe.
import type { Model } from '../ir/graph.js';
import type { Rng } from '../rng.js';
import { ortRuntime } from '../runtime/ort.js';
import { openAiop } from './aiop.js';
import { compress } from './compress.js';
import { createEnsemble } from './ensemble.js';
import type { Predictor, PredictorInput } from './predictor.js';

export interface AiopFitnessOptions {
  readonly rng: Rng;
  /** The network that is pared: candidates are its graph, changed. */
  readonly base: () => Model;
  /** A predictor file; the shipped one otherwise. */
  readonly file?: string;
}

export function createAiopFitness({ rng, base, file }: AiopFitnessOptions): Predictor {
  const aiop = openAiop(file, ortRuntime());
  const { labels } = aiop.file.card;
  const ensemble = createEnsemble(rng);
  // Candidates come again and again; the same one has the same signals.
  const known = new WeakMap<ReadonlyMap<string, number>, ReadonlyMap<string, number>>();

  const looked = async (inputs: readonly PredictorInput[]): Promise<readonly PredictorInput[]> => {
    const open = inputs.filter((x) => !known.has(x.signals));
    const graphs = open.map((x) => compress({ ...base(), graph: x.graph }, { extras: true }));
    // Without adapters: the trunk ranks as well and needs a hundredth of the time.
    const outlooks = open.length === 0 ? [] : await aiop.look(graphs, []);
    open.forEach((x, i) => {
      // Standardised labels, in a scale on which the ensemble's logarithm is nearly straight.
      const said = labels.map((l, k): [string, number] => [
        `aiop:${l.space}/${l.column}`,
        (outlooks[i]!.trunk[k] ?? 0) / 100,
      ]);
      known.set(x.signals, new Map([...x.signals, ...said]));
    });
    return inputs.map((x) => ({
      get graph() {
        return x.graph;
      },
      signals: known.get(x.signals)!,
    }));
  };

  return {
    name: 'aiop',
    async fit(samples) {
      const seen = await looked(samples);
      await ensemble.fit(
        samples.map((s, i) => ({
          get graph() {
            return s.graph;
          },
          signals: seen[i]!.signals,
          score: s.score,
        })),
      );
    },
    predict: async (candidates) => ensemble.predict(await looked(candidates)),
    leaveOneOut: () => ensemble.leaveOneOut(),
  };
}
