// The law of every gradient rule: the gradient graph, evaluated in the float64 reference, agrees with central differences of the
// loss there; and onnxruntime's float32 agrees with the reference.

import { inferShapes, concreteShape } from '../../src/analysis/shapes.js';
import type { Graph, Model, ValueInfo } from '../../src/ir/graph.js';
import { DataType, elementCount, floatTensor, int64Tensor, type Tensor } from '../../src/ir/tensor.js';
import { toAttribute, type AttributeValue } from '../../src/ir/builder.js';
import { standardOps } from '../../src/ops/index.js';
import type { Rng } from '../../src/rng.js';
import { floatsOf, withSession, type Runtime } from '../../src/runtime/runtime.js';
import { createEmitter } from '../../src/training/emitter.js';
import { appendGradients, type Gradients } from '../../src/training/gradient.js';
import { ref, type Ref } from '../reference/arrays.js';
import { interpret } from '../reference/interpreter.js';

/** One operator with its shapes and attributes. */
export interface OpCase {
  readonly opType: string;
  readonly opset?: number;
  /** Dims = a differentiated FLOAT input; whole numbers = an INT64 constant; undefined = omitted. */
  readonly inputs: readonly (CaseInput | undefined)[];
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  readonly outputs?: number;
  /** How many of the outputs the loss depends on; all by default. */
  readonly through?: number;
}

export type CaseInput =
  | { readonly floats: readonly number[] }
  | {
      readonly dims: readonly number[];
      /** Interval of the values; [-2, 2] by default. */
      readonly range?: readonly [number, number];
      /** Not differentiated: running statistics, limits. */
      readonly fixed?: boolean;
    }
  | {
      readonly ints: readonly number[];
      readonly dims?: readonly number[];
      /** BOOL instead of INT64. */ readonly bool?: true;
    };

export interface Agreement {
  /** Largest difference of a directional derivative, relative to the lengths of gradient and direction. */
  readonly differences: number;
  /** Largest element-wise difference of onnxruntime's gradients, relative to the largest element. */
  readonly runtime: number;
  /** Nodes of the gradient graph that are not the operator's own. */
  readonly nodes: number;
}

interface Built {
  readonly graph: Graph;
  readonly opset: number;
  readonly loss: string;
  readonly wrt: readonly string[];
  readonly feeds: ReadonlyMap<string, Ref>;
}

/**
 * Values that keep their distance: a permutation of a grid, each moved by less than a quarter of its spacing, so that no corner
 * (a maximum, a bound) lies between a value and its neighbour in a difference.
 */
export function spacedValues(dims: readonly number[], [low, high]: readonly [number, number], rng: Rng): Ref {
  const n = elementCount(dims);
  const order = rng.shuffle(Array.from({ length: n }, (_, k) => k));
  return ref(
    dims,
    order.map((k) => Math.fround(low + ((high - low) * (k + 0.5 + (rng.next() - 0.5) / 2)) / n)),
  );
}

/** The loss: every floating-point output times fixed random numbers, summed. */
function built(c: OpCase, rng: Rng): Built {
  const opset = c.opset ?? 17;
  const feeds = new Map<string, Ref>();
  const inputs: ValueInfo[] = [];
  const initializers = new Map<string, Tensor>();
  const wrt: string[] = [];
  const names = c.inputs.map((input, i) => {
    const name = `x${i}`;
    if (input === undefined) return '';
    if ('floats' in input) {
      initializers.set(name, floatTensor(name, [input.floats.length], Float32Array.from(input.floats)));
      return name;
    }
    if ('ints' in input) {
      const shape = input.dims ?? [input.ints.length];
      const bytes = Uint8Array.from(input.ints);
      const bools: Tensor = { name, dataType: DataType.BOOL, dims: shape, bytes: () => bytes };
      initializers.set(name, input.bool === true ? bools : int64Tensor(name, input.ints, shape));
      return name;
    }
    const values = spacedValues(input.dims, input.range ?? [-2, 2], rng.fork(name));
    if (input.fixed === true) {
      initializers.set(name, floatTensor(name, input.dims, Float32Array.from(values.data)));
      return name;
    }
    inputs.push({ name, type: { kind: 'tensor', elemType: DataType.FLOAT, shape: input.dims } });
    feeds.set(name, values);
    wrt.push(name);
    return name;
  });
  const outputs = Array.from({ length: c.outputs ?? 1 }, (_, i) => `y${i}`);
  const attributes = Object.entries(c.attributes ?? {}).flatMap(([name, value]) => toAttribute(name, value) ?? []);
  const base: Graph = {
    name: 'law',
    nodes: [
      {
        name: 'node',
        opType: c.opType,
        domain: '',
        inputs: names,
        outputs,
        attributes: new Map(attributes.map((a) => [a.name, a])),
      },
    ],
    initializers,
    sparseInitializers: new Map(),
    inputs,
    outputs: [],
    valueInfo: new Map(),
  };
  const shapes = inferShapes({ graph: base, opsets: new Map([['', opset]]) }, standardOps);
  const e = createEmitter(base, 'loss', opset);
  const parts = outputs.slice(0, c.through ?? outputs.length).flatMap((name) => {
    const type = shapes.types.get(name);
    if (type?.kind !== 'tensor' || type.elemType !== DataType.FLOAT) return [];
    const dims = concreteShape(shapes, name);
    if (dims === undefined) throw new Error(`${c.opType}: the shape of its output is not known`);
    const probe = e.float([...spacedValues(dims, [-1, 1.5], rng.fork(`probe/${name}`)).data], dims);
    return [e.emit('ReduceSum', [e.emit('Mul', [name, probe])], { keepdims: 0 })];
  });
  const loss = e.emit('Sum', parts);
  return { graph: e.extended(base), opset, loss, wrt, feeds };
}

