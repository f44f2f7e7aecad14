// Whether the distillation of a member is worth its rest: looks at the network that is being trained, on samples that it does not train
// on, and takes the last likeness to the original that was seen for the one at the end. Of 15 runs on the shipped example, 2 of which
// ended no better than they began, that stops both and no other from the fourth look on; neural capacitance stops one or two others up
// to the sixth (`npm run bench -- early-stop`).
import type { Dataset } from '../src/data/dataset.js';
import type { Model } from '../src/ir/graph.js';
import { evaluate, type RecordedOutputs } from '../src/measure/evaluate.js';
import { withSession, type Runtime } from '../src/runtime/runtime.js';
import type { Look, Watch } from '../src/training/trainer.js';

/** The run is looked at after each of so many equal parts of it. */
export const LOOKS = 10;
/** Before so many looks nothing is given up: a run that is warming up is worse for a while. */
const EARLIEST = 5;

export interface Watched {
  readonly dataset: Dataset;
  readonly runtime: Runtime;
  readonly threads: number;
  /** The original's outputs on the samples that are looked at. */
  readonly reference: RecordedOutputs;
}

export interface WatchOptions extends Watched {
  /** A trained one that is no larger: so many times as like the original as this member was before. */
  readonly toBeat?: { readonly name: string; readonly gain: number };
}

/** Gives a run up when it would end no better than it began, or no better than one that is to be beaten. */
export function watchOver(options: WatchOptions): Watch {
  const { toBeat } = options;
  return {
    looks: LOOKS,
    look: async (model): Promise<Look> => ({ likeness: await likenessOf(model, options) }),
    hopeless(seen) {
      const [start, end] = [seen[0]?.['likeness'], seen.at(-1)?.['likeness']];
      if (seen.length < EARLIEST || start === undefined || end === undefined) return undefined;
      const needed = start * (toBeat?.gain ?? 1);
      if (end > needed) return undefined;
      const than = toBeat === undefined ? 'than it began' : `than ${toBeat.name}`;
      return `since it would end no better ${than}: likeness to the original ${end.toPrecision(4)}, ${needed.toPrecision(4)} needed`;
    },
  };
}

/** How like the original a network is, in (0, 1]: from the divergence of its class scores, else from the error of its outputs. */
export function likeness(against: { readonly kl?: number; readonly relativeError?: number }): number {
  return Math.exp(-(against.kl ?? against.relativeError ?? 0));
}

/** Measured on the samples of the reference. */
export async function likenessOf(model: Model, { dataset, runtime, threads, reference }: Watched): Promise<number> {
  const { versus } = await withSession(runtime, model, { intraOpThreads: threads }, (session) =>
    evaluate(session, dataset, { indices: reference.indices, reference }),
  );
  const kl = versus!.kl === undefined ? {} : { kl: versus!.kl.value };
  return likeness({ relativeError: versus!.relativeError.value, ...kl });
}
