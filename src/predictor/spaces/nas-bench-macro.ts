// NAS-Bench-Macro: eight layers in three stages, each an identity or one of two inverted bottlenecks, on CIFAR-10 (Su et al.,
// ICCV 2021; NAS-Bench-Macro, train/model.py). Eight digits: 0 identity, 1 kernel 3 expansion 3, 2 kernel 5 expansion 6.
import type { Model } from '../../ir/graph.js';
import { PareError } from '../../errors.js';
import { encodingIn, network, taskIn, type Feature, type Layers } from './layers.js';
import type { ArchitectureSpace, BuildOptions } from './space.js';

const STAGES = [2, 3, 3];
const TASKS: Readonly<Record<string, { readonly shape: readonly [number, number, number]; readonly classes: number }>> =
  { cifar10: { shape: [3, 32, 32], classes: 10 } };

export const nasBenchMacro: ArchitectureSpace = {
  name: 'nas-bench-macro',
  keys: ['arch'],
  tasks: Object.keys(TASKS),
  parse(row) {
    const { text: key } = encodingIn(row, 'nas-bench-macro', nasBenchMacro.keys);
    if (!/^[0-2]{8}$/.test(key)) {
      throw new PareError(`nas-bench-macro: "${key}" is no architecture: write eight digits 0 to 2, leading zeros too`);
    }
    const layers = Array.from(key, Number);
    // identities that keep the shape do nothing: only how many layers do something matters within a stage's tail
    const [first, second, third] = [key.slice(0, 2), key.slice(2, 5), key.slice(5)];
    const seen = [first, second, third].map((stage) => stage[0]! + stage.slice(1).replaceAll('0', ''));
    return { key, twins: seen.join('-'), build: (options) => buildMacro(layers, options) };
  },
  taskOf: () => 'cifar10',
};

function buildMacro(layers: readonly number[], options: BuildOptions = {}): Model {
  const task = taskIn(TASKS, 'nas-bench-macro', options.task ?? 'cifar10');
  return network('nas-bench-macro', task.shape, options, (l, input) => {
    let x = l.relu(l.convNorm(input, 32, 3));
    let at = 0;
    for (const depth of STAGES) {
      for (let i = 0; i < depth; i++) {
        const first = i === 0;
        x = layer(l, x, layers[at++]!, first ? 2 * x.c : x.c, first ? 2 : 1);
      }
    }
    return l.classifier(l.relu(l.convNorm(x, 1280, 1)), options.classes ?? task.classes);
  });
}

function layer(l: Layers, x: Feature, op: number, c: number, stride: number): Feature {
  const same = stride === 1 && x.c === c;
  if (op === 0) return same ? x : l.convNorm(x, c, 1, { stride });
  const kernel = op === 1 ? 3 : 5;
  const expansion = op === 1 ? 3 : 6;
  const wide = expansion * x.c;
  let y = l.relu(l.convNorm(x, wide, 1));
  y = l.relu(l.convNorm(y, wide, kernel, { stride, group: wide }));
  y = l.convNorm(y, c, 1);
  return same ? l.sum([y, x]) : y;
}
