// Counts all 844 graphs of ../shared/graphs in one process: every `macs` must equal graphs.csv to the last digit.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { countCost } from '../src/analysis/cost.js';
import { inferShapes } from '../src/analysis/shapes.js';
import { readModel } from '../src/onnx/read.js';
import { standardOps } from '../src/ops/index.js';
import { unpackShared } from '../test/conformance.js';
import { graphRows } from '../test/analysis/graph-rows.js';
import { sharedPath } from '../test/shared-path.js';

export async function run(args: string[]): Promise<void> {
  const pattern = new RegExp(args[0] ?? '');
  const folder = unpackShared('graphs', 'graphs.tar.xz');
  const rows = graphRows(readFileSync(sharedPath('graphs', 'graphs.csv'), 'utf8'));
  const files = new Map(rows.filter((r) => pattern.test(r.file)).map((r) => [r.file, r]));
  let wrong = 0;
  let nodes = 0;
  let reading = 0;
  let shaping = 0;
  let counting = 0;
  const start = performance.now();
  for (const [file, row] of files) {
    const t0 = performance.now();
    const model = readModel(join(folder, file));
    const t1 = performance.now();
    const shapes = inferShapes(model, standardOps, { dynamic: 1 });
    const t2 = performance.now();
    const cost = countCost(model, standardOps, shapes);
    const t3 = performance.now();
    reading += t1 - t0;
    shaping += t2 - t1;
    counting += t3 - t2;
    nodes += model.graph.nodes.length;
    const split = { conv: 0, depthwise: 0, linear: 0, attention: 0, recurrent: 0, other: 0 };
    for (const n of cost.nodes) split[n.kind] += n.macs;
    const differences = [
      ['macs', cost.macs, row.macs],
      ['conv', split.conv, row.macsConv],
      ['dwconv', split.depthwise, row.macsDepthwise],
      ['linear', split.linear + split.recurrent, row.macsLinear],
      ['attn', split.attention, row.macsAttention],
    ].filter(([, ours, theirs]) => ours !== theirs);
    if (differences.length === 0 && cost.uncounted.length === 0 && shapes.unknown.length === 0) continue;
    wrong++;
    const words = differences.map(([what, ours, theirs]) => `${what} ${ours} instead of ${theirs}`);
    console.log(`${file}: ${[...words, ...cost.uncounted, ...shapes.unknown].slice(0, 8).join('; ')}`);
  }
  const seconds = (performance.now() - start) / 1000;
  console.log(
    `${files.size} graphs, ${nodes} nodes, ${files.size - wrong} equal, ${wrong} not; ${seconds.toFixed(2)} s`,
  );
  const ms = (total: number): string => `${(total / files.size).toFixed(2)} ms`;
  console.log(`a graph: read ${ms(reading)}, shapes ${ms(shaping)}, count ${ms(counting)}`);
  await Promise.resolve();
}
