// Runs the predictor's parts over many graphs, a batch at a time.
import { floatData, floatsOf, type Session } from '../runtime/runtime.js';
import type { ComputationGraph } from './computation-graph.js';
import { packGraphs } from './graph-batch.js';

/** Nodes a batch at most, unless one graph has more: activations then stay within the processor's cache. */
const NODES = 4096;

/** For each graph one row of each output. */
export async function runNetwork(
  session: Session,
  graphs: readonly ComputationGraph[],
  outputs: readonly string[],
): Promise<Float32Array[][]> {
  const rows: Float32Array[][] = [];
  for (let at = 0; at < graphs.length;) {
    let end = at;
    let nodes = 0;
    while (end < graphs.length && (end === at || nodes + graphs[end]!.size <= NODES)) nodes += graphs[end++]!.size;
    const results = await session.run(packGraphs(graphs.slice(at, end)), outputs);
    const count = end - at;
    const values = outputs.map((name) => floatsOf(results.get(name)!));
    for (let i = 0; i < count; i++) {
      rows.push(values.map((v) => v.slice((i * v.length) / count, ((i + 1) * v.length) / count)));
    }
    at = end;
  }
  return rows;
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
