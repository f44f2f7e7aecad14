// A mutation that lives in the plug-ins' process, by the interface of the built-in ones. What it gives is looked at each time: graph,
// interface, shapes, MACs, a run in onnxruntime, and its law.
import { maskModel } from '../analysis/mask.js';
import { countCost } from '../analysis/cost.js';
import { inferShapes } from '../analysis/shapes.js';
import { PareError } from '../errors.js';
import { checkModel } from '../ir/check.js';
import type { Model } from '../ir/graph.js';
import { byteLength, hasData } from '../ir/tensor.js';
import { encodeModel } from '../onnx/write.js';
import type { Rng } from '../rng.js';
import { modelInputs, modelOutputs } from '../runtime/source.js';
import { pruneParams, type Json } from '../../search/genome.js';
import type { Mutation, MutationContext, Place } from '../../search/mutations/mutation.js';
import type { Removal } from '../../search/mutations/prune-channels.js';
import type { ContextSender } from './context.js';
import { isJson } from './json.js';
import { asModel } from './model-shape.js';
import type { PluginOutline } from './plugin.js';
import { Disabled, type CaseInput, type Part, type Sandbox } from './sandbox.js';

/** Relative to the norm of an output: rounding, not another network. */
const ROUNDING = 1e-3;
/** Larger networks are not tried out: each trial takes several copies of them. */
const MAX_TRIAL_BYTES = 2 ** 29;

export function remoteMutation(
  sandbox: Sandbox,
  contexts: ContextSender,
  part: Part,
  { name, summary, law, optional }: PluginOutline['mutations'][number],
): Mutation {
  const { sender } = sandbox;
  const { file } = part;
  let repeated = false;

  const caseOf = (call: string, context: MutationContext, data?: CaseInput['data']): CaseInput => ({
    call,
    model: context.analysis.model,
    ...(data === undefined ? {} : { data }),
  });
  /** Undefined where the part is disabled, now or before. */
  const orNothing = <T>(ask: () => T): T | undefined => {
    try {
      return ask();
    } catch (error) {
      if (error instanceof Disabled) return undefined;
      throw error;
    }
  };

  const propose = (context: MutationContext, rng: Rng): Json | undefined => {
    const seed = `${rng.path}/${rng.int(2 ** 31)}`;
    const input = caseOf('propose', context, { seed });
    return orNothing(() => {
      const given = sandbox.ask(
        part,
        () => ({ op: 'propose', mutation: name, seed, ...contexts.data(file, context) }),
        input,
      );
      const params = received(() => sender.unpack(given as never), input);
      if (params === undefined) return undefined;
      if (!isJson(params)) throw sandbox.fail(part, 'gave parameters that are no JSON', input);
      return params;
    });
  };

  /** What came back, or the part is disabled. */
  const received = <T>(look: () => T, input: CaseInput): T => {
    try {
      return look();
    } catch (error) {
      if (!(error instanceof PareError) || error instanceof Disabled) throw error;
      throw sandbox.fail(part, `gave what cannot be used: ${error.message}`, input);
    }
  };

  const apply = (params: Json, context: MutationContext): Model => {
    const input = caseOf('apply', context, { params });
    const once = (): Model => {
      const given = sandbox.ask(
        part,
        () => ({ op: 'apply', mutation: name, params: sender.pack(params), ...contexts.data(file, context) }),
        input,
      );
      return received(() => asModel(sender.unpack(given as never), (object) => sender.isKnown(object)), input);
    };
    const made = once();
    received(() => validate(params, context, made), input);
    if (!repeated) {
      // deterministic: looked at once, because it doubles the cost
      if (!Buffer.from(encodeModel(once())).equals(encodeModel(made))) {
        throw sandbox.fail(part, 'gave two different graphs for the same parameters', input);
      }
      repeated = true;
    }
    return made;
  };

  const validate = (params: Json, context: MutationContext, made: Model): void => {
    const { analysis } = context;
    const { model, table } = analysis;
    checkModel(made);
    sameInterface(model, made);
    const shapes = inferShapes(made, table, { dynamic: 1, inputs: contexts.dims });
    const { macs, uncounted } = countCost(made, table, shapes);
    if (macs > analysis.cost.macs)
      throw new PareError(`the network has ${macs} MACs, before it had ${analysis.cost.macs}`);
    const hidden = uncounted.filter((n) => !analysis.cost.uncounted.includes(n));
    if (hidden.length > 0) throw new PareError(`the MACs of "${hidden[0]}" can no longer be counted`);
    if (weightBytes(model) + weightBytes(made) > MAX_TRIAL_BYTES || !isComplete(model)) return;
    const reference = law === 'masked' ? maskedReference(params, context) : model;
    sandbox.tryOut({
      before: encodeModel(reference),
      after: encodeModel(made),
      tolerance: law === 'approximate' ? undefined : ROUNDING,
      dims: contexts.dims,
    });
  };

  const places = (context: MutationContext): readonly Place[] => {
    const input = caseOf('places', context);
    return (
      orNothing(() => {
        const given = sandbox.ask(
          part,
          () => ({ op: 'places', mutation: name, seed: '', ...contexts.data(file, context) }),
          input,
        );
        return received(() => readPlaces(sender.unpack(given as never)), input);
      }) ?? []
    );
  };
  const join = (params: readonly Json[]): Json => {
    const input: CaseInput = { call: 'join', data: { params } };
    const given = sandbox.ask(part, () => ({ op: 'join', mutation: name, params: sender.pack(params) }), input);
    const joined = received(() => sender.unpack(given as never), input);
    if (!isJson(joined)) throw sandbox.fail(part, 'gave parameters that are no JSON', input);
    return joined;
  };
  const removal: Mutation['removal'] = (group, context) => {
    const input = caseOf('removal', context, { group: group.id });
    return orNothing(() => {
      const given = sandbox.ask(
        part,
        () => ({ op: 'removal', mutation: name, group: group.id, ...contexts.data(file, context) }),
        input,
      );
      return given === undefined ? undefined : received(() => readRemoval(given, group.size), input);
    });
  };

  return {
    name,
    summary,
    law,
    propose,
    apply,
    ...(optional.includes('places') ? { places } : {}),
    ...(optional.includes('join') ? { join } : {}),
    ...(optional.includes('removal') ? { removal } : {}),
  };
}

