// x times a gate of x, as exporters write Swish, HardSwish and GeLU in smaller operators.
import type { Node } from '../ir/graph.js';

/** Class of the product `node` (a Mul) when one operand is a gate of the other, with the value that is gated. */
export function gatedBy(
  node: Node,
  producer: (value: string) => Node | undefined,
  isConstant: (value: string) => boolean,
): { readonly name: 'Swish' | 'GeLU' | 'other'; readonly value: string } | undefined {
  const [a = '', b = ''] = node.inputs;
  return gate(a, b, producer, isConstant) ?? gate(b, a, producer, isConstant);
}

/** Most nodes of a gate: GeLU by tanh has nine. */
const LIMIT = 12;

function gate(
  operand: string,
  gating: string,
  producer: (value: string) => Node | undefined,
  isConstant: (value: string) => boolean,
): { readonly name: 'Swish' | 'GeLU' | 'other'; readonly value: string } | undefined {
  const root = unscaled(operand, producer, isConstant);
  const seen = new Set<string>();
  const kinds = new Set<string>();
  const open = [gating];
  let reached = false;
  while (open.length > 0) {
    const value = open.pop()!;
    if (value === root) {
      reached = true;
      continue;
    }
    if (seen.has(value) || isConstant(value)) continue;
    seen.add(value);
    const made = producer(value);
    if (made === undefined || seen.size > LIMIT || !INNER.has(made.opType)) return undefined;
    kinds.add(made.opType);
    for (const input of made.inputs) if (input !== '') open.push(input);
  }
  if (!reached) return undefined;
  if (kinds.has('Softplus')) return { name: 'other', value: root }; // Mish: as the operator of that name
  if (kinds.has('Sigmoid') || kinds.has('HardSigmoid')) return { name: 'Swish', value: root };
  // x tanh(x) and x clip(x) are no gates: those begin above zero, by a sum
  if (!kinds.has('Add')) return undefined;
  if (kinds.has('Erf') || kinds.has('Tanh')) return { name: 'GeLU', value: root };
  return kinds.has('Clip') ? { name: 'Swish', value: root } : undefined;
}

/** Back over products and quotients with a constant. */
function unscaled(
  value: string,
  producer: (value: string) => Node | undefined,
  isConstant: (value: string) => boolean,
): string {
  for (;;) {
    const made = producer(value);
    if (made === undefined || (made.opType !== 'Mul' && made.opType !== 'Div')) return value;
    const data = made.inputs.filter((input) => !isConstant(input));
    if (data.length !== 1) return value;
    value = data[0]!;
  }
}

const INNER: ReadonlySet<string> = new Set(
  'Erf Tanh Sigmoid HardSigmoid Softplus Clip Add Sub Mul Div Pow Cast Identity'.split(' '),
);
