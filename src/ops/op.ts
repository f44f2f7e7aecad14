// What Pare knows of one ONNX operator: the rules an entry of the table may have. One entry per operator and opset version;
// everything else in the project asks the table. https://onnx.ai/onnx/operators/
import type { Attribute, Dim, Graph, Node, ValueType } from '../ir/graph.js';
import type { Tensor } from '../ir/tensor.js';

/** Coarse kind, for cost conventions, GRAF classes and reports. */
export type OpCategory =
  | 'contraction' // Conv, Gemm, MatMul, Einsum, Attention, recurrent layers: has MACs
  | 'norm'
  | 'activation'
  | 'elementwise'
  | 'pool'
  | 'reduce'
  | 'movement'
  | 'shape' // Shape, Size, Constant, Range ...: no arithmetic on features
  | 'quantize'
  | 'control'
  | 'other';

export interface OpDef {
  readonly opType: string;
  /** '' (default) = ai.onnx. */
  readonly domain?: string;
  /** First opset version for which this entry holds (default 1). Entries of one operator stand beside each other. */
  readonly since?: number;
  readonly category: OpCategory;
  /** Types of the outputs. May throw PareError on a contradiction between inputs, weights and attributes. */
  readonly shape: ShapeRule;
  /** Partial evaluation of small tensors: the Shape -> Gather -> Concat chains of real exports. */
  readonly value?: ValueRule;
  /** Multiply-accumulates; absent = 0 (nothing counted by convention), see analysis/cost.ts. */
  readonly macs?: CostRule;
  /** Absent = what the operator touches is frozen and named. */
  readonly channels?: ChannelRule;
  /** Emits the gradient as ordinary ONNX nodes (training engine). */
  readonly gradient?: GradientRule;
  /** The operator in simpler ones, through which gradients flow; for those that have no `gradient` of their own. */
  readonly expand?: ExpandRule;
}

// --- shapes and values -------------------------------------------------------------------------------------------------

/** Contents of a small tensor as far as known; an unknown element is undefined. */
export interface PartialValue {
  readonly dims: readonly number[];
  readonly elems: readonly (number | undefined)[];
}

export interface ShapeContext {
  readonly node: Node;
  /** Version of the node's domain. */
  readonly opset: number;
  /** Number of inputs of the node (trailing omitted ones included). */
  readonly arity: number;
  /** Type of input i; undefined when omitted or unknown. */
  type(i: number): ValueType | undefined;
  /** Dims of input i; undefined when rank is unknown. A Dim is a number, or a string / undefined when unknown. */
  shape(i: number): readonly Dim[] | undefined;
  /** Element type of input i; 0 when unknown. */
  elemType(i: number): number;
  /** Contents of input i where known (initializers up to 65,536 elements, results of value rules up to 4,096). */
  value(i: number): PartialValue | undefined;
  /** The constant behind input i, whatever its size (weights); undefined when it is not constant. */
  constant(i: number): Tensor | undefined;
  /** Types of the outputs of a subgraph (If, Loop, Scan), given the types of its inputs; outer names are visible. */
  subgraph(graph: Graph, inputs: readonly (ValueType | undefined)[]): (ValueType | undefined)[];
  /** Contents of the outputs of a subgraph, where known, once `subgraph` has found its types. */
  subgraphValues(graph: Graph): readonly (PartialValue | undefined)[];
}

/** One entry per output; undefined = unknown. Shapes with unknown dims carry undefined there. */
export type ShapeRule = (ctx: ShapeContext) => readonly (ValueType | undefined)[];
/** One entry per output; undefined = not evaluated. Called after the shape rule; `outputs` are its results. */
export type ValueRule = (
  ctx: ShapeContext,
  outputs: readonly (ValueType | undefined)[],
) => readonly (PartialValue | undefined)[];

// --- cost --------------------------------------------------------------------------------------------------------------

export interface CostContext extends ShapeContext {
  /** Dims of output i, all known; undefined when some are not. */
  outputShape(i: number): readonly number[] | undefined;
  /** Dims of input i, all known; undefined when some are not. */
  inputShape(i: number): readonly number[] | undefined;
  /** MACs of a subgraph, for If/Loop/Scan. */
  subgraphMacs(graph: Graph): number;
}

/** MACs of the node; undefined = cannot be counted here (unknown dims), the node is then listed. */
export type CostRule = (ctx: CostContext) => number | undefined;

