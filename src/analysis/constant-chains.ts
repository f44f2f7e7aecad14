// Cuts of constants that nodes compute (Transpose, Reshape, Cast, DequantizeLinear ... of an initializer) are carried back to where
// the numbers lie; constants used in several places are cut only where all their uses agree.
import { attrInt, attrInts, intsAttribute, type Model, type Node } from '../ir/graph.js';
import { elementCount } from '../ir/tensor.js';
import { usedNames } from '../ir/walk.js';
import { flat, forEachAtom, forEachPair, isBlank, reshape, slice, spread, transpose } from '../ops/labels.js';
import type { Labels } from '../ops/op.js';
import type { Cut, Engine } from './channels.js';
import { smallValue } from './small-values.js';
import { concreteShape, type Shapes } from './shapes.js';

/** Constants up to this many elements get a copy of their own where their uses disagree; larger ones are tied. */
export const COPY_LIMIT = 4096;

export function shareConstants(model: Model, shapes: Shapes, engine: Engine): void {
  const { graph } = model;
  const uses = new Map<string, number>();
  const count = (name: string): void => {
    if (engine.constants.has(name)) uses.set(name, (uses.get(name) ?? 0) + 1);
  };
  for (const node of graph.nodes) {
    const direct = node.inputs.filter((n) => n !== '');
    direct.forEach(count);
    // captured by a subgraph: a use that is never cut
    const seen = new Set(direct);
    for (const name of usedNames(node)) if (!seen.has(name)) count(name);
  }
  for (const v of graph.outputs) count(v.name);

  const cuts = new Map<string, Cut[]>();
  const add = (from: number): void => {
    for (let k = from; k < engine.cuts.length; k++) {
      const cut = engine.cuts[k]!;
      const list = cuts.get(cut.tensor);
      if (list === undefined) cuts.set(cut.tensor, [cut]);
      else list.push(cut);
    }
  };
  add(0);
  const agree = (name: string, copies: boolean): readonly Cut[] => {
    const list = cuts.get(name) ?? [];
    if (list.length === 0) return list;
    const total = uses.get(name) ?? 0;
    if (copies || total <= 1) return list;
    for (const axis of new Set(list.map((c) => c.axis))) {
      const own = list.filter((c) => c.axis === axis);
      const places = new Set(own.map((c) => `${c.node}:${c.input}`)).size;
      if (places < total) own.forEach((c) => engine.freezeFor(c.labels, `"${name}" is also used elsewhere`));
      else if (places < own.length) own.forEach((c) => engine.freezeFor(c.labels, `"${name}" is used in several ways`));
      else {
        const dims = concreteShape(shapes, name) ?? [];
        const views = own.map((c) => ownView(c, dims, engine));
        for (const view of views.slice(1)) engine.tie(views[0]!, view);
      }
    }
    return list;
  };

  for (let i = graph.nodes.length - 1; i >= 0; i--) {
    const node = graph.nodes[i]!;
    if (!node.outputs.some((o) => cuts.has(o))) continue;
    if (!node.outputs.every((o) => o === '' || engine.constants.has(o))) continue;
    engine.enter(node, i);
    if (node.opType === 'Constant' && node.domain === '') {
      const size = elementCount(concreteShape(shapes, node.outputs[0] ?? '') ?? []);
      agree(node.outputs[0]!, size <= COPY_LIMIT);
      continue;
    }
    const before = engine.cuts.length;
    if (node.opType === 'Split' && node.domain === '') {
      splitBack(
        engine,
        shapes,
        node,
        node.outputs.map((o) => ((uses.get(o) ?? 0) === 0 ? undefined : agree(o, false))),
      );
      add(before);
      continue;
    }
    for (const output of node.outputs) {
      for (const cut of agree(output, false)) {
        if (!carryBack(engine, model, shapes, node, output, cut)) {
          engine.freezeFor(cut.labels, `weight computed by ${node.opType} "${node.name || output}"`);
        }
      }
    }
    add(before);
  }
  for (const [name, tensor] of graph.initializers) {
    if (cuts.has(name)) agree(name, elementCount(tensor.dims) <= COPY_LIMIT);
  }
  for (const name of graph.sparseInitializers.keys()) {
    for (const cut of cuts.get(name) ?? []) engine.freezeFor(cut.labels, `sparse weight "${name}"`);
  }
}

