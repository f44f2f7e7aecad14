// Weights that the graph standardises or normalises on every run (timm's ScaledStdConv and StdConv, weight_norm, cosine heads): a cut
// cannot be carried back through a statistic, so what is computed of constants alone behind one is computed once. In double precision:
// the runtime's own numbers but for the last bits. Lazily: nothing is read before somebody asks for the weight.
import { attrFloat, attrInt, attrInts, type Model, type Node } from '../ir/graph.js';
import { DataType, elementCount, floatTensor, readNumbers, type Tensor } from '../ir/tensor.js';
import { indexGraph, removeDead } from '../ir/walk.js';
import { once } from '../once.js';
import { walk } from '../ops/labels.js';
import type { OpTable } from '../ops/op.js';
import { stridesOf } from '../ops/partial.js';
import { constantOfNode } from './scope.js';
import { concreteShape, inferShapes, type Shapes } from './shapes.js';

/** Elements in row-major order. */
interface Values {
  readonly dims: readonly number[];
  readonly data: ArrayLike<number>;
}

interface Known {
  readonly values: () => Values;
  readonly hasData: boolean;
  /** Behind a statistic. */
  readonly statistic: boolean;
}

export function withComputedWeights(model: Model, table: OpTable): Model {
  const { graph } = model;
  const isStatistic = (n: Node): boolean => n.domain === '' && STATISTICS.has(n.opType);
  if (model.irVersion < 4 || !graph.nodes.some(isStatistic)) return model;
  const open = new Set(graph.inputs.map((v) => v.name));
  const known = new Map<string, Known>();
  const constants = new Set<string>();
  const add = (name: string, t: Tensor): void => {
    constants.add(name);
    if (t.dataType !== DataType.FLOAT) return;
    const values = (): Values => ({ dims: t.dims, data: readNumbers(t) });
    known.set(name, { values, hasData: t.bytes !== undefined, statistic: false });
  };
  for (const [name, t] of graph.initializers) if (!open.has(name)) add(name, t);
  // which nodes compute constants follows from names alone: most networks end here
  const computed: Node[] = [];
  for (const node of graph.nodes) {
    const constant = node.opType === 'Constant' && node.domain === '' ? constantOfNode(node) : undefined;
    if (constant !== undefined) add(node.outputs[0] ?? '', constant);
    const inputs = node.inputs.filter((n) => n !== '');
    if (node.domain !== '' || RULES[node.opType] === undefined || inputs.length === 0) continue;
    if (!inputs.every((n) => constants.has(n))) continue;
    computed.push(node);
    for (const o of node.outputs) constants.add(o);
  }
  if (!computed.some(isStatistic)) return model;

  const shapes = inferShapes(model, table);
  const { consumers } = indexGraph(graph);
  const ends = new Set(graph.outputs.map((v) => v.name));
  const made = new Map<string, Tensor>();
  for (const node of computed) {
    const [output = '', ...further] = node.outputs;
    const dims = concreteShape(shapes, output);
    const named = node.inputs.filter((n) => n !== '');
    const inputs = named.filter((n) => known.has(n)).map((n) => known.get(n)!);
    const type = shapes.types.get(output);
    if (dims === undefined || type?.kind !== 'tensor' || type.elemType !== DataType.FLOAT) continue;
    if (!known.has(node.inputs[0] ?? '') || (inputs.length < named.length && !SHAPED.test(node.opType))) continue;
    if (further.some((o) => o !== '' && (consumers.get(o)?.length ?? 0) > 0)) continue;
    const work = RULES[node.opType]?.(node, dims, shapes);
    if (work === undefined) continue;
    const values = once((): Values => {
      const read = node.inputs.map((n) => (known.has(n) ? known.get(n)!.values() : undefined));
      return { dims, data: work(read) };
    });
    const hasData = inputs.every((i) => i.hasData);
    const statistic = isStatistic(node) || inputs.some((i) => i.statistic);
    known.set(output, { values, hasData, statistic });
    if (!statistic || ends.has(output)) continue;
    const bytes = once(() => floatTensor(output, dims, Float32Array.from(values().data)).bytes!());
    made.set(output, { name: output, dataType: DataType.FLOAT, dims, ...(hasData ? { bytes } : {}) });
  }
  if (made.size === 0) return model;
  const nodes = graph.nodes.filter((n) => !made.has(n.outputs[0] ?? ''));
  const valueInfo = new Map([...graph.valueInfo].filter(([name]) => !made.has(name)));
  const initializers = new Map([...graph.initializers, ...made]);
  return { ...model, graph: removeDead({ ...graph, nodes, initializers, valueInfo }) };
}

const STATISTICS: ReadonlySet<string> = new Set([
  'ReduceMean',
  'ReduceSum',
  'ReduceL2',
  'ReduceL1',
  'ReduceSumSquare',
  'BatchNormalization',
]);

/** Inputs after the first are shapes and axes. */
const SHAPED = /^(Reduce.*|Reshape|Squeeze|Unsqueeze|Expand)$/;

/** What an operator does to constants; undefined where it cannot be said. */
type Rule = (node: Node, dims: readonly number[], shapes: Shapes) => Work | undefined;
type Work = (inputs: readonly (Values | undefined)[]) => ArrayLike<number>;

const unary =
  (f: (x: number) => number): Rule =>
  () =>
  ([x]) =>
    Float64Array.from(x!.data, f);

