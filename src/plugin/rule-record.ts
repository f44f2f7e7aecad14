// Shape, value and cost rules in the plug-ins' process: their context made of what was sent.
import { PareError } from '../errors.js';
import type { Dim, Node, ValueType } from '../ir/graph.js';
import type { Tensor } from '../ir/tensor.js';
import type { CostContext } from '../ops/op.js';
import type { PluginOperator } from './plugin.js';
import type { RuleInput } from './protocol.js';
import type { Receiver } from './unpack.js';

export function evaluateRule(
  operator: PluginOperator,
  rule: 'shape' | 'value' | 'macs',
  input: RuleInput,
  receiver: Receiver,
): unknown {
  const context = ruleContext(input, receiver);
  switch (rule) {
    case 'shape':
      return operator.shape!(context);
    case 'value':
      return operator.value!(context, input.outputs ?? []);
    case 'macs':
      return operator.macs!(context);
  }
}

export function ruleContext(input: RuleInput, receiver: Receiver): CostContext {
  // the casts: the other side sends a node, and tensors where inputs are constant
  const node = receiver.unpack(input.node) as Node;
  const constants = input.constants.map((c) => receiver.unpack(c) as Tensor | undefined);
  return {
    node,
    opset: input.opset,
    arity: node.inputs.length,
    type: (i) => input.types[i],
    shape: (i) => shapeOf(input.types[i]),
    elemType: (i) => {
      const type = input.types[i];
      return type?.kind === 'tensor' || type?.kind === 'sparse' ? type.elemType : 0;
    },
    value: (i) => input.values[i],
    constant: (i) => constants[i],
    subgraph: (graph) => graph.outputs.map((o) => o.type),
    subgraphValues: () => [],
    inputShape: (i) => concrete(shapeOf(input.types[i])),
    outputShape: (i) => input.outputShapes?.[i],
    subgraphMacs: () => {
      throw new PareError('a plug-in operator cannot count subgraphs');
    },
  };
}

export function shapeOf(type: ValueType | undefined): readonly Dim[] | undefined {
  return type?.kind === 'tensor' || type?.kind === 'sparse' ? type.shape : undefined;
}

export function concrete(shape: readonly Dim[] | undefined): readonly number[] | undefined {
  return shape?.every((d) => typeof d === 'number') === true ? shape : undefined;
}
