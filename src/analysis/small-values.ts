// Contents of small tensors by name: what inference found, or the initializer itself.
import type { Graph } from '../ir/graph.js';
import { elementCount, hasData, readNumbers, DataType } from '../ir/tensor.js';
import type { PartialValue } from '../ops/op.js';
import type { Shapes } from './shapes.js';

const MAX_ELEMENTS = 4096;
const INTEGERS: ReadonlySet<number> = new Set([
  DataType.INT32,
  DataType.INT64,
  DataType.BOOL,
  DataType.UINT8,
  DataType.FLOAT,
]);

export function smallValue(graph: Graph, shapes: Shapes, name: string): PartialValue | undefined {
  if (name === '') return undefined;
  const known = shapes.values.get(name);
  if (known !== undefined) return known;
  const tensor = graph.initializers.get(name);
  if (tensor === undefined || elementCount(tensor.dims) > MAX_ELEMENTS) return undefined;
  if (!INTEGERS.has(tensor.dataType) || !hasData(tensor)) return undefined;
  return { dims: tensor.dims, elems: Array.from(readNumbers(tensor)) };
}
