// The Runtime on TensorFlow.js, for the operators that it covers: an independent second implementation beside onnxruntime. Its native
// binding where that is installed, else WebAssembly, else plain JavaScript; the name says which.
import type { Tensor as TfTensor } from '@tensorflow/tfjs-core';
import { messageOf, PareError } from '../errors.js';
import { describeNode, opsetOf, type Model, type Node } from '../ir/graph.js';
import { DataType, elementCount, readNumbers, type Tensor } from '../ir/tensor.js';
import { parseModel, readModel } from '../onnx/read.js';
import {
  floatsOf,
  tensorOfNumbers,
  type ModelSource,
  type Runtime,
  type RuntimeTensor,
  type Session,
} from './runtime.js';
import { modelInputs, modelOutputs } from './source.js';
import { plainKernels, type Kernel, type KernelContext, type TensorFlow } from './tfjs-kernels.js';
import { layerKernels } from './tfjs-layers.js';

export type TfjsBackend = 'node' | 'wasm' | 'cpu';

/** The first backend that loads; PareError when none does. */
export async function tfjsRuntime(backends: readonly TfjsBackend[] = ['node', 'wasm', 'cpu']): Promise<Runtime> {
  const reasons: string[] = [];
  for (const backend of backends) {
    try {
      const tf = await loaders[backend]();
      return {
        name: `tfjs (${backend})`,
        concurrency: 1,
        load: (model, { label = 'the model' } = {}) =>
          Promise.resolve(createSession(tf, backend, opened(model), label)),
        close: () => Promise.resolve(),
      };
    } catch (error) {
      reasons.push(`${backend}: ${messageOf(error).split('\n')[0]}`);
    }
  }
  throw new PareError(
    `TensorFlow.js cannot be loaded (${reasons.join('; ')}): install it with "npm install @tensorflow/tfjs-core @tensorflow/tfjs-backend-wasm @tensorflow/tfjs-backend-cpu", or use the onnxruntime runtime`,
  );
}

const loaders: Readonly<Record<TfjsBackend, () => Promise<TensorFlow>>> = {
  async node() {
    // a name that is not resolved when compiling: the package is an optional peer, and large
    const name = '@tensorflow/tfjs-node';
    // the cast: it has all that tfjs-core has
    const tf = (await import(name)) as TensorFlow;
    await tf.ready();
    return tf;
  },
  wasm: () => withBackend('wasm', () => import('@tensorflow/tfjs-backend-wasm')),
  cpu: () => withBackend('cpu', () => import('@tensorflow/tfjs-backend-cpu')),
};

async function withBackend(name: 'wasm' | 'cpu', load: () => Promise<unknown>): Promise<TensorFlow> {
  const tf = await import('@tensorflow/tfjs-core');
  await load();
  // kernels that WebAssembly lacks run in plain JavaScript, see `run`
  if (name === 'wasm') {
    await import('@tensorflow/tfjs-backend-cpu').then(
      () => tf.setBackend('cpu'),
      () => undefined,
    );
  }
  if (!(await tf.setBackend(name))) throw new Error(`its backend "${name}" does not start`);
  await tf.ready();
  return tf;
}

function opened(model: ModelSource): Model {
  if (typeof model === 'string') return readModel(model);
  return model instanceof Uint8Array ? parseModel(model) : model;
}

function kernelOf(node: Node): Kernel | undefined {
  if (node.domain !== '' && node.domain !== 'ai.onnx') return undefined;
  return plainKernels.get(node.opType) ?? layerKernels.get(node.opType);
}

function createSession(tf: TensorFlow, backend: TfjsBackend, model: Model, label: string): Session {
  const { graph } = model;
  const missing = new Set(graph.nodes.filter((n) => kernelOf(n) === undefined).map((n) => n.opType));
  if (missing.size > 0) {
    throw new PareError(
      `${label}: TensorFlow.js does not cover ${[...missing].join(', ')} here; use the onnxruntime runtime`,
    );
  }
  const fixed = new Map<string, TfTensor>();
  for (const t of graph.initializers.values()) fixed.set(t.name, tf.keep(fromConstant(tf, t, label)));
  const inputs = modelInputs(model);
  const known = new Set(graph.inputs.map((v) => v.name));
  const lastUse = new Map(graph.nodes.flatMap((n, i) => n.inputs.map((name) => [name, i] as const)));
  const wanted = new Set(graph.outputs.map((o) => o.name));
  return {
    inputs,
    outputs: modelOutputs(model),
    async run(feeds, outputs) {
      const absent = inputs.find((v) => !feeds.has(v.name));
      if (absent !== undefined) throw new PareError(`${label}: input "${absent.name}" was not given`);
      const values = new Map(fixed);
      const owned = new Map<string, TfTensor>();
      const types = new Map<string, number>();
      for (const [name, t] of feeds) {
        if (!known.has(name))
          throw new PareError(`${label} has no input "${name}"; its inputs are ${[...known].join(', ')}`);
        const made = fromData(tf, t.dataType, t.dims, t, `${label}, input "${name}"`);
        values.set(name, made);
        owned.set(name, made);
        types.set(name, t.dataType);
      }
      try {
        graph.nodes.forEach((node, at) => {
          const results = computed(tf, backend, model, node, values, label);
          node.outputs.forEach((name, i) => {
            const result = results[i];
            if (name === '' || result === undefined) return;
            values.set(name, result);
            owned.set(name, result);
          });
          for (const name of new Set(node.inputs)) {
            if (lastUse.get(name) !== at || wanted.has(name)) continue;
            owned.get(name)?.dispose();
            owned.delete(name);
          }
        });
        const names = outputs ?? [...wanted];
        const found = new Map<string, RuntimeTensor>();
        for (const name of names) {
          const value = values.get(name);
          if (value === undefined) throw new PareError(`${label} has no output "${name}"`);
          const declared = graph.outputs.find((o) => o.name === name)?.type;
          const dataType = declared?.kind === 'tensor' ? declared.elemType : (types.get(name) ?? typeOf(value));
          found.set(name, tensorOfNumbers(dataType, value.shape, await value.data()));
        }
        return found;
      } finally {
        for (const t of owned.values()) if (!t.isDisposed) t.dispose();
      }
    },
    release() {
      for (const t of fixed.values()) t.dispose();
      fixed.clear();
      return Promise.resolve();
    },
  };
}

