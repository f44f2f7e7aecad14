// grasp: minus the sum of weights times (Hessian times gradient), temperature 1 (Wang et al., ICLR 2020). H g is the gradient of
// half the squared norm of the gradient: the gradient graph, differentiated again.
import { readFloats } from '../../ir/tensor.js';
import { floatsOf } from '../../runtime/runtime.js';
import { createEmitter } from '../../training/emitter.js';
import { appendGradients } from '../../training/gradient.js';
import { withOutputs } from './network.js';
import { targetFeed, weightNames, withLoss, type Probe } from './probe.js';
import type { Proxy } from './proxy.js';

export const grasp: Proxy = {
  name: 'grasp',
  needs: 'gradients',
  score: async (probe) => {
    const targets = await probe.targets();
    const { parts, loss, binding } = withLoss(probe.network, targets);
    return graspOf(probe, { parts, loss, binding, more: targetFeed(probe.network, targets) });
  },
};

type Loss = ReturnType<typeof withLoss> & { readonly more: Parameters<Probe['run']>[2] };

/** For any scalar `loss` of the network's weights. */
export async function graspOf(probe: Probe, { parts, loss, binding, more }: Loss): Promise<number> {
  const { network, table } = probe;
  const weights = weightNames(network);
  const first = appendGradients(parts, table, loss, weights, binding);
  const m = createEmitter(first.graph, 'curvature', first.opsets.get('') ?? 17);
  const squares = [...first.of.values()].map((g) => m.emit('ReduceSum', [m.emit('Mul', [g, g])], { keepdims: 0 }));
  const half = m.emit('Mul', [m.emit('Sum', squares), m.float(0.5)]);
  const again = { graph: m.extended(first.graph), opsets: first.opsets, functions: network.model.functions };
  const second = appendGradients(again, table, half, weights, binding);
  const found = await probe.run(
    withOutputs(network.model, second, [...second.of.values()]),
    [...second.of.values()],
    more,
  );
  let sum = 0;
  for (const [name, curved] of second.of) {
    const hg = floatsOf(found.get(curved)!);
    readFloats(network.model.graph.initializers.get(name)!).forEach((w, i) => (sum -= w * hg[i]!));
  }
  return sum;
}
