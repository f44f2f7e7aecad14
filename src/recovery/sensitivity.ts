// How a loss reacts to channels and weights, from gradients of single calibration samples in onnxruntime. Channels are switched by
// gates of value 1 at every place that consumes them: the very places that analysis/mask.ts multiplies by 0.
//
// With labels the loss is the cross-entropy, and squares of its gradients are the empirical Fisher information. Without, the network
// aims at its own outputs: the loss is half their squared change, its gradient there is 0, and random signs times the outputs have
// gradients whose mean square is the diagonal of the Gauss-Newton matrix (Hutchinson 1990), for any kind of output.
import type { Analysis } from '../analysis/analyse.js';
import type { DeadUnits } from '../analysis/groups.js';
import { concreteShape, inferShapes } from '../analysis/shapes.js';
import type { Dataset } from '../data/dataset.js';
import { chooseSamples, chunksOf } from '../data/batches.js';
import { PareError } from '../errors.js';
import type { Graph, Model, Node, ValueInfo } from '../ir/graph.js';
import { DataType, elementCount, floatTensor } from '../ir/tensor.js';
import { allNames, freshName } from '../ir/walk.js';
import type { Rng } from '../rng.js';
import { floatData, floatsOf, withSession, type Runtime } from '../runtime/runtime.js';
import { createEmitter } from '../training/emitter.js';
import { appendGradients } from '../training/gradient.js';
import { emitLoss } from '../training/loss.js';
import { modernized } from '../training/modernize.js';
import { scoresOf } from '../training/step.js';
import { constantsLifted } from './constants.js';

export interface Gate {
  /** By unit: mean over samples of |dL/dgate|. */
  readonly magnitude: Float64Array;
  /** By unit: mean over samples of its square. */
  readonly square: Float64Array;
}

export interface Sensitivity {
  /** What the loss aimed at. */
  readonly targets: 'labels' | 'own outputs';
  readonly samples: number;
  /** By group id; undefined unless asked for. */
  gate(group: string): Gate | undefined;
  /** By tensor: mean over samples of each weight's squared gradient; undefined unless asked for, or where no gradient arrives. */
  curvature(tensor: string): Float64Array | undefined;
}

export interface SensitivityOptions {
  readonly runtime: Runtime;
  readonly rng: Rng;
  readonly of: 'gates' | 'curvature';
  readonly dataset: Dataset;
  /** Samples at most (200). */
  readonly images?: number;
  /** Units switched off: their gates stand at 0, and say what the loss changes by, to first order, when they come back. */
  readonly dead?: DeadUnits;
  readonly threads?: number;
  readonly signal?: AbortSignal;
}

/** Runs forward and backward once a sample; needs a gradient rule for every operator behind the channels. */
export async function learnSensitivity(base: Analysis, options: SensitivityOptions): Promise<Sensitivity> {
  const { runtime, rng, dataset, threads = 1, signal, images = 200 } = options;
  const size = dataset.fixedBatch ?? 1;
  const chosen = chooseSamples(dataset.size, Math.max(size, images), rng);
  const first = dataset.batch(chunksOf(dataset, chosen, size)[0]!.indices).inputs;
  const dims = new Map([...first].map(([name, t]) => [name, t.dims]));
  const program = gradientProgram(base, dims, options);
  const { targetDims, labelled } = program;

  const { groups } = base.groups;
  const now = groups.map((g) => new Float64Array(g.size));
  const gates = groups.map((g) => ({ magnitude: new Float64Array(g.size), square: new Float64Array(g.size) }));
  const curvatures = new Map<string, Float64Array>();
  let samples = 0;
  let runs = 0;
  await withSession(runtime, program.model, { intraOpThreads: threads, label: 'the gradients' }, async (session) => {
    for (const { indices } of chunksOf(dataset, chosen, size)) {
      signal?.throwIfAborted();
      const batch = dataset.batch(indices);
      const signs = rng.fork(`signs/${runs++}`);
      const targets = labelled
        ? oneHot(batch.labels!, targetDims, dataset.name)
        : Float32Array.from({ length: elementCount(targetDims) }, () => (signs.next() < 0.5 ? -1 : 1));
      const found = await session.run(new Map([...batch.inputs, ['targets', floatData(targetDims, targets)] as const]));
      samples += indices.length;
      for (const [tensor, output] of program.weights) addSquares(curvatures, tensor, floatsOf(found.get(output)!));
      for (const own of now) own.fill(0);
      for (const { output, places } of program.gates) {
        const values = floatsOf(found.get(output)!);
        places.forEach((place, i) => {
          if (place !== undefined) now[place.group]![place.unit]! += values[i]!;
        });
      }
      now.forEach((own, g) => {
        own.forEach((x, u) => {
          gates[g]!.magnitude[u]! += Math.abs(x);
          gates[g]!.square[u]! += x * x;
        });
      });
    }
  });
  const known = new Map<string, Gate>();
  const gated = new Set(program.gates.flatMap((gate) => gate.places.map((p) => p?.group)));
  groups.forEach((group, g) => {
    const { magnitude, square } = gates[g]!;
    if (gated.has(g))
      known.set(group.id, { magnitude: magnitude.map((x) => x / samples), square: square.map((x) => x / samples) });
  });
  for (const values of curvatures.values()) values.forEach((x, i) => (values[i] = x / samples));
  return {
    targets: labelled ? 'labels' : 'own outputs',
    samples,
    gate: (id) => known.get(id),
    curvature: (tensor) => curvatures.get(tensor),
  };
}

