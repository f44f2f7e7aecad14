// Random surroundings for one operator, for the law of its channel rule: sources of channels in all the ways they come (along any
// axis, along two, in parts, shared, in part without channels) and sinks that consume whatever leaves it.

import { inferShapes } from '../../src/analysis/shapes.js';
import { concreteShape } from '../../src/analysis/shapes.js';
import { graphBuilder, type AttributeValue, type GraphBuilder } from '../../src/ir/builder.js';
import type { Model } from '../../src/ir/graph.js';
import { DataType } from '../../src/ir/tensor.js';
import { standardOps } from '../../src/ops/index.js';
import type { Rng } from '../../src/rng.js';

export interface Field {
  readonly g: GraphBuilder;
  readonly rng: Rng;
  readonly opset: number;
  /** The first dim of every input is dynamic (and counted as 1). */
  readonly dynamic: boolean;
  int(low: number, high: number): number;
  chance(p: number): boolean;
  /** Dims of 2 to 6, the first one 1 where it is dynamic. */
  dims(rank: number): number[];
  /** Random FLOAT initializer; positive ones lie in 0.5 to 1.5. */
  weight(...dims: number[]): string;
  positive(...dims: number[]): string;
  /** An activation of this shape: mostly with channels along some axis or axes. `axis` asks for channels there (and only there). */
  source(shape: readonly number[], axis?: number): string;
  /** Source, plain input or constant. */
  any(shape: readonly number[]): string;
  op(opType: string, inputs: readonly string[], attributes?: Readonly<Record<string, AttributeValue>>): string;
  /** Output of com.microsoft's operator. */
  ms(opType: string, inputs: readonly string[], attributes?: Readonly<Record<string, AttributeValue>>): string;
  cast(x: string, to: number): string;
  shapeOf(name: string): readonly number[];
}

export interface OperatorCase {
  /** `domain:Operator` outside ai.onnx, as in the table of channel rules. */
  readonly operator: string;
  /** One of these is drawn. */
  readonly opsets: readonly number[];
  /** Builds the operator; what it returns is cast to FLOAT and consumed. */
  readonly build: (f: Field) => string | readonly string[];
}

/** One random network around the operator. Throws what `build` throws. */
export function buildField(c: OperatorCase, rng: Rng): Model {
  const opset = rng.pick(c.opsets);
  const g = graphBuilder({ opset, irVersion: opset > 22 ? 11 : opset > 18 ? 10 : 8, domains: { 'com.microsoft': 1 } });
  const f = createField(g, rng, opset, rng.next() < 0.4);
  const made = c.build(f);
  const ends = typeof made === 'string' ? [made] : made;
  for (const end of ends) sink(f, end);
  return g.model();
}

function createField(g: GraphBuilder, rng: Rng, opset: number, dynamic: boolean): Field {
  const fill = (dims: readonly number[], make: () => number): Float32Array =>
    Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, make);
  const earlier: { readonly name: string; readonly shape: string }[] = [];
  let inputs = 0;
  const input = (shape: readonly number[]): string =>
    g.input(
      `x${inputs++}`,
      DataType.FLOAT,
      shape.map((d, k) => (k === 0 && dynamic && shape.length > 1 && d === 1 ? 'N' : d)),
    );
  const f: Field = {
    g,
    rng,
    opset,
    dynamic,
    int: (low, high) => low + rng.int(high - low + 1),
    chance: (p) => rng.next() < p,
    dims: (rank) => Array.from({ length: rank }, (_, k) => (k === 0 && dynamic ? 1 : 2 + rng.int(5))),
    weight: (...dims) =>
      g.floats(
        fill(dims, () => rng.normal() * 0.5),
        dims,
        'w',
      ),
    positive: (...dims) =>
      g.floats(
        fill(dims, () => 0.5 + rng.next()),
        dims,
        'p',
      ),
    source: (shape, axis) => {
      const key = shape.join();
      const known = earlier.filter((e) => e.shape === key);
      if (axis === undefined && known.length > 0 && rng.next() < 0.2) return rng.pick(known).name;
      const name = makeSource(f, input, shape, axis);
      if (axis === undefined) earlier.push({ name, shape: key });
      return name;
    },
    any: (shape) => {
      const at = rng.next();
      return at < 0.65 ? f.source(shape) : at < 0.8 ? input(shape) : f.weight(...shape);
    },
    op: (opType, from, attributes) => g.op(opType, from, attributes),
    ms: (opType, from, attributes) => g.op(opType, from, attributes, { domain: 'com.microsoft' }),
    cast: (x, to) => g.op('Cast', [x], { to }),
    shapeOf: (name) => {
      const model = g.model();
      const shapes = inferShapes(model, standardOps, { dynamic: 1 });
      const shape = concreteShape(shapes, name);
      if (shape === undefined) throw new Error(`the shape of "${name}" is not known`);
      return shape;
    },
  };
  return f;
}

/** Activations [.., 3 at `axis`, ..] times [3, n]: n new channels along the axis. */
function project(
  f: Field,
  input: (shape: readonly number[]) => string,
  shape: readonly number[],
  axis: number,
): string {
  const rank = shape.length;
  const x = input(shape.map((d, k) => (k === axis ? 3 : d)));
  const w = f.weight(3, shape[axis]!);
  if (axis === rank - 1) return f.op('MatMul', [x, w]);
  if (axis === 1 && rank >= 3 && rank <= 5 && f.chance(0.6)) {
    const kernel = shape.slice(2).map(() => 1);
    return f.op('Conv', [x, f.weight(shape[1]!, 3, ...kernel), ...(f.chance(0.5) ? [f.weight(shape[1]!)] : [])]);
  }
  const perm = swapped(rank, axis);
  return f.op('Transpose', [f.op('MatMul', [f.op('Transpose', [x], { perm }), w])], { perm });
}

