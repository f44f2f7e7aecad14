// What a network costs. MACs = multiply-accumulates of Conv, ConvTranspose, Gemm, MatMul, Einsum, Attention and recurrent layers,
// subgraphs times trip count included (If: its larger branch); FLOPs = 2 x MACs, said here and nowhere else.
import { describeNode } from '../ir/graph.js';
import type { Graph, Node, ValueType } from '../ir/graph.js';
import { byteLength, DataType, elementCount } from '../ir/tensor.js';
import type { Tensor } from '../ir/tensor.js';
import { hasSubgraphs, subgraphs } from '../ir/walk.js';
import type { OpDef, OpTable, PartialValue } from '../ops/op.js';
import { conventions, costBy } from './conventions.js';
import type { Convention, ConventionName, CostKind } from './conventions.js';
import { peakMemoryBytes } from './memory.js';
import { constantOfNode, declaredBy, inferNodes, Scope } from './scope.js';
import { worldOf } from './shapes.js';
import type { ModelParts, Shapes } from './shapes.js';

export interface NodeCost {
  readonly node: string;
  readonly opType: string;
  readonly kind: CostKind;
  readonly macs: number;
  /** Of constants that no earlier node uses. */
  readonly params: number;
  readonly outputShape?: readonly number[];
}

export interface Cost {
  /** Name of the counting convention: 'mac' unless asked otherwise. */
  readonly convention: ConventionName;
  readonly macs: number;
  readonly flops: number;
  /** Elements of floating-point initializers and Constant nodes, running statistics included. */
  readonly params: number;
  /** Bytes of all constants. */
  readonly bytes: number;
  /** Peak of activations alive at once when nodes run in order, bytes. */
  readonly peakMemoryBytes: number;
  /** Every node of the main graph but Constants; a subgraph's or function's costs stand at the node that runs it. */
  readonly nodes: readonly NodeCost[];
  /** `Op "name": reason` of what could not be counted. */
  readonly uncounted: readonly string[];
}

/** Counts a model whose shapes are known; weights are never read. */
export function countCost(model: ModelParts, table: OpTable, shapes: Shapes, convention: ConventionName = 'mac'): Cost {
  const ledger: Ledger = { convention: conventions[convention], uncounted: new Set(), fixed: new Set() };
  const countGraph = (inner: Scope, graph: Graph): number => {
    inferNodes(inner, graph.nodes, declaredBy(graph));
    return total(inner, graph.nodes, ledger);
  };
  const scope = new Scope(
    worldOf(model, table),
    undefined,
    countGraph,
    // the casts: counting writes no types, and of values only decoded constants, which are a memo
    shapes.types as Map<string, ValueType>,
    shapes.values as Map<string, PartialValue>,
  );
  for (const [name, tensor] of model.graph.initializers) scope.constants.set(name, tensor);
  const constants = new ConstantCount();
  const nodes: NodeCost[] = [];
  let macs = 0;
  for (const name of scope.constants.keys()) ledger.fixed.add(name);
  for (const node of model.graph.nodes) {
    if (node.opType === 'Constant' && node.domain === '') {
      const tensor = constantOfNode(node);
      if (tensor !== undefined) scope.constants.set(node.outputs[0] ?? '', tensor);
      ledger.fixed.add(node.outputs[0] ?? '');
      continue;
    }
    const cost = countNode(scope, node, ledger);
    macs += cost.macs;
    const params = constants.ownedBy(node, scope);
    const outputShape = scope.outputShape(0);
    const name = nameOf(node);
    const { opType } = node;
    // two literals, not a spread: this loop runs for every candidate of a search
    nodes.push(
      outputShape === undefined
        ? { node: name, opType, kind: cost.kind, macs: cost.macs, params }
        : { node: name, opType, kind: cost.kind, macs: cost.macs, params, outputShape },
    );
  }
  const size = constantsOf(model);
  return {
    convention,
    macs,
    flops: 2 * macs,
    params: size.params,
    bytes: size.bytes,
    peakMemoryBytes: peakMemoryBytes(model.graph, shapes.types),
    nodes,
    uncounted: [...ledger.uncounted],
  };
}

interface Ledger {
  readonly convention: Convention;
  readonly uncounted: Set<string>;
  /** Values made of constants alone: weights, however they are prepared. */
  readonly fixed: Set<string>;
}

function total(scope: Scope, nodes: readonly Node[], ledger: Ledger): number {
  let macs = 0;
  for (const name of scope.constants.keys()) ledger.fixed.add(name);
  for (const node of nodes) macs += countNode(scope, node, ledger).macs;
  return macs;
}

function countNode(scope: Scope, node: Node, ledger: Ledger): { macs: number; kind: CostKind } {
  scope.enter(node);
  if (isFixed(node, ledger)) for (const o of node.outputs) ledger.fixed.add(o);
  const def = scope.entry();
  if (def === undefined) return { macs: countCall(scope, ledger), kind: 'other' };
  if (def.macs === undefined && ledger.convention === conventions.mac) return { macs: 0, kind: 'other' };
  const kind = kindOf(scope, def, ledger);
  const macs = costBy(ledger.convention, scope, def, kind, def.macs?.(scope));
  if (macs === undefined) {
    const reason = def.category === 'control' ? 'trip count is unknown' : 'dims are unknown';
    ledger.uncounted.add(`${describeNode(node)}: ${reason}`);
  }
  return { macs: macs ?? 0, kind };
}

