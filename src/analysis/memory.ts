// Memory of activations: bytes alive at once when the nodes run in their order. Every output is a buffer of its own (no
// in-place work, no aliases); constants and what subgraphs hold inside are not counted; values of unknown size count as 0.
import type { Graph, ValueType } from '../ir/graph.js';
import { elementBits } from '../ir/tensor.js';
import { hasSubgraphs, usedNames } from '../ir/walk.js';

export function peakMemoryBytes(graph: Graph, types: ReadonlyMap<string, ValueType>): number {
  const { nodes } = graph;
  const last = lastUses(graph);
  const dying: number[] = Array.from({ length: nodes.length + 1 }, () => 0);
  let alive = 0;
  const born = (name: string): void => {
    const bytes = sizeOf(types.get(name));
    alive += bytes;
    dying[last.get(name) ?? 0]! += bytes;
  };
  for (const v of graph.inputs) if (!graph.initializers.has(v.name)) born(v.name);
  let peak = alive;
  nodes.forEach((node, i) => {
    if (node.opType !== 'Constant') for (const o of node.outputs) if (o !== '') born(o);
    if (alive > peak) peak = alive;
    alive -= dying[i]!;
  });
  return peak;
}

/** What is alive at one moment. */
export interface Moment {
  readonly bytes: number;
  /** Bytes by value. */
  readonly alive: ReadonlyMap<string, number>;
}

/** The moments at which more is alive than before and after, and more than `bytes`. */
export function momentsAbove(graph: Graph, types: ReadonlyMap<string, ValueType>, bytes: number): readonly Moment[] {
  const { nodes } = graph;
  const last = lastUses(graph);
  const dying: (string[] | undefined)[] = Array.from({ length: nodes.length + 1 });
  const alive = new Map<string, number>();
  const found: Moment[] = [];
  let now = 0;
  const born = (name: string): void => {
    const size = sizeOf(types.get(name));
    now += size;
    alive.set(name, size);
    (dying[last.get(name) ?? 0] ??= []).push(name);
  };
  for (const v of graph.inputs) if (!graph.initializers.has(v.name)) born(v.name);
  nodes.forEach((node, i) => {
    const before = now;
    if (node.opType !== 'Constant') for (const o of node.outputs) if (o !== '') born(o);
    const gone = dying[i] ?? [];
    // a top: it rose to here, and something goes (or nothing follows)
    if (now > bytes && (now > before || i === 0) && (gone.length > 0 || i === nodes.length - 1)) {
      found.push({ bytes: now, alive: new Map(alive) });
    }
    for (const name of gone) {
      now -= alive.get(name)!;
      alive.delete(name);
    }
  });
  return found;
}

function lastUses(graph: Graph): ReadonlyMap<string, number> {
  const last = new Map<string, number>();
  const { nodes } = graph;
  for (let i = 0; i < nodes.length; i++) {
    const node = nodes[i]!;
    for (const o of node.outputs) last.set(o, i);
    for (const name of hasSubgraphs(node) ? usedNames(node) : node.inputs) last.set(name, i);
  }
  for (const o of graph.outputs) last.set(o.name, nodes.length);
  return last;
}

function sizeOf(type: ValueType | undefined): number {
  if (type?.kind !== 'tensor' || type.shape === undefined) return 0;
  let count = 1;
  for (const d of type.shape) {
    if (typeof d !== 'number') return 0;
    count *= d;
  }
  return Math.ceil((count * elementBits(type.elemType)) / 8);
}
