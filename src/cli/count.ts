// `pare count MODEL`: MACs, FLOPs, parameters, bytes and peak memory, per node and in total, by a stated convention.
import type { CommandModule } from 'yargs';
import { conventionNames, type ConventionName } from '../analysis/conventions.js';
import { countCost, type Cost } from '../analysis/cost.js';
import { inferShapes } from '../analysis/shapes.js';
import { formatBytes, formatCount, formatPercent, formatTable } from './format.js';
import { inputOption, jsonOption, openModel, parseInputDims } from './options.js';
import { pluginOption, withPlugins } from './plugins.js';

interface Arguments {
  readonly model: string;
  readonly input: string[];
  readonly convention: ConventionName | undefined;
  readonly all: boolean;
  readonly plugin: string[];
  readonly json: boolean;
}

export const countCommand: CommandModule<object, Arguments> = {
  command: 'count <model>',
  describe: 'Count MACs, FLOPs, parameters and memory, per node and in total',
  builder: (y) =>
    y
      .positional('model', { type: 'string', demandOption: true, describe: 'ONNX file' })
      .option('input', inputOption)
      .option('convention', {
        choices: conventionNames,
        defaultDescription: 'mac',
        describe: 'what counts: mac is multiply-accumulates alone; the others count as those tools do',
      })
      .option('all', { type: 'boolean', default: false, describe: 'list nodes without MACs and parameters, too' })
      .option('plugin', pluginOption)
      .option('json', jsonOption)
      .example('$0 count model.onnx --input image:1x3x224x224', 'counts one image of 224 x 224'),
  handler: async (args) => {
    const model = openModel(args.model, { allowMissingData: true, outline: true });
    const inputs = parseInputDims(args.input, model);
    await withPlugins(args.plugin, ({ table }) => {
      const shapes = inferShapes(model, table, { inputs, dynamic: 1 });
      const cost = countCost(model, table, shapes, args.convention ?? 'mac');
      console.log(args.json ? JSON.stringify(cost, undefined, 2) : describe(cost, args.all));
    });
  },
};

function describe(cost: Cost, all: boolean): string {
  const listed = all ? cost.nodes : cost.nodes.filter((n) => n.macs > 0 || n.params > 0);
  const rows = listed.map((n) => [
    n.node,
    n.opType,
    n.outputShape?.join('x') ?? '?',
    formatCount(n.macs),
    cost.macs > 0 ? formatPercent(n.macs / cost.macs) : '',
    formatCount(n.params),
  ]);
  const lines = [
    formatTable(['node', 'operator', 'output', 'MACs', 'share', 'params'], rows, ['MACs', 'share', 'params']),
  ];
  const hidden = cost.nodes.length - listed.length;
  if (hidden > 0) lines.push(`and ${hidden} nodes without MACs and parameters (--all lists them)`);
  lines.push(
    '',
    `MACs         ${formatCount(cost.macs)} (${cost.macs}), convention "${cost.convention}"`,
    `FLOPs        ${formatCount(cost.flops)} (2 x MACs)`,
    `parameters   ${formatCount(cost.params)}`,
    `constants    ${formatBytes(cost.bytes)}`,
    `peak memory  ${formatBytes(cost.peakMemoryBytes)} of activations alive at once`,
  );
  if (cost.uncounted.length > 0) {
    lines.push('', 'not counted:', ...cost.uncounted.map((reason) => `  ${reason}`));
  }
  return lines.join('\n');
}
