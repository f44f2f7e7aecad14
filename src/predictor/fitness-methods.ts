// How the search may judge candidates that it has not measured, by the names of `--fitness`: one entry each. A user's own method is an
// object of the same shape, handed to `optimize`.
import { PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import type { Rng } from '../rng.js';
import type { RuntimeTensor } from '../runtime/runtime.js';
import { createAiopFitness } from './aiop-fitness.js';
import { createEnsemble, type Telling } from './ensemble.js';
import { createOmniFitness } from './omni-fitness.js';
import type { Predictor, PredictorInput } from './predictor.js';
import { createRankAggregation } from './rank-aggregation.js';

export interface FitnessContext {
  /** For whatever the method draws: equal streams, equal predictions. */
  readonly rng: Rng;
  /** The network that is pared; absent for methods that a plug-in brings, which get graphs with their candidates. */
  readonly base?: () => Model;
  /** `--predictor FILE`, for methods that start from a pretrained one; absent: the shipped one. */
  readonly file?: string;
  /** A few samples of the calibration data, for methods that run candidates forward once. */
  readonly batch?: () => ReadonlyMap<string, RuntimeTensor>;
}

/** A method that foretells scores. */
export interface Foreteller {
  readonly name: string;
  /** For --help: what it learns from. */
  readonly summary: string;
  /** True when `--predictor FILE` means something to it. */
  readonly takesFile?: boolean;
  create(context: FitnessContext): Promise<Predictor>;
}

/** A method that foretells nothing: children of what was measured best, as different from it as can be; or children of anything. */
export interface BlindChoice {
  readonly name: string;
  readonly summary: string;
  readonly choose: 'diverse' | 'random';
}

export type FitnessMethod = Foreteller | BlindChoice;

export const DEFAULT_FITNESS = 'aiop';

export const fitnessMethods: readonly FitnessMethod[] = [
  {
    name: 'signals',
    summary:
      'ridges and a forest over cheap signals (reconstruction error, graph features, MACs), learnt while searching',
    create: async ({ rng }) => createEnsemble(rng),
  },
  {
    name: DEFAULT_FITNESS,
    summary: 'the same, and what the pretrained AIO-P says of the graph',
    takesFile: true,
    create: async ({ rng, base, file }) => {
      if (base === undefined) throw new Error('the fitness "aiop" needs the network that is pared');
      return createAiopFitness({ rng, base, ...(file === undefined ? {} : { file }) });
    },
  },
  {
    name: 'omni',
    summary:
      'NGBoost over all of these: AIO-P, graph features, calibration signals, and proxies of one forward pass of each candidate (slower)',
    takesFile: true,
    create: async ({ rng, base, file, batch }) => {
      if (base === undefined) throw new Error('the fitness "omni" needs the network that is pared');
      return createOmniFitness({
        rng,
        base,
        ...(file === undefined ? {} : { file }),
        ...(batch === undefined ? {} : { batch }),
      });
    },
  },
  {
    name: 'graf',
    summary: 'the same learner, but it sees graph features and costs only: no calibration signals',
    create: async ({ rng }) => graphOnly(createEnsemble(rng)),
  },
  {
    name: 'proxies',
    summary: 'ranks of the cheap signals, aggregated without training',
    create: async () => createRankAggregation(),
  },
  { name: 'measured', summary: 'no predictor: measured ones only, the next chosen for diversity', choose: 'diverse' },
  { name: 'random', summary: 'no predictor and no selection: the floor to compare with', choose: 'random' },
];

/** Hides what calibration says. */
function graphOnly(predictor: Telling): Predictor {
  const seen = (input: PredictorInput): PredictorInput => ({
    get graph() {
      return input.graph;
    },
    signals: new Map([...input.signals].filter(([name]) => /^(graf:|macs|params|memory|edits:|groups:)/.test(name))),
  });
  return {
    name: 'graf',
    fit: (samples) => predictor.fit(samples.map((s) => Object.assign(seen(s), { score: s.score }))),
    predict: (candidates) => predictor.predict(candidates.map(seen)),
    leaveOneOut: () => predictor.leaveOneOut(),
    explain: (candidates, among) => predictor.explain(candidates.map(seen), among.map(seen)),
  };
}

/** The method of that name; the sentence names what there is. */
export function fitnessMethod(name: string, methods: readonly FitnessMethod[] = fitnessMethods): FitnessMethod {
  const found = methods.find((m) => m.name === name);
  if (found === undefined) {
    throw new PareError(`--fitness ${name}: there is no such method; choose ${methods.map((m) => m.name).join(', ')}`);
  }
  return found;
}

/** The predictor of a method, or undefined where it foretells nothing; refuses a file that nobody would read. */
export async function openPredictor(method: FitnessMethod, context: FitnessContext): Promise<Predictor | undefined> {
  if (context.file !== undefined && !('create' in method && method.takesFile === true)) {
    throw new PareError(
      `--predictor: the fitness "${method.name}" starts from no file; leave it out, or choose another --fitness`,
    );
  }
  return 'create' in method ? method.create(context) : undefined;
}
