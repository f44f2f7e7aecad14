// Shapes and small values of every tensor of a graph, by the operators' rules. Dims: number, symbol or unknown.
import type { Graph, ValueType } from '../ir/graph.js';
import type { PartialValue } from '../ops/op.js';

/** What inference found; subgraphs' inner values are not listed (names may repeat there). */
export interface Shapes {
  readonly types: ReadonlyMap<string, ValueType>;
  readonly values: ReadonlyMap<string, PartialValue>;
  /** Operators without an entry or that gave no shape, by name: `com.acme:Foo`. */
  readonly unknown: readonly string[];
}

/** Concrete dims of a value; undefined when rank or any dim is unknown. */
export function concreteShape(shapes: Shapes, name: string): readonly number[] | undefined {
  const type = shapes.types.get(name);
  if (type === undefined || (type.kind !== 'tensor' && type.kind !== 'sparse') || type.shape === undefined)
    return undefined;
  return type.shape.every((d) => typeof d === 'number') ? type.shape : undefined;
}

/** How graph inputs get concrete dims: name -> dims; dynamic dims that are not named become `dynamic` (1), or stay unknown when it is undefined. */
export interface Binding {
  readonly inputs?: ReadonlyMap<string, readonly number[]>;
  readonly dynamic?: number;
}

export type InferShapes = (graph: Graph, opsets: ReadonlyMap<string, number>, binding: Binding) => Shapes;
