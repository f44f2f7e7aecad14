// `pare predictor pretrain --tables DIR --out DIR`: writes the predictor file from tables of measured architectures.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { CommandModule } from 'yargs';
import { randomMutants } from '../../search/random-mutants.js';
import { drain } from '../drain.js';
import { PareError } from '../errors.js';
import { writeModel } from '../onnx/write.js';
import type { LabelMode } from '../predictor/labels.js';
import { predictorModel, type PredictorFile } from '../predictor/predictor-file.js';
import { DEFAULTS, pretrain, UNLABELLED, type PretrainReport } from '../predictor/pretrain.js';
import { SOURCES } from '../predictor/sources.js';
import { graphsOfFolder, graphsOfTable, type Mutator, type UnlabelledGraphs } from '../predictor/unlabelled-graphs.js';
import { standardOps } from '../ops/index.js';
import { createRng, type Rng } from '../rng.js';
import { ortRuntime } from '../runtime/ort.js';
import { formatTable } from './format.js';
import { jsonOption, wholeNumber } from './options.js';

interface Arguments {
  readonly tables: string;
  readonly out: string;
  readonly seed: string;
  readonly 'exclude-space': string[];
  readonly 'exclude-label': string[];
  readonly rows: number;
  readonly effort: number;
  readonly unlabelled: (typeof UNLABELLED)[number];
  readonly 'unlabelled-table': string[];
  readonly graphs: string[];
  readonly mutants: number;
  readonly labels: LabelMode;
  readonly json: boolean;
}

export const pretrainCommand: CommandModule<object, Arguments> = {
  command: 'pretrain',
  describe: 'Make the predictor file from tables of measured architectures',
  builder: (y) =>
    y
      .option('tables', { type: 'string', demandOption: true, describe: 'folder of the tables' })
      .option('out', { type: 'string', demandOption: true, describe: 'folder that gets aiop.onnx' })
      .option('seed', { type: 'string', default: '0', describe: 'equal seeds and options give equal files' })
      .option('exclude-space', {
        type: 'string',
        array: true,
        nargs: 1,
        default: [] as string[],
        describe: 'a space that is not learnt from; again for more',
      })
      .option('exclude-label', {
        type: 'string',
        array: true,
        nargs: 1,
        default: [] as string[],
        describe: 'a column that is not learnt from; again for more',
      })
      .option('rows', {
        type: 'number',
        default: DEFAULTS.perSpace,
        coerce: wholeNumber('rows', 20),
        describe: 'rows of a space at most',
      })
      .option('effort', { type: 'number', default: 1, describe: 'multiplies the passes over the rows' })
      .option('unlabelled', {
        choices: UNLABELLED,
        default: DEFAULTS.unlabelled,
        describe: 'what the base learns before any label: flow surrogates, free statistics, nothing',
      })
      .option('unlabelled-table', {
        type: 'string',
        array: true,
        nargs: 1,
        default: [] as string[],
        describe: 'SPACE=FILE: encodings without labels that the base also learns from; again for more',
      })
      .option('graphs', {
        type: 'string',
        array: true,
        nargs: 1,
        default: [] as string[],
        describe: 'a folder of ONNX files, weights or not, that the base also learns from; again for more',
      })
      .option('mutants', {
        type: 'number',
        default: 0,
        coerce: wholeNumber('mutants', 0),
        describe: 'random mutants of each file of --graphs that the base also learns from',
      })
      .option('labels', {
        choices: ['scores', 'stand', 'stand-flops', 'none'] as const,
        default: DEFAULTS.mode,
        describe: 'transform of the labels: normal scores, standardised, or by MACs as in AIO-P',
      })
      .option('json', jsonOption),
  handler: async (args) => {
    const started = performance.now();
    const runtime = ortRuntime();
    const passes = (n: number): number => Math.max(1, Math.round(n * args.effort));
    const { epochs } = DEFAULTS;
    const rng = createRng(args.seed).fork('pretrain');
    const reports = pretrain({
      tables: args.tables,
      sources: SOURCES,
      excludeSpaces: args['exclude-space'],
      excludeLabels: args['exclude-label'],
      rng,
      more: moreGraphs(args, rng.fork('more')),
      runtime,
      perSpace: args.rows,
      epochs: {
        unlabelled: passes(epochs.unlabelled),
        base: passes(epochs.base),
        adapters: passes(epochs.adapters),
        trunk: passes(epochs.trunk),
      },
      unlabelled: args.unlabelled,
      mode: args.labels,
    });
    const made = await drain(reports, (report) => {
      // progress beside the result, which may be piped
      console.error(`${((performance.now() - started) / 1000).toFixed(0)} s  ${lineOf(report)}`);
    });
    mkdirSync(args.out, { recursive: true });
    const path = join(args.out, 'aiop.onnx');
    writeModel(predictorModel(made), path);
    console.log(args.json ? JSON.stringify({ file: path, ...made.card }, undefined, 2) : describe(path, made));
  },
};

/** At most as many of each source as the graph network learns from of a space. */
function moreGraphs(args: Arguments, rng: Rng): UnlabelledGraphs[] {
  const most = Math.min(args.rows, DEFAULTS.networkRows);
  const tables = args['unlabelled-table'].map((text, i) => {
    const [space, ...file] = text.split('=');
    if (file.length === 0) {
      throw new PareError(`--unlabelled-table ${text}: give the space and the file, such as nb101=cells.csv`);
    }
    return graphsOfTable(file.join('='), space!, most, rng.fork(`table/${i}`));
  });
  const mutate: Mutator = (base, own) => randomMutants(base, { table: standardOps, count: args.mutants, rng: own });
  const folders = args.graphs.flatMap((folder, i) =>
    graphsOfFolder(folder, most, rng.fork(`graphs/${i}`), args.mutants === 0 ? undefined : mutate),
  );
  return [...tables, ...folders];
}

function lineOf({ stage, rows, epoch, loss }: PretrainReport): string {
  const parts = [stage];
  if (rows !== undefined) parts.push(`${rows} rows`);
  if (epoch !== undefined) parts.push(`pass ${epoch}`);
  if (loss !== undefined) parts.push(`loss ${loss.toPrecision(4)}`);
  return parts.join(', ');
}

function describe(path: string, { card }: PredictorFile): string {
  const rows = card.labels.map((l) => [l.space, l.column, ...l.heldOut.map((v) => v.toFixed(3))]);
  return [
    formatTable(['space', 'label', 'adapter', 'trunk'], rows, ['adapter', 'trunk']),
    'Spearman on rows kept back',
    `written to ${path}`,
  ].join('\n');
}
