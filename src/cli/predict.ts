// `pare predict MODEL`: what the predictor says of one network: every task it has learnt, or one of them.
import type { CommandModule } from 'yargs';
import { PareError } from '../errors.js';
import { ortRuntime } from '../runtime/ort.js';
import { openAiop, type Aiop, type Outlook } from '../predictor/aiop.js';
import { compress } from '../predictor/compress.js';
import { restoreLabel } from '../predictor/labels.js';
import { novelty } from '../predictor/novelty.js';
import { formatTable } from './format.js';
import { jsonOption, openModel } from './options.js';

interface Arguments {
  readonly model: string;
  readonly task: string | undefined;
  readonly predictor: string | undefined;
  readonly json: boolean;
}

interface Said {
  readonly space: string;
  readonly task: string;
  /** In the label's own unit. */
  readonly value: number;
  readonly adapter: number;
  readonly trunk: number;
  /** Rank correlation of this head with rows of its space that were kept back. */
  readonly heldOut: number;
}

export const predictCommand: CommandModule<object, Arguments> = {
  command: 'predict <model>',
  describe: 'Foretell the accuracy of a network, trained or not, from its graph alone',
  builder: (y) =>
    y
      .positional('model', { type: 'string', demandOption: true, describe: 'ONNX file; weights may be absent' })
      .option('task', { type: 'string', describe: 'one label that the predictor has learnt, or a part of its name' })
      .option('predictor', { type: 'string', describe: 'predictor file (default: the shipped one)' })
      .option('json', jsonOption)
      .example('$0 predict model.onnx --task cifar10', 'accuracy as if trained like the networks of that table'),
  handler: async (args) => {
    const model = openModel(args.model, { allowMissingData: true });
    const runtime = ortRuntime();
    try {
      const aiop = openAiop(args.predictor, runtime);
      const wanted = tasksNamed(aiop, args.task);
      const [outlook] = await aiop.look([compress(model, { extras: true })], wanted);
      if (outlook === undefined) throw new Error('a graph gives an outlook');
      const said = wanted.map((k) => saidOf(aiop, outlook, k));
      const unlike = novelty(aiop.file.weights, outlook.features);
      const result = { model: args.model, macs: outlook.macs, novelty: unlike, tasks: said };
      console.log(args.json ? JSON.stringify(result, undefined, 2) : describe(result));
    } finally {
      await runtime.close();
    }
  },
};

function tasksNamed(aiop: Aiop, name: string | undefined): number[] {
  const { labels } = aiop.file.card;
  const all = labels.map((_, k) => k);
  if (name === undefined) return all;
  const exact = all.filter((k) => labels[k]!.column === name);
  const found =
    exact.length > 0
      ? exact
      : all.filter((k) => `${labels[k]!.space} ${labels[k]!.column}`.toLowerCase().includes(name.toLowerCase()));
  if (found.length > 0) return found;
  throw new PareError(
    `--task ${name}: the predictor has not learnt it; it knows ${labels.map((l) => `${l.column} (${l.space})`).join(', ')}`,
  );
}

function saidOf(aiop: Aiop, outlook: Outlook, k: number): Said {
  const label = aiop.file.card.labels[k]!;
  const restored = (output: number): number => restoreLabel(label, output, outlook.macs);
  return {
    space: label.space,
    task: label.column,
    value: restored(aiop.blend(outlook, k)),
    adapter: restored(outlook.adapters[k]!),
    trunk: restored(outlook.trunk[k]!),
    heldOut: Math.max(...label.heldOut),
  };
}

function describe({ macs, novelty: unlike, tasks }: { macs: number; novelty: number; tasks: readonly Said[] }): string {
  const rows = tasks.map((t) => [t.space, t.task, t.value.toFixed(3), t.adapter.toFixed(3), t.trunk.toFixed(3)]);
  const far =
    unlike > 3
      ? `the network is unlike all that was learnt from (${unlike.toFixed(1)} standard deviations): take this as a rank at best`
      : `distance from what was learnt: ${unlike.toFixed(1)} standard deviations`;
  return [
    `${(macs / 1e6).toFixed(1)} M MACs`,
    formatTable(['space', 'task', 'foretold', 'adapter', 'trunk'], rows, ['foretold', 'adapter', 'trunk']),
    far,
  ].join('\n');
}