/** A masked law can be tested where the parameters say what dies, as those of prune-channels do. */
function maskedReference(params: Json, { analysis }: MutationContext): Model {
  const { group, dead } = pruneParams(params);
  return maskModel(analysis, new Map([[group, dead]]));
}

function sameInterface(before: Model, after: Model): void {
  for (const [kind, a, b] of [
    ['inputs', modelInputs(before), modelInputs(after)],
    ['outputs', modelOutputs(before), modelOutputs(after)],
  ] as const) {
    if (JSON.stringify(a) !== JSON.stringify(b)) throw new PareError(`the network's ${kind} are no longer the same`);
  }
}

/** Placeholders can be analysed, but not run. */
function isComplete(model: Model): boolean {
  return [...model.graph.initializers.values()].every(hasData);
}

function weightBytes(model: Model): number {
  let total = 0;
  for (const t of model.graph.initializers.values()) total += byteLength(t.dataType, t.dims);
  return total;
}

function readPlaces(value: unknown): readonly Place[] {
  if (!Array.isArray(value)) throw new PareError('places must be an array');
  return (value as readonly unknown[]).map((p): Place => {
    // the cast: each field is looked at below
    const { params, site, saving, error } = (typeof p === 'object' && p !== null ? p : {}) as Record<string, unknown>;
    if (!isJson(params) || typeof site !== 'string' || typeof saving !== 'number' || !Number.isFinite(saving)) {
      throw new PareError('a place must have params (JSON), a site and a saving');
    }
    if (error === undefined) return { params, site, saving };
    if (typeof error !== 'number' || !(error >= 0)) throw new PareError(`place "${site}": its error must be a number`);
    return { params, site, saving, error: () => error };
  });
}

function readRemoval(value: unknown, size: number): Removal {
  // the cast: both fields are looked at below
  const { order, losses } = value as Record<string, unknown>;
  const units = Array.isArray(order) ? new Set(order as readonly unknown[]) : new Set();
  const whole =
    units.size === size && [...units].every((u) => typeof u === 'number' && u >= 0 && u < size && Number.isInteger(u));
  if (!whole || !(losses instanceof Float64Array) || losses.length < size || losses.some((x) => Number.isNaN(x))) {
    throw new PareError(`a removal must give an order of all ${size} units and the losses`);
  }
  // the cast: just seen to be the units
  return { order: order as readonly number[], losses };
}
