// The public names of pare-onnx: re-exports only.

export { openDataset, type Batch, type Dataset } from './data/dataset.js';
export { PareError } from './errors.js';
export { checkData } from './measure/check-data.js';
export { evaluate, recordOutputs, type Evaluation } from './measure/evaluate.js';
export { compareLatency, measureLatency, type Latency } from './measure/latency.js';
export { verifyModels, type Verification } from './measure/verify.js';
export { createRng, type Rng } from './rng.js';
export { isolatedRuntime } from './runtime/isolated.js';
export { ortRuntime } from './runtime/ort.js';
export { type Runtime, type RuntimeTensor, type Session } from './runtime/runtime.js';
export { threadRuntime } from './runtime/threads.js';