// --- channels ----------------------------------------------------------------------------------------------------------

/**
 * The labels of a value: an integer tensor of the value's own shape, stored as a strided view (stride 0 where the label does
 * not change: batch, space). A label is an atom: one prunable channel. 0 = no label: the position always stays.
 */
export interface Labels {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
  readonly atoms: Int32Array;
}

/** What a cut changes in a node besides its weights: channel counts in attributes, or in small integer inputs. */
export interface NodePatch {
  /** undefined removes the attribute. */
  readonly attributes?: Readonly<Record<string, Attribute | undefined>>;
  /**
   * input index -> wanted contents (INT64 vector), e.g. Reshape target, Split sizes, Pad pads; undefined elements stay as they
   * are. An index at the end of the inputs adds one. Contents that the pruned graph computes by itself are left alone.
   */
  readonly inputs?: ReadonlyMap<number, readonly (number | undefined)[]>;
}

/** How a constant hangs on channels: produces them, consumes them, or lies along them (bias, BatchNormalization, depthwise). */
export type CutRole = 'out' | 'in' | 'along';

/** After the dead atoms are chosen. */
export interface RecountContext {
  /** Dims of a labelled value once the dead positions are gone. */
  dims(labels: Labels): number[];
  /** Which positions along `axis` stay: true = alive. */
  alive(labels: Labels, axis: number): boolean[];
  /** Contents of input i of the base graph with dynamic dims left unknown: what is undefined depends on the batch and must stay dynamic. */
  value(i: number): PartialValue | undefined;
}

/**
 * The law behind every rule: run(pruned) == run(masked), where masked is the original with each *consumed* operand (see
 * `consume`) multiplied by 0 at its dead positions. So a rule only has to say what it passes on, consumes, ties and cuts.
 */
export interface ChannelContext {
  readonly node: Node;
  readonly opset: number;
  readonly arity: number;
  /** Concrete dims of input i / output i (dynamic dims are bound). */
  inputShape(i: number): readonly number[];
  outputShape(i: number): readonly number[];
  /** Contents where known (see ShapeContext). */
  value(i: number): PartialValue | undefined;
  elemType(i: number): number;
  /** Whether input i is made of constants only (initializer, Constant, or a chain of such). False when omitted. */
  isConstant(i: number): boolean;
  present(i: number): boolean;
  /** Labels of an activation; all-0 labels for constants and unlabelled values. */
  labels(i: number): Labels;
  /** True when every label of the value is 0. */
  unlabelled(labels: Labels): boolean;
  /** Whether the labels change along the axis (ties made so far are seen through). */
  varies(labels: Labels, axis: number): boolean;
  /** The atoms along one axis, at the first position of all others (say `whole` for those first). Not to be written to. */
  along(labels: Labels, axis: number): Int32Array;
  /**
   * The axis cannot lose single positions here: positions along it are tied where labels change along another axis too (a head of
   * attention, a group of a norm), and frozen for the reason where they do not. Returns the view without change along the axis.
   */
  whole(labels: Labels, axis: number, reason: string): Labels;
  /** The smallest atom of the class that an atom has been tied into so far; 0 when it stays. */
  classOf(atom: number): number;
  /** n new atoms of one family (= one prunable group before ties), e.g. the output channels of a Conv. */
  fresh(n: number): Int32Array;
  /** A view of `shape` whose label changes along `axis` only. */
  spread(atoms: Int32Array, axis: number, shape: readonly number[]): Labels;
  /** A view of `shape` without labels. */
  none(shape: readonly number[]): Labels;
  /** These two (same shape) live and die together, position by position; 0 on one side freezes the other. */
  tie(a: Labels, b: Labels): void;
  /** All labels of this list of atoms live and die together. */
  tieAll(atoms: ArrayLike<number>): void;
  /** The atoms stay for ever; the reason is shown to people: `Softmax over channels`. */
  freeze(labels: Labels, reason: string): void;
  /** Cutting these atoms breaks the law (statistics over channels); such groups are marked and only cut when asked. */
  inexact(labels: Labels, reason: string): void;
  /** Whether some of these atoms are marked inexact. */
  isInexact(labels: Labels): boolean;
  /** Where labels change along several axes, this one must keep all its positions (an index selects along it). */
  hold(labels: Labels, axis: number): void;
  /**
   * In the masked reference, operand i is multiplied by 0 where its label is dead (contractions; also weights of recurrences). An
   * operand of 8 bits becomes what its zero point says, input `zero` (0 where that is left out).
   */
  consume(i: number, labels: Labels, zero?: number): void;
  /**
   * Constant operand i loses the positions whose label is dead. `labels` may be of a larger shape to which the operand is
   * broadcast: a position goes when all it meets is dead. Cuts along different axes add up. An operand that is computed is tied instead.
   */
  cut(i: number, labels: Labels, role?: CutRole): void;
  /** Labels of output i. An output for which nothing is said has none. */
  output(i: number, labels: Labels): void;
  /** How the node's own channel counts follow a cut. Called later: the context has moved on, keep what is needed of it. */
  recount(patch: (ctx: RecountContext) => NodePatch): void;
}

