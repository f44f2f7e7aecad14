// Runs labels through the network (design.md, decision 2): every operator's channel rule, in order, then what holds for the whole
// graph. Gives views of labels for each value, cuts of constants, what is consumed, and how channel counts follow.
import { describeNode, type Graph, type Model, type Node } from '../ir/graph.js';
import { FLOW } from '../ir/flow.js';
import { capturedNames, subgraphs, usedNames } from '../ir/walk.js';
import { flat, forEachAtom, forEachPair, isBlank, movingAxes, noLabels, spread } from '../ops/labels.js';
import type { ChannelContext, CutRole, Labels, NodePatch, OpTable, PartialValue, RecountContext } from '../ops/op.js';
import { createAtoms, variesAlong, type Atoms, type HeldAxis } from './atoms.js';
import { shareConstants } from './constant-chains.js';
import { makeRectangular } from './rectangles.js';
import { smallValue } from './small-values.js';
import { concreteShape, type Shapes } from './shapes.js';

/** Operand `input` of node `node` (a constant) loses positions along `axis`, where the label along `labelAxis` is dead. */
export interface Cut {
  /** Index of the node. */
  readonly node: number;
  readonly input: number;
  readonly tensor: string;
  readonly axis: number;
  readonly labels: Labels;
  readonly labelAxis: number;
  readonly role: CutRole;
}

export interface Consumption {
  readonly node: number;
  readonly input: number;
  readonly labels: Labels;
  /** Input that holds the zero point of an operand of 8 bits; undefined = a dead position becomes 0. */
  readonly zero?: number;
}

export interface Recount {
  readonly node: number;
  readonly patch: (ctx: RecountContext) => NodePatch;
}

/** The atoms of one call of `fresh`: base, base + 1, ... */
export interface Family {
  readonly node: number;
  readonly base: number;
  readonly size: number;
}

export interface Channels {
  readonly atoms: Atoms;
  /** Labels of each labelled value. */
  readonly labels: ReadonlyMap<string, Labels>;
  readonly cuts: readonly Cut[];
  readonly consumptions: readonly Consumption[];
  readonly recounts: readonly Recount[];
  readonly families: readonly Family[];
  /** Names of values made of constants (and of shapes) only. */
  readonly constants: ReadonlySet<string>;
  /** Names that subgraphs use. */
  readonly captured: ReadonlySet<string>;
  /** Nodes that no rule could look at, and why. */
  readonly unseen: readonly { readonly node: Node; readonly reason: string }[];
}

export function runLabels(model: Model, table: OpTable, shapes: Shapes): Channels {
  const { graph } = model;
  const engine = new Engine(model, shapes);
  const captured = new Set<string>();
  graph.nodes.forEach((node, i) => {
    engine.step(node, i, table);
    for (const inner of subgraphs(node)) for (const name of capturedNames(inner)) captured.add(name);
  });
  for (const output of graph.outputs) {
    const labels = engine.values.get(output.name);
    if (labels !== undefined) engine.freezeFor(labels, `graph output "${output.name}"`);
  }
  // what goes in and out of bodies is one thing or another: no number there can be corrected
  const marked = graph.nodes.flatMap((node) => (node.domain === FLOW ? node.inputs : []));
  keepMeasured(engine, graph, shapes, [...captured, ...marked, ...graph.outputs.map((v) => v.name)]);
  shareConstants(model, shapes, engine);
  makeRectangular(engine.atoms, [...engine.values.values(), ...engine.cuts.map((c) => c.labels)], engine.held);
  keepLonely(engine);
  return {
    atoms: engine.atoms,
    labels: engine.values,
    cuts: engine.cuts,
    consumptions: engine.consumptions,
    recounts: engine.recounts,
    families: engine.families,
    constants: engine.constants,
    captured,
    unseen: engine.unseen,
  };
}