interface Place {
  readonly group: number;
  readonly unit: number;
  /** Of the gate. */
  readonly value: 0 | 1;
}

interface GradientProgram {
  readonly model: Model;
  readonly labelled: boolean;
  readonly targetDims: readonly number[];
  readonly gates: readonly { readonly output: string; readonly places: readonly (Place | undefined)[] }[];
  /** Tensor -> its gradient. */
  readonly weights: ReadonlyMap<string, string>;
}

function gradientProgram(
  base: Analysis,
  dims: ReadonlyMap<string, readonly number[]>,
  { dataset, of, dead = new Map() }: SensitivityOptions,
): GradientProgram {
  const { model, table } = base;
  const gated =
    of === 'gates' ? withGates(base, dead) : { graph: model.graph, gates: new Map<string, (Place | undefined)[]>() };
  const lifted = { ...model, graph: constantsLifted(gated.graph) };
  const modern: Model = { ...lifted, ...modernized(lifted) };
  const { graph } = modern;
  const output = dataset.output === undefined ? {} : { output: dataset.output };
  const scores = scoresOf(graph, { loss: { kind: 'cross-entropy' }, ...output });
  const shape = concreteShape(inferShapes(modern, table, { inputs: dims }), scores);
  if (shape === undefined) {
    throw new PareError(`output "${scores}": its shape does not follow from the inputs', which gradients need`);
  }
  const targetDims = shape.length > 2 && shape.slice(2).every((d) => d === 1) ? shape.slice(0, 2) : shape;
  // samples of a fixed batch cannot be told apart by their common loss; by random signs they can
  const labelled = dataset.labels !== undefined && targetDims.length === 2 && targetDims[0] === 1 && targetDims[1]! > 1;
  const m = createEmitter(graph, 'loss');
  const flat = m.emit('Reshape', [scores, m.ints(targetDims)]);
  const loss = labelled
    ? emitLoss(m, { kind: 'cross-entropy' }, flat, 'targets', targetDims)
    : m.emit('ReduceSum', [m.emit('Mul', [flat, 'targets'])], { keepdims: 0 });
  const input: ValueInfo = { name: 'targets', type: { kind: 'tensor', elemType: DataType.FLOAT, shape: targetDims } };
  const parts = { ...modern, graph: m.extended({ ...graph, inputs: [...graph.inputs, input] }) };
  const wrt = of === 'gates' ? [...gated.gates.keys()] : cutTensors(base, graph);
  const made = appendGradients(parts, table, loss, wrt, {
    inputs: new Map([...dims, ['targets', targetDims] as const]),
  });
  if (made.of.size === 0)
    throw new PareError('no channel group reaches the output by a way that has gradients: try obs, l2');
  const outputs = [...new Set(made.of.values())].map((name) => ({
    name,
    type: { kind: 'tensor', elemType: DataType.FLOAT } as const,
  }));
  return {
    model: { ...modern, opsets: made.opsets, graph: { ...made.graph, outputs } },
    labelled,
    targetDims,
    gates: [...gated.gates].flatMap(([gate, places]) => {
      const gradient = made.of.get(gate);
      return gradient === undefined ? [] : [{ output: gradient, places }];
    }),
    weights: of === 'gates' ? new Map() : made.of,
  };
}

