// A model of one node, twice: as our Graph, and as bytes made by the independent package onnx-proto, for onnxruntime.

import { onnx } from 'onnx-proto';
import type { Attribute, Dim, Model, Node } from '../../src/ir/graph.js';
import { int64Tensor } from '../../src/ir/tensor.js';

export interface OneNode {
  readonly opType: string;
  readonly opset: number;
  /** Dims of the data input `x` (INT64). */
  readonly dims: readonly number[];
  readonly attributes?: Readonly<Record<string, number | string | readonly number[]>>;
  /** INT64 initializers after `x`; undefined = omitted. An empty list of dims makes a scalar. */
  readonly constants?: readonly (
    | { readonly values: readonly number[]; readonly dims?: readonly number[] }
    | undefined
  )[];
  readonly outputs?: number;
}

/** Our graph; input dims as given, so that they may be symbols. */
export function graphOf(c: OneNode, dims: readonly Dim[] = c.dims): Model {
  const constants = (c.constants ?? []).map((t, i) =>
    t === undefined ? undefined : int64Tensor(`c${i}`, t.values, t.dims ?? [t.values.length]),
  );
  const node: Node = {
    name: 'node',
    opType: c.opType,
    domain: '',
    inputs: ['x', ...constants.map((t) => t?.name ?? '')],
    outputs: outputNames(c),
    attributes: new Map(Object.entries(c.attributes ?? {}).map(([name, value]) => [name, attribute(name, value)])),
  };
  return {
    irVersion: 8,
    opsets: new Map([['', c.opset]]),
    producerName: '',
    producerVersion: '',
    metadata: new Map(),
    functions: [],
    graph: {
      name: 'one',
      nodes: [node],
      initializers: new Map(constants.flatMap((t) => (t === undefined ? [] : [[t.name, t] as const]))),
      sparseInitializers: new Map(),
      inputs: [{ name: 'x', type: { kind: 'tensor', elemType: 7, shape: dims } }],
      outputs: outputNames(c).map((name) => ({ name })),
      valueInfo: new Map(),
    },
  };
}

function outputNames(c: OneNode): string[] {
  return Array.from({ length: c.outputs ?? 1 }, (_, i) => `y${i}`);
}

function attribute(name: string, value: number | string | readonly number[]): Attribute {
  if (typeof value === 'number') return { name, kind: 'int', value };
  return typeof value === 'string' ? { name, kind: 'string', value } : { name, kind: 'ints', value };
}

/** The same model as bytes, every input dim dynamic. */
export function bytesOf(c: OneNode): Uint8Array {
  const model = graphOf(c);
  const node = model.graph.nodes[0]!;
  const tensor = (rank: number | undefined) => ({
    tensorType: {
      elemType: 7,
      ...(rank === undefined
        ? {}
        : { shape: { dim: Array.from({ length: rank }, (_, i) => ({ dimParam: `d${i}` })) } }),
    },
  });
  const { AttributeProto } = onnx;
  return onnx.ModelProto.encode({
    irVersion: 8,
    opsetImport: [{ domain: '', version: c.opset }],
    graph: {
      name: 'one',
      node: [
        {
          opType: node.opType,
          input: [...node.inputs],
          output: [...node.outputs],
          attribute: Object.entries(c.attributes ?? {}).map(([name, value]) => {
            if (typeof value === 'number') return { name, type: AttributeProto.AttributeType.INT, i: value };
            if (typeof value === 'string') {
              return { name, type: AttributeProto.AttributeType.STRING, s: new TextEncoder().encode(value) };
            }
            return { name, type: AttributeProto.AttributeType.INTS, ints: [...value] };
          }),
        },
      ],
      initializer: [...model.graph.initializers.values()].map((t) => ({
        name: t.name,
        dataType: t.dataType,
        dims: [...t.dims],
        rawData: t.bytes!(),
      })),
      input: [{ name: 'x', type: tensor(c.dims.length) }],
      output: node.outputs.map((name) => ({ name, type: tensor(undefined) })),
    },
  }).finish();
}
