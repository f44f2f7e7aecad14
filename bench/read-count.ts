// A 102 MB ResNet-50: read, find all shapes, count, in one process; beside onnx-tool and onnx.load + infer_shapes.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, renameSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { conventionNames } from '../src/analysis/conventions.js';
import { countCost } from '../src/analysis/cost.js';
import { inferShapes } from '../src/analysis/shapes.js';
import type { Model } from '../src/ir/graph.js';
import { readOutline } from '../src/onnx/outline.js';
import { readModel } from '../src/onnx/read.js';
import { writeModel } from '../src/onnx/write.js';
import { standardOps } from '../src/ops/index.js';
import { resnet50 } from './support/resnet50.js';
import { scratchPython } from './support/scratch-python.js';

// each measures inside its own process, imports left out, as ours does
const PEERS = `
import sys, time, io, contextlib
import onnx, onnx_tool, numpy
path = sys.argv[1]
def best(f, n=5):
    times = []
    for _ in range(n):
        t = time.perf_counter(); f(); times.append(time.perf_counter() - t)
    return times[0], min(times)
def load_infer():
    onnx.shape_inference.infer_shapes(onnx.load(path))
def tool():
    m = onnx_tool.Model(path)
    m.graph.shape_infer({'input': numpy.zeros((1, 3, 224, 224), dtype=numpy.float32)})
    m.graph.profile()
    return sum(m.graph.macs) if hasattr(m.graph.macs, '__len__') else m.graph.macs
for name, f in (('onnx.load + infer_shapes', load_infer), ('onnx-tool', tool)):
    with contextlib.redirect_stdout(io.StringIO()): first, low = best(f)
    print(f'{name}: first {first*1000:.0f} ms, best of five {low*1000:.0f} ms')
`;

export async function run(): Promise<void> {
  const path = join(tmpdir(), 'pare-bench-resnet50.onnx');
  if (!existsSync(path)) {
    const fresh = join(mkdtempSync(`${path}-`), 'model.onnx');
    writeModel(resnet50(), fresh);
    renameSync(fresh, path);
  }
  console.log(`${path}: ${(statSync(path).size / 1e6).toFixed(1)} MB`);
  measure(path, 'without reading large weights', readOutline, true);
  measure(path, 'with all weights in memory', readModel, false);
  const python = scratchPython('onnx-tool', ['onnx', 'onnx-tool', 'numpy']);
  if (python !== undefined) console.log(execFileSync(python, ['-c', PEERS, path], { encoding: 'utf8' }).trim());
  await Promise.resolve();
}

function measure(path: string, what: string, read: (path: string) => Model, details: boolean): void {
  const times: number[][] = [];
  for (let i = 0; i < 5; i++) {
    const t0 = performance.now();
    const model = read(path);
    const t1 = performance.now();
    const shapes = inferShapes(model, standardOps, { dynamic: 1 });
    const t2 = performance.now();
    const cost = countCost(model, standardOps, shapes);
    const t3 = performance.now();
    times.push([t1 - t0, t2 - t1, t3 - t2, t3 - t0]);
    if (i > 0 || !details) continue;
    console.log(`${cost.macs} MACs, ${cost.params} params, peak ${(cost.peakMemoryBytes / 1e6).toFixed(1)} MB`);
    for (const c of conventionNames)
      console.log(`  ${c}: ${(countCost(model, standardOps, shapes, c).macs / 1e6).toFixed(2)} M`);
  }
  const show = (t: readonly number[]): string =>
    `${t[3]!.toFixed(0)} ms (read ${t[0]!.toFixed(0)}, shapes ${t[1]!.toFixed(1)}, count ${t[2]!.toFixed(1)})`;
  const best = times.toSorted((a, b) => a[3]! - b[3]!)[0]!;
  console.log(`pare, ${what}: first ${show(times[0]!)}, best of five ${show(best)}`);
}