/** Checks one case; without a runtime only in the reference. */
export async function gradientAgreement(c: OpCase, rng: Rng, runtime?: Runtime): Promise<Agreement> {
  const b = built(c, rng);
  const opsets = new Map([['', b.opset]]);
  const made = appendGradients({ graph: b.graph, opsets }, standardOps, b.loss, b.wrt, {});
  const values = interpret(made.graph, made.opsets.get('') ?? b.opset, b.feeds);
  let differences = 0;
  const found = b.wrt.filter((name) => made.of.has(name));
  for (const name of found) {
    const gradient = values.get(made.of.get(name)!)!;
    const x = b.feeds.get(name)!;
    if (gradient.dims.join() !== x.dims.join()) {
      throw new Error(`gradient of "${name}" has dims [${gradient.dims.join()}] instead of [${x.dims.join()}]`);
    }
    differences = Math.max(differences, worstDirection(b, name, gradient, rng.fork(`direction/${name}`)));
  }
  const nodes = made.graph.nodes.length - b.graph.nodes.length;
  if (runtime === undefined || found.length === 0) return { differences, runtime: 0, nodes };
  return { differences, runtime: await besideRuntime(b, made, values, runtime), nodes };
}

/** Two random directions and six single elements. */
function worstDirection(b: Built, name: string, gradient: Ref, rng: Rng): number {
  const x = b.feeds.get(name)!;
  const lossAt = (direction: Float64Array, step: number): number => {
    const data = x.data.map((v, k) => v + step * direction[k]!);
    return interpret(b.graph, b.opset, new Map([...b.feeds, [name, { dims: x.dims, data }]])).get(b.loss)!.data[0]!;
  };
  const n = x.data.length;
  const directions = [0, 1].map(() => Float64Array.from({ length: n }, () => rng.normal()));
  for (let k = 0; k < Math.min(n, 6); k++) {
    const single = new Float64Array(n);
    single[rng.int(n)] = 1;
    directions.push(single);
  }
  const length = (v: Float64Array): number => Math.sqrt(v.reduce((sum, e) => sum + e * e, 0));
  return directions.reduce((worst, direction) => {
    const step = 1e-5;
    const numeric = (lossAt(direction, step) - lossAt(direction, -step)) / (2 * step);
    const exact = gradient.data.reduce((sum, v, k) => sum + v * direction[k]!, 0);
    // a gradient of 0 leaves only the rounding of the differences
    const scale = length(gradient.data) * length(direction) + 1e-3;
    return Math.max(worst, Math.abs(numeric - exact) / scale);
  }, 0);
}

async function besideRuntime(
  b: Built,
  made: Gradients,
  values: ReadonlyMap<string, Ref>,
  runtime: Runtime,
): Promise<number> {
  const model = modelOf(made, [...new Set(made.of.values())]);
  const feeds = new Map(
    [...b.feeds].map(([name, x]) => [
      name,
      { dataType: DataType.FLOAT, dims: x.dims, data: Float32Array.from(x.data) },
    ]),
  );
  const results = await withSession(runtime, model, {}, (session) => session.run(feeds));
  let worst = 0;
  for (const name of made.of.values()) {
    const exact = values.get(name)!.data;
    const ours = floatsOf(results.get(name)!);
    if (ours.length !== exact.length) throw new Error(`${name}: ${ours.length} elements instead of ${exact.length}`);
    const largest = exact.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-3);
    ours.forEach((v, k) => {
      worst = Math.max(worst, Math.abs(v - exact[k]!) / largest);
    });
  }
  return worst;
}

export function modelOf({ graph, opsets }: Gradients, outputs: readonly string[]): Model {
  const opset = opsets.get('') ?? 17;
  return {
    irVersion: opset >= 23 ? 11 : opset >= 20 ? 10 : 8,
    opsets,
    producerName: '',
    producerVersion: '',
    metadata: new Map(),
    functions: [],
    graph: {
      ...graph,
      outputs: outputs.map((name) => ({ name, type: { kind: 'tensor', elemType: DataType.FLOAT } })),
    },
  };
}