/** Numbers made from shapes that leave the graph (into a subgraph, as an output) cannot be corrected there: what they measure stays. */
function keepMeasured(engine: Engine, graph: Graph, shapes: Shapes, names: readonly string[]): void {
  const made = names.filter((name) => engine.constants.has(name) && !graph.initializers.has(name));
  if (made.length === 0) return;
  const producers = new Map(graph.nodes.flatMap((node) => node.outputs.map((o) => [o, node] as const)));
  const seen = new Set<string>();
  const measured = (node: Node): Labels | undefined => {
    const shape = node.opType === 'Shape' || node.opType === 'Size';
    return shape && node.domain === '' ? engine.values.get(node.inputs[0] ?? '') : undefined;
  };
  while (made.length > 0) {
    const name = made.pop()!;
    const node = producers.get(name);
    if (seen.has(name) || node === undefined) continue;
    seen.add(name);
    const labels = measured(node);
    if (labels !== undefined) engine.freezeFor(labels, `its shape is used at "${name}"`);
    const inner = producers.get(node.inputs[0] ?? '');
    const source = node.opType === 'Gather' && inner?.opType === 'Shape' ? measured(inner) : undefined;
    if (source === undefined) {
      made.push(...node.inputs);
      continue;
    }
    // one dim is read: the batch, mostly
    const places = smallValue(graph, shapes, node.inputs[1] ?? '')?.elems ?? [undefined];
    const rank = source.shape.length;
    const harmless = places.every((p) => p !== undefined && !engine.varies(source, p < 0 ? p + rank : p));
    if (!harmless) engine.freezeFor(source, `its shape is used at "${name}"`);
  }
}

/** A value whose positions all are one channel would be left empty by a cut: that channel stays. */
function keepLonely(engine: Engine): void {
  const { atoms } = engine;
  const alone = (l: Labels): boolean => {
    const first = atoms.find(l.atoms[l.offset] ?? 0);
    return first !== 0 && !movingAxes([l]).some((axis) => variesAlong(atoms, l, axis));
  };
  for (const [name, labels] of engine.values) {
    if (!isBlank(labels) && alone(labels)) engine.freezeFor(labels, `the only channel of "${name}"`);
  }
  for (const { labels, tensor } of engine.cuts) {
    if (!isBlank(labels) && alone(labels)) engine.freezeFor(labels, `the only channel of "${tensor}"`);
  }
}

/** State of one run and the context that rules see; `step` moves it from node to node. */
export class Engine implements ChannelContext {
  readonly atoms = createAtoms();
  readonly values = new Map<string, Labels>();
  readonly cuts: Cut[] = [];
  readonly consumptions: Consumption[] = [];
  readonly recounts: Recount[] = [];
  readonly families: Family[] = [];
  readonly held: HeldAxis[] = [];
  readonly constants = new Set<string>();
  readonly unseen: { readonly node: Node; readonly reason: string }[] = [];
  node: Node;
  opset = 1;
  arity = 0;
  private at = -1;
  private firstFresh = 1;
  private consumed = false;
  private readonly blanks = new Map<string, Labels>();
  private readonly model: Model;
  private readonly graph: Graph;
  private readonly shapes: Shapes;

  constructor(model: Model, shapes: Shapes) {
    this.model = model;
    this.graph = model.graph;
    this.shapes = shapes;
    this.node = NO_NODE;
    for (const name of this.graph.initializers.keys()) this.constants.add(name);
    for (const name of this.graph.sparseInitializers.keys()) this.constants.add(name);
  }

  step(node: Node, index: number, table: OpTable): void {
    this.enter(node, index);
    if (this.constantLike(node)) {
      for (const o of node.outputs) this.constants.add(o);
      return;
    }
    const entry = table.lookup(node.domain, node.opType, this.opset);
    const rule = entry?.channels;
    const closed = subgraphs(node).length > 0;
    if (rule === undefined || closed || (node.domain !== FLOW && !this.shaped(node))) {
      const reason =
        entry === undefined
          ? 'unknown operator'
          : closed
            ? 'used in a body that is not looked into'
            : rule === undefined
              ? 'no channel rule'
              : 'shapes are not known';
      this.unseen.push({ node, reason: this.why(reason) });
      for (const name of usedNames(node)) {
        const labels = this.values.get(name);
        if (labels !== undefined) this.freeze(labels, reason);
      }
      return;
    }
    rule(this);
  }

