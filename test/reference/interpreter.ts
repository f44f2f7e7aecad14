// A reference interpreter in float64: naive loops over the operators that gradient rules use and emit. Checked against ONNX's
// own operator cases; gradient graphs are checked in it against central differences of the loss.

import { attrFloat, attrInt, attrInts, attrString, attrTensor, type Graph, type Node } from '../../src/ir/graph.js';
import { readNumbers, type Tensor } from '../../src/ir/tensor.js';
import { ref, type Ref } from './arrays.js';
import { elementwise } from './elementwise.js';
import { linear } from './linear.js';
import { movement } from './movement.js';
import { normalization } from './normalization.js';
import { recurrent } from './recurrent.js';
import { reductions } from './reductions.js';
import { windows } from './windows.js';

/** What a kernel sees: inputs ('' is undefined), attributes, and the opset. */
export interface Call {
  readonly node: Node;
  readonly opset: number;
  readonly inputs: readonly (Ref | undefined)[];
  /** An input that must be there. */
  readonly in: (i: number) => Ref;
  int(name: string, fallback: number): number;
  float(name: string, fallback: number): number;
  text(name: string, fallback: string): string;
  ints(name: string): readonly number[] | undefined;
  /** Whole numbers of an input, or of the attribute that older opsets have instead. */
  list(i: number, name: string): readonly number[] | undefined;
}

export type Kernel = (call: Call) => Ref | readonly (Ref | undefined)[];

const constant: Kernel = ({ node }) => {
  const tensor = attrTensor(node, 'value');
  if (tensor !== undefined) return fromTensor(tensor);
  for (const name of ['value_float', 'value_int', 'value_floats', 'value_ints']) {
    const a = node.attributes.get(name);
    if (a?.kind === 'float' || a?.kind === 'int') return ref([], [a.value]);
    if (a?.kind === 'floats' || a?.kind === 'ints') return ref([a.value.length], a.value);
  }
  throw new Error('a constant of another kind');
};

export const kernels: ReadonlyMap<string, Kernel> = new Map<string, Kernel>([
  ['Constant', constant],
  ...elementwise,
  ...linear,
  ...movement,
  ...normalization,
  ...recurrent,
  ...reductions,
  ...windows,
]);

export function fromTensor(tensor: Tensor): Ref {
  return ref(tensor.dims, readNumbers(tensor));
}

/** Runs the graph; returns every value. Operators without a kernel throw, by name. */
export function interpret(graph: Graph, opset: number, feeds: ReadonlyMap<string, Ref>): ReadonlyMap<string, Ref> {
  const values = new Map<string, Ref>();
  for (const [name, tensor] of graph.initializers) values.set(name, fromTensor(tensor));
  for (const [name, value] of feeds) values.set(name, value);
  for (const node of graph.nodes) {
    const kernel = kernels.get(node.opType);
    if (kernel === undefined || node.domain !== '') throw new Error(`no reference kernel for ${node.opType}`);
    const result = kernel(callOf(node, opset, values));
    const outputs = 'dims' in result ? [result] : result;
    node.outputs.forEach((name, i) => {
      const value = outputs[i];
      if (name === '') return;
      if (value === undefined) throw new Error(`${node.opType}: the reference has no output ${i}`);
      values.set(name, value);
    });
  }
  return values;
}

function callOf(node: Node, opset: number, values: ReadonlyMap<string, Ref>): Call {
  const inputs = node.inputs.map((name) => {
    if (name === '') return undefined;
    const value = values.get(name);
    if (value === undefined) throw new Error(`${node.opType}: there is no value "${name}"`);
    return value;
  });
  return {
    node,
    opset,
    inputs,
    in: (i) => {
      const value = inputs[i];
      if (value === undefined) throw new Error(`${node.opType}: input ${i} is missing`);
      return value;
    },
    int: (name, fallback) => attrInt(node, name, fallback),
    float: (name, fallback) => attrFloat(node, name, fallback),
    text: (name, fallback) => attrString(node, name, fallback),
    ints: (name) => attrInts(node, name),
    list: (i, name) => {
      const value = inputs[i];
      return value === undefined ? attrInts(node, name) : [...value.data];
    },
  };
}
