// Answers calls in the plug-ins' process: finds the function that is meant, gives it its context, packs what it returns.
import { PareError } from '../errors.js';
import { analyse, type Analysis } from '../analysis/analyse.js';
import type { Graph, Model, Node } from '../ir/graph.js';
import type { ChannelGroup } from '../analysis/groups.js';
import { standardOps } from '../ops/index.js';
import type { OpDef, OpTable } from '../ops/op.js';
import type { Predictor, PredictorInput, Sample } from '../predictor/predictor.js';
import type { Knowledge } from '../recovery/knowledge.js';
import { createRng } from '../rng.js';
import type { Json } from '../../search/genome.js';
import type { Mutation, MutationContext } from '../../search/mutations/mutation.js';
import { recordChannels, recountAt } from './channel-record.js';
import { recordEmits } from './emit-record.js';
import type { Packed } from './pack.js';
import { outlineOf, type Plugin, type PluginOperator } from './plugin.js';
import type { Call, ChildReply, ContextData, OperatorKey, PackedInput } from './protocol.js';
import { evaluateRule } from './rule-record.js';
import { createReceiver } from './unpack.js';

/** Analyses kept. */
const KEPT = 8;

export function callServer(): (call: Call) => Promise<Omit<ChildReply, 'id'>> {
  const receiver = createReceiver();
  const files = new Map<number, Plugin>();
  const analyses = new Map<Model, { readonly key: string; readonly analysis: Analysis }>();

  const predictors = new Map<string, { readonly lesson: number; readonly predictor: Predictor }>();

  const tableWithout = (without: readonly OperatorKey[]): OpTable =>
    standardOps.with(
      [...files].flatMap(([file, plugin]) =>
        (plugin.operators ?? [])
          .filter((_, index) => !without.some((w) => w.file === file && w.index === index))
          .map(asOperator),
      ),
    );

  const analysisOf = (data: ContextData): Analysis => {
    // the cast: the other side sends a Model
    const model = receiver.unpack(data.model) as Model;
    const key = JSON.stringify([[...data.dims], data.without]);
    const known = analyses.get(model);
    if (known?.key === key) return known.analysis;
    const analysis = analyse(model, tableWithout(data.without), { binding: { dynamic: 1, inputs: data.dims } });
    analyses.delete(model);
    analyses.set(model, { key, analysis });
    if (analyses.size > KEPT) analyses.delete(analyses.keys().next().value!);
    return analysis;
  };

  const contextOf = (data: ContextData): MutationContext => {
    const ignored = new Set(data.ignored);
    const knowledge = data.lessons === undefined ? undefined : knowledgeOf(data.lessons);
    return {
      analysis: analysisOf(data),
      ignore: (name) => ignored.has(name),
      roundTo: data.roundTo,
      maxRatio: data.maxRatio,
      ...(knowledge === undefined ? {} : { knowledge }),
    };
  };

  const mutationOf = (data: { readonly file?: number; readonly mutation: string }): Mutation => {
    for (const plugin of files.values()) {
      const found = plugin.mutations?.find((m) => m.name === data.mutation);
      if (found !== undefined) return found;
    }
    throw new Error(`there is no mutation "${data.mutation}" here`);
  };
  const operatorOf = ({ file, index }: OperatorKey): PluginOperator => {
    const found = files.get(file)?.operators?.[index];
    if (found === undefined) throw new Error(`there is no operator ${index} of file ${file} here`);
    return found;
  };
  const params = (packed: Packed): Json => receiver.unpack(packed) as Json; // the cast: the other side sends JSON

  const inputOf = ({ signals, graph }: PackedInput): PredictorInput => ({
    signals,
    get graph() {
      if (graph === undefined) throw new Error('a fitness that reads the graph must say needsGraph: true');
      return receiver.unpack(graph) as Graph; // the cast: a graph was sent
    },
  });
  const predict = async (call: Call & { readonly op: 'predict' }): Promise<unknown> => {
    const key = `${call.file}:${call.fitness}`;
    let known = predictors.get(key);
    if (known?.lesson !== call.lesson) {
      const method = files.get(call.file)?.fitness?.find((f) => f.name === call.fitness);
      if (method === undefined) throw new Error(`there is no fitness "${call.fitness}" here`);
      const predictor = known?.predictor ?? (await method.create({ rng: createRng(call.seed) }));
      await predictor.fit(
        call.samples.map(
          (s) => Object.defineProperty(inputOf(s), 'score', { value: s.score, enumerable: true }) as Sample,
        ),
      );
      predictors.set(key, (known = { lesson: call.lesson, predictor }));
    }
    if (call.candidates.length === 0) return [];
    const given = await known.predictor.predict(call.candidates.map(inputOf));
    return Array.from(given, ({ mean, deviation }) => ({ mean, deviation }));
  };

  const run = async (call: Call): Promise<unknown> => {
    switch (call.op) {
      case 'load': {
        // foreign code
        const exports: unknown = { ...(await imported(call.url)) };
        const outline = outlineOf(exports, standardOps);
        // the cast: outlineOf has looked at every part
        if (typeof outline !== 'string') files.set(call.file, exports as Plugin);
        return outline;
      }
      case 'propose':
        return receiver.pack(mutationOf(call).propose(contextOf(call), createRng(call.seed)));
      case 'places': {
        const places = mutationOf(call).places?.(contextOf(call)) ?? [];
        return receiver.pack(places.map((p) => ({ ...p, ...(p.error === undefined ? {} : { error: p.error() }) })));
      }
      case 'join':
        // the cast: a list of JSON was sent
        return receiver.pack(mutationOf(call).join?.(receiver.unpack(call.params) as readonly Json[]));
      case 'removal': {
        const context = contextOf(call);
        const group = groupOf(context.analysis, call.group);
        const removal = mutationOf(call).removal?.(group, context);
        return removal === undefined
          ? undefined
          : { order: [...removal.order], losses: Float64Array.from(removal.losses) };
      }
      case 'apply':
        return receiver.pack(mutationOf(call).apply(params(call.params), contextOf(call)));
      case 'importance': {
        const criterion = files.get(call.file)?.criteria?.[call.criterion];
        if (criterion === undefined) throw new Error(`there is no criterion "${call.criterion}" here`);
        const { analysis, knowledge } = contextOf(call);
        const given = criterion({
          analysis,
          group: groupOf(analysis, call.group),
          rng: createRng(call.seed),
          ...(knowledge === undefined ? {} : { knowledge }),
        });
        return given === undefined ? undefined : Float64Array.from(given);
      }
      case 'rule':
        return evaluateRule(operatorOf(call.operator), call.rule, call.input, receiver);
      case 'channels': {
        const node = receiver.unpack(call.input.node) as Node; // the cast: a node was sent
        return recordChannels(operatorOf(call.operator).channels!, node, call.input).steps;
      }
      case 'recount': {
        const node = receiver.unpack(call.input.node) as Node; // the cast: a node was sent
        return recountAt(operatorOf(call.operator).channels!, node, call, (v) => receiver.pack(v));
      }
      case 'predict':
        return predict(call);
      case 'emit':
        return recordEmits(operatorOf(call.operator), call.rule, call.input, receiver);
    }
  };

  return async (call) => {
    try {
      const value = await run(call);
      receiver.checkUntouched();
      return { value };
    } catch (error) {
      return { error: errorOf(error) };
    }
  };
}

