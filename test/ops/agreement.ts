// Our shape rules against ONNX's own operator cases: infer from the inputs of a case, compare with its expected outputs.
// Used by the conformance test and by bench/conformance.ts.

import { inferShapes } from '../../src/analysis/shapes.js';
import type { Binding } from '../../src/analysis/shapes.js';
import type { Graph, Model, ValueType } from '../../src/ir/graph.js';
import type { Tensor } from '../../src/ir/tensor.js';
import type { Value } from '../../src/onnx/read.js';
import type { OpTable } from '../../src/ops/op.js';
import type { ConformanceCase } from '../conformance.js';

export interface Agreement {
  readonly name: string;
  /** Operators of the main graph. */
  readonly operators: readonly string[];
  /**
   * 'right': every output's type and dims; 'unsupported': an operator without an entry; 'unknown ...': nothing false, but
   * something left open; otherwise what differs.
   */
  readonly withValues: string;
  readonly fromShapes: string;
}

/** Infers a case twice: knowing what its inputs hold, and knowing their types and dims only. */
export function agreementOf(c: ConformanceCase, table: OpTable): Agreement {
  const model = withoutAnswers(c.model());
  const set = c.sets[0]!;
  const inputs = set.inputs();
  const outputs = set.outputs();
  return {
    name: c.name,
    operators: [...new Set(model.graph.nodes.map((n) => n.opType))],
    withValues: compare(model, table, bindingOf(inputs, true), outputs),
    fromShapes: compare(model, table, bindingOf(inputs, false), outputs),
  };
}

/** The type of a value that is there. */
export function typeOfValue(value: Value): ValueType {
  switch (value.kind) {
    case 'tensor':
      return { kind: 'tensor', elemType: value.tensor.dataType, shape: value.tensor.dims };
    case 'sequence': {
      const types = value.values.map(typeOfValue);
      const first = types[0];
      const same = types.every((t) => JSON.stringify(t) === JSON.stringify(first));
      if (same || first?.kind !== 'tensor') return { kind: 'sequence', elem: first };
      return { kind: 'sequence', elem: { kind: 'tensor', elemType: first.elemType } };
    }
    case 'optional':
      return { kind: 'optional', elem: value.value === undefined ? undefined : typeOfValue(value.value) };
  }
}

function compare(model: Model, table: OpTable, binding: Binding, expected: ReadonlyMap<string, Value>): string {
  try {
    const shapes = inferShapes(model, table, binding);
    const unknown = model.graph.nodes.find(
      (n) => table.lookup(n.domain, n.opType, model.opsets.get(n.domain) ?? 1) === undefined,
    );
    for (const [name, value] of expected) {
      const difference = differ(shapes.types.get(name), value);
      if (difference === undefined) continue;
      if (unknown !== undefined) return 'unsupported';
      return difference.startsWith('unknown') ? difference : `${name}: ${difference}`;
    }
    return 'right';
  } catch (error) {
    return `${error instanceof Error ? error.name : 'error'}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function differ(type: ValueType | undefined, value: Value): string | undefined {
  if (type === undefined) return 'unknown';
  if (value.kind !== 'tensor' || type.kind !== 'tensor') {
    if (type.kind !== value.kind) return `${type.kind} instead of ${value.kind}`;
    const inner = type.kind === 'sequence' || type.kind === 'optional' ? type.elem : undefined;
    const values = value.kind === 'sequence' ? value.values : value.kind === 'optional' ? [value.value] : [];
    for (const v of values) {
      const difference = v === undefined ? undefined : differElement(inner, v);
      if (difference !== undefined) return `element: ${difference}`;
    }
    return undefined;
  }
  const { tensor } = value;
  if (type.elemType !== tensor.dataType) return `element type ${type.elemType} instead of ${tensor.dataType}`;
  const shape = type.shape;
  if (shape === undefined) return 'unknown rank';
  const fits =
    shape.length === tensor.dims.length && shape.every((d, k) => typeof d !== 'number' || d === tensor.dims[k]);
  const equal = fits && shape.every((d) => typeof d === 'number');
  if (equal) return undefined;
  return `${fits ? 'unknown ' : ''}[${shape.map((d) => d ?? '?').join(', ')}] instead of [${tensor.dims.join(', ')}]`;
}

/** Elements of one sequence may differ in their dims: an unknown dim or rank is no error there. */
function differElement(type: ValueType | undefined, value: Value): string | undefined {
  if (type?.kind !== 'tensor' || value.kind !== 'tensor') return differ(type, value);
  if (type.shape === undefined) return type.elemType === value.tensor.dataType ? undefined : 'element type';
  const dims = value.tensor.dims;
  return differ({ ...type, shape: type.shape.map((d, k) => d ?? dims[k]) }, value);
}

function bindingOf(inputs: ReadonlyMap<string, Value>, withValues: boolean): Binding {
  const types = new Map([...inputs].map(([name, value]) => [name, typeOfValue(value)]));
  if (!withValues) return { types };
  const tensors = new Map<string, Tensor>();
  for (const [name, value] of inputs) if (value.kind === 'tensor') tensors.set(name, value.tensor);
  return { types, tensors };
}

/** The file's own statements about its values would give the answers away. */
function withoutAnswers(model: Model): Model {
  const graph: Graph = {
    ...model.graph,
    valueInfo: new Map(),
    outputs: model.graph.outputs.map((o) => ({ name: o.name })),
  };
  return { ...model, graph };
}