/** The labels of a cut in the constant's own shape. Several labels that one position meets have to go together. */
function ownView(cut: Cut, dims: readonly number[], engine: Engine): Labels {
  let l = cut.labels;
  const lead = l.shape.length - dims.length;
  for (let k = 0; k < l.shape.length; k++) {
    const d = k < lead ? 1 : dims[k - lead]!;
    if (l.shape[k] === d) continue;
    const first = flat(l, k, l.shape[k]!);
    if (l.strides[k] !== 0) forEachPair(first, l, (a, b) => engine.atoms.tie(a, b, 'shared weight'));
    l = flat(first, k, d);
  }
  return { ...l, shape: l.shape.slice(lead), strides: l.strides.slice(lead) };
}

/** Registers the cuts of the node's inputs that give this cut of its output; false when the operator has no way back. */
function carryBack(engine: Engine, model: Model, shapes: Shapes, node: Node, output: string, cut: Cut): boolean {
  const shape = concreteShape(shapes, output);
  const input = concreteShape(shapes, node.inputs[0] ?? '');
  if (shape === undefined || node.domain !== '') return false;
  // one cut is one axis of the constant: its labels as a view of the constant's own shape
  const lead = cut.labels.shape.length - shape.length;
  const strides = shape.map((_, k) => (k === cut.axis ? cut.labels.strides[k + lead]! : 0));
  const own: Labels = { shape, strides, offset: cut.labels.offset, atoms: cut.labels.atoms };
  const give = (i: number, labels: Labels): boolean => {
    const dims = concreteShape(shapes, node.inputs[i] ?? '');
    if (dims === undefined) return false;
    engine.addCut(i, dims, labels, cut.role);
    return true;
  };
  const values = (i: number): readonly (number | undefined)[] | undefined =>
    smallValue(model.graph, shapes, node.inputs[i] ?? '')?.elems;
  switch (node.opType) {
    case 'Transpose': {
      const perm = attrInts(node, 'perm') ?? shape.map((_, k) => shape.length - 1 - k);
      return give(
        0,
        transpose(
          own,
          perm.map((_, k) => perm.indexOf(k)),
        ),
      );
    }
    case 'Reshape':
    case 'Flatten':
    case 'Squeeze':
    case 'Unsqueeze': {
      if (input === undefined) return false;
      if (node.opType === 'Reshape') recountTarget(engine, own);
      const back = reshape(own, input);
      return give(0, back);
    }
    case 'DequantizeLinear':
    case 'QuantizeLinear': {
      const axis = attrInt(node, 'axis', 1);
      const at = axis < 0 ? axis + shape.length : axis;
      if (attrInt(node, 'block_size', 0) !== 0) return false;
      give(0, own);
      for (const i of [1, 2]) {
        const dims = concreteShape(shapes, node.inputs[i] ?? '');
        if (dims?.length !== 1 || dims[0] === 1 || at !== cut.axis) continue;
        engine.addCut(i, dims, spread(engine.along(own, at), 0, dims), 'along');
      }
      return true;
    }
    case 'Identity':
    case 'Cast':
    case 'CastLike':
    case 'Dropout':
    case 'Neg':
    case 'Abs':
    case 'Sqrt':
    case 'Reciprocal':
    case 'Exp':
    case 'Log':
    case 'Sign':
    case 'Relu':
    case 'Sigmoid':
    case 'Tanh':
    case 'Softplus':
    case 'Clip':
      return give(0, own);
    case 'Add':
    case 'Sub':
    case 'Mul':
    case 'Div':
    case 'Pow':
    case 'Max':
    case 'Min':
    case 'Where':
    case 'Equal':
    case 'Expand': {
      const last = node.opType === 'Expand' ? 1 : node.inputs.length;
      for (let i = 0; i < last; i++) if (!give(i, own)) return false;
      if (node.opType === 'Expand') recountTarget(engine, own);
      return true;
    }
    case 'ConstantOfShape': {
      recountTarget(engine, own, 0);
      return true;
    }
    case 'MatMul': {
      // a small network over constants (position tables): rows come from the left, columns from the right
      const right = concreteShape(shapes, node.inputs[1] ?? '');
      if (input === undefined || right === undefined || input.length < 2 || right.length < 2) return false;
      const rows = cut.axis === shape.length - 2;
      if (!rows && cut.axis !== shape.length - 1) return false;
      const side = rows ? input : right;
      const at = side.length - (rows ? 2 : 1);
      return give(rows ? 0 : 1, {
        ...own,
        shape: side,
        strides: side.map((_, k) => (k === at ? own.strides[cut.axis]! : 0)),
      });
    }
    case 'Gemm':
    case 'Conv': {
      // over constants only: the first step of an unrolled recurrence, a position code; the result's channels are those of the weight
      const gemm = node.opType === 'Gemm';
      const weight = concreteShape(shapes, node.inputs[1] ?? '');
      if (weight === undefined || cut.axis !== 1 || attrInt(node, 'group', 1) !== 1) return false;
      const at = gemm && attrInt(node, 'transB', 0) === 0 ? 1 : 0;
      const line = engine.along(own, 1);
      give(1, spread(line, at, weight));
      const bias = concreteShape(shapes, node.inputs[2] ?? '');
      if (bias === undefined) return (node.inputs[2] ?? '') === '';
      return bias.length === 0 || give(2, spread(line, bias.length - 1, [...bias.slice(0, -1), line.length]));
    }
    case 'Concat': {
      const axis = attrInt(node, 'axis', 0);
      const at = axis < 0 ? axis + shape.length : axis;
      let start = 0;
      for (let i = 0; i < node.inputs.length; i++) {
        const dims = concreteShape(shapes, node.inputs[i]!);
        if (dims === undefined) return false;
        if (!give(i, slice(own, at, start, 1, dims[at]!))) return false;
        start += dims[at]!;
      }
      return true;
    }
    case 'Slice': {
      if (input === undefined) return false;
      const old = attrInts(node, 'starts') !== undefined;
      const list = (i: number, name: string) => (old ? attrInts(node, name) : values(i));
      const starts = list(1, 'starts');
      const axes = (list(3, 'axes') ?? starts?.map((_, k) => k))?.map(
        (a) => (a ?? 0) + ((a ?? 0) < 0 ? shape.length : 0),
      );
      const j = axes?.indexOf(cut.axis);
      if (starts === undefined || j === undefined) return false;
      const size = input[cut.axis]!;
      const count = shape[cut.axis]!;
      if (j < 0 || count === size) return give(0, { ...own, shape: input });
      const given = starts[j];
      if (old || given === undefined || (list(4, 'steps')?.[j] ?? 1) !== 1) return false;
      const start = Math.min(given < 0 ? Math.max(given + size, 0) : given, size);
      const back = partial(engine, own, cut.axis, start, input);
      engine.recount((r) => {
        const alive = r.alive(back, cut.axis);
        const from = alive.slice(0, start).filter(Boolean).length;
        const to = from + alive.slice(start, start + count).filter(Boolean).length;
        const at = (v: number) => starts.map((_, k) => (k === j ? v : undefined));
        return {
          inputs: new Map([
            [1, at(from)],
            [2, at(to)],
          ]),
        };
      });
      return give(0, back);
    }
    case 'Tile': {
      if (input === undefined || values(1)?.[cut.axis] !== 1) return false;
      return give(0, { ...own, shape: input });
    }
    case 'Gather': {
      if (input === undefined) return false;
      const axis = attrInt(node, 'axis', 0);
      const at = axis < 0 ? axis + input.length : axis;
      const indices = values(1);
      const rank = concreteShape(shapes, node.inputs[1] ?? '')?.length;
      if (indices === undefined || rank === undefined) return false;
      if (cut.axis >= at && cut.axis < at + rank) return false;
      const kept = input.map((_, k) => (k < at ? k : k + rank - 1));
      const back = input.map((_, k) => (k === at ? 0 : own.strides[kept[k]!]!));
      return give(0, { ...own, shape: input, strides: back });
    }
    default:
      return false;
  }
}

