// `pare optimize MODEL --flops 50% --data D`: the whole way from a network to a folder with a front of smaller ones. On a terminal one
// live line; otherwise a line a generation.
import { availableParallelism, cpus, hostname } from 'node:os';
import { basename } from 'node:path';
import type { CommandModule } from 'yargs';
import { matcher } from '../../search/ignore.js';
import type { TrainingPlan } from '../../search/finish-by-training.js';
import { surgeryWith } from '../../search/replay.js';
import { optimize, type OptimizeResult } from '../../search/optimize.js';
import { pick } from '../../search/pick.js';
import { PareError } from '../errors.js';
import { DEFAULT_FITNESS, fitnessMethod, fitnessMethods } from '../predictor/fitness-methods.js';
import type { Plugins } from '../plugin/load.js';
import { threadRuntime } from '../runtime/threads.js';
import { writeReport } from '../report/report.js';
import { pluginOption, withPlugins } from './plugins.js';
import { clock, progress } from './progress.js';
import { packageVersion } from './version.js';
import { dryRun } from './dry-run.js';
import { durationMs, jsonOption, openModel, wholeNumber, workersOption } from './options.js';

interface Arguments {
  readonly model: string;
  readonly data: string;
  readonly test: string | undefined;
  readonly out: string | undefined;
  readonly flops: string | undefined;
  readonly params: string | undefined;
  readonly memory: string | undefined;
  readonly latency: string | undefined;
  readonly 'min-accuracy': string | undefined;
  readonly time: string | undefined;
  readonly evaluations: number | undefined;
  readonly members: number | undefined;
  readonly recover: 'refit' | 'train';
  readonly 'train-time': string | undefined;
  readonly 'train-steps': number | undefined;
  readonly calibrators: number | undefined;
  readonly workers: number;
  readonly seed: string;
  readonly resume: boolean;
  readonly 'dry-run': boolean;
  readonly pick: string | undefined;
  readonly ignore: string[];
  readonly 'round-to': number | undefined;
  readonly 'max-ratio': number;
  readonly fitness: string;
  readonly predictor: string | undefined;
  readonly plugin: string[];
  readonly json: boolean;
  readonly quiet: boolean;
  readonly 'log-json': boolean;
}

