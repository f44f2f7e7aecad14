// Ridge regression of one layer from its moments: Cholesky in this thread up to 1,200 columns, above that conjugate gradients
// whose products run in onnxruntime.
import { graphBuilder } from '../ir/builder.js';
import { DataType } from '../ir/tensor.js';
import type { Runtime } from '../runtime/runtime.js';
import type { Affine, Layer } from './layers.js';
import { conjugateGradient, ridgedCholesky, solveRows } from './linear-algebra.js';
import { covariance, type Moments, type ResidualMoments } from './moments.js';

export interface Fit {
  readonly affine: Affine;
  /** Share of the targets' variance that the start and the result leave unexplained on these samples. */
  readonly before: number;
  readonly after: number;
}

export interface Solver {
  /** The map nearest to `from` (ridge) that explains the targets; `residual` was taken under `from`. */
  solve(from: Affine, residual: ResidualMoments): Promise<Fit>;
  release(): Promise<void>;
}

const DIRECT = 1200;

/** Solves with C + ridge for a symmetric matrix C. */
interface System {
  readonly ridge: number;
  solve(rows: Float64Array, count: number): Promise<Float64Array> | Float64Array;
  release(): Promise<void>;
}

/** min ‖Y - XWᵀ - b‖² + ridge · mean variance · ‖W - W₀‖²: W = W₀ + cov(R, X) (cov(X) + λI)⁻¹ with R = Y - XW₀ᵀ - b₀, b from the means. */
export async function createSolver(runtime: Runtime, layer: Layer, input: Moments, ridge: number): Promise<Solver> {
  const { group, columns, outputs } = layer;
  const perGroup = outputs / group;
  const centred = layer.bias.kind !== 'none';
  const systems: System[] = [];
  for (let g = 0; g < group; g++) {
    const c = covariance(input, g, columns, centred);
    systems.push(
      columns <= DIRECT ? directSystem(c, columns, ridge) : await iterativeSystem(runtime, c, columns, ridge),
    );
  }
  return {
    async solve(from, residual) {
      const weights = from.weights.slice();
      const bias = from.bias.slice();
      let [total, before, gain] = [0, 0, 0];
      for (let g = 0; g < group; g++) {
        const system = systems[g]!;
        const rhs = residualCovariance(layer, input, residual, g, centred);
        const change = await system.solve(rhs, perGroup);
        const at = g * perGroup * columns;
        for (let i = 0; i < change.length; i++) {
          weights[at + i] = weights[at + i]! + change[i]!;
          gain += change[i]! * (rhs[i]! + system.ridge * change[i]!);
        }
        if (!centred) continue;
        for (let o = 0; o < perGroup; o++) {
          const row = g * perGroup + o;
          let shift = residual.r[row]! / residual.n;
          for (let c = 0; c < columns; c++) shift -= (change[o * columns + c]! * input.x[g * columns + c]!) / input.n;
          bias[row] = bias[row]! + shift;
        }
      }
      for (let o = 0; o < outputs; o++) {
        const mean = (sum: Float64Array): number => sum[o]! / residual.n;
        total += mean(residual.yy) - mean(residual.y) ** 2;
        before += mean(residual.rr);
        if (centred) gain += mean(residual.r) ** 2;
      }
      const share = (value: number): number => (total > 0 ? Math.max(0, value / total) : 0);
      return { affine: { weights, bias }, before: share(before), after: share(before - gain) };
    },
    async release() {
      for (const system of systems) await system.release();
    },
  };
}

/** cov(R, X) of the outputs of one group, rows: outputs. */
function residualCovariance(
  layer: Layer,
  input: Moments,
  residual: ResidualMoments,
  g: number,
  centred: boolean,
): Float64Array {
  const { columns } = layer;
  const perGroup = layer.outputs / layer.group;
  const out = new Float64Array(perGroup * columns);
  for (let o = 0; o < perGroup; o++) {
    const row = g * perGroup + o;
    const mean = centred ? residual.r[row]! / residual.n : 0;
    for (let k = 0; k < columns; k++) {
      out[o * columns + k] =
        residual.rx[row * columns + k]! / residual.n - (mean * input.x[g * columns + k]!) / input.n;
    }
  }
  return out;
}

function directSystem(c: Float64Array, n: number, ridge: number): System {
  const { factor, ridge: absolute } = ridgedCholesky(c, n, ridge);
  return {
    ridge: absolute,
    solve: (rows, count) => solveRows(factor, n, rows, count),
    release: () => Promise.resolve(),
  };
}

async function iterativeSystem(runtime: Runtime, c: Float64Array, n: number, ridge: number): Promise<System> {
  let trace = 0;
  for (let i = 0; i < n; i++) trace += c[i * n + i]!;
  const absolute = trace > 0 ? (ridge * trace) / n : 1e-12;
  const p = graphBuilder();
  const v = p.input('rows', DataType.FLOAT, [undefined, n]);
  const matrix = p.floats(Float32Array.from(c), [n, n]);
  p.output(p.op('MatMul', [v, matrix], {}, { outputs: ['product'] }), DataType.FLOAT, [undefined, n]);
  const session = await runtime.load(p.model(), { label: 'the conjugate gradients' });
  const multiply = async (rows: Float64Array, count: number): Promise<Float64Array> => {
    const out = await session.run(
      new Map([['rows', { dataType: 1, dims: [count, n], data: Float32Array.from(rows) }]]),
    );
    // the cast: the program's output is FLOAT
    return Float64Array.from(out.get('product')!.data as Float32Array);
  };
  const ridged = async (rows: Float64Array, count: number): Promise<Float64Array> => {
    const product = await multiply(rows, count);
    return product.map((v, i) => v + absolute * rows[i]!);
  };
  const precondition = (rows: Float64Array): Float64Array => rows.map((v, i) => v / (c[(i % n) * (n + 1)]! + absolute));
  return {
    ridge: absolute,
    solve: async (rows, count) =>
      (await conjugateGradient(ridged, rows, count, n, { tolerance: 1e-4, maxIterations: 80, precondition })).x,
    release: () => session.release(),
  };
}
