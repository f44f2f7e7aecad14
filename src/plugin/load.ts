// Plug-in files, opened: their mutations, operators and criteria by the interfaces of the built-in ones, each call of them in a process
// of its own. What misbehaves is disabled and reported; the rest goes on.
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Analysis } from '../analysis/analyse.js';
import { PareError } from '../errors.js';
import { standardOps } from '../ops/index.js';
import type { OpDef, OpTable } from '../ops/op.js';
import type { FitnessMethod } from '../predictor/fitness-methods.js';
import type { Importance } from '../recovery/importance.js';
import { createRng } from '../rng.js';
import type { Mutation, MutationContext } from '../../search/mutations/mutation.js';
import { contextSender, type ContextSender } from './context.js';
import type { PluginOutline } from './plugin.js';
import { proveOperators, type OperatorPart } from './prove.js';
import { remoteFitness } from './remote-fitness.js';
import { remoteMutation } from './remote-mutation.js';
import { remoteOperator } from './remote-operator.js';
import {
  Disabled,
  openSandbox,
  type Failure,
  type Part,
  type PluginFile,
  type Sandbox,
  type SandboxOptions,
} from './sandbox.js';

export interface PluginOptions extends SandboxOptions {
  /** Names that are taken. */
  readonly reserved?: {
    readonly mutations?: readonly string[];
    readonly criteria?: readonly string[];
    readonly fitness?: readonly string[];
  };
  /** Dims of inputs that the network leaves open, as the analyses have them. */
  readonly dims?: ReadonlyMap<string, readonly number[]>;
}

export interface Plugins {
  /** The built-in operators and those of the plug-ins. */
  readonly table: OpTable;
  readonly mutations: readonly Mutation[];
  readonly criteria: ReadonlyMap<string, Importance>;
  readonly fitness: readonly FitnessMethod[];
  /** For a run's settings: another file is another run. */
  readonly files: readonly { readonly file: string; readonly sha256: string }[];
  readonly failures: readonly Failure[];
  /**
   * Tries everything on this network before it is relied on: operators' shapes and channel rules in onnxruntime, each mutation once or
   * twice. Gives the sentences on what could not be tried.
   */
  rehearse(analyse: (table: OpTable) => Analysis): readonly string[];
  /** Cases of what fails from now on, and of what has failed, are saved in `plugin-cases` of this folder. */
  saveCasesIn(folder: string): void;
  close(): void;
}

/** Throws PareError where a file is absent or is no plug-in; one that misbehaves while it is loaded is disabled. */
export function openPlugins(paths: readonly string[], options: PluginOptions): Plugins {
  const files = paths.map(fileOf);
  const sandbox = openSandbox(options);
  try {
    return assemble(sandbox, files, options);
  } catch (error) {
    sandbox.close();
    throw error;
  }
}

