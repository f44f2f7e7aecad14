// Makes search/segments/library.json: byte-pair merging over the graphs of ../shared/graphs and the models of ../shared/models.
// `npm run build && node dist/scripts/mine-segments.js [OUT.json]`; the same bytes every time.
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readModel } from '../src/onnx/read.js';
import { compress } from '../src/predictor/compress.js';
import type { ComputationGraph } from '../src/predictor/computation-graph.js';
import { readTable } from '../src/predictor/tables.js';
import { mineSegments } from '../search/segments/mine.js';
import { unpackShared } from '../test/conformance.js';
import { sharedPath } from '../test/shared-path.js';

const SHIPPED = 400;

/** One graph for each group of equal architectures, then the models. */
function* graphs(): Iterable<ComputationGraph> {
  const folder = unpackShared('graphs', 'graphs.tar.xz');
  const groups = new Map<string, string>();
  for (const row of readTable(sharedPath('graphs', 'graphs.csv')).rows) {
    const group = row.get('group') ?? '';
    if (!groups.has(group)) groups.set(group, row.get('file') ?? '');
  }
  for (const file of groups.values()) yield compress(readModel(join(folder, file)), { extras: true });
  const models = readdirSync(sharedPath('models')).filter((file) => file.endsWith('.onnx'));
  for (const file of models.toSorted()) yield compress(readModel(sharedPath('models', file)), { extras: true });
}

const out = process.argv[2] ?? new URL('../../search/segments/library.json', import.meta.url).pathname;
const segments = mineSegments(graphs(), { merges: 2000, largest: 16, networks: 5 });
const lines = segments.slice(0, SHIPPED).map((segment) => JSON.stringify(segment));
writeFileSync(out, `[\n${lines.join(',\n')}\n]\n`);
console.log(`${segments.length} segments in at least 5 networks, ${lines.length} written to ${out}`);
