// `pare groups MODEL`: what can be pruned together, its share of the MACs, and why the rest cannot.
import type { CommandModule } from 'yargs';
import { analyse, type Analysis } from '../analysis/analyse.js';
import type { ChannelGroup, Frozen } from '../analysis/groups.js';
import { prepare } from '../analysis/prepare.js';
import type { OpTable } from '../ops/op.js';
import { formatCount, formatPercent, formatTable } from './format.js';
import { inputOption, jsonOption, openModel, parseInputDims } from './options.js';
import { pluginOption, withPlugins } from './plugins.js';

interface Arguments {
  readonly model: string;
  readonly input: string[];
  readonly plugin: string[];
  readonly json: boolean;
}

export const groupsCommand: CommandModule<object, Arguments> = {
  command: 'groups <model>',
  describe: 'List the channel groups that can be pruned, and why the rest cannot',
  builder: (y) =>
    y
      .positional('model', { type: 'string', demandOption: true, describe: 'ONNX file' })
      .option('input', inputOption)
      .option('plugin', pluginOption)
      .option('json', jsonOption)
      .example('$0 groups model.onnx', 'every group with its members, size and share of the MACs'),
  handler: async (args) => {
    const model = openModel(args.model, { allowMissingData: true });
    const inputs = parseInputDims(args.input, model);
    const { groups, cost } = await withPlugins(
      args.plugin,
      (plugins) => {
        const look = (table: OpTable): Analysis => analyse(prepare(model, table), table, { binding: { inputs } });
        for (const note of plugins.rehearse(look)) console.error(`pare: warning: ${note}`);
        return look(plugins.table);
      },
      inputs,
    );
    const share = (macs: number): number => (cost.macs === 0 ? 0 : macs / cost.macs);
    if (args.json) {
      const list = groups.groups.map((g) => ({
        id: g.id,
        size: g.size,
        channelsPerUnit: g.units[0]?.length ?? 0,
        macs: g.macs,
        macsShare: share(g.macs),
        unitMacs: g.unitMacs,
        members: g.members,
        ...(g.inexact === undefined ? {} : { inexact: g.inexact }),
      }));
      console.log(JSON.stringify({ macs: cost.macs, groups: list, frozen: groups.frozen }, undefined, 2));
    } else console.log(describe(groups.groups, groups.frozen, share, cost.macs));
  },
};

function describe(
  groups: readonly ChannelGroup[],
  frozen: readonly Frozen[],
  share: (macs: number) => number,
  macs: number,
): string {
  const rows = groups.map((g) => {
    const wide = g.units[0]?.length ?? 1;
    return [
      g.id,
      wide > 1 ? `${g.size} x ${wide}` : String(g.size),
      formatPercent(share(g.macs)),
      formatCount(g.unitMacs),
      membersOf(g),
    ];
  });
  const lines = [
    `${groups.length} groups can be pruned; ${formatCount(macs)} MACs in all`,
    '',
    formatTable(['group', 'units', 'MACs', 'a unit', 'members'], rows, ['units', 'MACs', 'a unit']),
  ];
  const inexact = groups.filter((g) => g.inexact !== undefined);
  if (inexact.length > 0) {
    lines.push(
      '',
      'cut only when asked, because the result is not exact:',
      ...inexact.map((g) => `  ${g.id}: ${g.inexact}`),
    );
  }
  if (frozen.length > 0) {
    const why = frozen.map((f) => [f.name, String(f.channels), f.reason]);
    lines.push('', 'why not:', formatTable(['value', 'channels', 'reason'], why, ['channels']));
  }
  return lines.join('\n');
}

/** The nodes that shrink with the group, producers first: at most three by name. */
function membersOf(group: ChannelGroup): string {
  const order = { out: 0, along: 1, in: 2 } as const;
  const sorted = group.members.toSorted((a, b) => order[a.role] - order[b.role]);
  const names = [...new Set(sorted.flatMap((m) => m.nodes))];
  const shown = names.slice(0, 3).join(', ');
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
}