/** A file that cannot be a module is the user's mistake; one that throws when it is run misbehaves. */
async function imported(url: string): Promise<object> {
  try {
    // the cast: foreign code, looked at next
    return (await import(url)) as object;
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND';
    if (error instanceof SyntaxError || missing) throw new PareError(error.message, { cause: error });
    throw error;
  }
}

/** One line of what was thrown; a PareError is a sentence, whichever copy of the class it is of. */
function errorOf(error: unknown): { message: string; sentence: boolean } {
  try {
    const known = error instanceof Error ? error : undefined;
    const text = String(known?.message ?? error).replace(/\s+/g, ' ');
    return { message: text.slice(0, 500), sentence: known?.name === 'PareError' };
  } catch {
    return { message: 'something that cannot be shown', sentence: false };
  }
}

/** An operator without a shape rule takes what the file declares. */
function asOperator(operator: PluginOperator): OpDef {
  return { ...operator, shape: operator.shape ?? (() => []), category: operator.category ?? 'other' };
}

function groupOf(analysis: Analysis, id: string): ChannelGroup {
  const group = analysis.groups.groups.find((g) => g.id === id);
  if (group === undefined) throw new Error(`there is no group "${id}" here`);
  return group;
}

/** What of calibration was sent along. */
function knowledgeOf(lessons: NonNullable<ContextData['lessons']>): Knowledge {
  return {
    removal: (id) => lessons.get(id)?.removal,
    activation: (id) => lessons.get(id)?.activation,
    quickRefit: (pruned) => pruned,
    gram: () => undefined,
    importance: () => 1,
  };
}
