// `pare optimize --dry-run`: what could be cut, replaced or left out, and what that would save, without running anything.
import { existsSync } from 'node:fs';
import { allocate } from '../../search/progressive.js';
import { createFitness } from '../../search/fitness.js';
import { PRUNE_CHANNELS } from '../../search/genome.js';
import { standardMutations } from '../../search/mutations/index.js';
import type { Mutation, MutationContext } from '../../search/mutations/mutation.js';
import { createReplayer, openGroups, surgeryWith } from '../../search/replay.js';
import { prepare } from '../analysis/prepare.js';
import { PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import type { OpTable } from '../ops/op.js';

export interface DryRunOptions {
  readonly model: Model;
  /** Only looked for. */
  readonly data: string;
  readonly table: OpTable;
  /** Beside the built-in ones. */
  readonly mutations: readonly Mutation[];
  readonly ignore: (name: string) => boolean;
  readonly roundTo: number;
  readonly maxRatio: number;
  readonly evaluations: number;
  readonly json: boolean;
}

/** What one mutation could do. */
interface Offer {
  readonly mutation: string;
  readonly summary: string;
  readonly law: Mutation['law'];
  /** Layers, blocks, groups: where it applies. */
  readonly sites: number;
  /** Share of the MACs that it saves where it saves most, and at all sites together (sites that overlap are counted twice, up to 1). */
  readonly atMost: number;
  readonly together: number;
}

export function dryRun(options: DryRunOptions): string {
  const { model, data, ignore, roundTo, maxRatio, evaluations } = options;
  if (!existsSync(data)) throw new PareError(`data "${data}": there is no such file`);
  const surgery = surgeryWith(options.table);
  const base = surgery.analyse(prepare(model, options.table));
  const mutations = [...standardMutations(surgery), ...options.mutations];
  const replayer = createReplayer(base, { surgery, mutations, ignore, roundTo, maxRatio });
  const { groups, macs } = createFitness(replayer).base;
  const whole = base.cost.macs;
  const least = macs.value(allocate({ groups, limits: [{ cost: macs, budget: 0 }] })) / whole;
  const open = openGroups(base, ignore);
  const none = groups.map(() => 0);
  const single = groups.map((g, i) => -macs.change(none, i, g.steps.at(-1)!) / whole);
  const context = replayer.context(base);
  const offers = mutations.map((m): Offer => {
    const { name: mutation, summary, law } = m;
    if (mutation !== PRUNE_CHANNELS) return { mutation, summary, law, ...placesOf(m, context, whole) };
    const atMost = single.reduce((a, b) => Math.max(a, b), 0);
    return { mutation, summary, law, sites: open.length, atMost, together: 1 - least };
  });
  const units = open.reduce((sum, g) => sum + g.size, 0);
  if (options.json) {
    const { frozen } = base.groups;
    return JSON.stringify({ macs: whole, groups: open.length, units, least, mutations: offers, frozen }, undefined, 2);
  }
  const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;
  const width = Math.max(...offers.map((o) => o.mutation.length));
  const frozen = base.groups.frozen.slice(0, 10).map((f) => `  ${f.name} (${f.channels} channels): ${f.reason}`);
  return [
    `${(whole / 1e6).toFixed(2)} M MACs; ${open.length} of ${base.groups.groups.length} channel groups can be cut, ${units} units in all`,
    `at the narrowest ${percent(least)} of the MACs remain`,
    'what every mutation could do (sites that overlap are counted twice):',
    ...offers.map(({ mutation, sites, atMost, together, summary }) => {
      const name = mutation.padEnd(width);
      const saves =
        atMost === 0 ? 'no MACs' : `up to ${percent(atMost)} of the MACs at one, ${percent(together)} together`;
      return sites === 0
        ? `  ${name}  nowhere: ${summary}`
        : `  ${name}  ${sites} ${sites === 1 ? 'site' : 'sites'}, ${saves}: ${summary}`;
    }),
    `${evaluations} candidates would be measured; nothing was written`,
    ...(frozen.length === 0 ? [] : ['frozen:', ...frozen]),
  ].join('\n');
}

function placesOf(
  mutation: Mutation,
  context: MutationContext,
  whole: number,
): Pick<Offer, 'sites' | 'atMost' | 'together'> {
  const best = new Map<string, number>();
  for (const { site, saving } of mutation.places?.(context) ?? []) {
    best.set(site, Math.max(best.get(site) ?? 0, saving / whole));
  }
  let [atMost, together] = [0, 0];
  for (const saving of best.values()) {
    atMost = Math.max(atMost, saving);
    together += saving;
  }
  return { sites: best.size, atMost, together: Math.min(1, together) };
}
