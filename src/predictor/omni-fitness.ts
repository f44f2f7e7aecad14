// OMNI as the fitness of a search (methods.md §9.2): NGBoost over all that can be known of a candidate before it is measured - what
// AIO-P says of its graph, GRAF, the cheap signals of calibration, and proxies of one forward pass with the weights it inherits.
import { PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import { standardOps } from '../ops/index.js';
import { createRng, type Rng } from '../rng.js';
import { ortRuntime } from '../runtime/ort.js';
import type { RuntimeTensor } from '../runtime/runtime.js';
import { createAiopSignals, withSignals } from './aiop-signals.js';
import { explainAll } from './explain.js';
import { fitOmni, type Omni } from './omni.js';
import type { Predictor, PredictorInput, Sample } from './predictor.js';
import { proxies } from './proxies/index.js';

export interface OmniFitnessOptions {
  readonly rng: Rng;
  /** The network that is pared: candidates are its graph, changed. */
  readonly base: () => Model;
  /** A predictor file; the shipped one otherwise. */
  readonly file?: string;
  /** A few samples for one forward pass of each candidate; absent: no proxies. */
  readonly batch?: () => ReadonlyMap<string, RuntimeTensor>;
}

/** Below it there is nothing to boost: the mean is foretold. */
const FEWEST = 4;
/** Of the inherited weights, and of the signs before activations. */
const PROXIES = ['l2_norm', 'nwot'];

export function createOmniFitness({ rng, base, file, batch }: OmniFitnessOptions): Predictor {
  const aiop = createAiopSignals(base, file);
  const probed = createProbes(base, batch);
  let omni: Omni | undefined;
  let mean = 0;
  const look = async (inputs: readonly PredictorInput[]): Promise<readonly PredictorInput[]> =>
    probed(await aiop.look(inputs));
  return {
    name: 'omni',
    async fit(samples: readonly Sample[]) {
      mean = samples.reduce((sum, s) => sum + s.score / samples.length, 0);
      omni = undefined;
      if (samples.length < FEWEST) return;
      const rows = (await look(samples)).map(rowOf);
      omni = fitOmni(
        rows,
        samples.map((s) => s.score),
        rng,
      );
    },
    async predict(candidates) {
      const fitted = omni;
      if (fitted === undefined) return candidates.map(() => ({ mean, deviation: 1 }));
      return (await look(candidates)).map((c) => fitted.predict(rowOf(c)));
    },
    leaveOneOut: () => omni?.leaveOneOut,
    async explain(candidates, among) {
      const fitted = omni;
      if (fitted === undefined) return undefined;
      const foretell = (row: Float64Array): number => fitted.predict(row).mean;
      const options = { foretell, rowOf, among: await look(among), rng: rng.fork('explain') };
      return explainAll(await look(candidates), options);
    },
  };
}

function rowOf({ signals }: PredictorInput): Float64Array {
  return Float64Array.from(signals.values(), (v) => (Number.isFinite(v) ? v : 0));
}

/** Adds the proxies, each candidate's once. */
function createProbes(
  base: () => Model,
  batch: OmniFitnessOptions['batch'],
): (inputs: readonly PredictorInput[]) => Promise<readonly PredictorInput[]> {
  if (batch === undefined) return (inputs) => Promise.resolve(inputs);
  const runtime = ortRuntime();
  const known = new WeakMap<ReadonlyMap<string, number>, ReadonlyMap<string, number>>();
  let samples: ReadonlyMap<string, RuntimeTensor> | undefined;
  // NaN for proxies that make no sense of the network
  const numbersOf = async (model: Model, inputs: ReadonlyMap<string, RuntimeTensor>): Promise<readonly number[]> => {
    try {
      // inherited weights: nothing is drawn
      const options = {
        table: standardOps,
        runtime,
        rng: createRng('omni'),
        weights: 'inherited',
        names: PROXIES,
      } as const;
      const found = await proxies(model, { inputs }, options);
      return PROXIES.map((name) => found[name]!);
    } catch (error) {
      if (!(error instanceof PareError)) throw error;
      return PROXIES.map(() => NaN);
    }
  };
  return async (inputs) => {
    const found: PredictorInput[] = [];
    for (const input of inputs) {
      let signals = known.get(input.signals);
      if (signals === undefined) {
        samples ??= batch();
        const values = await numbersOf({ ...base(), graph: input.graph }, samples);
        signals = new Map([...input.signals, ...PROXIES.map((n, i): [string, number] => [`proxy:${n}`, values[i]!])]);
        known.set(input.signals, signals);
      }
      found.push(withSignals(input, signals));
    }
    return found;
  };
}
