// Runs the predictor's parts over many graphs, a batch at a time.
import { floatData, floatsOf, type Session } from '../runtime/runtime.js';
import type { ComputationGraph } from './computation-graph.js';
import { packForScoring } from './scoring-network.js';

/** Nodes a batch at most, unless one graph has more: activations then stay within the processor's cache. */
const NODES = 4096;

/** For each graph one row of each output; so many batches at a time as the session's runtime has threads. */
export async function runNetwork(
  session: Session,
  graphs: readonly ComputationGraph[],
  outputs: readonly string[],
  concurrency = 1,
): Promise<Float32Array[][]> {
  const rows: Float32Array[][] = [];
  const open = batchesOf(graphs);
  const work = async (): Promise<void> => {
    // a batch is packed when a thread is free for it: thousands of graphs would fill the memory
    for (let next = open.shift(); next !== undefined; next = open.shift()) {
      const { at, end } = next;
      const results = await session.run(packForScoring(graphs.slice(at, end)), outputs);
      const values = outputs.map((name) => floatsOf(results.get(name)!));
      for (let i = at; i < end; i++) {
        const part = (v: Float32Array, k: number): number => (k * v.length) / (end - at);
        rows[i] = values.map((v) => v.slice(part(v, i - at), part(v, i - at + 1)));
      }
    }
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  return rows;
}

function batchesOf(graphs: readonly ComputationGraph[]): { readonly at: number; readonly end: number }[] {
  const found: { at: number; end: number }[] = [];
  for (let at = 0; at < graphs.length;) {
    let end = at;
    let nodes = 0;
    while (end < graphs.length && (end === at || nodes + graphs[end]!.size <= NODES)) nodes += graphs[end++]!.size;
    found.push({ at, end });
    at = end;
  }
  return found;
}

/** Rows of the trunk's outputs, one for each vector of features. */
export async function runTrunk(
  session: Session,
  features: readonly Float32Array[],
  width: number,
): Promise<Float32Array[]> {
  const columns = features[0]?.length ?? 0;
  const data = new Float32Array(features.length * columns);
  features.forEach((f, i) => data.set(f, i * columns));
  if (features.length === 0) return [];
  const results = await session.run(new Map([['graph.features', floatData([features.length, columns], data)]]), [
    'trunk',
  ]);
  const values = floatsOf(results.get('trunk')!);
  return features.map((_, i) => values.slice(i * width, (i + 1) * width));
}
