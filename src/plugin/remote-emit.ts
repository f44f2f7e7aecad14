// Gradient and expansion rules of a plug-in's operator: what they emitted in their process is emitted here.
import { PareError } from '../errors.js';
import type { EmitAttribute, ExpandContext, ExpandRule, GradientRule } from '../ops/op.js';
import type { EmitInput, EmitReply, EmitStep } from './protocol.js';
import { caseOf, packed, ruleInput, type RemoteOperator } from './remote-rule.js';
import { Disabled } from './sandbox.js';

export function remoteExpand(remote: RemoteOperator): ExpandRule {
  return (ctx) => emitted(remote, 'expand', ctx, inputOf(ctx), () => '');
}

export function remoteGradient(remote: RemoteOperator): GradientRule {
  return (ctx) => {
    const each = ctx.node.outputs.map((_, i) => i);
    const inputs = ctx.node.inputs.map((_, i) => i);
    const input = {
      ...inputOf(ctx),
      gradients: each.map((i) => ctx.gradient(i)),
      needed: inputs.map((i) => ctx.needed(i)),
    };
    return emitted(remote, 'gradient', ctx, input, (i) => ctx.output(i));
  };
}

function inputOf(ctx: ExpandContext): EmitInput {
  const outputShapes = ctx.node.outputs.map((_, i) => ctx.outputShape(i));
  return { ...ruleInput(ctx), outputShapes, gradients: [], needed: [] };
}

function emitted(
  { sandbox, part, key }: RemoteOperator,
  rule: 'gradient' | 'expand',
  ctx: ExpandContext,
  input: EmitInput,
  output: (i: number) => string,
): readonly (string | undefined)[] {
  const about = caseOf(rule, ctx.node, input);
  try {
    // the cast: serve.ts answers so; what the steps hold is looked at where they are done
    const reply = sandbox.ask(
      part,
      () => ({ op: 'emit', operator: key, rule, input: packed(sandbox, ctx.node, input) }),
      about,
    ) as EmitReply;
    const names: string[] = [];
    const nameOf = (text: string): string => {
      const [, number] = /^#(\d+)$/.exec(text) ?? [];
      if (number === undefined) return text;
      const name = names[Number(number)];
      if (name === undefined) throw new PareError(`${rule} rule: there is no value ${text}`);
      return name;
    };
    for (const step of reply.steps) names.push(...done(ctx, step, nameOf, output));
    return reply.results.map((r) => (r === undefined ? undefined : nameOf(r)));
  } catch (error) {
    if (error instanceof Disabled) return [];
    throw error;
  }
}

function done(
  ctx: ExpandContext,
  step: EmitStep,
  nameOf: (text: string) => string,
  output: (i: number) => string,
): readonly string[] {
  if ('emit' in step) {
    // the cast: the emitter looks at each
    const attributes = step.attributes as Readonly<Record<string, EmitAttribute>> | undefined;
    return ctx.emitAll(step.emit, step.inputs.map(nameOf), step.outputs, attributes);
  }
  if ('float' in step) return [ctx.float(step.float, step.dims)];
  return 'ints' in step ? [ctx.ints(step.ints, step.dims)] : [output(step.output)];
}