export const optimizeCommand: CommandModule<object, Arguments> = {
  command: 'optimize <model>',
  describe: 'Pare a network down to a budget: a front of smaller networks, verified and measured',
  builder: (y) =>
    y
      .positional('model', { type: 'string', demandOption: true, describe: 'ONNX file' })
      .option('data', { type: 'string', demandOption: true, describe: 'calibration data: a manifest (.json) or .npz' })
      .option('test', { type: 'string', describe: 'data to measure the front on at the end; never used for choosing' })
      .option('out', { type: 'string', describe: 'folder for the results (default: NAME-pared)' })
      .option('flops', { type: 'string', describe: 'budget: 50% of the original, or an amount such as 60M' })
      .option('params', { type: 'string', describe: 'budget of parameters: 50%, or 300k' })
      .option('memory', { type: 'string', describe: 'budget of peak activation memory: 50%, or 2MB' })
      .option('latency', { type: 'string', describe: 'budget of latency on this machine, one thread: 60%, or 5ms' })
      .option('min-accuracy', { type: 'string', describe: 'lowest accuracy: 92%, or points to lose such as -0.5' })
      .option('time', { type: 'string', describe: 'end after about this time: 20m, 90s, 1h' })
      .option('evaluations', {
        type: 'number',
        coerce: wholeNumber('evaluations', 1),
        describe: 'end after measuring this many candidates (24)',
      })
      .option('recover', {
        choices: ['refit', 'train'] as const,
        default: 'refit' as const,
        describe:
          'train: after the least-squares refit the best members are also distilled from the original, without labels',
      })
      .option('train-time', { type: 'string', describe: 'with --recover train: for all of them together (30m)' })
      .option('train-steps', {
        type: 'number',
        coerce: wholeNumber('train-steps', 1),
        describe: 'with --recover train, instead of a time: steps of each; equal seeds then give equal files',
      })
      .conflicts('train-time', 'train-steps')
      .option('members', {
        type: 'number',
        coerce: wholeNumber('members', 1),
        describe:
          'how many of the front are refitted, verified and written at most (6); --min-accuracy tries a few more',
      })
      .option('calibrators', {
        type: 'number',
        coerce: wholeNumber('calibrators', 0),
        describe: 'how many others are refitted to learn what a score becomes by the refit (8)',
      })
      .option('workers', workersOption())
      .option('seed', { type: 'string', default: '0', describe: 'equal seeds and counts give equal results' })
      .option('resume', { type: 'boolean', default: false, describe: 'continue the run in --out' })
      .option('dry-run', { type: 'boolean', default: false, describe: 'say what could be cut; nothing is measured' })
      .option('pick', { type: 'string', describe: 'also write picked.onnx: the smallest with, say, "accuracy>-0.5"' })
      .option('ignore', {
        type: 'string',
        array: true,
        nargs: 1,
        default: [] as string[],
        describe: 'nodes or tensors that stay as they are (* stands for anything); again for more',
      })
      .option('round-to', {
        type: 'number',
        coerce: wholeNumber('round-to', 1),
        describe: 'widths become multiples of this where possible (1; with --latency 8, unless timings say otherwise)',
      })
      .option('max-ratio', { type: 'number', default: 1, describe: 'largest share of a group that may be cut, 0 to 1' })
      .option('fitness', {
        type: 'string',
        default: DEFAULT_FITNESS,
        describe: `how candidates are judged before they are measured: ${fitnessMethods.map((m) => m.name).join(', ')}`,
      })
      .option('predictor', { type: 'string', describe: 'what the predictor starts from (default: the shipped one)' })
      .option('plugin', pluginOption)
      .option('json', jsonOption)
      .option('quiet', { type: 'boolean', default: false, describe: 'no progress: warnings and the result only' })
      .option('log-json', { type: 'boolean', default: false, describe: 'progress as JSON lines on standard error' })
      .example('$0 optimize big.onnx --flops 50% --data calib.json', 'half the FLOPs')
      .example(
        '$0 optimize big.onnx --min-accuracy -0.5 --data calib.json --time 20m',
        'as small as half a point allows',
      ),
  handler: async (args) => {
    if (!(args['max-ratio'] > 0 && args['max-ratio'] <= 1)) {
      throw new PareError(`--max-ratio ${args['max-ratio']}: give a share above 0 and up to 1`);
    }
    if (args.quiet && args['log-json'])
      throw new PareError('--quiet and --log-json ask for opposites: give one of them');
    const ignore = matcher(args.ignore);
    openModel(args.model);
    await withPlugins(args.plugin, async (plugins) => {
      if (!args['dry-run']) await run(args, ignore, plugins);
      else {
        console.log(
          dryRun({
            model: openModel(args.model),
            data: args.data,
            table: plugins.table,
            mutations: plugins.mutations,
            ignore,
            roundTo: args['round-to'] ?? 1,
            maxRatio: args['max-ratio'],
            evaluations: args.evaluations ?? 24,
            json: args.json,
          }),
        );
      }
    });
  },
};

