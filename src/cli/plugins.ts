// `--plugin FILE`: opened before the command works, closed after it; what misbehaves is a warning.
import type { Options } from 'yargs';
import { PRUNE_CHANNELS } from '../../search/genome.js';
import { standardMutations } from '../../search/mutations/index.js';
import { pruneModel } from '../analysis/cut.js';
import { fitnessMethods } from '../predictor/fitness-methods.js';
import { standardOps } from '../ops/index.js';
import { openPlugins, type Plugins } from '../plugin/load.js';
import { criterionNames } from '../recovery/importance.js';

export const pluginOption = {
  type: 'string',
  array: true,
  nargs: 1,
  default: [] as string[],
  describe: 'a module (.mjs) with mutations, operators, criteria or fitnesses of your own; again for more',
} as const satisfies Options;

/** Calls `use` with what the files offer; without files nothing is started. */
export async function withPlugins<T>(
  paths: readonly string[],
  use: (plugins: Plugins) => T | Promise<T>,
  dims: ReadonlyMap<string, readonly number[]> = new Map(),
): Promise<T> {
  if (paths.length === 0) return use(NONE);
  const plugins = openPlugins(paths, {
    report: (sentence) => process.stderr.write(`pare: warning: ${sentence}\n`),
    reserved: {
      mutations: [PRUNE_CHANNELS, ...standardMutations({ prune: pruneModel }).map((m) => m.name)],
      criteria: criterionNames,
      fitness: fitnessMethods.map((m) => m.name),
    },
    dims,
  });
  try {
    return await use(plugins);
  } finally {
    plugins.close();
  }
}

const NONE: Plugins = {
  table: standardOps,
  mutations: [],
  criteria: new Map(),
  fitness: [],
  files: [],
  failures: [],
  rehearse: () => [],
  saveCasesIn: () => undefined,
  close: () => undefined,
};
