// `pare train MODEL --data D [--teacher ORIGINAL] -o FILE`: gradient training inside onnxruntime, by labels or by a teacher.
import type { CommandModule } from 'yargs';
import { matcher } from '../../search/ignore.js';
import { openDataset } from '../data/dataset.js';
import { PareError } from '../errors.js';
import { heldOutPart } from '../measure/held-out.js';
import { writeModel } from '../onnx/write.js';
import { standardOps } from '../ops/index.js';
import { isFraction } from '../report/words.js';
import { createRng } from '../rng.js';
import { modelInputs } from '../runtime/source.js';
import { optimizerNames, type Optimizer } from '../training/optimizer.js';
import { reinitialized } from '../training/reinit.js';
import { scheduleNames, scheduleOf, type ScheduleName } from '../training/schedule.js';
import { train, type HeldOut, type TrainOptions, type TrainReport, type TrainResult } from '../training/trainer.js';
import { distillation } from '../training/distillation.js';
import { lossNames, type Loss } from '../training/loss.js';
import { withFoldedNorms } from '../../search/fold-norms.js';
import { augmentationOf, lossPlan } from './train-plan.js';
import { formatPercent } from './format.js';
import { durationMs, jsonOption, openModel, openRuntime, outputOption, runtimeOption, wholeNumber } from './options.js';

interface Arguments {
  readonly model: string;
  readonly data: string;
  readonly teacher: string | undefined;
  readonly output: string;
  readonly epochs: number | undefined;
  readonly steps: number | undefined;
  readonly time: string | undefined;
  readonly optimizer: Optimizer['kind'] | undefined;
  readonly rate: number | undefined;
  readonly schedule: ScheduleName;
  readonly decay: number;
  readonly clip: number | undefined;
  readonly average: number | undefined;
  readonly 'batch-norm': 'train' | 'frozen' | 'folded' | undefined;
  readonly loss: Loss['kind'] | undefined;
  readonly temperature: number | undefined;
  readonly 'label-smoothing': number | undefined;
  readonly labels: number | undefined;
  readonly like: string[];
  readonly augment: string;
  readonly freeze: string[];
  readonly batch: number;
  readonly 'held-out': number;
  readonly patience: number | undefined;
  readonly checkpoint: string | undefined;
  readonly every: number;
  readonly reinit: string | undefined;
  readonly seed: string;
  readonly threads: number;
  readonly runtime: 'onnxruntime' | 'tfjs';
  readonly json: boolean;
}

/** Peak rates for fine-tuning with batches of 64. */
const RATES = { sgd: 0.02, adam: 0.001, adamw: 0.001 } as const;