/** The network with every consumed operand multiplied by its channels' gates; gate -> the unit of each of its positions. */
function withGates(
  base: Analysis,
  dead: DeadUnits,
): { readonly graph: Graph; readonly gates: Map<string, (Place | undefined)[]> } {
  const { model, plan, shapes, groups } = base;
  const placeOf = new Map<number, Place>();
  groups.groups.forEach((g, group) => {
    const off = new Set(dead.get(g.id));
    g.units.forEach((atoms, unit) => {
      for (const atom of atoms) placeOf.set(plan.classOf(atom), { group, unit, value: off.has(unit) ? 0 : 1 });
    });
  });
  const taken = allNames(model.graph);
  const fresh = (stem: string): string => {
    const name = freshName(taken, stem);
    taken.add(name);
    return name;
  };
  const gates = new Map<string, (Place | undefined)[]>();
  const initializers = new Map(model.graph.initializers);
  const before = new Map<number, Node[]>();
  const inputs = new Map<number, string[]>();
  for (const { node, input, labels } of plan.consumptions) {
    const placed = plan.resolve(labels);
    const original = model.graph.nodes[node]!;
    const type = shapes.types.get(original.inputs[input]!);
    if (placed === undefined || type?.kind !== 'tensor' || type.elemType !== DataType.FLOAT) continue;
    const places = Array.from(placed.line, (c) => (c === 0 ? undefined : placeOf.get(c)));
    if (places.every((p) => p === undefined)) continue;
    const own = inputs.get(node) ?? [...original.inputs];
    const [gate, product] = [fresh(`${own[input]!}/gate`), fresh(`${own[input]!}/gated`)];
    const values = Float32Array.from(places, (p) => p?.value ?? 1);
    initializers.set(
      gate,
      floatTensor(
        gate,
        labels.shape.map((_, k) => (k === placed.axis ? places.length : 1)),
        values,
      ),
    );
    gates.set(gate, places);
    const mul: Node = {
      name: product,
      opType: 'Mul',
      domain: '',
      inputs: [own[input]!, gate],
      outputs: [product],
      attributes: new Map(),
    };
    const list = before.get(node);
    if (list === undefined) before.set(node, [mul]);
    else list.push(mul);
    own[input] = product;
    inputs.set(node, own);
  }
  const nodes = model.graph.nodes.flatMap((node, i) => {
    const own = inputs.get(i);
    return own === undefined ? [node] : [...before.get(i)!, { ...node, inputs: own }];
  });
  return { graph: { ...model.graph, nodes, initializers }, gates };
}

/** Weights that lose positions with some unit. */
function cutTensors({ plan }: Analysis, graph: Graph): string[] {
  const names = new Set(plan.cuts.filter((c) => c.role !== 'along').map((c) => c.tensor));
  return [...names].filter((name) => graph.initializers.get(name)?.dataType === DataType.FLOAT);
}

function addSquares(into: Map<string, Float64Array>, tensor: string, gradient: Float32Array): void {
  const known = into.get(tensor);
  if (known === undefined)
    into.set(
      tensor,
      Float64Array.from(gradient, (g) => g * g),
    );
  else gradient.forEach((g, i) => (known[i]! += g * g));
}

function oneHot(labels: Int32Array, dims: readonly number[], name: string): Float32Array {
  const values = new Float32Array(elementCount(dims));
  const classes = dims.at(-1)!;
  labels.forEach((label, i) => {
    if (label < 0 || label >= classes) {
      throw new PareError(`data ${name}: there is a label ${label}, and the network has ${classes} classes`);
    }
    values[i * classes + label] = 1;
  });
  return values;
}
