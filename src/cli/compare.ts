// `pare compare DIR --data TEST`: how well the predictor of a finished run foretells networks that it never saw, and what the front
// reaches on these data. Writes compare.json and plots/compare.svg into the run's folder.
import { join } from 'node:path';
import type { CommandModule } from 'yargs';
import { matcher } from '../../search/ignore.js';
import { writeWhole } from '../../search/checkpoint.js';
import type { Agreement } from '../compare/agreement.js';
import { compare, type CompareReport, type Comparison } from '../compare/compare.js';
import { PareError } from '../errors.js';
import type { Estimate } from '../measure/statistics.js';
import type { Plugins } from '../plugin/load.js';
import { fitnessMethods } from '../predictor/fitness-methods.js';
import { predictionChart, toSvg } from '../report/plot.js';
import { readRun } from '../report/run.js';
import { isFraction, recipeText } from '../report/words.js';
import { pluginOption, withPlugins } from './plugins.js';
import { threadRuntime } from '../runtime/threads.js';
import { formatShare, formatTable } from './format.js';
import { jsonOption, wholeNumber, workersOption } from './options.js';

interface Arguments {
  readonly folder: string;
  readonly data: string;
  readonly fresh: number;
  readonly range: string | undefined;
  readonly samples: number | undefined;
  readonly model: string | undefined;
  readonly calibration: string | undefined;
  readonly seed: string | undefined;
  readonly predictor: string | undefined;
  readonly plugin: string[];
  readonly workers: number;
  readonly json: boolean;
}

export const compareCommand: CommandModule<object, Arguments> = {
  command: 'compare <folder>',
  describe: 'Predicted against measured: fresh candidates and the front of a finished run, measured on other data',
  builder: (y) =>
    y
      .positional('folder', { type: 'string', demandOption: true, describe: 'the --out folder of a finished run' })
      .option('data', {
        type: 'string',
        demandOption: true,
        describe: 'what to measure on: a manifest (.json) or .npz',
      })
      .option('fresh', {
        type: 'number',
        default: 20,
        coerce: wholeNumber('fresh', 3),
        describe: 'candidates to draw that the predictor never saw',
      })
      .option('range', {
        type: 'string',
        describe: 'where they lie, as shares of the MACs: 30%-100% (default: from the smallest of the front to 100%)',
      })
      .option('samples', {
        type: 'number',
        coerce: wholeNumber('samples', 1),
        describe: 'measure on at most so many samples of the data, drawn by the seed (all)',
      })
      .option('model', { type: 'string', describe: 'the original network, if it is not where the run found it' })
      .option('calibration', {
        type: 'string',
        describe: 'the calibration data of the run, if they are not where the run found them',
      })
      .option('seed', { type: 'string', describe: 'draws the fresh candidates (the seed of the run)' })
      .option('predictor', { type: 'string', describe: 'what the predictor started from, if the run was given a file' })
      .option('plugin', pluginOption)
      .option('workers', workersOption())
      .option('json', jsonOption)
      .example('$0 compare big-pared --data test.json', 'error and rank correlation of the predictions'),
  handler: async (args) => withPlugins(args.plugin, async (plugins) => run(args, plugins)),
};

async function run(args: Arguments, plugins: Plugins): Promise<void> {
  const { folder } = args;
  const { front } = readRun(folder);
  const range = args.range === undefined ? undefined : parseRange(args.range);
  const runtime = threadRuntime(args.workers);
  const interrupt = new AbortController();
  const onInterrupt = (): void => interrupt.abort(new PareError('interrupted; nothing was written'));
  process.once('SIGINT', onInterrupt);
  try {
    const steps = compare({
      folder,
      data: args.data,
      fresh: args.fresh,
      front: front.candidates,
      ignore: matcher,
      mutations: plugins.mutations,
      methods: [...fitnessMethods, ...plugins.fitness],
      runtime,
      workers: args.workers,
      table: plugins.table,
      signal: interrupt.signal,
      ...(range === undefined ? {} : { range }),
      ...(args.samples === undefined ? {} : { samples: args.samples }),
      ...(args.model === undefined ? {} : { model: args.model }),
      ...(args.calibration === undefined ? {} : { calibration: args.calibration }),
      ...(args.predictor === undefined ? {} : { predictor: args.predictor }),
      ...(args.seed === undefined ? {} : { seed: args.seed }),
    });
    let step = await steps.next();
    for (; step.done !== true; step = await steps.next()) show(step.value, args.json);
    const result = step.value;
    const pairs = result.candidates.map((c) => ({
      predicted: c.expected.mean,
      deviation: c.expected.deviation,
      measured: c.measured.value,
      kind: c.kind === 'fresh' ? 'fresh' : 'front (fully refitted)',
    }));
    writeWhole(
      join(folder, 'plots', 'compare.svg'),
      await toSvg(predictionChart(pairs, result.metric, isFraction(result.metric))),
    );
    writeWhole(join(folder, 'compare.json'), `${JSON.stringify(result, undefined, 2)}\n`);
    console.log(args.json ? JSON.stringify(result, undefined, 2) : describe(result, folder));
  } finally {
    process.removeListener('SIGINT', onInterrupt);
    await runtime.close();
  }
}