function swapped(rank: number, axis: number): number[] {
  return Array.from({ length: rank }, (_, k) => (k === axis ? rank - 1 : k === rank - 1 ? axis : k));
}

function makeSource(
  f: Field,
  input: (shape: readonly number[]) => string,
  shape: readonly number[],
  wanted: number | undefined,
): string {
  const rank = shape.length;
  if (rank === 0) return f.op('ReduceSum', [input([3])], { keepdims: 0 });
  const wide = [...shape.keys()].filter((k) => shape[k]! > 1);
  if (wide.length === 0) return input(shape);
  const usual = wide.includes(1) && f.chance(0.4) ? 1 : f.rng.pick(wide);
  const axis = wanted ?? usual;
  const n = shape[axis]!;
  const part = (size: number): number[] => shape.map((d, k) => (k === axis ? size : d));
  switch (f.rng.int(wanted === undefined ? 8 : 6)) {
    case 0:
      // two families of channels
      if (n >= 2) {
        const first = f.int(1, n - 1);
        const parts = [first, n - first].map((size) => project(f, input, part(size), axis));
        return f.op('Concat', parts, { axis });
      }
      break;
    case 1: {
      // what a Split leaves
      const size = f.int(1, 3);
      const sizes = f.chance(0.5) ? [n, size] : [size, n];
      const all = project(f, input, part(n + size), axis);
      const parts = f.g.ops('Split', [all, ...(f.opset >= 13 ? [f.g.ints(sizes)] : [])], 2, {
        axis,
        ...(f.opset >= 13 ? {} : { split: sizes }),
      });
      return parts[sizes.indexOf(n)]!;
    }
    case 2:
      // tied to others
      return f.op('Add', [project(f, input, shape, axis), project(f, input, shape, axis)]);
    case 6:
      // partly without channels
      if (n >= 2) {
        const first = f.int(1, n - 1);
        return f.op('Concat', [input(part(first)), project(f, input, part(n - first), axis)], { axis });
      }
      break;
    case 7: {
      // channels along two axes
      const other = wide.filter((k) => k !== axis && !(f.dynamic && k === 0));
      if (other.length === 0 || (f.dynamic && axis === 0)) break;
      const [j, k] = [axis, f.rng.pick(other)].toSorted((a, b) => a - b) as [number, number];
      const rest = shape.filter((_, i) => i !== j && i !== k);
      const flat = f.op('MatMul', [input([...rest, 3]), f.weight(3, shape[j]! * shape[k]!)]);
      const apart = f.op('Reshape', [flat, f.g.ints([...rest.map(() => 0), shape[j]!, shape[k]!])]);
      const order = [...[...shape.keys()].filter((i) => i !== j && i !== k), j, k];
      return f.op('Transpose', [apart], { perm: shape.map((_, i) => order.indexOf(i)) });
    }
  }
  return project(f, input, shape, axis);
}

/** Consumes a value in one or two of the ways that networks have, and makes the results outputs. */
function sink(f: Field, value: string): void {
  let x = value;
  const type = inferShapes(f.g.model(), standardOps, { dynamic: 1 }).types.get(value);
  if (type?.kind === 'tensor' && type.elemType !== DataType.FLOAT) x = f.cast(value, DataType.FLOAT);
  const times = f.chance(0.25) ? 2 : 1;
  for (let i = 0; i < times; i++) {
    const end = consume(f, f.chance(0.2) ? f.op('Relu', [x]) : x);
    if (!f.g.graph().outputs.some((o) => o.name === end)) f.g.output(end, DataType.FLOAT);
  }
}

function consume(f: Field, x: string): string {
  const shape = f.shapeOf(x);
  const rank = shape.length;
  if (rank === 0) return x;
  const at = f.rng.next();
  if (at < 0.04) return f.op('Neg', [x]);
  if (at < 0.14) {
    const mixed = f.op('Add', [x, f.source(shape)]);
    return consume(f, mixed);
  }
  if (at < 0.2 && rank > 1) {
    const axis = f.rng.int(rank);
    return f.opset >= 13
      ? f.op('ReduceSum', [x, f.g.ints([axis])], { keepdims: 1 })
      : f.op('ReduceSum', [x], { axes: [axis], keepdims: 1 });
  }
  if (at < 0.45 && rank >= 3 && rank <= 5) {
    return f.op('Conv', [x, f.weight(2, shape[1]!, ...shape.slice(2).map(() => 1))]);
  }
  if (at < 0.7 || rank === 1) {
    const axis = f.dynamic && rank > 1 ? f.int(1, rank - 1) : f.rng.int(rank);
    const turned = axis === rank - 1 ? x : f.op('Transpose', [x], { perm: swapped(rank, axis) });
    return f.op('MatMul', [turned, f.weight(shape[axis]!, 2)]);
  }
  const size = shape.slice(1).reduce((a, b) => a * b, 1);
  return f.op('Gemm', [f.op('Flatten', [x]), f.weight(size, 2), f.weight(2)]);
}
