// Constants of a graph by name, wherever they are kept, and new values for them in the model's own number format.
import type { Graph, Model, Node } from '../ir/graph.js';
import { DataType, floatToHalf, type Tensor } from '../ir/tensor.js';

/** The tensor of a Constant node with a `value`; undefined for everything else. */
export function constantOf(node: Node | undefined): Tensor | undefined {
  if (node?.opType !== 'Constant') return undefined;
  const value = node.attributes.get('value');
  return value?.kind === 'tensor' ? value.value : undefined;
}

/** FLOAT Constant nodes as initializers: one place for weights. */
export function constantsLifted(graph: Graph): Graph {
  const found = new Map<string, Tensor>();
  const nodes = graph.nodes.filter((node) => {
    const value = node.domain === '' ? constantOf(node) : undefined;
    const name = node.outputs[0] ?? '';
    if (value === undefined || value.dataType !== DataType.FLOAT) return true;
    found.set(name, { ...value, name });
    return false;
  });
  return found.size === 0 ? graph : { ...graph, nodes, initializers: new Map([...graph.initializers, ...found]) };
}

/** The model with new values of some constants (initializers and Constant nodes), in the format that each had before. */
export function withConstants(model: Model, changes: ReadonlyMap<string, Float32Array>): Model {
  return changes.size === 0 ? model : { ...model, graph: changeGraph(model.graph, changes) };
}

function changeGraph(graph: Graph, changes: ReadonlyMap<string, Float32Array>): Graph {
  const initializers = new Map(graph.initializers);
  const inNodes = new Set<string>();
  for (const [name, values] of changes) {
    const old = initializers.get(name);
    if (old === undefined) inNodes.add(name);
    else initializers.set(name, encodeFloats(name, old.dataType, old.dims, values));
  }
  if (inNodes.size === 0) return { ...graph, initializers };
  const nodes = graph.nodes.map((node) => {
    const name = node.outputs[0] ?? '';
    const values = changes.get(name);
    const old = inNodes.has(name) ? constantOf(node) : undefined;
    if (old === undefined || values === undefined) return node;
    const attributes = new Map(node.attributes);
    attributes.set('value', {
      name: 'value',
      kind: 'tensor',
      value: encodeFloats(old.name, old.dataType, old.dims, values),
    });
    return { ...node, attributes };
  });
  return { ...graph, initializers, nodes };
}

/** Float32 values as a tensor of FLOAT, DOUBLE, FLOAT16 or BFLOAT16 (round to nearest even; halves clamp to their largest). */
export function encodeFloats(name: string, dataType: number, dims: readonly number[], values: Float32Array): Tensor {
  const array =
    dataType === DataType.FLOAT
      ? values
      : dataType === DataType.DOUBLE
        ? Float64Array.from(values)
        : dataType === DataType.FLOAT16
          ? Uint16Array.from(values, (v) => floatToHalf(Math.min(65504, Math.max(-65504, v))))
          : dataType === DataType.BFLOAT16
            ? Uint16Array.from(values, toBfloat)
            : undefined;
  if (array === undefined) throw new Error(`tensor "${name}": data type ${dataType} does not hold refitted weights`);
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  return { name, dataType, dims, bytes: () => bytes };
}

function toBfloat(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}
