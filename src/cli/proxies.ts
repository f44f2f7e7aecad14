// `pare proxies MODEL --data D`: the zero-cost proxies of a network on one batch, on fresh weights or on its own.
import type { CommandModule } from 'yargs';
import { openDataset, type Dataset } from '../data/dataset.js';
import { PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import { standardOps } from '../ops/index.js';
import { proxies, proxyNames } from '../predictor/proxies/index.js';
import type { WeightSource } from '../predictor/proxies/network.js';
import { createProbe } from '../predictor/proxies/probe.js';
import { createRng } from '../rng.js';
import { ortRuntime } from '../runtime/ort.js';
import { modelInputs } from '../runtime/source.js';
import { formatTable } from './format.js';
import { jsonOption, openModel, wholeNumber } from './options.js';

interface Arguments {
  readonly model: string;
  readonly data: string;
  readonly weights: WeightSource;
  readonly only: string[];
  readonly output: string | undefined;
  readonly batch: number;
  readonly seed: string;
  readonly threads: number;
  readonly json: boolean;
}

interface Result {
  readonly model: string;
  readonly weights: WeightSource;
  readonly samples: number;
  /** What the losses of the gradient proxies aimed at. */
  readonly targets: 'labels' | "the network's own outputs";
  readonly proxies: Readonly<Record<string, number>>;
  /** Why a proxy makes no sense of this network. */
  readonly reasons: Readonly<Record<string, string>>;
}

export const proxiesCommand: CommandModule<object, Arguments> = {
  command: 'proxies <model>',
  describe: 'Zero-cost proxies of a network on one batch: the thirteen of NAS-Bench-Suite-Zero and AZ-NAS',
  builder: (y) =>
    y
      .positional('model', { type: 'string', demandOption: true, describe: 'ONNX file' })
      .option('data', { type: 'string', demandOption: true, describe: 'data manifest (.json) or .npz file' })
      .option('weights', {
        choices: ['fresh', 'inherited'] as const,
        default: 'fresh' as const,
        describe: 'drawn anew, as the proxies are defined, or as they are in the file',
      })
      .option('only', {
        type: 'string',
        array: true,
        nargs: 1,
        choices: proxyNames,
        default: [] as string[],
        describe: 'one proxy; again for more (all)',
      })
      .option('output', { type: 'string', describe: 'name of the output that counts (the first)' })
      .option('batch', { type: 'number', default: 64, coerce: wholeNumber('batch', 2), describe: 'samples' })
      .option('seed', { type: 'string', default: '0', describe: 'equal seeds give equal numbers' })
      .option('threads', { type: 'number', default: 2, coerce: wholeNumber('threads', 1), describe: 'of onnxruntime' })
      .option('json', jsonOption)
      .example('$0 proxies model.onnx --data calib.json', 'seventeen numbers; higher is mostly better'),
  handler: async (args) => {
    const result = await run(args);
    console.log(args.json ? JSON.stringify(finite(result), undefined, 2) : describe(result));
  },
};

async function run(args: Arguments): Promise<Result> {
  const model = openModel(args.model);
  const rng = createRng(args.seed).fork('proxies');
  const runtime = ortRuntime();
  const dataset = openData(args, model);
  const count = dataset.fixedBatch ?? Math.min(args.batch, dataset.size);
  if (count > dataset.size) {
    throw new PareError(
      `data ${dataset.name}: the network takes ${count} samples a run, and there are ${dataset.size}`,
    );
  }
  const batch = dataset.batch(rng.fork('batch').sample(dataset.size, count));
  const reasons: Record<string, string> = {};
  const output = args.output ?? dataset.output;
  try {
    const found = await proxies(model, batch, {
      table: standardOps,
      runtime,
      rng,
      weights: args.weights,
      threads: args.threads,
      ...(args.only.length === 0 ? {} : { names: args.only }),
      ...(output === undefined ? {} : { output }),
      explain: (name, reason) => (reasons[name] = reason),
    });
    return {
      model: args.model,
      weights: args.weights,
      samples: count,
      targets: batch.labels === undefined ? "the network's own outputs" : 'labels',
      proxies: found,
      reasons,
    };
  } finally {
    await runtime.close();
  }
}

/** Many files fix a batch of one that nothing in them depends on: opened, where two samples pass. */
function openData({ data, output }: Arguments, model: Model): Dataset {
  const inputs = modelInputs(model);
  const opened = openDataset(
    data,
    inputs.map((i) => ({ ...i, dims: i.dims.map((d, k) => (k === 0 ? 'N' : d)) })),
  );
  const options = { table: standardOps, runtime: ortRuntime(), rng: createRng('opened') };
  try {
    const two = opened.batch([0, Math.min(1, opened.size - 1)]);
    const { scores } = createProbe(model, two, { ...options, ...(output === undefined ? {} : { output }) }).network;
    if (scores.dims[0] === 2) return opened;
  } catch (error) {
    if (!(error instanceof PareError)) throw error;
  }
  return openDataset(data, inputs);
}

/** JSON has no NaN and no infinity: null and a word. */
function finite(result: Result): object {
  const values = Object.entries(result.proxies).map(([name, x]) => [
    name,
    Number.isFinite(x) ? x : Number.isNaN(x) ? null : String(x),
  ]);
  return { ...result, proxies: Object.fromEntries(values) as Readonly<Record<string, number | string | null>> };
}

function describe({ weights, samples, targets, proxies: found, reasons }: Result): string {
  const rows = Object.entries(found).map(([name, x]) => [
    name,
    Number.isNaN(x) ? '-' : Number.isFinite(x) ? x.toPrecision(6) : String(x),
    reasons[name] ?? '',
  ]);
  const how = weights === 'fresh' ? 'fresh weights' : 'the weights of the file';
  return [
    `${how}, one batch of ${samples}, losses against ${targets}`,
    '',
    formatTable(['proxy', 'value', ''], rows, ['value']),
  ].join('\n');
}
