// `pare prune MODEL --flops 70% -o FILE`: one cut to a budget by one criterion, recovered without training when data are given.
import type { CommandModule } from 'yargs';
import { analyse, type Analysis } from '../analysis/analyse.js';
import { pruneModel } from '../analysis/cut.js';
import type { ChannelGroup, DeadUnits } from '../analysis/groups.js';
import { macsAfter } from '../analysis/macs.js';
import { openDataset } from '../data/dataset.js';
import { prepare } from '../analysis/prepare.js';
import { PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import { safeBatch } from '../measure/evaluate.js';
import { sha256OfFile } from '../onnx/read.js';
import { withRecipe, writeModel } from '../onnx/write.js';
import type { OpTable } from '../ops/op.js';
import type { Plugins } from '../plugin/load.js';
import { drain } from '../drain.js';
import { sensitivityFor } from '../recovery/importance-gradient.js';
import {
  criteria,
  criterionNames,
  orderBy,
  type CriterionName,
  type Importance,
  type ImportanceContext,
} from '../recovery/importance.js';
import { withFloatWeights, withQuantizedWeights } from '../recovery/quantized-weights.js';
import { learnFrom, recover, recoverModes, type Calibration, type RecoverMode } from '../recovery/recover.js';
import { learnSensitivity, type Sensitivity } from '../recovery/sensitivity.js';
import { createRng } from '../rng.js';
import { ortRuntime } from '../runtime/ort.js';
import { withSession } from '../runtime/runtime.js';
import { checkWishes, constraintsOf } from '../../search/constraints.js';
import { macsModel } from '../../search/cost-model.js';
import { genomeKey, genomeOf } from '../../search/genome.js';
import { allocate, allowedSteps } from '../../search/progressive.js';
import { gradualDead } from '../../search/regrowth.js';
import { formatCount, formatPercent } from './format.js';
import { inputOption, jsonOption, openModel, outputOption, parseInputDims, wholeNumber } from './options.js';
import { pluginOption, withPlugins } from './plugins.js';
import { packageVersion } from './version.js';

interface Arguments {
  readonly model: string;
  readonly flops: string;
  readonly data: string | undefined;
  readonly criterion: string | undefined;
  readonly recover: RecoverMode | undefined;
  readonly images: number;
  readonly seed: string;
  readonly output: string;
  readonly ignore: string[];
  readonly 'round-to': number;
  readonly 'max-ratio': number;
  readonly steps: number;
  readonly regrow: number;
  readonly input: string[];
  readonly plugin: string[];
  readonly json: boolean;
}

export const pruneCommand: CommandModule<object, Arguments> = {
  command: 'prune <model>',
  describe: 'Cut channels to a FLOPs budget by one criterion, recovered without training when data are given',
  builder: (y) =>
    y
      .positional('model', { type: 'string', demandOption: true, describe: 'ONNX file' })
      .option('flops', {
        type: 'string',
        demandOption: true,
        describe: 'budget: 70% of the original, or FLOPs such as 60M',
      })
      .option('output', outputOption)
      .option('data', { type: 'string', describe: 'calibration data: a manifest (.json) or .npz' })
      .option('criterion', {
        type: 'string',
        defaultDescription: 'obs with data, l2 without',
        describe: `which channels go first: ${criterionNames.join(', ')}, or one of a plug-in; obs, wanda, taylor, fisher, obdc and snr need data`,
      })
      .option('recover', {
        choices: recoverModes,
        defaultDescription: 'reconstruct with data, none without',
        describe: 'none: weights as they were; bn: means and variances; reconstruct: least squares, layer by layer',
      })
      .option('images', {
        type: 'number',
        default: 1000,
        coerce: wholeNumber('images', 1),
        describe: 'calibration samples at most',
      })
      .option('seed', { type: 'string', default: '0', describe: 'equal seeds give equal files' })
      .option('ignore', {
        type: 'string',
        array: true,
        nargs: 1,
        default: [] as string[],
        describe: 'leave groups alone whose name, tensors or nodes are this, * and ? being wild; again for more',
      })
      .option('round-to', {
        type: 'number',
        default: 1,
        coerce: wholeNumber('round-to', 1),
        describe: 'widths become multiples of this',
      })
      .option('max-ratio', {
        type: 'number',
        default: 0.95,
        coerce: share,
        describe: 'largest share of a group that may go',
      })
      .option('steps', {
        type: 'number',
        default: 1,
        coerce: wholeNumber('steps', 1),
        describe: 'cut in so many steps of a cubic schedule, judged anew before each (taylor, fisher)',
      })
      .option('regrow', {
        type: 'number',
        default: 0,
        coerce: exchanged,
        describe: 'with --steps: share of units exchanged for dead ones that the loss asks for, after each step',
      })
      .option('input', inputOption)
      .option('plugin', pluginOption)
      .option('json', jsonOption)
      .example('$0 prune model.onnx --flops 70% --data calib.json -o small.onnx', 'keeps 70 % of the FLOPs'),
  handler: async (args) => {
    const model = openModel(args.model);
    const dims = parseInputDims(args.input, model);
    const result = await withPlugins(args.plugin, (plugins) => prune(args, model, dims, plugins), dims);
    console.log(args.json ? JSON.stringify(result, undefined, 2) : describe(result));
  },
};

interface PruneResult {
  readonly file: string;
  readonly macs: number;
  readonly originalMacs: number;
  readonly budgetMacs: number;
  readonly params: number;
  readonly originalParams: number;
  readonly criterion: string;
  readonly recover: RecoverMode;
  readonly notes: readonly string[];
  /** Group -> units left and units there were. */
  readonly groups: Readonly<Record<string, readonly [number, number]>>;
}

async function prune(
  args: Arguments,
  stored: Model,
  inputs: ReadonlyMap<string, readonly number[]>,
  plugins: Plugins,
): Promise<PruneResult> {
  plugins.saveCasesIn(`${args.output}.plugins`);
  // without samples nothing is refitted: the integers of a quantised network are cut with their own scales
  const plain = prepare(stored, plugins.table);
  const { model, quantized } =
    args.data === undefined ? { model: plain, quantized: undefined } : withFloatWeights(plain);
  const look = (table: OpTable): Analysis => analyse(model, table, { binding: { inputs, dynamic: 1 } });
  const notes: string[] = [...plugins.rehearse(look)];
  const base = look(plugins.table);
  const budgetMacs = parseFlops(args.flops, base.cost.macs);
  const calibration = args.data === undefined ? undefined : await openCalibration(stored, args.data);
  const criterion = args.criterion ?? (calibration === undefined ? 'l2' : 'obs');
  const importance = criterionOf(criterion, plugins);
  const mode = args.recover ?? (calibration === undefined ? 'none' : 'reconstruct');
  if (calibration === undefined) {
    if (mode !== 'none') throw new PareError(`--recover ${mode} needs samples: give them by --data`);
    if (criterion === 'obs' || criterion === 'wanda' || sensitivityFor(criterion) !== undefined)
      throw new PareError(`--criterion ${criterion} needs samples: give them by --data, or use l2`);
    notes.push(
      'without --data: channels chosen by their weights alone, and nothing recovered; expect much less accuracy',
    );
  }
  const options = { seed: args.seed, runtime: ortRuntime() };
  const gradients = sensitivityFor(criterion);
  const needed = mode === 'reconstruct' || criterion === 'obs' || criterion === 'wanda';
  const knowledge =
    calibration === undefined || !needed
      ? undefined
      : await drain(learnFrom(base, calibration, { ...options, images: Math.min(500, args.images) }));
  if (args.regrow > 0 && args.steps === 1) throw new PareError('--regrow works between steps: give --steps 5, say');
  if (args.steps > 1 && gradients !== 'gates')
    throw new PareError('--steps judges by gradients: give --criterion taylor or fisher');
  const judge = async (gone: DeadUnits, of: 'gates' | 'curvature'): Promise<Sensitivity> => {
    const rng = createRng(args.seed).fork('sensitivity');
    // the cast: without data the criterion was refused
    const { dataset } = calibration as Calibration;
    return learnSensitivity(base, {
      runtime: options.runtime,
      rng,
      of,
      dataset,
      images: Math.min(200, args.images),
      dead: gone,
    });
  };
  const first = gradients === undefined ? undefined : await judge(new Map(), gradients);
  if (first !== undefined) {
    const loss = first.targets === 'labels' ? 'cross-entropy with the labels' : "change of the original's own outputs";
    notes.push(`"${criterion}" by gradients of ${first.samples} samples; the loss: ${loss}`);
  }
  const learnt = {
    ...(knowledge === undefined ? {} : { knowledge }),
    ...(first === undefined ? {} : { sensitivity: first }),
  };
  // arithmetic on 8 bits teaches nothing that a float can be refitted to: what nobody asked for is then left out
  const groups = base.groups.groups;
  const blind =
    args.criterion === undefined &&
    knowledge !== undefined &&
    groups.length > 0 &&
    groups.every((g) => knowledge.removal(g.id) === undefined);
  if (blind) notes.push('no layer can be refitted from samples here: channels chosen by their weights alone');
  const asked = blind ? { name: 'l2', importance: criterionOf('l2', plugins) } : { name: criterion, importance };
  const dead =
    args.steps > 1
      ? await gradual(base, budgetMacs, asked, args, async (gone) => (gone.size === 0 ? first! : judge(gone, 'gates')))
      : chooseDead(base, budgetMacs, asked, learnt, args);
  let pruned = pruneModel(base, dead);
  if (calibration !== undefined) {
    const own = { ...options, mode, images: args.images, dead };
    pruned = await drain(recover(base, pruned, calibration, knowledge === undefined ? own : { ...own, knowledge }));
  }
  if (quantized !== undefined && quantized.size > 0) {
    const { model: integers, left } = withQuantizedWeights(pruned, quantized);
    pruned = integers;
    notes.push(
      `${quantized.size - left.length} quantised tensors have new scales${left.length > 0 ? `, ${left.length} stay floats` : ''}; activations keep theirs`,
    );
  }
  const made = analyse(pruned, plugins.table, { binding: { inputs, dynamic: 1 } });
  if (made.cost.macs > budgetMacs) {
    notes.push(
      `the budget cannot be reached by channels alone: ${formatCount(made.cost.macs)} MACs is the least that can be done`,
    );
  }
  const recipe = {
    genome: genomeKey(genomeOf([], dead)),
    sourceSha256: await sha256OfFile(args.model),
    seed: args.seed,
    version: packageVersion(),
    inherited: calibration === undefined,
  };
  writeModel(withRecipe(pruned, recipe), args.output);
  return {
    file: args.output,
    macs: made.cost.macs,
    originalMacs: base.cost.macs,
    budgetMacs,
    params: made.cost.params,
    originalParams: base.cost.params,
    criterion: asked.name,
    recover: mode,
    notes,
    groups: Object.fromEntries(
      base.groups.groups
        .filter((g) => (dead.get(g.id)?.length ?? 0) > 0)
        .map((g) => [g.id, [g.size - dead.get(g.id)!.length, g.size]]),
    ),
  };
}

/** The cheapest units of every group, as many as the budget asks for; loss by the criterion against MACs saved. */
function chooseDead(
  base: Analysis,
  budget: number,
  criterion: { readonly name: string; readonly importance: Importance },
  learnt: Pick<ImportanceContext, 'knowledge' | 'sensitivity'>,
  args: Arguments,
): ReadonlyMap<string, readonly number[]> {
  const rng = createRng(args.seed).fork('criterion');
  const ignored = ignorer(args.ignore);
  const orders = new Map<string, readonly number[]>();
  const choices = base.groups.groups.map((group) => {
    const context = { analysis: base, group, rng, ...learnt };
    const importance = group.inexact !== undefined || ignored(group) ? undefined : criterion.importance(context);
    if (importance === undefined) return { id: group.id, size: group.size, steps: [0], losses: [0] };
    const order = orderBy(importance);
    orders.set(group.id, order);
    return {
      id: group.id,
      size: group.size,
      steps: allowedSteps(group.size, args['round-to'], args['max-ratio']),
      // the surgeon knows what removing the first k costs together; the others only what each unit weighs
      losses:
        criterion.name === 'obs'
          ? learnt.knowledge!.removal(group.id)!.errors
          : cumulative(order.map((u) => importance[u]!)),
    };
  });
  if (orders.size === 0) {
    if (choices.length === 0 || criterion.name === 'l2') {
      throw new PareError('there is no channel group to cut; `pare groups` says what is frozen and why');
    }
    throw new PareError(`criterion "${criterion.name}" says nothing of any channel group of this network: try l2`);
  }
  const cost = macsModel(base);
  let goal = budget;
  for (let round = 0; ; round++) {
    const removed = allocate({ groups: choices, limits: [{ cost, budget: goal }] });
    const dead = new Map<string, readonly number[]>();
    choices.forEach(({ id }, i) => {
      const order = orders.get(id);
      if (order === undefined || removed[i] === 0) return;
      const units = order.slice(0, removed[i]);
      dead.set(
        id,
        units.toSorted((a, b) => a - b),
      );
    });
    // the model takes the branches of an If together, but the dearer one counts: what is too much then is asked for again
    const over = base.groups.macBodies.length === 0 ? 0 : macsAfter(base, dead) - budget;
    if (over <= 0 || round >= MOST_ROUNDS || cost.value(removed) > goal) return dead;
    goal -= over;
  }
}

const MOST_ROUNDS = 20;

function criterionOf(name: string, plugins: Plugins): Importance {
  const builtIn = criterionNames.find((c): c is CriterionName => c === name);
  const found = builtIn === undefined ? plugins.criteria.get(name) : criteria[builtIn];
  if (found !== undefined) return found;
  const names = [...criterionNames, ...plugins.criteria.keys()];
  throw new PareError(`--criterion ${name}: there is no such criterion; choose ${names.join(', ')}`);
}

/** Step by step, judged anew each time; see search/regrowth.ts. */
function gradual(
  base: Analysis,
  budget: number,
  criterion: { readonly importance: Importance },
  args: Arguments,
  judge: (dead: DeadUnits) => Promise<Sensitivity>,
): Promise<DeadUnits> {
  const ignored = ignorer(args.ignore);
  const open = base.groups.groups.filter((g) => g.inexact === undefined && !ignored(g) && g.atLeastOne.length === 0);
  const openOnes = new Set(open);
  const rng = createRng(args.seed).fork('criterion');
  return gradualDead({
    groups: base.groups.groups.map((g) => ({
      id: g.id,
      size: g.size,
      steps: openOnes.has(g) ? allowedSteps(g.size, args['round-to'], args['max-ratio']) : [0],
    })),
    macs: macsModel(base),
    budget,
    steps: args.steps,
    regrow: args.regrow,
    importance: async (dead) => {
      const sensitivity = await judge(dead);
      return new Map(
        open.flatMap((group) => {
          const found = criterion.importance({ analysis: base, group, rng, sensitivity });
          return found === undefined ? [] : [[group.id, found] as const];
        }),
      );
    },
  });
}

async function openCalibration(model: Model, path: string): Promise<Calibration> {
  return withSession(ortRuntime(), model, {}, async (session) => {
    const dataset = openDataset(path, session.inputs);
    const indices = Array.from({ length: dataset.size }, (_, i) => i);
    return { dataset, batch: await safeBatch(session, dataset, indices, 50) };
  });
}

function cumulative(values: readonly number[]): number[] {
  const sums = [0];
  for (const v of values) sums.push(sums.at(-1)! + v);
  return sums;
}

/** In MACs. */
function parseFlops(flops: string, macs: number): number {
  checkWishes({ flops });
  return constraintsOf({ flops }, { macs, params: 0, memoryBytes: 0, score: 0 }).macs!;
}

function exchanged(value: number): number {
  if (!(value >= 0 && value < 1)) throw new PareError('--regrow must lie in 0 to below 1');
  return value;
}

function share(value: number): number {
  if (!(value > 0 && value < 1)) throw new PareError('--max-ratio must lie between 0 and 1');
  return value;
}

function ignorer(patterns: readonly string[]): (group: ChannelGroup) => boolean {
  const tests = patterns.map(
    (p) =>
      new RegExp(
        `^${p
          .replace(/[.+^${}()|[\]\\]/g, '\\$&')
          .replaceAll('*', '.*')
          .replaceAll('?', '.')}$`,
      ),
  );
  return (group) =>
    [group.id, ...group.members.flatMap((m) => [m.tensor, ...m.nodes])].some((name) => tests.some((t) => t.test(name)));
}

function describe(r: PruneResult): string {
  return [
    `MACs        ${formatCount(r.macs)} of ${formatCount(r.originalMacs)} (${formatPercent(r.macs / r.originalMacs)})`,
    `parameters  ${formatCount(r.params)} of ${formatCount(r.originalParams)} (${formatPercent(r.params / r.originalParams)})`,
    `cut         ${Object.keys(r.groups).length} groups by "${r.criterion}", recovery "${r.recover}"`,
    `written     ${r.file}`,
    ...r.notes.map((note) => `note: ${note}`),
  ].join('\n');
}
