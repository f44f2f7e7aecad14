// A fitness of a plug-in: foretells scores in the plug-ins' process. What it has learnt is made again from the samples where the process
// is another one; when it is disabled, the built-in ensemble takes its place.
import { createEnsemble } from '../predictor/ensemble.js';
import type { Foreteller } from '../predictor/fitness-methods.js';
import type { Prediction, Predictor, PredictorInput, Sample } from '../predictor/predictor.js';
import type { PluginOutline } from './plugin.js';
import type { PackedInput } from './protocol.js';
import { Disabled, type Part, type Sandbox } from './sandbox.js';

export function remoteFitness(
  sandbox: Sandbox,
  part: Part,
  { name, summary, needsGraph }: PluginOutline['fitness'][number],
): Foreteller {
  const packed = (input: PredictorInput): PackedInput => ({
    signals: input.signals,
    // a graph is replayed when it is asked for: only where it is wanted
    ...(needsGraph ? { graph: sandbox.sender.pack(input.graph) } : {}),
  });

  return {
    name,
    summary,
    async create({ rng }) {
      const fallback = createEnsemble(rng);
      let learnt: readonly Sample[] = [];
      let lessons = 0;
      const seed = rng.path;

      /** Undefined where it is disabled. */
      const ask = (candidates: readonly PredictorInput[]): readonly Prediction[] | undefined => {
        const signals = candidates.map((c) => [...c.signals]);
        const input = { call: 'predict', data: { seed, samples: learnt.length, candidates: signals } };
        try {
          const given = sandbox.ask(
            part,
            () => ({
              op: 'predict',
              fitness: name,
              file: part.file.index,
              seed,
              lesson: lessons,
              samples: learnt.map((s) => ({ ...packed(s), score: s.score })),
              candidates: candidates.map(packed),
            }),
            input,
          );
          if (isPredictions(given, candidates.length)) return given;
          throw sandbox.fail(part, `did not give ${candidates.length} predictions {mean, deviation}`, input);
        } catch (error) {
          if (error instanceof Disabled) return undefined;
          throw error;
        }
      };
      let replaced = false;
      return {
        name,
        async fit(samples) {
          learnt = [...samples];
          lessons++;
          replaced ||= ask([]) === undefined;
          if (replaced) await fallback.fit(learnt);
        },
        async predict(candidates) {
          const given = replaced ? undefined : ask(candidates);
          if (given !== undefined) return [...given];
          if (!replaced) await fallback.fit(learnt);
          replaced = true;
          return fallback.predict(candidates);
        },
      } satisfies Predictor;
    },
  };
}

function isPredictions(given: unknown, count: number): given is readonly Prediction[] {
  return (
    Array.isArray(given) &&
    given.length === count &&
    given.every((p: unknown) => {
      // the cast: both fields are looked at
      const { mean, deviation } = (typeof p === 'object' && p !== null ? p : {}) as Partial<Prediction>;
      return Number.isFinite(mean) && Number.isFinite(deviation) && deviation! >= 0;
    })
  );
}