  enter(node: Node, index: number): void {
    this.node = node;
    this.at = index;
    this.opset = this.model.opsets.get(node.domain) ?? 1;
    this.arity = node.inputs.length;
    this.firstFresh = this.atoms.count;
    this.consumed = false;
  }

  inputShape(i: number): readonly number[] {
    return concreteShape(this.shapes, this.node.inputs[i] ?? '') ?? [];
  }
  outputShape(i: number): readonly number[] {
    return concreteShape(this.shapes, this.node.outputs[i] ?? '') ?? [];
  }
  value(i: number): PartialValue | undefined {
    return smallValue(this.graph, this.shapes, this.node.inputs[i] ?? '');
  }
  elemType(i: number): number {
    const type = this.shapes.types.get(this.node.inputs[i] ?? '');
    return type?.kind === 'tensor' ? type.elemType : 0;
  }
  isConstant(i: number): boolean {
    return this.constants.has(this.node.inputs[i] ?? '');
  }
  present(i: number): boolean {
    return (this.node.inputs[i] ?? '') !== '';
  }
  labels(i: number): Labels {
    const name = this.node.inputs[i] ?? '';
    return this.values.get(name) ?? this.blank(name);
  }
  unlabelled(labels: Labels): boolean {
    if (isBlank(labels)) return true;
    let none = true;
    forEachAtom(labels, (a) => {
      if (a !== 0) none = false;
    });
    return none;
  }

  varies(l: Labels, axis: number): boolean {
    return variesAlong(this.atoms, l, axis);
  }

  along(l: Labels, axis: number): Int32Array {
    const n = l.shape[axis]!;
    const stride = l.strides[axis]!;
    // the same array where possible: equal lines are then recognised by identity
    if (stride === 1 && l.offset === 0 && l.atoms.length === n) return l.atoms;
    const atoms = new Int32Array(n);
    for (let i = 0; i < n; i++) atoms[i] = l.atoms[l.offset + i * stride]!;
    return atoms;
  }

  classOf(atom: number): number {
    return this.atoms.find(atom);
  }

  whole(l: Labels, axis: number, reason: string): Labels {
    if (l.strides[axis] === 0 || l.shape[axis]! <= 1) return l;
    if (this.varies(l, axis)) {
      const others = movingAxes([l]).some((k) => k !== axis && this.varies(l, k));
      if (others) {
        const first = flat(l, axis, l.shape[axis]!);
        const why = this.why(reason);
        forEachPair(first, l, (a, b) => this.atoms.tie(a, b, why));
      } else {
        this.freeze(l, reason);
      }
    }
    return flat(l, axis, l.shape[axis]!);
  }

  fresh(n: number): Int32Array {
    const atoms = this.atoms.fresh(n);
    this.families.push({ node: this.at, base: atoms[0] ?? 0, size: n });
    return atoms;
  }
  spread(atoms: Int32Array, axis: number, shape: readonly number[]): Labels {
    return spread(atoms, axis, shape);
  }
  none(shape: readonly number[]): Labels {
    return noLabels(shape);
  }

  tie(a: Labels, b: Labels): void {
    const reason = this.why('meets channels that stay');
    forEachPair(a, b, (x, y) => this.atoms.tie(x, y, reason));
  }
  tieAll(atoms: ArrayLike<number>): void {
    const why = this.why('meets channels that stay');
    for (let i = 1; i < atoms.length; i++) this.atoms.tie(atoms[0]!, atoms[i]!, why);
  }
  freeze(labels: Labels, reason: string): void {
    this.freezeFor(labels, this.why(reason));
  }
  freezeFor(labels: Labels, reason: string): void {
    forEachAtom(labels, (a) => this.atoms.freeze(a, reason));
  }
  inexact(labels: Labels, reason: string): void {
    const why = this.why(reason);
    forEachAtom(labels, (a) => this.atoms.inexact(a, why));
  }
  isInexact(labels: Labels): boolean {
    let found = false;
    forEachAtom(labels, (a) => {
      if (this.atoms.inexactOf(a) !== undefined) found = true;
    });
    return found;
  }
  hold(labels: Labels, axis: number): void {
    this.held.push({ labels, axis });
  }