export const trainCommand: CommandModule<object, Arguments> = {
  command: 'train <model>',
  describe: 'Train a network inside onnxruntime, by labels or label-free by the original as teacher',
  builder: (y) =>
    y
      .positional('model', { type: 'string', demandOption: true, describe: 'ONNX file' })
      .option('data', { type: 'string', demandOption: true, describe: 'data manifest (.json) or .npz file' })
      .option('output', outputOption)
      .option('teacher', {
        type: 'string',
        describe: 'the original network: its outputs are met, labels are not needed',
      })
      .option('epochs', {
        type: 'number',
        coerce: optional(positive('epochs')),
        describe: 'passes over the data (default 1)',
      })
      .option('steps', {
        type: 'number',
        coerce: optional(wholeNumber('steps', 1)),
        describe: 'batches, instead of epochs',
      })
      .option('time', { type: 'string', describe: 'instead of epochs, such as 30m, 90s or 2h' })
      .option('optimizer', {
        choices: optimizerNames,
        describe: 'default: adamw with a teacher, otherwise sgd, which has Nesterov momentum',
      })
      .option('rate', {
        type: 'number',
        coerce: optional(positive('rate')),
        describe: 'peak learning rate (sgd 0.02, others 0.001; with a teacher 0.0003 to 0.00001, by trial)',
      })
      .option('schedule', { choices: scheduleNames, default: 'cosine' as const, describe: 'of the learning rate' })
      .option('decay', { type: 'number', default: 1e-4, describe: 'weight decay' })
      .option('clip', {
        type: 'number',
        coerce: optional(positive('clip')),
        describe: 'largest common norm of the gradients (with a teacher 5)',
      })
      .option('average', {
        type: 'number',
        coerce: optional(below1('average')),
        describe: 'decay of a moving average of the weights, 0 for none (with a teacher 0.99)',
      })
      .option('batch-norm', {
        choices: ['train', 'frozen', 'folded'] as const,
        describe:
          'statistics of each batch (train), those of the file (frozen), or written into the layers before (folded; default with a teacher)',
      })
      .option('loss', {
        choices: lossNames,
        describe: 'default: distill with a teacher of class scores, cross-entropy with labels, mse with targets',
      })
      .option('temperature', {
        type: 'number',
        coerce: optional(positive('temperature')),
        describe: 'of distillation (4)',
      })
      .option('label-smoothing', {
        type: 'number',
        coerce: optional(below1('label-smoothing')),
        describe: 'share of cross-entropy targets spread over all classes (0.05)',
      })
      .option('labels', {
        type: 'number',
        coerce: optional(below1('labels')),
        describe: 'with a teacher: weight of the labels beside it, such as 0.1',
      })
      .option('like', {
        type: 'string',
        array: true,
        nargs: 1,
        default: [] as string[],
        describe: "a value inside the network that is to be like the teacher's of this name; again for more",
      })
      .option('augment', {
        type: 'string',
        default: 'auto',
        describe: 'auto (photographs are flipped and shifted), none, or a list such as flip,crop=4,cutout=8',
      })
      .option('freeze', {
        type: 'string',
        array: true,
        nargs: 1,
        default: [] as string[],
        describe: 'weights that stay as they are, * being wild; again for more',
      })
      .option('batch', { type: 'number', default: 64, coerce: wholeNumber('batch', 1), describe: 'samples a step' })
      .option('held-out', {
        type: 'number',
        default: 0.1,
        coerce: below1('held-out'),
        describe: 'share that is measured, not trained on',
      })
      .option('patience', {
        type: 'number',
        coerce: optional(wholeNumber('patience', 1)),
        describe: 'end after this many epochs that are no better on the held-out part',
      })
      .option('checkpoint', { type: 'string', describe: 'folder for checkpoints; the same command goes on from there' })
      .option('every', {
        type: 'number',
        default: 100,
        coerce: wholeNumber('every', 1),
        describe: 'steps between checkpoints',
      })
      .option('reinit', { type: 'string', describe: 'start from fresh weights drawn from this seed' })
      .option('seed', {
        type: 'string',
        default: '0',
        describe: 'equal seeds give equal files when bounded in steps or epochs',
      })
      .option('threads', {
        type: 'number',
        default: 2,
        coerce: wholeNumber('threads', 1),
        describe: 'threads of onnxruntime',
      })
      .option('runtime', runtimeOption)
      .option('json', jsonOption)
      .conflicts({ epochs: ['steps', 'time'], steps: 'time' })
      .example(
        '$0 train small.onnx --data calib.json --teacher big.onnx --time 10m -o trained.onnx',
        'no labels needed',
      ),
  handler: async (args) => {
    const result = await run(args);
    writeModel(result.model, args.output);
    if (result.ended === 'diverged')
      throw new PareError(`${result.cause}; the last good weights are in ${args.output}`);
    console.log(args.json ? JSON.stringify(asJson(args, result), undefined, 2) : describe(args, result));
  },
};