async function run(args: Arguments, ignore: (name: string) => boolean, plugins: Plugins): Promise<void> {
  const method = fitnessMethod(args.fitness, [...fitnessMethods, ...plugins.fitness]);
  const runtime = threadRuntime(args.workers);
  const training = trainingOf(args);
  const interrupt = new AbortController();
  // Once: a second one meets the system's own handler, which ends the process at once. The run can be resumed all the same.
  const onInterrupt = (): void => {
    process.stderr.write('\npare: interrupted: what is under way is finished and written; again to end at once\n');
    interrupt.abort(new PareError('interrupted before anything was measured; begin anew', { exitCode: INTERRUPTED }));
  };
  process.once('SIGINT', onInterrupt);
  try {
    rehearse(args.model, plugins);
    const timeMs = args.time === undefined ? undefined : durationMs('time', args.time);
    const wishes = {
      ...(args.flops === undefined ? {} : { flops: args.flops }),
      ...(args.params === undefined ? {} : { params: args.params }),
      ...(args.memory === undefined ? {} : { memory: args.memory }),
      ...(args.latency === undefined ? {} : { latency: args.latency }),
      ...(args['min-accuracy'] === undefined ? {} : { minAccuracy: args['min-accuracy'] }),
    };
    if (Object.keys(wishes).length === 0) {
      throw new PareError('a budget is missing: give --flops 50%, --params, --memory, --latency or --min-accuracy');
    }
    const out = args.out ?? `${basename(args.model).replace(/\.onnx$/i, '')}-pared`;
    const steps = optimize({
      model: args.model,
      data: args.data,
      out,
      wishes,
      ignore,
      ignorePatterns: args.ignore,
      maxRatio: args['max-ratio'],
      seed: args.seed,
      resume: args.resume,
      runtime,
      table: plugins.table,
      workers: args.workers,
      mutations: plugins.mutations,
      plugins: plugins.files.map(({ file, sha256 }) => ({ file: basename(file), sha256 })),
      version: packageVersion(),
      interrupt: interrupt.signal,
      fitness: method,
      ...(args.predictor === undefined ? {} : { predictor: args.predictor }),
      ...(args.test === undefined ? {} : { test: args.test }),
      ...(args['round-to'] === undefined ? {} : { roundTo: args['round-to'] }),
      ...(args.evaluations === undefined ? {} : { evaluations: args.evaluations }),
      effort: {
        ...(args.members === undefined ? {} : { members: args.members }),
        ...(args.calibrators === undefined ? {} : { calibrators: args.calibrators }),
      },
      ...(timeMs === undefined ? {} : { timeMs }),
      ...(training === undefined ? {} : { training }),
    });
    const budget = Object.entries(wishes).map(([name, wish]) => `${name} ${wish}`);
    const shown = progress(process.stderr, {
      quiet: args.quiet || (args.json && !args['log-json']),
      logJson: args['log-json'],
      budget: budget.join(', '),
      ...(timeMs === undefined ? {} : { timeMs }),
    });
    let step = await steps.next();
    // the folder is ours now
    plugins.saveCasesIn(out);
    try {
      for (; step.done !== true; step = await steps.next()) shown.show(step.value);
    } finally {
      shown.end();
    }
    const report = { table: plugins.table, original: args.model, volatile: volatileLines(step.value) };
    await writeReport(step.value.out, report);
    const { interrupted } = step.value.front;
    const picked =
      args.pick === undefined || interrupted === true ? undefined : pick(args.pick, step.value.out, step.value.front);
    console.log(args.json ? JSON.stringify(step.value.front, undefined, 2) : summary(step.value));
    if (picked !== undefined && !args.json) console.log(`picked ${picked.from} as ${picked.file}`);
    if (interrupted === true) {
      throw new PareError('interrupted: what there is was written; --resume goes on to the whole front', {
        exitCode: INTERRUPTED,
      });
    }
  } finally {
    process.removeListener('SIGINT', onInterrupt);
    await runtime.close();
    await training?.runtime.close();
  }
}

/** Plug-ins are tried on the network before anything relies on them. */
function rehearse(path: string, plugins: Plugins): void {
  if (plugins.files.length === 0) return;
  const model = openModel(path);
  for (const note of plugins.rehearse((table) => surgeryWith(table).analyse(model))) {
    process.stderr.write(`pare: warning: ${note}\n`);
  }
}

/** What shells report of a program that SIGINT ended. */
const INTERRUPTED = 130;

