// An operator whose rules live in the plug-ins' process. Answers are kept by what was asked: shape inference asks hundreds of times a
// second. A rule that misbehaves leaves the operator as if it were unknown: declared shapes, nothing counted, channels frozen.
import type { ValueType } from '../ir/graph.js';
import type { CostContext, OpDef, PartialValue, ShapeContext } from '../ops/op.js';
import type { PluginOutline } from './plugin.js';
import type { OperatorKey, RuleInput } from './protocol.js';
import { remoteChannels } from './remote-channels.js';
import { remoteExpand, remoteGradient } from './remote-emit.js';
import { caseOf, keeper, packed, ruleInput, type RemoteOperator } from './remote-rule.js';
import type { Part, Sandbox } from './sandbox.js';

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
