// An operator whose rules live in the plug-ins' process. Answers are kept by what was asked: shape inference asks hundreds of times a
// second. A rule that misbehaves leaves the operator as if it were unknown: declared shapes, nothing counted, channels frozen.
import { PareError } from '../errors.js';
import type { Attribute, Node, ValueType } from '../ir/graph.js';
import type { CostContext, OpDef, PartialValue, ShapeContext } from '../ops/op.js';
import { remoteChannels } from './remote-channels.js';
import { remoteExpand, remoteGradient } from './remote-emit.js';
import type { PluginOutline } from './plugin.js';
import type { OperatorKey, RuleInput } from './protocol.js';
import { Disabled, type CaseInput, type Part, type Sandbox } from './sandbox.js';

/** Answers kept by operator. */
const KEPT = 5_000;

/** What the rules of one remote operator share. */
export interface RemoteOperator {
  readonly sandbox: Sandbox;
  readonly part: Part;
  readonly key: OperatorKey;
  /** The answer for this input, kept; undefined where the operator is disabled. */
  answer<T>(rule: string, node: Node, input: object, ask: () => T): T | undefined;
}

export function remoteOperator(
  sandbox: Sandbox,
  part: Part,
  key: OperatorKey,
  outline: PluginOutline['operators'][number],
): OpDef {
  const { opType, domain, since, category, rules } = outline;
  const remote: RemoteOperator = { sandbox, part, key, answer: keeper(sandbox, part) };
  const has = (rule: (typeof rules)[number]): boolean => rules.includes(rule);

  const ask = (rule: 'shape' | 'value' | 'macs', ctx: ShapeContext, input: RuleInput): unknown => {
    const about = caseOf(rule, ctx.node, input);
    return sandbox.ask(
      part,
      () => ({ op: 'rule', operator: key, rule, input: packed(sandbox, ctx.node, input) }),
      about,
    );
  };
  const shape = (ctx: ShapeContext): readonly (ValueType | undefined)[] => {
    const input = ruleInput(ctx);
    return (
      remote.answer('shape', ctx.node, input, () => {
        const given = ask('shape', ctx, input);
        if (!isTypes(given)) throw sandbox.fail(part, 'gave no list of types', caseOf('shape', ctx.node, input));
        return given;
      }) ?? []
    );
  };
  const value = (
    ctx: ShapeContext,
    outputs: readonly (ValueType | undefined)[],
  ): readonly (PartialValue | undefined)[] => {
    const input = { ...ruleInput(ctx), outputs };
    return (
      remote.answer('value', ctx.node, input, () => {
        const given = ask('value', ctx, input);
        if (!isValues(given)) throw sandbox.fail(part, 'gave no list of values', caseOf('value', ctx.node, input));
        return given;
      }) ?? []
    );
  };
  const macs = (ctx: CostContext): number | undefined => {
    const input = { ...ruleInput(ctx), outputShapes: ctx.node.outputs.map((_, i) => ctx.outputShape(i)) };
    return remote.answer('macs', ctx.node, input, () => {
      const given = ask('macs', ctx, input);
      if (given === undefined) return undefined;
      if (typeof given === 'number' && Number.isFinite(given) && given >= 0) return given;
      throw sandbox.fail(part, 'gave no count of MACs', caseOf('macs', ctx.node, input));
    });
  };

  return {
    opType,
    domain,
    since,
    category,
    shape: has('shape') ? shape : () => [],
    ...(has('value') ? { value } : {}),
    ...(has('macs') ? { macs } : {}),
    ...(has('channels') ? { channels: remoteChannels(remote) } : {}),
    ...(has('expand') ? { expand: remoteExpand(remote) } : {}),
    ...(has('gradient') ? { gradient: remoteGradient(remote) } : {}),
  };
}

export function caseOf(rule: string, node: Node, input: object): CaseInput {
  const { constants: _large, node: _own, ...rest } = input as RuleInput; // the cast: whatever else it has, these are left out
  return {
    call: `${rule} rule`,
    data: {
      node: {
        name: node.name,
        opType: node.opType,
        domain: node.domain,
        inputs: node.inputs,
        outputs: node.outputs,
        attributes: attributeText(node),
      },
      ...rest,
    },
  };
}

export function ruleInput(ctx: ShapeContext): RuleInput {
  const each = Array.from({ length: ctx.arity }, (_, i) => i);
  return {
    node: undefined,
    opset: ctx.opset,
    types: each.map((i) => ctx.type(i)),
    values: each.map((i) => ctx.value(i)),
    // the casts: packed where it is sent
    constants: each.map((i) => ctx.constant(i)) as unknown as RuleInput['constants'],
  };
}

