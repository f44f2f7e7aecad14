// A network with its data and knowledge, opened as `pare optimize` opens it, for benches that measure candidates themselves.
import { fileURLToPath } from 'node:url';
import { DEFAULT_EFFORT } from '../../search/optimize.js';
import { openWorkshop, type EffortPlan, type Workshop } from '../../search/workshop.js';
import { drain } from '../../src/drain.js';
import { standardOps } from '../../src/ops/index.js';
import type { Runtime } from '../../src/runtime/runtime.js';
import { cifarTask, type Task } from './cifar.js';

/** The shipped example, or a shared network by its name. */
export function taskOf(name: string): Task {
  if (name !== 'example') return cifarTask(name);
  // dist/bench/support is three folders deep
  const folder = fileURLToPath(new URL('../../../examples/shapes/', import.meta.url));
  return { name, model: `${folder}shapes-resnet.onnx`, data: `${folder}calib.json`, test: `${folder}test.json` };
}

/** The caller closes it. */
export async function benchWorkshop(
  task: Task,
  runtime: Runtime,
  seed: string,
  plan: Partial<EffortPlan> = {},
  workers?: number,
): Promise<Workshop> {
  const opening = openWorkshop({
    model: task.model,
    data: task.data,
    runtime,
    table: standardOps,
    seed,
    plan: { ...DEFAULT_EFFORT, ...plan },
    ignore: () => false,
    roundTo: 1,
    maxRatio: 1,
    mutations: [],
    ...(workers === undefined ? {} : { threads: { workers, ignore: [] } }),
  });
  return drain(opening);
}
