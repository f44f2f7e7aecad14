// What mutations and criteria look at, on its way to the plug-ins' process: the graph, the rules of the run, what calibration taught.
import type { Analysis } from '../analysis/analyse.js';
import type { Knowledge } from '../recovery/knowledge.js';
import type { MutationContext } from '../../search/mutations/mutation.js';
import type { ContextData, Lesson } from './protocol.js';
import type { PluginFile, Sandbox } from './sandbox.js';

export interface ContextSender {
  /** Dims of inputs that were given. */
  readonly dims: ReadonlyMap<string, readonly number[]>;
  data(file: PluginFile, context: MutationContext): ContextData;
}

export function contextSender(sandbox: Sandbox, dims: ReadonlyMap<string, readonly number[]>): ContextSender {
  const ignored = new WeakMap<Analysis, readonly string[]>();
  const lessons = new WeakMap<Analysis, ReadonlyMap<string, Lesson>>();

  return {
    dims,
    data(file, { analysis, ignore, roundTo, maxRatio, knowledge }) {
      let names = ignored.get(analysis);
      if (names === undefined) ignored.set(analysis, (names = ignoredNames(analysis, ignore)));
      let taught = lessons.get(analysis);
      if (taught === undefined && knowledge !== undefined) {
        lessons.set(analysis, (taught = lessonsOf(analysis, knowledge)));
      }
      return {
        file: file.index,
        model: sandbox.sender.pack(analysis.model),
        dims,
        ignored: names,
        roundTo,
        maxRatio,
        without: sandbox.without,
        ...(taught === undefined ? {} : { lessons: taught }),
      };
    },
  };
}

function ignoredNames({ model, groups }: Analysis, ignore: (name: string) => boolean): string[] {
  const names = new Set(groups.groups.map((g) => g.id));
  for (const name of model.graph.initializers.keys()) names.add(name);
  for (const node of model.graph.nodes) {
    names.add(node.name);
    for (const name of [...node.inputs, ...node.outputs]) names.add(name);
  }
  return [...names].filter((name) => name !== '' && ignore(name));
}

function lessonsOf({ groups }: Analysis, knowledge: Knowledge): ReadonlyMap<string, Lesson> {
  return new Map(
    groups.groups.map(({ id }) => {
      const removal = knowledge.removal(id);
      const activation = knowledge.activation(id);
      return [
        id,
        {
          ...(removal === undefined ? {} : { removal: { order: [...removal.order], errors: [...removal.errors] } }),
          ...(activation === undefined ? {} : { activation }),
        },
      ];
    }),
  );
}
