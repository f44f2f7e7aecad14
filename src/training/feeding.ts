// What each step of a run is fed: samples in a seeded order, changed at random, with their labels or the teacher's outputs. Batch k
// is a function of the seed and k, so it can be made while the runtime works on the one before.
import { augmented, changesImages, type Augmentation } from '../data/augment.js';
import type { Batch, Dataset } from '../data/dataset.js';
import { imageLayout } from '../data/usual-augmentation.js';
import { PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import { DataType, elementCount } from '../ir/tensor.js';
import type { Rng } from '../rng.js';
import { floatsOf, type Runtime, type Session } from '../runtime/runtime.js';
import type { Loss } from './loss.js';
import { scoresOf, type LossTerm, type TrainingStep } from './step.js';

export interface FeedingOptions {
  readonly dataset: Dataset;
  /** Samples to draw from; one pass over them is an epoch. */
  readonly fit: readonly number[];
  readonly batch: number;
  readonly rng: Rng;
  readonly step: TrainingStep;
  readonly augment?: Augmentation;
  readonly teacher?: Teacher;
}

export interface Fed {
  readonly inputs: Batch['inputs'];
  readonly targets: Float32Array;
  readonly also: ReadonlyMap<string, Float32Array>;
}

/** The batch of a step. Steps may be asked for in any order; one after the other is fastest. */
export function feeding(options: FeedingOptions): (step: number) => Promise<Fed> {
  const { dataset, fit, batch, rng, step, teacher } = options;
  const augment = options.augment !== undefined && changesImages(options.augment) ? options.augment : undefined;
  const layout = imageLayout(dataset);
  const perEpoch = Math.max(1, Math.floor(fit.length / batch));
  let order: { readonly epoch: number; readonly indices: readonly number[] } | undefined;
  return async (at) => {
    const epoch = Math.floor(at / perEpoch);
    if (order?.epoch !== epoch) order = { epoch, indices: rng.fork(`order/${epoch}`).shuffle(fit) };
    const first = (at % perEpoch) * batch;
    const indices = order.indices.slice(first, first + batch);
    const data = dataset.batch(indices);
    const inputs =
      augment === undefined ? data.inputs : augmented(data.inputs, layout, augment, rng.fork(`augment/${at}`));
    // outputs for images that change each time are of no use later
    const taught = await teacher?.run(inputs, augment === undefined ? indices : undefined);
    const { loss, also = [] } = step.options;
    const own = (of: Loss, dims: readonly number[]): Float32Array => ownTargets(data, of, dims, dataset.name);
    return {
      inputs,
      targets: taught?.get('') ?? own(loss, step.targetDims),
      also: new Map(also.map((t) => [t.name, taught?.get(t.name) ?? own(t.loss, step.alsoDims.get(t.name)!)])),
    };
  };
}

export interface Teacher {
  /** By the name of the loss's term, '' for the main one. `indices` of samples as they are in the data: their outputs are kept. */
  run(inputs: Batch['inputs'], indices?: readonly number[]): Promise<ReadonlyMap<string, Float32Array>>;
  end(): Promise<void>;
}

/** So much of the teacher's outputs is kept at most. */
const KEPT_BYTES = 2 ** 28;

/** The original's outputs for the very batch that is trained on; its scores before a Softmax where the loss takes one. */
export async function openTeacher(
  model: Model,
  output: string,
  step: TrainingStep,
  runtime: Runtime,
  threads: number,
): Promise<Teacher> {
  const named = model.graph.outputs.some((o) => o.name === output) ? { output } : {};
  const wanted = [
    { term: '', value: scoresOf(model.graph, { loss: step.options.loss, ...named }), dims: step.targetDims },
    ...(step.options.also ?? []).filter(isTaught).map((t) => ({
      term: t.name,
      value: t.value ?? scoresOf(model.graph, { loss: t.loss, ...named }),
      dims: step.alsoDims.get(t.name)!,
    })),
  ];
  const values = [...new Set(wanted.map((w) => w.value))];
  const made = new Set([...model.graph.inputs.map((v) => v.name), ...model.graph.nodes.flatMap((n) => n.outputs)]);
  const missing = values.find((v) => !made.has(v));
  if (missing !== undefined)
    throw new PareError(`the teacher has no value "${missing}" that the network could be like`);
  const outputs = values.map((name) => ({ name, type: { kind: 'tensor' as const, elemType: DataType.FLOAT } }));
  const exposed = { ...model, graph: { ...model.graph, outputs } };
  const session: Session = await runtime.load(exposed, { intraOpThreads: threads, label: 'the teacher' });
  const kept = new Map<number, readonly Float32Array[]>();
  const size = wanted.reduce((sum, { dims }) => sum + elementCount(dims), 0) / (step.targetDims[0] ?? 1);
  const room = KEPT_BYTES / (4 * size);
  return {
    async run(inputs, indices) {
      const known = indices?.map((i) => kept.get(i));
      if (known !== undefined && known.every((k) => k !== undefined)) {
        return new Map(
          wanted.map(({ term, dims }, w) => [
            term,
            joined(
              known.map((k) => k[w]!),
              elementCount(dims),
            ),
          ]),
        );
      }
      const results = await session.run(inputs);
      const found = wanted.map(({ value, dims }) => {
        const got = results.get(value)!;
        if (elementCount(got.dims) !== elementCount(dims)) {
          throw new PareError(
            `the teacher's output "${value}" is [${got.dims.join(', ')}] and the network's [${dims.join(', ')}]: give the network that it was made from`,
          );
        }
        return floatsOf(got);
      });
      indices?.forEach((sample, i) => {
        if (kept.size >= room) return;
        kept.set(
          sample,
          found.map((f) => f.slice((i * f.length) / indices.length, ((i + 1) * f.length) / indices.length)),
        );
      });
      return new Map(wanted.map(({ term }, w) => [term, found[w]!]));
    },
    end: () => session.release(),
  };
}

/** Cross-entropy beside a teacher is with the labels. */
function isTaught(term: LossTerm): boolean {
  return term.loss.kind !== 'cross-entropy';
}

function joined(parts: readonly Float32Array[], length: number): Float32Array {
  const all = new Float32Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function ownTargets(data: Batch, loss: Loss, dims: readonly number[], name: string): Float32Array {
  const count = elementCount(dims);
  if (loss.kind !== 'cross-entropy') {
    const labels = loss.kind === 'hinge' && data.targets === undefined ? data.labels : undefined;
    const targets = data.targets ?? (labels === undefined ? undefined : Float32Array.from(labels));
    if (targets?.length === count) return targets;
    throw new PareError(
      `data ${name}: ${targets === undefined ? 'there are no targets' : `${targets.length} target values a batch`}, and the output has [${dims.join(', ')}]`,
    );
  }
  const classes = dims.at(-1)!;
  const labels = data.labels ?? new Int32Array(0);
  if (labels.length * classes !== count) {
    throw new PareError(`data ${name}: ${labels.length} labels a batch do not fit the output [${dims.join(', ')}]`);
  }
  const targets = new Float32Array(count);
  labels.forEach((label, i) => {
    if (label < 0 || label >= classes) {
      throw new PareError(`data ${name}: there is a label ${label}, and the network has ${classes} classes`);
    }
    targets[i * classes + label] = 1;
  });
  return targets;
}