function parseRange(text: string): readonly [number, number] {
  const found = /^\s*(\d+(?:\.\d+)?)\s*%?\s*-\s*(\d+(?:\.\d+)?)\s*%\s*$/.exec(text);
  const [low, high] = [Number(found?.[1]) / 100, Number(found?.[2]) / 100];
  if (found === null || !(low >= 0 && low < high && high <= 1)) {
    throw new PareError(`--range ${text}: give two shares of the original's MACs, such as 30%-100%`);
  }
  return [low, high];
}

/** One live line on a terminal; otherwise a line for each stage. */
function show(report: CompareReport, quiet: boolean): void {
  const live = process.stderr.isTTY && !quiet;
  const clear = live ? '\r\u001B[2K' : '';
  if (report.warning !== undefined) process.stderr.write(`${clear}pare: warning: ${report.warning}\n`);
  else if (quiet) return;
  else if (report.text !== undefined) process.stderr.write(`${clear}${report.text}\n`);
  else {
    const text = `${WHAT[report.stage]}: ${report.measured}/${report.of} measured`;
    if (live && report.measured !== report.of) process.stderr.write(`${clear}${text}`);
    else if (report.measured === report.of) process.stderr.write(`${clear}${text}\n`);
  }
}

const WHAT = {
  prepare: '',
  anchors: 'networks of the archive',
  fresh: 'fresh candidates',
  front: 'the front',
} as const;

function describe(result: Comparison, folder: string): string {
  const fraction = isFraction(result.metric);
  const value = (x: number): string => (fraction ? `${(100 * x).toFixed(2)}` : x.toPrecision(4));
  const unit = fraction ? ' points' : '';
  const rows = result.candidates.map((c) => [
    c.file ?? c.kind,
    `${(100 * c.share).toFixed(1)} %`,
    `${value(c.expected.mean)} ± ${value(c.expected.deviation)}`,
    value(c.measured.value),
    `[${value(c.measured.ci95[0])}, ${value(c.measured.ci95[1])}]`,
    recipeText(c.genome),
  ]);
  const estimate = ({ value: v, ci95 }: Estimate, text: (x: number) => string): string =>
    `${text(v)} [${text(ci95[0])}, ${text(ci95[1])}]`;
  const correlation = (e: Estimate | undefined): string =>
    e === undefined ? 'not defined' : estimate(e, (x) => x.toFixed(3));
  const lines = (name: string, a: Agreement): string[] => [
    `${name}: ${a.n} fresh candidates over ${(100 * result.range[0]).toFixed(1)} to ${(100 * result.range[1]).toFixed(1)} % of the MACs`,
    `  mean absolute error   ${estimate(a.meanAbsoluteError, value)}${unit}`,
    `  mean difference       ${estimate(a.bias, value)}${unit} (predicted - measured)`,
    `  Spearman              ${correlation(a.spearman)}`,
    `  Kendall tau-b         ${correlation(a.kendall)}`,
    `  within the predictor's 90 % interval  ${formatShare(a.coverage90)}`,
  ];
  const header = ['candidate', 'MACs', `predicted ${result.metric}`, 'measured', '95 %', 'recipe'];
  const metric = `${result.metric}, ${result.data.name}, n = ${result.data.n}`;
  const trained = `${result.searchedMetric} on calibration samples, as it was trained`;
  return [
    formatTable(header, rows, ['MACs', `predicted ${result.metric}`, 'measured']),
    '',
    `original: ${value(result.original.value)} [${result.original.ci95.map(value).join(', ')}] (${metric}); brackets: 95 % intervals`,
    `fresh candidates: ${result.quantity}; drawn by seed ${result.seed}; the predictor learnt from ${result.learntFrom} other networks, ${result.refittedFrom} of them refitted`,
    ...lines(metric, result.fresh),
    ...lines(trained, result.asTrained),
    ...(result.uncalibrated === undefined
      ? []
      : [
          `without carrying predictions over to these data the mean absolute error is ${estimate(result.uncalibrated.meanAbsoluteError, value)}${unit}`,
        ]),
    `Note: ${result.calibration.sentence}.`,
    ...(result.refittedFrom > 0
      ? []
      : ['Front members are files after the refit, predictions are of scores before it: expect them above.']),
    `written: ${join(folder, 'compare.json')}, ${join(folder, 'plots', 'compare.svg')}`,
  ].join('\n');
}
