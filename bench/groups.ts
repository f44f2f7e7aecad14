// All channel groups of a 102 MB ResNet-50, first and repeated, in one process; beside Torch-Pruning's dependency graph and groups.
// usage: npm run bench -- groups

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, renameSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { analyse } from '../src/analysis/analyse.js';
import { inferShapes } from '../src/analysis/shapes.js';
import { readModel } from '../src/onnx/read.js';
import { writeModel } from '../src/onnx/write.js';
import { standardOps } from '../src/ops/index.js';
import { resnet50 } from './support/resnet50.js';
import { scratchPython } from './support/scratch-python.js';

// measured inside its own process, imports and the making of the network left out, as ours leaves out reading
const PEER = `
import time, torch, torchvision, torch_pruning as tp
model = torchvision.models.resnet50(weights=None).eval()
example = torch.randn(1, 3, 224, 224)
times = []
for _ in range(5):
    a = time.perf_counter()
    graph = tp.DependencyGraph().build_dependency(model, example_inputs=example)
    b = time.perf_counter()
    groups = list(graph.get_all_groups())
    times.append((b - a, time.perf_counter() - b))
best = min(times, key=sum)
print(f'Torch-Pruning: graph {times[0][0]*1000:.0f} ms and {len(groups)} groups {times[0][1]*1000:.0f} ms first; best of five {best[0]*1000:.0f} and {best[1]*1000:.0f} ms')
`;

export async function run(): Promise<void> {
  const path = join(tmpdir(), 'pare-bench-resnet50.onnx');
  if (!existsSync(path)) {
    const fresh = join(mkdtempSync(`${path}-`), 'model.onnx');
    writeModel(resnet50(), fresh);
    renameSync(fresh, path);
  }
  const model = readModel(path);
  const times: [number, number][] = [];
  let count = 0;
  for (let i = 0; i < 10; i++) {
    const t0 = performance.now();
    const shapes = inferShapes(model, standardOps, { dynamic: 1 });
    const t1 = performance.now();
    count = analyse(model, standardOps, { binding: { dynamic: 1 }, shapes }).groups.groups.length;
    times.push([t1 - t0, performance.now() - t1]);
  }
  const show = ([shapes, groups]: readonly [number, number]): string =>
    `shapes ${shapes.toFixed(0)} ms and ${count} groups ${groups.toFixed(0)} ms`;
  const best = times.toSorted((a, b) => a[0] + a[1] - b[0] - b[1])[0]!;
  console.log(`pare: ${show(times[0]!)} first; best of ten ${show(best)}`);
  const python = scratchPython('torch-pruning', ['torch', 'torchvision', 'torch-pruning']);
  if (python !== undefined)
    console.log(execFileSync(python, ['-c', PEER], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim());
  await Promise.resolve();
}