function computed(
  tf: TensorFlow,
  backend: TfjsBackend,
  model: Model,
  node: Node,
  values: ReadonlyMap<string, TfTensor>,
  label: string,
): readonly TfTensor[] {
  // the session was refused where a kernel is missing
  const kernel = kernelOf(node)!;
  const attempt = (): readonly TfTensor[] => {
    const made = tf.tidy(() => {
      const results = kernel(contextOf(tf, model, node, values, label));
      // the casts: Array.isArray does not tell readonly arrays from tensors
      const list = Array.isArray(results) ? (results as readonly TfTensor[]) : [results as TfTensor];
      // an input handed on would be thrown away with the input
      return list.map((t) => (node.inputs.some((name) => values.get(name) === t) ? tf.clone(t) : t));
    });
    return made;
  };
  try {
    return attempt();
  } catch (error) {
    if (error instanceof PareError) throw error;
    const text = messageOf(error);
    if (backend === 'wasm' && /not registered|not found for the backend|not yet implemented|unsupported/i.test(text)) {
      // both have been initialised, so this takes effect at once
      void tf.setBackend('cpu');
      try {
        return attempt();
      } finally {
        void tf.setBackend('wasm');
      }
    }
    throw new PareError(`${label}: ${describeNode(node)}: TensorFlow.js cannot run it: ${text.split('\n')[0]}`, {
      cause: error,
    });
  }
}

function contextOf(
  tf: TensorFlow,
  model: Model,
  node: Node,
  values: ReadonlyMap<string, TfTensor>,
  label: string,
): KernelContext {
  const refuse = (what: string): never => {
    throw new PareError(
      `${label}: ${describeNode(node)}: TensorFlow.js does not cover ${what} here; use the onnxruntime runtime`,
    );
  };
  const x = (i: number): TfTensor => values.get(node.inputs[i] ?? '') ?? refuse(`a missing input ${i}`);
  return {
    tf,
    node,
    opset: opsetOf(model, node.domain),
    has: (i) => (node.inputs[i] ?? '') !== '',
    x,
    numbers: (i) => [...x(i).dataSync()],
    constant: (t) => fromConstant(tf, t, label),
    refuse,
  };
}

function fromConstant(tf: TensorFlow, t: Tensor, label: string): TfTensor {
  const dtype = dtypeOf(t.dataType) ?? refuseType(t.dataType, `${label}, "${t.name}"`);
  return tf.tensor(narrowed(readNumbers(t), dtype), [...t.dims], dtype);
}

function fromData(
  tf: TensorFlow,
  dataType: number,
  dims: readonly number[],
  t: RuntimeTensor,
  where: string,
): TfTensor {
  const dtype = dtypeOf(dataType) ?? refuseType(dataType, where);
  const { data } = t;
  const numbers =
    data instanceof BigInt64Array || data instanceof BigUint64Array || data instanceof Int32Array
      ? Float64Array.from(data as Iterable<number | bigint>, Number)
      : floatsOf(t);
  if (numbers.length !== elementCount(dims)) {
    throw new PareError(`${where}: ${numbers.length} values do not fill [${dims.join(', ')}]`);
  }
  return tf.tensor(narrowed(numbers, dtype), [...dims], dtype);
}

/** Ends of slices are often the largest number of 64 bits. */
function narrowed(
  values: Float32Array | Float64Array | Int32Array,
  dtype: 'float32' | 'int32' | 'bool',
): Float32Array | Int32Array | Uint8Array {
  if (dtype === 'int32') return Int32Array.from(values, (v) => Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, v)));
  if (dtype === 'bool') return Uint8Array.from(values, (v) => (v === 0 ? 0 : 1));
  return values instanceof Float32Array ? values : Float32Array.from(values);
}

function dtypeOf(dataType: number): 'float32' | 'int32' | 'bool' | undefined {
  if (dataType === DataType.FLOAT) return 'float32';
  if (dataType === DataType.INT32 || dataType === DataType.INT64) return 'int32';
  return dataType === DataType.BOOL ? 'bool' : undefined;
}

function refuseType(dataType: number, where: string): never {
  throw new PareError(`${where}: TensorFlow.js takes no tensors of data type ${dataType}; use the onnxruntime runtime`);
}

function typeOf(t: TfTensor): number {
  return t.dtype === 'int32' ? DataType.INT64 : t.dtype === 'bool' ? DataType.BOOL : DataType.FLOAT;
}