/** A function of the model counts as the sum of its nodes; anything else unknown is named. */
function countCall(scope: Scope, ledger: Ledger): number {
  const def = scope.functionDef();
  if (def === undefined) {
    ledger.uncounted.add(`${describeNode(scope.node)}: unknown operator`);
    return 0;
  }
  const { scope: inner, nodes } = scope.openFunction(def);
  inferNodes(inner, nodes, undefined);
  return total(inner, nodes, { ...ledger, fixed: new Set() });
}

function isFixed(node: Node, ledger: Ledger): boolean {
  let any = node.opType === 'Constant';
  for (const name of node.inputs) {
    if (name === '') continue;
    if (!ledger.fixed.has(name)) return false;
    any = true;
  }
  return any;
}

function kindOf(scope: Scope, def: OpDef, ledger: Ledger): CostKind {
  if (def.category !== 'contraction') return 'other';
  const op = def.opType;
  if (op === 'LSTM' || op === 'GRU' || op === 'RNN') return 'recurrent';
  if (op.includes('Attention')) return 'attention';
  if (op.includes('Conv')) {
    const group = scope.node.attributes.get('group');
    const groups = group?.kind === 'int' ? group.value : 1;
    // one filter for each channel; several filters a channel are a grouped convolution like others
    const single = groups > 1 && groups === scope.inputShape(0)?.[1] && groups === scope.outputShape(0)?.[1];
    return op === 'CausalConvWithState' || single ? 'depthwise' : 'conv';
  }
  if (op === 'MatMul' || op === 'Einsum') {
    const weights = scope.node.inputs.some((name) => ledger.fixed.has(name));
    return weights ? 'linear' : 'attention';
  }
  return 'linear';
}

function nameOf(node: Node): string {
  return node.name === '' ? (node.outputs[0] ?? '') : node.name;
}

/** Params by the first node that uses them. */
class ConstantCount {
  private readonly seen = new Set<string>();

  ownedBy(node: Node, scope: Scope): number {
    let params = 0;
    for (const name of node.inputs) {
      const tensor = name === '' ? undefined : scope.constants.get(name);
      if (tensor === undefined || this.seen.has(name)) continue;
      this.seen.add(name);
      if (isParameter(tensor)) params += elementCount(tensor.dims);
    }
    if (hasSubgraphs(node)) for (const graph of subgraphs(node)) params += constantsOf({ graph }).params;
    return params;
  }
}

interface Size {
  params: number;
  bytes: number;
}

/** All constants of a model: initializers and Constant nodes, those of subgraphs and function bodies included. */
function constantsOf(model: Pick<ModelParts, 'graph' | 'functions'>): Size {
  const size: Size = { params: 0, bytes: 0 };
  addGraph(size, model.graph);
  for (const f of model.functions ?? []) for (const node of f.nodes) addNode(size, node);
  return size;
}

function addGraph(size: Size, graph: Graph): void {
  for (const tensor of graph.initializers.values()) addTensor(size, tensor);
  for (const sparse of graph.sparseInitializers.values()) {
    addTensor(size, sparse.values);
    size.bytes += byteLength(sparse.indices.dataType, sparse.indices.dims);
  }
  for (const node of graph.nodes) addNode(size, node);
}

function addNode(size: Size, node: Node): void {
  if (node.opType === 'Constant' && node.domain === '') {
    const tensor = constantOfNode(node);
    if (tensor !== undefined) addTensor(size, tensor);
  }
  if (hasSubgraphs(node)) for (const graph of subgraphs(node)) addGraph(size, graph);
}

function addTensor(size: Size, tensor: Tensor): void {
  if (isParameter(tensor)) size.params += elementCount(tensor.dims);
  if (tensor.strings === undefined) size.bytes += byteLength(tensor.dataType, tensor.dims);
  else for (const s of tensor.strings) size.bytes += s.byteLength;
}

/** Floats, and the weights of quantised networks: arrays of small integers (vectors of them are zero points). */
export function isParameter({ dataType, dims }: Tensor): boolean {
  return FLOATS.has(dataType) || (QUANTIZED.has(dataType) && dims.length > 1);
}

const QUANTIZED: ReadonlySet<number> = new Set([
  DataType.INT8,
  DataType.UINT8,
  DataType.INT4,
  DataType.UINT4,
  DataType.INT2,
  DataType.UINT2,
]);

const FLOATS: ReadonlySet<number> = new Set([
  DataType.FLOAT,
  DataType.FLOAT16,
  DataType.DOUBLE,
  DataType.BFLOAT16,
  DataType.FLOAT8E4M3FN,
  DataType.FLOAT8E4M3FNUZ,
  DataType.FLOAT8E5M2,
  DataType.FLOAT8E5M2FNUZ,
  DataType.FLOAT4E2M1,
]);
