// Walks a network over all calibration batches at once, from cut to cut: each step runs only the nodes between the values at
// hand and the values wanted next, and forgets what nobody behind needs. So a layer can be refitted before the next one runs.
import type { Graph, Model, Node, ValueInfo } from '../ir/graph.js';
import { indexGraph, usedNames } from '../ir/walk.js';
import type { Runtime, RuntimeTensor } from '../runtime/runtime.js';
import { PareError } from '../errors.js';

export type Feeds = ReadonlyMap<string, RuntimeTensor>;

export interface Walk {
  /** Computes the next values of the plan for every batch; they stay until the next call, or until nobody needs them. */
  advance(): Promise<void>;
  /** The value of one batch, after `advance`. */
  value(batch: number, name: string): RuntimeTensor;
  /** New constants for nodes that have not run yet, and for those that made the values `again`: they will run once
   * more, from values that are still at hand because the same step wanted them. */
  update(model: Model, again?: readonly string[]): void;
  readonly batches: number;
}

/** `plan`: the values wanted, step by step; `feeds`: one map of graph inputs per batch. */
export function startWalk(
  start: Model,
  runtime: Runtime,
  plan: readonly (readonly string[])[],
  feeds: readonly Feeds[],
): Walk {
  let model = start;
  const { producer, consumers } = indexGraph(start.graph);
  const isStatic = staticValues(start.graph);
  const done = new Set<number>();
  const pending = new Map([...consumers].map(([name, users]) => [name, users.length]));
  const held: Map<string, RuntimeTensor>[] = feeds.map((f) => new Map(f));
  for (const step of plan) for (const name of step) pending.set(name, (pending.get(name) ?? 0) + 1);
  let next = 0;

  const needed = (wanted: readonly string[]): number[] => {
    const fresh = new Set<number>();
    const stack = [...wanted];
    const seen = new Set<string>();
    for (let name = stack.pop(); name !== undefined; name = stack.pop()) {
      if (seen.has(name) || held[0]?.has(name) === true) continue;
      seen.add(name);
      const node = producer.get(name);
      if (node === undefined || fresh.has(node)) continue;
      if (done.has(node) && !isStatic.has(name)) throw new Error(`the value "${name}" was already let go`);
      fresh.add(node);
      stack.push(...usedNames(start.graph.nodes[node]!));
    }
    return [...fresh].sort((a, b) => a - b);
  };

  return {
    batches: feeds.length,
    update(changed, again = []) {
      model = changed;
      const stack = [...again];
      for (const name of again) for (const own of held) own.delete(name);
      for (let name = stack.pop(); name !== undefined; name = stack.pop()) {
        const node = producer.get(name);
        if (node === undefined || held[0]?.has(name) === true || !done.delete(node)) continue;
        for (const used of usedNames(start.graph.nodes[node]!)) {
          pending.set(used, (pending.get(used) ?? 0) + 1);
          stack.push(used);
        }
      }
    },
    value(batch, name) {
      const value = held[batch]?.get(name);
      if (value === undefined) throw new Error(`the value "${name}" is not at hand`);
      return value;
    },
    async advance() {
      const wanted = plan[next++] ?? [];
      // what the last step wanted for itself is free now
      for (const name of plan[next - 2] ?? []) pending.set(name, (pending.get(name) ?? 1) - 1);
      const indices = needed(wanted);
      const moving = indices.filter((i) => !start.graph.nodes[i]!.outputs.every((o) => o === '' || isStatic.has(o)));
      for (const i of moving) {
        done.add(i);
        for (const name of usedNames(start.graph.nodes[i]!)) pending.set(name, (pending.get(name) ?? 1) - 1);
      }
      const keep = (name: string): boolean => (pending.get(name) ?? 0) > 0;
      if (indices.length > 0) {
        const nodes = indices.map((i) => model.graph.nodes[i]!);
        const made = new Set(nodes.flatMap((n) => n.outputs).filter((o) => o !== '' && !isStatic.has(o)));
        for (const name of wanted) if (isStatic.has(name)) made.add(name);
        const outputs = [...made].filter(keep);
        const first = held[0];
        const inputs = first === undefined ? [] : [...first.keys()];
        const segment = segmentOf(model, nodes, inputs, first ?? new Map<string, RuntimeTensor>(), outputs);
        const session = await runtime.load(segment, { label: 'a part of the network' });
        try {
          // up to IR 3 initializers stand among the inputs too
          const names = segment.graph.inputs.map((v) => v.name).filter((n) => !segment.graph.initializers.has(n));
          await inOrder(
            held.length,
            runtime.concurrency,
            async (b) => {
              const own = held[b]!;
              // the cast-free look-up: `inputs` came from the first batch, all batches hold the same names
              return session.run(new Map(names.map((n) => [n, own.get(n)!])));
            },
            (b, results) => {
              for (const [name, value] of results) held[b]!.set(name, value);
            },
          );
        } finally {
          await session.release();
        }
      }
      for (const own of held) for (const name of own.keys()) if (!keep(name)) own.delete(name);
    },
  };
}

