// nwot: how many linear regions a batch falls into: ln |det K|, K counting over all activations in how many signs two samples
// agree (Mellor et al., ICML 2021).
import { PareError } from '../../errors.js';
import { floatsOf } from '../../runtime/runtime.js';
import { createEmitter } from '../../training/emitter.js';
import { elementCount } from '../../ir/tensor.js';
import { shapeOf, withOutputs } from './network.js';
import type { Probe } from './probe.js';
import type { Proxy } from './proxy.js';

/** With a bend (or the middle of one) at 0. */
const BENDING =
  /^(Relu|LeakyRelu|PRelu|Elu|Selu|Celu|Clip|ThresholdedRelu|HardSwish|Gelu|Mish|Swish|Softplus|Sigmoid|HardSigmoid|Tanh|Erf)$/;

export const nwot: Proxy = {
  name: 'nwot',
  needs: 'forward',
  score: async (probe) => logDeterminant(await kernel(probe)),
};

async function kernel(probe: Probe): Promise<Float64Array[]> {
  const { network } = probe;
  const { graph, opsets } = network.model;
  const m = createEmitter(graph, 'codes', opsets.get('') ?? 17);
  const kernels: string[] = [];
  let samples = 0;
  for (const node of graph.nodes) {
    const input = node.inputs[0]!;
    if (!BENDING.test(node.opType) || graph.initializers.has(input)) continue;
    const dims = shapeOf(network, input);
    const rows = [...network.dims.values()][0]![0]!;
    // values without a batch (attention windows moved to the front, say) tell no samples apart
    if (dims[0] !== rows) continue;
    samples = rows;
    const signs = m.emit('Cast', [m.emit('Greater', [input, m.float(0)])], { to: 1 });
    const codes = m.emit('Reshape', [signs, m.ints([rows, elementCount(dims) / rows])]);
    const others = m.emit('Sub', [m.float(1), codes]);
    const agree = (c: string): string => m.emit('MatMul', [c, m.emit('Transpose', [c], { perm: [1, 0] })]);
    kernels.push(m.emit('Add', [agree(codes), agree(others)]));
  }
  if (kernels.length === 0) throw new PareError('nwot reads the signs before activations, and the network has none');
  const total = m.emit('Sum', kernels);
  const made = withOutputs(network.model, { graph: m.extended(graph, [total]), opsets }, [total]);
  const values = floatsOf((await probe.run(made, [total])).get(total)!);
  return Array.from({ length: samples }, (_, i) => Float64Array.from(values.subarray(i * samples, (i + 1) * samples)));
}

/** K of one layer's binary codes [samples][units]. */
export function kernelOf(codes: readonly (readonly number[])[]): Float64Array[] {
  return codes.map((a) => Float64Array.from(codes, (b) => a.reduce((sum, x, i) => sum + (x === b[i] ? 1 : 0), 0)));
}

/** ln |det A| by elimination with pivots; minus infinity when A is singular to rounding. */
export function logDeterminant(matrix: readonly Float64Array[]): number {
  const a = matrix.map((row) => row.slice());
  const n = a.length;
  const largest = a.reduce((m, row) => row.reduce((k, x) => Math.max(k, Math.abs(x)), m), 0);
  let sum = 0;
  for (let k = 0; k < n; k++) {
    let pivot = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(a[i]![k]!) > Math.abs(a[pivot]![k]!)) pivot = i;
    [a[k], a[pivot]] = [a[pivot]!, a[k]!];
    const top = a[k]!;
    if (!(Math.abs(top[k]!) > n * 1e-15 * largest)) return Number.isNaN(top[k]!) ? NaN : -Infinity;
    sum += Math.log(Math.abs(top[k]!));
    for (let i = k + 1; i < n; i++) {
      const row = a[i]!;
      const factor = row[k]! / top[k]!;
      if (factor !== 0) for (let j = k; j < n; j++) row[j] = row[j]! - factor * top[j]!;
    }
  }
  return sum;
}
