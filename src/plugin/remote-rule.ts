// What the remote rules of one operator share: what they send, how a question is written down for a case, and the answers that are
// kept by what was asked (shape inference asks hundreds of times a second).
import { PareError } from '../errors.js';
import type { Attribute, Node } from '../ir/graph.js';
import type { ShapeContext } from '../ops/op.js';
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
export function keeper(sandbox: Sandbox, part: Part): RemoteOperator['answer'] {
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