/** Runs `work` for 0..count-1, several at a time, and hands over the results in order. */
export async function inOrder<T>(
  count: number,
  concurrency: number,
  work: (i: number) => Promise<T>,
  take: (i: number, result: T) => void,
): Promise<void> {
  const running: Promise<T>[] = [];
  let started = 0;
  try {
    for (let i = 0; i < count; i++) {
      while (started < count && started < i + Math.max(1, concurrency)) running.push(work(started++));
      // the assertion: the loop above has started number i
      take(i, await running[i]!);
    }
  } finally {
    await Promise.allSettled(running);
  }
}

/** Values that depend on constants only; they are made again wherever they are needed. */
export function staticValues(graph: Graph): ReadonlySet<string> {
  const statics = new Set<string>(graph.initializers.keys());
  for (const name of graph.sparseInitializers.keys()) statics.add(name);
  for (const node of graph.nodes) {
    if (RANDOM.has(node.opType)) continue;
    let all = true;
    for (const name of usedNames(node)) if (!statics.has(name)) all = false;
    if (all) for (const o of node.outputs) if (o !== '') statics.add(o);
  }
  return statics;
}

const RANDOM: ReadonlySet<string> = new Set(['RandomNormal', 'RandomUniform']);

/** The model of these nodes alone, from the values at hand to the outputs. */
function segmentOf(
  model: Model,
  nodes: readonly Node[],
  atHand: readonly string[],
  sample: ReadonlyMap<string, RuntimeTensor>,
  outputs: readonly string[],
): Model {
  const { graph } = model;
  const used = new Set(nodes.flatMap((n) => [...usedNames(n)]));
  const inputs: ValueInfo[] = atHand
    .filter((name) => used.has(name) && !graph.initializers.has(name))
    .map((name) => {
      const value = sample.get(name)!;
      return { name, type: { kind: 'tensor', elemType: value.dataType, shape: value.dims.map(() => undefined) } };
    });
  const initializers = new Map([...graph.initializers].filter(([name]) => used.has(name)));
  const declared = model.irVersion < 4 ? [...initializers.values()] : [];
  const sparseInitializers = new Map([...graph.sparseInitializers].filter(([name]) => used.has(name)));
  const types = new Map([...graph.outputs, ...graph.valueInfo.values()].map((v) => [v.name, v]));
  const { irVersion, opsets, producerName, producerVersion, functions } = model;
  return {
    irVersion,
    opsets,
    producerName,
    producerVersion,
    functions,
    metadata: new Map(),
    graph: {
      name: 'segment',
      nodes,
      initializers,
      sparseInitializers,
      inputs: [
        ...inputs,
        ...declared.map((t) => ({
          name: t.name,
          type: { kind: 'tensor' as const, elemType: t.dataType, shape: t.dims },
        })),
      ],
      outputs: outputs.map((name) => outputInfo(name, types.get(name))),
      valueInfo: new Map(),
    },
  };
}

/** Only the element type is declared: lengths may differ from what the file says of the whole network. */
function outputInfo(name: string, known: ValueInfo | undefined): ValueInfo {
  const type = known?.type;
  if (type !== undefined && type.kind !== 'tensor') {
    throw new PareError(`value "${name}" is a ${type.kind}: recovery passes tensors only`);
  }
  return type === undefined ? { name } : { name, type: { kind: 'tensor', elemType: type.elemType } };
}
