// The Runtime on onnxruntime-node, in this thread. Its `run` blocks the thread it is called in (the binding is synchronous
// behind a promise), so two cores take two threads: see threads.ts.
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { DataType } from '../ir/tensor.js';
import { messageOf, PareError } from '../errors.js';
import type { LoadOptions, ModelSource, Runtime, RuntimeTensor, Session, TensorData, ValueMeta } from './runtime.js';
import { withFileOrBytes } from './source.js';

type Ort = typeof import('onnxruntime-node');

export function ortRuntime(): Runtime {
  return {
    name: 'onnxruntime',
    concurrency: 1,
    load: async (model, options = {}) => createSession(await loadOrt(), model, options),
    close: () => Promise.resolve(),
  };
}

async function loadOrt(): Promise<Ort> {
  try {
    // the module loads its native library when it is imported: a missing one must become a sentence
    const ort = await import('onnxruntime-node');
    ort.env.logLevel = 'fatal';
    return ort;
  } catch (error) {
    throw new PareError(
      `onnxruntime-node cannot be loaded on ${process.platform}-${process.arch} (${reason(error)}); install it again with "npm install onnxruntime-node"`,
      { cause: error },
    );
  }
}

async function createSession(ort: Ort, model: ModelSource, options: LoadOptions): Promise<Session> {
  const label = options.label ?? (typeof model === 'string' ? `"${model}"` : 'the model');
  const native = await openSession(ort, model, options, label);
  const inputs = native.inputMetadata.map(metaOf);
  const names = new Set(inputs.map((i) => i.name));
  let released = false;
  return {
    inputs,
    outputs: native.outputMetadata.map(metaOf),
    async run(feeds, outputs) {
      if (released) throw new Error(`${label}: run after release`);
      const named: Record<string, OrtTensor> = {};
      for (const [name, t] of feeds) {
        if (!names.has(name)) {
          throw new PareError(`${label} has no input "${name}"; its inputs are ${[...names].join(', ')}`);
        }
        named[name] = ortTensor(ort, `${label}, input "${name}"`, t);
      }
      try {
        const results = await (outputs === undefined ? native.run(named) : native.run(named, outputs));
        return new Map(Object.entries(results).map(([name, value]) => [name, fromOrt(value)]));
      } catch (error) {
        throw new PareError(`${label}: onnxruntime cannot run it: ${reason(error)}`, { cause: error });
      }
    },
    async release() {
      if (released) return;
      released = true;
      await native.release();
    },
  };
}

async function openSession(ort: Ort, model: ModelSource, options: LoadOptions, label: string) {
  const native: InferenceSession.SessionOptions = {
    executionProviders: ['cpu'],
    intraOpNumThreads: options.intraOpThreads ?? 1,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: options.optimization ?? 'all',
    // fatal only: what goes wrong arrives as an exception
    logSeverityLevel: 4,
  };
  try {
    return await withFileOrBytes(model, (source) =>
      typeof source === 'string'
        ? ort.InferenceSession.create(source, native)
        : ort.InferenceSession.create(unshared(source), native),
    );
  } catch (error) {
    if (error instanceof PareError) throw error;
    throw new PareError(`${label}: onnxruntime cannot load it: ${reason(error)}`, { cause: error });
  }
}

/** onnxruntime refuses shared memory: copied in that case only. */
function unshared(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  // the cast: the buffer was just seen to be an ArrayBuffer
  return bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : Uint8Array.from(bytes);
}

function metaOf(m: InferenceSession.ValueMetadata): ValueMeta {
  if (!m.isTensor) return { name: m.name, dataType: DataType.UNDEFINED, dims: [] };
  return { name: m.name, dataType: NUMBERS.get(m.type) ?? DataType.UNDEFINED, dims: m.shape };
}

function ortTensor(ort: Ort, where: string, t: RuntimeTensor): OrtTensor {
  const type = TYPES.get(t.dataType);
  if (type === undefined) throw new PareError(`${where}: onnxruntime-node takes no tensors of data type ${t.dataType}`);
  const { data } = t;
  const own = ArrayBuffer.isView(data) && !(data.buffer instanceof ArrayBuffer) ? data.slice() : data;
  try {
    // the cast: the constructor checks that type, data and dims agree, its overloads cannot be told apart here
    return new ort.Tensor(type as 'float32', own as Float32Array, t.dims);
  } catch (error) {
    throw new PareError(`${where}: ${reason(error)}`, { cause: error });
  }
}

function fromOrt(value: InferenceSession.OnnxValueMapType[string]): RuntimeTensor {
  const dataType = NUMBERS.get(value.type) ?? DataType.UNDEFINED;
  // the cast: the declared union also has Float16Array, which newer Nodes use for float16; its bits are taken instead
  const data = value.data as TensorData;
  const bits =
    dataType === DataType.FLOAT16 && ArrayBuffer.isView(data) && !(data instanceof Uint16Array)
      ? new Uint16Array(data.buffer, data.byteOffset, data.length)
      : data;
  return { dataType, dims: value.dims, data: bits };
}

/** What went wrong in one line, without onnxruntime's source locations. */
function reason(error: unknown): string {
  const text = messageOf(error);
  return text
    .replace(/\/\S*\/(onnxruntime\/\S+)\s*/g, '')
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/\.$/, '');
}

const TYPE_NAMES = [
  [DataType.FLOAT, 'float32'],
  [DataType.UINT8, 'uint8'],
  [DataType.INT8, 'int8'],
  [DataType.UINT16, 'uint16'],
  [DataType.INT16, 'int16'],
  [DataType.INT32, 'int32'],
  [DataType.INT64, 'int64'],
  [DataType.STRING, 'string'],
  [DataType.BOOL, 'bool'],
  [DataType.FLOAT16, 'float16'],
  [DataType.DOUBLE, 'float64'],
  [DataType.UINT32, 'uint32'],
  [DataType.UINT64, 'uint64'],
  [DataType.UINT4, 'uint4'],
  [DataType.INT4, 'int4'],
] as const;

const TYPES: ReadonlyMap<number, string> = new Map(TYPE_NAMES);
const NUMBERS: ReadonlyMap<string, number> = new Map(TYPE_NAMES.map(([number, name]) => [name, number]));
