// What the pretrained AIO-P says of a candidate's graph, for every label that it has learnt, as signals beside the cheap ones.
import type { Model } from '../ir/graph.js';
import { ortRuntime } from '../runtime/ort.js';
import { openAiop } from './aiop.js';
import { compress } from './compress.js';
import type { PredictorInput, Sample } from './predictor.js';

/** How the names of its signals begin. */
export const AIOP = 'aiop:';

export interface AiopSignals {
  look(inputs: readonly PredictorInput[]): Promise<readonly PredictorInput[]>;
  /** The same of measured ones. */
  lookAt(samples: readonly Sample[]): Promise<readonly Sample[]>;
}

/** `base`: the network that is pared, whose graph, changed, the candidates are; `file`: a predictor file, or the shipped one. */
export function createAiopSignals(base: () => Model, file?: string): AiopSignals {
  const aiop = openAiop(file, ortRuntime());
  const { labels } = aiop.file.card;
  // Candidates come again and again; the same one has the same signals.
  const known = new WeakMap<ReadonlyMap<string, number>, ReadonlyMap<string, number>>();

  const look = async (inputs: readonly PredictorInput[]): Promise<readonly PredictorInput[]> => {
    const open = inputs.filter((x) => !known.has(x.signals));
    const graphs = open.map((x) => x.computation?.() ?? compress({ ...base(), graph: x.graph }, { extras: true }));
    // The trunk alone: it ranks as well as the adapters and needs a hundredth of the time.
    const outputs = open.length === 0 ? [] : await aiop.trunk(graphs);
    open.forEach((x, i) => {
      // Standardised labels, in a scale on which the ensemble's logarithm is nearly straight.
      const said = labels.map((l, k): [string, number] => [
        `${AIOP}${l.space}/${l.column}`,
        (outputs[i]![k] ?? 0) / 100,
      ]);
      known.set(x.signals, new Map([...x.signals, ...said]));
    });
    return inputs.map((x) => withSignals(x, known.get(x.signals)!));
  };
  return {
    look,
    async lookAt(samples) {
      const seen = await look(samples);
      return samples.map((s, i) => Object.assign(seen[i]!, { score: s.score }));
    },
  };
}

/** The graph stays lazy. */
export function withSignals(input: PredictorInput, signals: ReadonlyMap<string, number>): PredictorInput {
  return {
    get graph() {
      return input.graph;
    },
    signals,
  };
}