async function run(args: Arguments): Promise<TrainResult> {
  const opened = openModel(args.model);
  const teacher = args.teacher === undefined ? undefined : openModel(args.teacher);
  const fresh = args.reinit === undefined ? undefined : createRng(args.reinit).fork('reinit');
  // it starts close to the teacher
  const close = teacher !== undefined && fresh === undefined;
  const norms = args['batch-norm'] ?? (close ? 'folded' : 'train');
  const kind = args.optimizer ?? (close ? distillation.optimizer.kind : 'sgd');
  const clip = args.clip ?? (close ? distillation.clip : undefined);
  const average = args.average ?? (close ? distillation.average : 0);
  const model =
    fresh !== undefined
      ? reinitialized(opened, fresh)
      : norms === 'folded'
        ? withFoldedNorms(opened, standardOps)
        : opened;
  const dataset = openDataset(args.data, modelInputs(model));
  // what is wrong with the options is said before anything runs
  const bound = boundOf(args);
  const schedule = scheduleOf(args.schedule);
  const augment = augmentationOf(args.augment, dataset);
  const plan = lossPlan(args, dataset, teacher !== undefined);
  // onnxruntime in a thread of its own: the next batch is loaded while it works on this one
  const runtime = await openRuntime(args.runtime, 1);
  console.error(`runs on ${runtime.name}`);
  const stop = new AbortController();
  const interrupt = (): void => stop.abort();
  process.once('SIGINT', interrupt);
  try {
    const rng = createRng(args.seed).fork('train');
    const shared = { runtime, rng, threads: args.threads, ...(teacher === undefined ? {} : { teacher }) };
    const heldOut = await heldOutPart(dataset, { ...shared, batch: args.batch, share: args['held-out'] });
    const reports = train(model, dataset, {
      table: standardOps,
      ...shared,
      bound,
      batch: args.batch,
      optimizer: optimizerOf(kind, args.decay),
      rate: args.rate ?? (close && args.optimizer === undefined ? distillation.rate : RATES[kind]),
      schedule,
      ...(plan.loss === undefined ? {} : { loss: plan.loss }),
      augment,
      step: {
        ...(plan.weight === undefined ? {} : { weight: plan.weight }),
        also: plan.also,
        batchNorm: norms === 'frozen' ? 'frozen' : 'train',
        frozen: matcher(args.freeze),
        ...(clip === undefined ? {} : { clip }),
        ...(average === 0 ? {} : { average }),
      },
      ...(heldOut === undefined ? {} : { heldOut }),
      ...(args.patience === undefined ? {} : { patience: args.patience }),
      ...(args.checkpoint === undefined ? {} : { checkpoint: { folder: args.checkpoint, every: args.every } }),
      signal: stop.signal,
    });
    for (;;) {
      const next = await reports.next();
      if (next.done === true) return next.value;
      // progress beside the result, which may be piped
      console.error(progressLine(next.value));
    }
  } finally {
    process.off('SIGINT', interrupt);
    await runtime.close();
  }
}

function boundOf({ epochs, steps, time }: Arguments): TrainOptions['bound'] {
  if (steps !== undefined) return { steps };
  if (time === undefined) return { epochs: epochs ?? 1 };
  return { timeMs: durationMs('time', time) };
}

function optimizerOf(kind: Optimizer['kind'], decay: number): Optimizer {
  if (!(decay >= 0)) throw new PareError('--decay must be 0 or more');
  return kind === 'sgd' ? { kind, momentum: 0.9, decay } : { kind, decay };
}

function positive(name: string) {
  return (value: number): number => {
    if (!(value > 0 && Number.isFinite(value))) throw new PareError(`--${name} must be a number above 0`);
    return value;
  };
}

function below1(name: string) {
  return (value: number): number => {
    if (!(value >= 0 && value < 1)) throw new PareError(`--${name} must lie in 0 to below 1`);
    return value;
  };
}

function shown({ metric, value }: HeldOut): string {
  return `${metric} ${isFraction(metric) ? formatPercent(value, 2) : value.toPrecision(4)}`;
}

function progressLine(r: TrainReport): string {
  const left = r.leftMs >= 60_000 ? `${(r.leftMs / 60_000).toFixed(1)} min` : `${Math.round(r.leftMs / 1000)} s`;
  const parts = [
    `step ${r.step}`,
    `epoch ${r.epoch.toFixed(2)}`,
    `loss ${r.loss.toPrecision(4)}`,
    `${Math.round(r.imagesPerSecond)} samples/s`,
    `${left} left`,
    ...(r.heldOut === undefined ? [] : [`held-out ${shown(r.heldOut)}`]),
  ];
  return parts.join(', ');
}

function asJson(args: Arguments, { steps, ended, heldOut }: TrainResult): object {
  return { file: args.output, steps, ended, heldOut: heldOut ?? null };
}

function describe(args: Arguments, { steps, ended, heldOut }: TrainResult): string {
  const why = {
    done: '',
    early: ', no longer better on the held-out part',
    'given-up': ', given up',
    stopped: ', interrupted',
    diverged: '',
  };
  const row = (name: string, text: string): string => `${name.padEnd(12)}${text}`;
  return [
    row('trained', `${steps} steps${why[ended]}`),
    ...(heldOut === undefined
      ? []
      : [
          row(
            'held-out',
            `${shown(heldOut.before)} before, ${shown(heldOut.best)} in the file (step ${heldOut.best.step})`,
          ),
        ]),
    row('written', args.output),
  ].join('\n');
}

function optional(check: (value: number) => number) {
  return (value: number | undefined): number | undefined => (value === undefined ? undefined : check(value));
}
