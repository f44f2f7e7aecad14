// PyTorch beside the trainer: the same folded network, weights and batches, executed by bench/support/torch-train.py in a
// scratch environment.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { foldConstants } from '../../src/analysis/fold.js';
import { openDataset } from '../../src/data/dataset.js';
import type { Model } from '../../src/ir/graph.js';
import { readModel } from '../../src/onnx/read.js';
import { writeModel } from '../../src/onnx/write.js';
import { standardOps } from '../../src/ops/index.js';
import { createRng } from '../../src/rng.js';
import { floatsOf, type RuntimeTensor } from '../../src/runtime/runtime.js';
import { modelInputs } from '../../src/runtime/source.js';
import { cifarTask } from './cifar.js';
import { scratchPython } from './scratch-python.js';

export interface Workload {
  readonly model: Model;
  /** Of the model's only input. */
  readonly input: string;
  readonly dims: readonly number[];
  readonly batch: number;
  /** Batch k: images [batch, C, H, W] and one class each. */
  readonly batches: readonly { readonly images: RuntimeTensor; readonly labels: Int32Array }[];
  /** Sends a request to PyTorch; undefined where it cannot be had. */
  torch(request: Readonly<Record<string, unknown>>): TorchAnswer | undefined;
  readonly folder: string;
}

export interface TorchAnswer {
  readonly torch: string;
  readonly ms?: readonly number[];
  readonly before?: number;
  readonly peak?: number;
  readonly losses?: readonly number[];
  /** Elements by name, in the order of the file. */
  readonly gradients?: Readonly<Record<string, readonly [number]>>;
}

/** The first batches of the shuffled train images of a shared classifier. */
export function workload(network: string, batch: number, count: number): Workload {
  const task = cifarTask(network);
  const model = foldConstants(withBatch(readModel(task.model), batch), standardOps);
  const data = openDataset(task.data, modelInputs(model));
  const order = createRng('torch').shuffle(Array.from({ length: data.size }, (_, i) => i));
  const [input] = modelInputs(model);
  const batches = Array.from({ length: count }, (_, k) => {
    const { inputs, labels } = data.batch(order.slice(k * batch, (k + 1) * batch));
    return { images: inputs.get(input!.name)!, labels: labels! };
  });
  const folder = mkdtempSync(join(tmpdir(), 'pare-torch-'));
  const file = (name: string): string => join(folder, name);
  const dims = batches[0]!.images.dims;
  writeModel(model, file('model.onnx'));
  writeFileSync(file('images.f32'), Buffer.concat(batches.map(({ images }) => bytesOf(floatsOf(images)))));
  writeFileSync(file('labels.i32'), Buffer.concat(batches.map(({ labels }) => bytesOf(labels))));
  const python = scratchPython('torch', ['torch', 'numpy', 'onnx']);
  const script = fileURLToPath(new URL('../../../bench/support/torch-train.py', import.meta.url));
  return {
    model,
    input: input!.name,
    dims,
    batch,
    batches,
    folder,
    torch(request) {
      if (python === undefined) return undefined;
      const paths = { model: file('model.onnx'), images: file('images.f32'), labels: file('labels.i32') };
      const all = { ...paths, image: dims.slice(1), batch, ...request };
      const output = execFileSync(python, [script, JSON.stringify(all)], { encoding: 'utf8' });
      // the cast: what the script prints
      return JSON.parse(output) as TorchAnswer;
    },
  };
}

/** Targets of a cross-entropy: 1 at the class. */
export function oneHot(labels: Int32Array, classes: number): Float32Array {
  const targets = new Float32Array(labels.length * classes);
  labels.forEach((label, i) => {
    targets[i * classes + label] = 1;
  });
  return targets;
}

/** The batch written into the input, so that chains of Shape nodes fold. */
function withBatch(model: Model, batch: number): Model {
  const inputs = model.graph.inputs.map((v) =>
    v.type?.kind === 'tensor' && v.type.shape !== undefined
      ? { ...v, type: { ...v.type, shape: [batch, ...v.type.shape.slice(1)] } }
      : v,
  );
  return { ...model, graph: { ...model.graph, inputs } };
}

function bytesOf(array: Float32Array | Int32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
