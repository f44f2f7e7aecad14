// The public names of pare-onnx: re-exports only.

export { PareError } from './errors.js';
export { createRng, type Rng } from './rng.js';