function assemble(sandbox: Sandbox, files: readonly PluginFile[], options: PluginOptions): Plugins {
  const contexts = contextSender(sandbox, options.dims ?? new Map());
  const mutations: Mutation[] = [];
  const operators: OperatorPart[] = [];
  const criteria = new Map<string, Importance>();
  const fitness: FitnessMethod[] = [];
  const taken = {
    mutation: new Map((options.reserved?.mutations ?? []).map((n) => [n, 'built in'])),
    fitness: new Map((options.reserved?.fitness ?? []).map((n) => [n, 'built in'])),
    criterion: new Map((options.reserved?.criteria ?? []).map((n) => [n, 'built in'])),
    operator: new Map<string, string>(),
  };
  const claim = (kind: keyof typeof taken, name: string, file: PluginFile): void => {
    const owner = taken[kind].get(name);
    if (owner !== undefined) {
      throw new PareError(`plug-in ${file.path}: its ${kind} "${name}" is ${owner}: give it another name`);
    }
    taken[kind].set(name, `also one of ${file.path}`);
  };
  for (const file of files) {
    const given = sandbox.load(file);
    if (given === undefined) continue;
    if (typeof given === 'string') throw new PareError(`plug-in ${file.path}: ${given}`);
    const outline = given as PluginOutline; // the cast: serve.ts answers `load` with an outline or a clause
    for (const m of outline.mutations) {
      claim('mutation', m.name, file);
      mutations.push(remoteMutation(sandbox, contexts, { name: `mutation "${m.name}"`, file }, m));
    }
    outline.operators.forEach((o, index) => {
      const label = `${o.domain === '' ? 'ai.onnx' : o.domain}:${o.opType}`;
      claim('operator', `${label} since ${o.since}`, file);
      const key = { file: file.index, index };
      const part = { name: `operator "${label}"`, file, operator: key };
      operators.push({ part, def: remoteOperator(sandbox, part, key, o) });
    });
    for (const f of outline.fitness) {
      claim('fitness', f.name, file);
      fitness.push(remoteFitness(sandbox, { name: `fitness "${f.name}"`, file }, f));
    }
    for (const name of outline.criteria) {
      claim('criterion', name, file);
      criteria.set(name, remoteCriterion(sandbox, contexts, { name: `criterion "${name}"`, file }, name));
    }
  }
  const defs: readonly OpDef[] = operators.map((o) => o.def);
  const table = standardOps.with(defs);
  return {
    table,
    mutations,
    criteria,
    fitness,
    files: files.map(({ path, sha256 }) => ({ file: path, sha256 })),
    failures: sandbox.failures,
    rehearse(analyse) {
      const notes = proveOperators(sandbox, operators, analyse, contexts.dims);
      for (const m of mutations) tryMutation(m, analyse(table));
      return notes;
    },
    saveCasesIn: (folder) => sandbox.saveCasesIn(folder),
    close: () => sandbox.close(),
  };
}

/** Proposes and applies; what is wrong is found and reported there. */
function tryMutation(mutation: Mutation, analysis: Analysis): void {
  const context: MutationContext = { analysis, ignore: () => false, roundTo: 1, maxRatio: 1 };
  for (const seed of ['a', 'b']) {
    try {
      const params = mutation.propose(context, createRng(`rehearsal/${seed}`));
      if (params !== undefined) mutation.apply(params, context);
    } catch (error) {
      // a disabled one has been reported, and one that does not fit here may fit elsewhere
      if (!(error instanceof PareError)) throw error;
    }
  }
}

function remoteCriterion(sandbox: Sandbox, contexts: ContextSender, part: Part, name: string): Importance {
  return ({ analysis, group, knowledge, rng }) => {
    const context: MutationContext = {
      analysis,
      ignore: () => false,
      roundTo: 1,
      maxRatio: 1,
      ...(knowledge === undefined ? {} : { knowledge }),
    };
    const seed = `${rng.path}/${group.id}`;
    const input = { call: 'importance', model: analysis.model, data: { group: group.id, seed } };
    try {
      const given = sandbox.ask(
        part,
        () => ({ op: 'importance', criterion: name, group: group.id, seed, ...contexts.data(part.file, context) }),
        input,
      );
      if (given === undefined) return undefined;
      if (!(given instanceof Float64Array) || given.length !== group.size || given.some((x) => Number.isNaN(x))) {
        throw sandbox.fail(part, `did not give ${group.size} numbers`, input);
      }
      return given;
    } catch (error) {
      if (error instanceof Disabled) return undefined;
      throw error;
    }
  };
}

function fileOf(path: string, index: number): PluginFile {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) throw new PareError(`plug-in ${path}: there is no such file`);
  if (!stats.isFile()) throw new PareError(`plug-in ${path} is no file: give a module such as my-op.mjs`);
  if (!/\.m?js$/i.test(path)) throw new PareError(`plug-in ${path} must be a JavaScript module: name it .mjs`);
  const sha256 = createHash('sha256').update(readFileSync(path)).digest('hex');
  return { path, url: pathToFileURL(resolve(path)).href, index, sha256 };
}