/** Labels of a piece of a constant in the constant's shape: what is outside it goes as others say. */
function partial(engine: Engine, own: Labels, axis: number, start: number, input: readonly number[]): Labels {
  const line = engine.fresh(input[axis]!);
  line.set(engine.along(own, axis), start);
  return spread(line, axis, input);
}

/** Cuts of the parts of a Split together: along its axis they lie side by side, across it they have to agree. */
function splitBack(engine: Engine, shapes: Shapes, node: Node, parts: readonly (readonly Cut[] | undefined)[]): void {
  const input = concreteShape(shapes, node.inputs[0] ?? '');
  const all = parts.flatMap((cuts) => cuts ?? []);
  const giveUp = (cuts: readonly Cut[]): void => {
    for (const c of cuts)
      engine.freezeFor(c.labels, `weight computed by Split "${node.name || (node.outputs[0] ?? '')}"`);
  };
  const sizes = node.outputs.map((o) => concreteShape(shapes, o));
  if (input === undefined || sizes.some((s) => s === undefined)) {
    giveUp(all);
    return;
  }
  const axis = attrInt(node, 'axis', 0);
  const at = axis < 0 ? axis + input.length : axis;
  for (const k of new Set(all.map((c) => c.axis))) {
    const own = parts.map((cuts) => cuts?.filter((c) => c.axis === k));
    const views = own.map((cuts, i) => (cuts?.[0] === undefined ? undefined : ownView(cuts[0], sizes[i]!, engine)));
    const role = all.find((c) => c.axis === k)!.role;
    if (k !== at) {
      // a part that is used but not cut here has to keep the axis
      if (own.some((cuts) => cuts?.length === 0)) {
        giveUp(all.filter((c) => c.axis === k));
        continue;
      }
      const [first, ...rest] = views.filter((v) => v !== undefined).map((v) => engine.along(v, k));
      for (const other of rest) other.forEach((a, i) => engine.tieAll([first![i]!, a]));
      engine.addCut(0, input, spread(first!, k, input), role);
      continue;
    }
    const line = engine.fresh(input[k]!);
    let start = 0;
    const starts = sizes.map((s) => (start += s![k]!) - s![k]!);
    views.forEach((v, i) => {
      const n = sizes[i]![k]!;
      // a part that nobody uses goes as others say
      if (v !== undefined) line.set(engine.along(v, k), starts[i]);
      else if (own[i] !== undefined) line.fill(0, starts[i], starts[i]! + n);
    });
    const back = spread(line, k, input);
    const attribute = engine.opset < 13;
    engine.recount((r) => {
      const alive = r.alive(back, k);
      const left = sizes.map((s, i) => alive.slice(starts[i], starts[i]! + s![k]!).filter(Boolean).length);
      if (attribute) return { attributes: { split: intsAttribute('split', left) } };
      return { attributes: { num_outputs: undefined }, inputs: new Map([[1, left]]) };
    });
    engine.addCut(0, input, back, role);
  }
}

/** The shape operand of the current node follows the cut dims of its output. */
function recountTarget(engine: Engine, labels: Labels, input = 1): void {
  if (isBlank(labels)) return;
  let any = false;
  forEachAtom(labels, () => {
    any = true;
  });
  if (!any) return;
  const axis = labels.strides.findIndex((s) => s !== 0);
  engine.recount((r) => {
    const target = r.value(input)?.elems;
    const dims = r.dims(labels);
    const lead = dims.length - (target?.length ?? dims.length);
    // 0 and -1 follow by themselves; so does Expand's 1: there the channels come with the data
    const wanted = dims.map((d, k) => (k !== axis || (target?.[k - lead] ?? 2) <= 1 ? undefined : d));
    return { inputs: new Map([[input, wanted.slice(lead)]]) };
  });
}
