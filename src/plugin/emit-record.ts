// Gradient and expansion rules in the plug-ins' process: what they emit is written down, to be emitted where the network is.
import { PareError } from '../errors.js';
import type { EmitAttribute, ExpandContext, GradientContext } from '../ops/op.js';
import type { PluginOperator } from './plugin.js';
import type { EmitInput, EmitReply, EmitStep } from './protocol.js';
import { concrete, ruleContext, shapeOf } from './rule-record.js';
import type { Receiver } from './unpack.js';

export function recordEmits(
  operator: PluginOperator,
  rule: 'gradient' | 'expand',
  input: EmitInput,
  receiver: Receiver,
): EmitReply {
  const steps: EmitStep[] = [];
  let made = 0;
  const names = (step: EmitStep, count: number): string[] => {
    steps.push(step);
    return Array.from({ length: count }, () => `#${made++}`);
  };
  const shapes = ruleContext(input, receiver);
  const known = (shape: readonly number[] | undefined): readonly number[] => {
    if (shape === undefined) throw new PareError('not all shapes are known');
    return shape;
  };
  const plain = (attributes: Readonly<Record<string, EmitAttribute>> | undefined) =>
    attributes === undefined ? undefined : { ...attributes };
  const expand: ExpandContext = {
    ...shapes,
    inputShape: (i) => known(concrete(shapeOf(input.types[i]))),
    outputShape: (i) => known(input.outputShapes?.[i]),
    input: (i) => shapes.node.inputs[i] ?? '',
    emit: (opType, inputs, attributes) =>
      names({ emit: opType, inputs: [...inputs], outputs: 1, attributes: plain(attributes) }, 1)[0]!,
    emitAll: (opType, inputs, outputs, attributes) =>
      names({ emit: opType, inputs: [...inputs], outputs, attributes: plain(attributes) }, outputs),
    float: (values, dims) =>
      names({ float: typeof values === 'number' ? values : [...values], dims: dims && [...dims] }, 1)[0]!,
    ints: (values, dims) => names({ ints: [...values], dims: dims && [...dims] }, 1)[0]!,
  };
  if (rule === 'expand') return { steps, results: [...operator.expand!(expand)] };
  const gradient: GradientContext = {
    ...expand,
    output: (i) => names({ output: i }, 1)[0]!,
    gradient: (i) => input.gradients[i],
    needed: (i) => input.needed[i] ?? false,
  };
  return { steps, results: [...operator.gradient!(gradient)] };
}