function summary({ out, front, evaluations }: OptimizeResult): string {
  const { original, metric } = front;
  const share = (x: number, whole: number): string => `${((100 * x) / whole).toFixed(1)} %`;
  const rows = front.candidates.map((c) => {
    const d = c.measured.difference;
    const paired =
      d === undefined ? '' : ` (${points(d.value)} [${points(d.ci95[0])}, ${points(d.ci95[1])}] against the original)`;
    const test = c.test === undefined ? '' : `, test ${c.test.value.toFixed(4)} (n = ${c.test.n})`;
    return `  ${c.file.padEnd(32)} ${share(c.macs, original.macs).padStart(7)} MACs ${share(c.params, original.params).padStart(7)} params  ${metric} ${c.measured.value.toFixed(4)}${paired}${test}`;
  });
  const note = front.reached ? [] : [`The budget was not reached: ${front.note}.`];
  return [
    `original: ${(original.macs / 1e6).toFixed(2)} M MACs (FLOPs = 2 x MACs), ${metric} ${original.measured.value.toFixed(4)} on ${original.measured.n} held-out calibration samples`,
    ...rows,
    ...note,
    `${evaluations} candidates measured; everything is in ${out}`,
  ].join('\n');
}

/** What differs between machines and between equal runs. */
function volatileLines({ spentMs, fileLatencies, front }: OptimizeResult): string[] {
  const whole = fileLatencies.get('original');
  const row = (name: string): string => {
    const ms = fileLatencies.get(name);
    if (ms === undefined || whole === undefined) return `| ${name} | - | - |`;
    return `| ${name} | ${ms.toPrecision(3)} ms | ${(whole / ms).toFixed(2)} |`;
  };
  return [
    `Took ${clock(spentMs)} on ${hostname()} (${availableParallelism()} cores, ${cpus()[0]?.model.trim() ?? 'unknown processor'}, Node ${process.version}).`,
    `Command: \`pare ${process.argv.slice(2).join(' ')}\``,
    '',
    '| file | median latency, onnxruntime, 1 thread, one batch as the network takes it | times faster |',
    '|---|---|---|',
    ...['original', ...front.candidates.map((c) => c.file)].map(row),
    ...front.candidates.flatMap(({ file, macs }) => idleSaving(file, macs / front.original.macs, fileLatencies)),
  ];
}

/** Less than this share of what MACs fall by is gained in time: worth a warning. */
const IDLE = 0.3;

/** In words, where MACs fall and the time does not. */
function idleSaving(file: string, share: number, latencies: ReadonlyMap<string, number>): string[] {
  const [whole, ms] = [latencies.get('original'), latencies.get(file)];
  if (whole === undefined || ms === undefined || share > 0.95) return [];
  const [macs, time] = [1 - share, 1 - ms / whole];
  if (time >= IDLE * macs) return [];
  const percent = `${time >= 0 ? '-' : '+'}${Math.abs(100 * time).toFixed(0)} %`;
  return [
    '',
    `**${file}: MACs -${(100 * macs).toFixed(0)} %, latency ${percent}: thin layers save arithmetic, not time.** A run with --latency looks for networks that are faster.`,
  ];
}

function points(x: number): string {
  return `${x >= 0 ? '+' : ''}${(100 * x).toFixed(2)} points`;
}

function trainingOf(args: Arguments): TrainingPlan | undefined {
  const [time, steps] = [args['train-time'], args['train-steps']];
  if (args.recover !== 'train') {
    if (time === undefined && steps === undefined) return undefined;
    throw new PareError('--train-time and --train-steps go with --recover train');
  }
  return {
    bound: steps === undefined ? { timeMs: durationMs('train-time', time ?? '30m') } : { steps },
    // one thread of ours, several of onnxruntime: steps follow one another. Repeatable ones use one
    runtime: threadRuntime(1),
    threads: steps === undefined ? Math.min(8, availableParallelism()) : 1,
  };
}
