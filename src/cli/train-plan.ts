// What the options of `pare train` say about the loss and about changing images.
import { PareError } from '../errors.js';
import type { Augmentation } from '../data/augment.js';
import type { Dataset } from '../data/dataset.js';
import { usualAugmentation } from '../data/usual-augmentation.js';
import type { Loss } from '../training/loss.js';
import type { LossTerm } from '../training/step.js';

export interface LossArguments {
  readonly loss: Loss['kind'] | undefined;
  readonly temperature: number | undefined;
  readonly 'label-smoothing': number | undefined;
  /** Weight of the labels beside a teacher. */
  readonly labels: number | undefined;
  /** Values to be like the teacher's. */
  readonly like: readonly string[];
}

export interface LossPlan {
  /** The trainer's choice when absent. */
  readonly loss?: Loss;
  readonly weight?: number;
  readonly also: readonly LossTerm[];
}

export function lossPlan(args: LossArguments, dataset: Dataset, taught: boolean): LossPlan {
  const { temperature, labels, like } = args;
  const smoothing = args['label-smoothing'];
  const teacherFor = (option: string): void => {
    if (!taught) throw new PareError(`${option} needs a teacher: give the original network with --teacher`);
  };
  if (labels !== undefined) {
    teacherFor('--labels');
    if (dataset.labels === undefined) throw new PareError(`--labels: data ${dataset.name} have no labels`);
  }
  if (like.length > 0) teacherFor('--like');
  if (args.loss === 'distill' || temperature !== undefined) teacherFor('--loss distill');
  const kind =
    args.loss ??
    (temperature !== undefined ? 'distill' : smoothing !== undefined && !taught ? 'cross-entropy' : undefined);
  if (taught && kind === 'cross-entropy') {
    throw new PareError(
      '--loss cross-entropy goes by labels alone: leave --teacher out, or give --labels 0.1 beside it',
    );
  }
  const entropy: Loss = { kind: 'cross-entropy', smoothing: smoothing ?? (taught ? 0 : 0.05) };
  return {
    ...(kind === undefined ? {} : { loss: lossOf(kind, temperature, entropy) }),
    ...(labels === undefined ? {} : { weight: 1 - labels }),
    also: [
      ...(labels === undefined || labels === 0 ? [] : [{ name: 'labels', loss: entropy, weight: labels }]),
      // relative: values of different size weigh the same
      ...like.map((value): LossTerm => ({ name: value, value, loss: { kind: 'mse', relative: true }, weight: 1 })),
    ],
  };
}

function lossOf(kind: Loss['kind'], temperature: number | undefined, entropy: Loss): Loss {
  if (kind === 'cross-entropy') return entropy;
  if (kind === 'distill' && temperature !== undefined) return { kind, temperature };
  return { kind };
}

/** auto, none, or `flip,crop=4,cutout=8`. */
export function augmentationOf(text: string, dataset: Dataset): Augmentation {
  if (text === 'auto') return usualAugmentation(dataset) ?? {};
  if (text === 'none') return {};
  const changes = text.split(',').map((part): Augmentation => {
    const [, name, , pixels] = /^(flip|crop|cutout)(=(\d+))?$/.exec(part.trim()) ?? [];
    if (name === 'flip' && pixels === undefined) return { flip: true };
    if ((name === 'crop' || name === 'cutout') && pixels !== undefined) return { [name]: Number(pixels) };
    throw new PareError(`--augment ${text}: write auto, none, or a list such as flip,crop=4,cutout=8`);
  });
  return Object.assign({}, ...changes) as Augmentation;
}