export type ChannelRule = (ctx: ChannelContext) => void;

// --- gradients (training engine) ----------------------------------------------------------------------------------------

/** An attribute of an emitted node: a plain number is an INT, numbers are INTS; `{ float }` is a FLOAT. */
export type EmitAttribute = number | string | readonly number[] | { readonly float: number };

/** The means to add nodes of the default domain, in the form of opset 18 (axes of reductions are inputs); older opsets are served too. */
export interface EmitContext {
  /** Adds a node and returns the name of its first output; a node that is there already is taken again. */
  emit(opType: string, inputs: readonly string[], attributes?: Readonly<Record<string, EmitAttribute>>): string;
  /** Adds a node with several outputs. */
  emitAll(
    opType: string,
    inputs: readonly string[],
    outputs: number,
    attributes?: Readonly<Record<string, EmitAttribute>>,
  ): readonly string[];
  /** A constant of the node's own floating-point type (scalar by default). */
  float(values: number | readonly number[], dims?: readonly number[]): string;
  /** An INT64 tensor, a vector by default. */
  ints(values: readonly number[], dims?: readonly number[]): string;
}

/** What an expansion sees: the node with all shapes known. */
export interface ExpandContext extends ShapeContext, EmitContext {
  /** Concrete dims; throws PareError where they are not known. */
  inputShape(i: number): readonly number[];
  outputShape(i: number): readonly number[];
  /** Name of input i ('' when omitted). */
  input(i: number): string;
}

/** Names of the values that stand for the outputs; undefined = that output cannot be had this way. */
export type ExpandRule = (ctx: ExpandContext) => readonly (string | undefined)[];

/** What a gradient rule sees: the forward node with all shapes known, and the means to add nodes. */
export interface GradientContext extends ExpandContext {
  /** Name of output i for use in emitted nodes; an optional output that the node leaves out is added to it. */
  output(i: number): string;
  /** Name of the gradient of output i; undefined where nothing flows back. */
  gradient(i: number): string | undefined;
  /** Whether a gradient of input i is wanted: rules skip the work otherwise. */
  needed(i: number): boolean;
}

/** Per input the name of its gradient, in the input's own shape; undefined = none. The engine adds up what fans out. */
export type GradientRule = (ctx: GradientContext) => readonly (string | undefined)[];

// --- the table ---------------------------------------------------------------------------------------------------------

export interface OpTable {
  /** The entry for the operator at this opset version of its domain; undefined when unknown. */
  lookup(domain: string, opType: string, opset: number): OpDef | undefined;
  /** The table with further entries (plug-ins); later entries win. */
  with(defs: readonly OpDef[]): OpTable;
  readonly all: readonly OpDef[];
}

export function opTable(defs: readonly OpDef[]): OpTable {
  const byKey = new Map<string, OpDef[]>();
  for (const def of defs) {
    const key = `${def.domain ?? ''}:${def.opType}`;
    const list = byKey.get(key);
    if (list === undefined) byKey.set(key, [def]);
    else list.push(def);
  }
  // newest version first; a later entry of the same version wins
  for (const list of byKey.values()) list.reverse().sort((a, b) => (b.since ?? 1) - (a.since ?? 1));
  return {
    all: defs,
    lookup: (domain, opType, opset) =>
      byKey.get(`${domain === 'ai.onnx' ? '' : domain}:${opType}`)?.find((d) => (d.since ?? 1) <= opset),
    with: (more) => opTable([...defs, ...more]),
  };
}