  consume(i: number, labels: Labels, zero?: number): void {
    this.consumed = true;
    if (this.unlabelled(labels)) return;
    const point = zero !== undefined && this.present(zero) ? { zero } : {};
    this.consumptions.push({ node: this.at, input: i, labels, ...point });
  }

  cut(i: number, labels: Labels, role?: CutRole): void {
    if (!this.present(i)) return;
    const dims = this.inputShape(i);
    if (!this.isConstant(i)) {
      this.cutActivation(i, dims, labels);
      return;
    }
    this.addCut(i, dims, labels, role);
  }

  /** Records the cuts of a constant operand of the current node, axis by axis. */
  addCut(i: number, dims: readonly number[], labels: Labels, role?: CutRole): void {
    const lead = labels.shape.length - dims.length;
    const tensor = this.node.inputs[i]!;
    if (lead < 0) {
      this.freeze(labels, `weight "${tensor}" of ${dims.length} dimensions`);
      return;
    }
    dims.forEach((d, axis) => {
      const labelAxis = axis + lead;
      if (d <= 1 || labels.strides[labelAxis] === 0 || labels.shape[labelAxis] !== d) return;
      let kind = role;
      if (kind === undefined) {
        const made = labels.atoms[labels.offset]! >= this.firstFresh;
        const matrix = dims.length >= 2;
        kind = matrix && made ? 'out' : matrix && this.consumed ? 'in' : 'along';
      }
      this.cuts.push({ node: this.at, input: i, tensor, axis, labels, labelAxis, role: kind });
    });
  }

  output(i: number, labels: Labels): void {
    const name = this.node.outputs[i] ?? '';
    if (name === '' || isBlank(labels)) return;
    this.values.set(name, labels);
  }

  recount(patch: (ctx: RecountContext) => NodePatch): void {
    this.recounts.push({ node: this.at, patch });
  }

  /** A weight that is computed from the input: it can only follow where it carries the same labels. */
  private cutActivation(i: number, dims: readonly number[], labels: Labels): void {
    const lead = labels.shape.length - dims.length;
    let wanted = labels;
    const own = this.labels(i);
    for (let k = 0; k < labels.shape.length; k++) {
      if (k < lead || dims[k - lead] === 1) wanted = flat(wanted, k, 1);
    }
    const shape = wanted.shape.slice(lead);
    const trimmed: Labels = { ...wanted, shape, strides: wanted.strides.slice(lead) };
    this.tie(trimmed, own);
  }

  private constantLike(node: Node): boolean {
    if (subgraphs(node).length > 0 || node.domain === FLOW) return false;
    if (node.opType === 'Shape' || node.opType === 'Size') return true;
    return node.inputs.every((name) => name === '' || this.constants.has(name));
  }

  private shaped(node: Node): boolean {
    const known = (name: string): boolean => name === '' || concreteShape(this.shapes, name) !== undefined;
    // a node without outputs makes nothing that channels could go into
    return node.inputs.every(known) && node.outputs.length > 0 && known(node.outputs[0]!);
  }

  private blank(name: string): Labels {
    const found = this.blanks.get(name);
    if (found !== undefined) return found;
    const made = noLabels(concreteShape(this.shapes, name) ?? []);
    this.blanks.set(name, made);
    return made;
  }

  private why(reason: string): string {
    return `${reason} at ${describeNode(this.node)}`;
  }
}

const NO_NODE: Node = { name: '', opType: '', domain: '', inputs: [], outputs: [], attributes: new Map() };
