// `pare predictor evaluate`: judges a predictor on a table of measured architectures, by seeds, without leaks.
import type { CommandModule } from 'yargs';
import { PareError } from '../errors.js';
import { evaluate, type Figures, type Spread } from '../predictor/evaluate.js';
import { METHODS } from '../predictor/evaluate-methods.js';
import { leakOf, openTask } from '../predictor/evaluate-table.js';
import { SPACES } from '../predictor/spaces/index.js';
import { formatTable } from './format.js';
import { jsonOption, wholeNumber } from './options.js';
import { pretrainCommand } from './predictor-pretrain.js';

interface Arguments {
  readonly table: string;
  readonly space: string | undefined;
  readonly graphs: string | undefined;
  readonly label: string;
  readonly samples: number;
  readonly seeds: number;
  readonly method: string;
  readonly predictor: string | undefined;
  readonly 'allow-leak': boolean;
  readonly json: boolean;
}

/** What judges best where nothing else is asked for. */
const DEFAULT_METHOD = METHODS.has('aiop') ? 'aiop' : 'graf';

const evaluateCommand: CommandModule<object, Arguments> = {
  command: 'evaluate',
  describe: 'Judge a predictor on a table of measured architectures',
  builder: (y) =>
    y
      .option('table', { type: 'string', demandOption: true, describe: 'table, .csv or .csv.gz' })
      .option('label', { type: 'string', demandOption: true, describe: 'column to foretell; higher is better' })
      .option('space', {
        type: 'string',
        describe: `space of the table's encodings: ${SPACES.map((s) => s.name).join(', ')}`,
      })
      .option('graphs', { type: 'string', describe: 'or folder of the ONNX files named in its column "file"' })
      .option('samples', {
        type: 'number',
        default: 20,
        coerce: wholeNumber('samples', 0),
        describe: 'rows to learn from; 0 is zero-shot: errors then rest on a declared prior',
      })
      .option('seeds', { type: 'number', default: 5, coerce: wholeNumber('seeds', 1), describe: 'draws of those rows' })
      .option('method', { choices: [...METHODS.keys()], default: DEFAULT_METHOD, describe: 'predictor' })
      .option('predictor', { type: 'string', describe: 'predictor file to start from (default: the shipped one)' })
      .option('allow-leak', {
        type: 'boolean',
        default: false,
        describe: 'judge even if the predictor was trained on this label, and say so',
      })
      .option('json', jsonOption)
      .example(
        '$0 predictor evaluate --table nb201.csv.gz --space nb201 --label cifar10_test200_pct --method graf',
        'GRAF and a forest from 20 rows',
      ),
  handler: async (args) => {
    const { task, labels } = openTask({
      table: args.table,
      label: args.label,
      ...(args.space === undefined ? {} : { space: args.space }),
      ...(args.graphs === undefined ? {} : { graphs: args.graphs }),
    });
    const open = METHODS.get(args.method)!; // yargs took one of the choices
    const method = await open(args.predictor === undefined ? {} : { predictor: args.predictor });
    const leak = method.seen === undefined ? undefined : leakOf(task, method.seen);
    if (leak !== undefined && !args['allow-leak']) {
      throw new PareError(
        `the predictor was trained on "${leak.column}" of ${leak.space}, which tells it "${task.label}" before it is asked: ` +
          'take one pretrained with --exclude-label, or mark the figures as leaked with --allow-leak',
      );
    }
    const figures = await evaluate(method, task, labels, { samples: args.samples, seeds: args.seeds });
    const notes = {
      ...(leak === undefined ? {} : { leak }),
      // without labels the error says how far the declared prior is off, not more
      ...(args.samples === 0 ? { prior: task.prior } : {}),
    };
    console.log(
      args.json
        ? JSON.stringify({ ...figures, method: args.method, label: task.label, ...notes }, undefined, 2)
        : describe(figures, args.method, notes),
    );
  },
};

export const predictorCommand: CommandModule = {
  command: 'predictor',
  describe: 'Predictors of accuracy: evaluate, pretrain',
  builder: (y) =>
    y
      .command(evaluateCommand)
      .command(pretrainCommand)
      .example('$0 predictor evaluate --table T.csv --space nb201 --label accuracy --json', 'figures over seeds')
      .demandCommand(1, 'say what to do: pare predictor evaluate or pretrain'),
  handler: () => {},
};

function describe(
  figures: Figures,
  method: string,
  notes: { readonly leak?: object; readonly prior?: object },
): string {
  const row = (name: string, { mean, std }: Spread): string[] => [name, mean.toFixed(4), std.toFixed(4)];
  const lines = [
    `${method}: ${figures.samples} training rows, ${figures.seeds} seeds, ${figures.n} test rows`,
    formatTable(
      ['figure', 'mean', 'std'],
      [
        row('Spearman', figures.spearman),
        row('Kendall', figures.kendall),
        row('mean absolute error', figures.mae),
        row('Precision@1 %', figures.precision1),
      ],
      ['mean', 'std'],
    ),
  ];
  if (notes.prior !== undefined)
    lines.push(`zero-shot: the error rests on the declared prior ${JSON.stringify(notes.prior)}`);
  if (notes.leak !== undefined) lines.push(`LEAKED: the predictor was trained on ${JSON.stringify(notes.leak)}`);
  return lines.join('\n');
}