/** Node and constants as references: made anew for each process. */
export function packed<T extends RuleInput>(sandbox: Sandbox, node: Node, input: T): T {
  return {
    ...input,
    node: sandbox.sender.pack(node),
    constants: input.constants.map((c) => sandbox.sender.pack(c)),
  };
}

/** Answers by what was asked. A sentence of the rule itself (a contradiction) is kept too. */
function keeper(sandbox: Sandbox, part: Part): RemoteOperator['answer'] {
  const known = new Map<string, { readonly value: unknown } | { readonly sentence: string }>();
  const numbers = new WeakMap<object, number>();
  let next = 1;
  const numberOf = (object: object): number => {
    const found = numbers.get(object) ?? next++;
    numbers.set(object, found);
    return found;
  };
  const texts = new WeakMap<Node, string>();
  const textOf = (node: Node): string => {
    let text = texts.get(node);
    if (text === undefined) {
      const { name, inputs, outputs } = node;
      const objects = [...node.attributes.values()].filter((a) => typeof a.value === 'object' && !isPlain(a));
      texts.set(node, (text = JSON.stringify([name, inputs, outputs, attributeText(node), objects.map(numberOf)])));
    }
    return text;
  };

  return <T>(rule: string, node: Node, input: object, ask: () => T): T | undefined => {
    if (sandbox.isDisabled(part)) return undefined;
    const { constants = [], ...rest } = input as Partial<RuleInput>; // the cast: inputs without constants have none
    const weights = constants.map((c) => (typeof c === 'object' && c !== null ? numberOf(c) : 0));
    const key = `${rule}\n${textOf(node)}\n${JSON.stringify([rest, weights], listed)}`;
    const found = known.get(key);
    if (found !== undefined) {
      if ('sentence' in found) throw new PareError(found.sentence);
      return found.value as T; // the cast: what `ask` gave for the same question
    }
    if (known.size > KEPT) known.delete(known.keys().next().value!);
    try {
      const value = ask();
      known.set(key, { value });
      return value;
    } catch (error) {
      if (error instanceof Disabled) return undefined;
      if (error instanceof PareError) known.set(key, { sentence: error.message });
      throw error;
    }
  };
}

function listed(_key: string, value: unknown): unknown {
  return ArrayBuffer.isView(value) ? Array.from(value as Int32Array) : value; // the cast: typed arrays of numbers only
}

function isPlain(a: Attribute): boolean {
  return a.kind === 'floats' || a.kind === 'ints' || a.kind === 'strings';
}

function attributeText(node: Node): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    [...node.attributes.values()].map((a) => [a.name, typeof a.value === 'object' && !isPlain(a) ? a.kind : a.value]),
  );
}

function isTypes(given: unknown): given is readonly (ValueType | undefined)[] {
  return Array.isArray(given) && given.length < 1000 && given.every((t) => t === undefined || isType(t, 0));
}

function isType(given: unknown, depth: number): boolean {
  if (typeof given !== 'object' || given === null || depth > 8) return false;
  // the cast: each field is looked at below
  const { kind, elemType, shape, elem, keyType, value } = given as Record<string, unknown>;
  const inner = (t: unknown): boolean => t === undefined || isType(t, depth + 1);
  if (kind === 'tensor' || kind === 'sparse') {
    return Number.isSafeInteger(elemType) && (shape === undefined || (Array.isArray(shape) && shape.every(isDim)));
  }
  if (kind === 'sequence' || kind === 'optional') return inner(elem);
  return kind === 'map' ? Number.isSafeInteger(keyType) && inner(value) : kind === 'opaque';
}

function isDim(d: unknown): boolean {
  return d === undefined || typeof d === 'string' || (Number.isSafeInteger(d) && Number(d) >= 0);
}

function isValues(given: unknown): given is readonly (PartialValue | undefined)[] {
  return Array.isArray(given) && given.every((v) => v === undefined || isValue(v));
}

function isValue(given: unknown): boolean {
  if (typeof given !== 'object' || given === null) return false;
  // the cast: each field is looked at below
  const { dims, elems } = given as Record<string, unknown>;
  if (!Array.isArray(dims) || !Array.isArray(elems) || elems.length > 65_536) return false;
  const count = dims.reduce(
    (n: number, d: unknown) => n * (Number.isSafeInteger(d) && Number(d) >= 0 ? Number(d) : NaN),
    1,
  );
  return count === elems.length && elems.every((e) => e === undefined || typeof e === 'number');
}