const binary =
  (f: (a: number, b: number) => number): Rule =>
  (node, dims) =>
    node.inputs.length !== 2
      ? undefined
      : ([a, b]) => {
          const [left, right] = [broadcast(a!, dims), broadcast(b!, dims)];
          return left.map((x, i) => f(x, right[i]!));
        };

const same: Rule =
  () =>
  ([x]) =>
    x!.data;

const reduction =
  (f: (sum: number, x: number) => number, end: (sum: number, count: number) => number): Rule =>
  (node, dims, { values }) => {
    const given = node.inputs[1] ?? '';
    const read = given === '' ? attrInts(node, 'axes') : values.get(given)?.elems;
    if (given !== '' && (read === undefined || read.includes(undefined))) return undefined;
    if ((read ?? []).length === 0 && attrInt(node, 'noop_with_empty_axes', 0) === 1) return undefined;
    return ([x]) => {
      const rank = x!.dims.length;
      const all = (read ?? []).length === 0;
      const reduced = x!.dims.map((_, i) => all || read!.some((a) => (a! < 0 ? a! + rank : a) === i));
      const strides = stridesOf(x!.dims.map((d, i) => (reduced[i] === true ? 1 : d)));
      const out = new Float64Array(elementCount(dims));
      const places = offsets(
        x!.dims,
        strides.map((s, i) => (reduced[i] === true ? 0 : s)),
      );
      places.forEach((at, i) => (out[at] = f(out[at]!, x!.data[i]!)));
      const count = places.length / Math.max(1, out.length);
      return out.map((v) => end(v, count));
    };
  };

const RULES: Readonly<Record<string, Rule | undefined>> = {
  Identity: same,
  Reshape: same,
  Flatten: same,
  Squeeze: same,
  Unsqueeze: same,
  Sqrt: unary(Math.sqrt),
  Neg: unary((x) => -x),
  Abs: unary(Math.abs),
  Reciprocal: unary((x) => 1 / x),
  Add: binary((a, b) => a + b),
  Sub: binary((a, b) => a - b),
  Mul: binary((a, b) => a * b),
  Div: binary((a, b) => a / b),
  Pow: binary((a, b) => a ** b),
  Max: binary(Math.max),
  Min: binary(Math.min),
  Expand:
    (_, dims) =>
    ([x]) =>
      broadcast(x!, dims),
  Clip(node) {
    const [low, high] = [attrFloat(node, 'min', -Infinity), attrFloat(node, 'max', Infinity)];
    return ([x, min, max]) =>
      Float64Array.from(x!.data, (v) => Math.min(max?.data[0] ?? high, Math.max(min?.data[0] ?? low, v)));
  },
  Transpose: (node, dims) => {
    const perm = attrInts(node, 'perm') ?? dims.map((_, i) => dims.length - 1 - i);
    return ([x]) => {
      const strides = stridesOf(x!.dims);
      const places = offsets(
        dims,
        perm.map((p) => strides[p]!),
      );
      return Float64Array.from(places, (at) => x!.data[at]!);
    };
  },
  ReduceMean: reduction(
    (s, x) => s + x,
    (s, n) => s / n,
  ),
  ReduceSum: reduction(
    (s, x) => s + x,
    (s) => s,
  ),
  ReduceL1: reduction(
    (s, x) => s + Math.abs(x),
    (s) => s,
  ),
  ReduceL2: reduction((s, x) => s + x * x, Math.sqrt),
  ReduceSumSquare: reduction(
    (s, x) => s + x * x,
    (s) => s,
  ),
  BatchNormalization: (node) => {
    const epsilon = attrFloat(node, 'epsilon', 1e-5);
    const own = attrInt(node, 'training_mode', 0) === 1;
    return ([x, scale, bias, mean, variance]) => {
      const [, channels = 1] = x!.dims;
      const inner = elementCount(x!.dims.slice(2));
      const channel = (i: number): number => Math.floor(i / inner) % channels;
      const n = x!.data.length / channels;
      const sums = new Float64Array(channels);
      const squares = new Float64Array(channels);
      if (own) {
        for (let i = 0; i < x!.data.length; i++) sums[channel(i)]! += x!.data[i]! / n;
        for (let i = 0; i < x!.data.length; i++) squares[channel(i)]! += (x!.data[i]! - sums[channel(i)]!) ** 2 / n;
      }
      const [m, v] = own ? [sums, squares] : [mean!.data, variance!.data];
      return Float64Array.from(x!.data, (value, i) => {
        const c = channel(i);
        return ((value - m[c]!) / Math.sqrt(v[c]! + epsilon)) * scale!.data[c]! + bias!.data[c]!;
      });
    };
  },
};

function broadcast({ dims, data }: Values, to: readonly number[]): Float64Array {
  const own = stridesOf(dims);
  const lead = to.length - dims.length;
  const strides = to.map((_, i) => (i < lead || dims[i - lead] === 1 ? 0 : own[i - lead]!));
  return Float64Array.from(offsets(to, strides), (at) => data[at]!);
}

/** Of every position of `dims`, in row-major order. */
function offsets(dims: readonly number[], strides: readonly number[]): Int32Array {
  const found = new Int32Array(elementCount(dims));
  walk(dims, [strides], [0], ([at], i) => (found[i] = at!));
  return found;
}
