// Shapes and small values of every tensor of a graph, by the operators' rules. Dims: number, symbol or unknown.
import { PareError } from '../errors.js';
import type { Dim, FunctionDef, Graph, Model, ValueInfo, ValueType } from '../ir/graph.js';
import type { Tensor } from '../ir/tensor.js';
import type { OpTable, PartialValue } from '../ops/op.js';
import { addConstants, functionKey, inferNodes, Scope } from './scope.js';
import type { Declared, World } from './scope.js';

/** What inference found; subgraphs' inner values are not listed (names may repeat there). */
export interface Shapes {
  /** Inputs, constants and everything that nodes make. */
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

/** How graph inputs get concrete dims: name -> dims; dynamic dims that are not named become `dynamic`, or stay unknown when it is undefined. */
export interface Binding {
  readonly inputs?: ReadonlyMap<string, readonly number[]>;
  readonly dynamic?: number;
  /** Inputs whose contents are known too (a Reshape target that the caller feeds). */
  readonly tensors?: ReadonlyMap<string, Tensor>;
  /** Types of inputs that are no tensors, or whose declared type says too little. */
  readonly types?: ReadonlyMap<string, ValueType>;
}

/** What of a model inference reads. */
export type ModelParts = Pick<Model, 'graph' | 'opsets'> & { readonly functions?: readonly FunctionDef[] };

/** O(nodes). Throws PareError where inputs, weights and attributes of a node contradict each other. */
export function inferShapes(model: ModelParts, table: OpTable, binding: Binding = {}): Shapes {
  const world = worldOf(model, table);
  const scope = new Scope(world, undefined);
  const { graph } = model;
  addConstants(scope, graph);
  const declared = bindInputs(scope, graph, binding);
  inferNodes(scope, graph.nodes, declared);
  return { types: scope.types, values: scope.values, unknown: [...world.unknown] };
}

export function worldOf(model: ModelParts, table: OpTable): World {
  const opsets = new Map([...model.opsets].map(([domain, v]) => [domain === 'ai.onnx' ? '' : domain, v]));
  const functions = new Map((model.functions ?? []).map((f) => [functionKey(f.domain, f.name, f.overload), f]));
  return { table, opsets, functions, calling: new Set(), unknown: new Set() };
}

/** Gives the inputs their types; returns what the file declares of other values, as far as that still holds. */
function bindInputs(scope: Scope, graph: Graph, binding: Binding): Declared {
  const free = graph.inputs.filter((v) => !graph.initializers.has(v.name));
  for (const name of binding.inputs?.keys() ?? []) {
    if (!graph.inputs.some((v) => v.name === name)) {
      const names = free.map((v) => `"${v.name}"`).join(', ');
      throw new PareError(`"${name}" is not an input of the network: its inputs are ${names}`);
    }
  }
  // a symbol that stands for two lengths at once says nothing
  const symbols = new Map<string, number | undefined>();
  let overridden = false;
  for (const v of graph.inputs) {
    const tensor = binding.tensors?.get(v.name);
    if (tensor !== undefined) scope.setConstant(v.name, tensor);
    if (scope.constants.has(v.name)) continue;
    const type = boundType(v, binding);
    if (type === undefined) continue;
    scope.types.set(v.name, type);
    if (type.kind !== 'tensor' || v.type?.kind !== 'tensor') continue;
    v.type.shape?.forEach((was, k) => {
      const is = type.shape?.[k];
      if (typeof is !== 'number') return;
      if (typeof was === 'string') symbols.set(was, symbols.has(was) && symbols.get(was) !== is ? undefined : is);
      else if (typeof was === 'number' && was >= 0 && was !== is) overridden = true;
    });
  }
  const outputs = new Map(graph.outputs.map((o) => [o.name, o.type]));
  // declared shapes were made for the declared input sizes: with others they would be wrong
  return (name) => {
    const type = outputs.get(name) ?? graph.valueInfo.get(name)?.type;
    if (type?.kind !== 'tensor' || type.shape === undefined) return type;
    const shape = type.shape.map((d) => {
      if (overridden) return undefined;
      if (typeof d === 'number' && d < 0) return undefined;
      return typeof d === 'string' && symbols.has(d) ? symbols.get(d) : d;
    });
    return { ...type, shape };
  };
}

function boundType(v: ValueInfo, binding: Binding): ValueType | undefined {
  const type = binding.types?.get(v.name) ?? v.type;
  const dims = binding.inputs?.get(v.name);
  if (type !== undefined && type.kind !== 'tensor' && type.kind !== 'sparse') return type;
  if (dims !== undefined) {
    if (type?.shape !== undefined && type.shape.length !== dims.length) {
      throw new PareError(
        `input "${v.name}" has ${type.shape.length} dimensions (${showDims(type.shape)}), but ${showDims(dims)} was given for it`,
      );
    }
    return { kind: 'tensor', elemType: type?.elemType ?? 1, shape: dims };
  }
  if (type?.shape === undefined) return type;
  const shape = type.shape.map((d) =>
    typeof d === 'number' && d >= 0 ? d : (binding.dynamic ?? (typeof d === 'string' ? d : undefined)),
  );
  return { ...type, shape };
}

function showDims(dims: readonly Dim[]): string {
  return dims.map((d) => d ?? '?').join('x');
}
