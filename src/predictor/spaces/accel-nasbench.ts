// Accel-NASBench: EfficientNet-B0's seven stages of inverted bottlenecks with free expansions, kernels, depths and squeezes
// (Ahmad et al., DATE 2024; configurationspaces/searchspaces.py).
import type { Model } from '../../ir/graph.js';
import { PareError } from '../../errors.js';
import type { Row } from '../tables.js';
import { network, taskIn, type Feature, type Layers } from './layers.js';
import type { ArchitectureSpace, BuildOptions } from './space.js';

/** Of the seven stages. */
interface Mobile {
  readonly e: readonly number[];
  readonly k: readonly number[];
  readonly l: readonly number[];
  readonly se: readonly number[];
}

const WIDTHS = [16, 24, 40, 80, 112, 192, 320];
const STRIDES = [1, 2, 2, 2, 1, 2, 1];
const TASKS: Readonly<Record<string, { readonly shape: readonly [number, number, number]; readonly classes: number }>> =
  { imagenet: { shape: [3, 224, 224], classes: 1000 } };

export const accelNasbench: ArchitectureSpace = {
  name: 'accel-nasbench',
  keys: ['e', 'k', 'l', 'se'],
  tasks: Object.keys(TASKS),
  parse(row) {
    const net = {
      e: list(row, 'e', (v) => v >= 1 && v <= 16),
      k: list(row, 'k', (v) => v % 2 === 1 && v <= 31),
      l: list(row, 'l', (v) => v >= 1 && v <= 64),
      se: list(row, 'se', (v) => v <= 1),
    };
    const key = [net.e, net.k, net.l, net.se].map((part) => part.join('_')).join('-');
    return { key, twins: key, build: (options) => buildAccel(net, options) };
  },
  taskOf: () => 'imagenet',
};

/** `[6, 4, 6, 6, 6, 1, 1]`; a key of ours stands in column `e` with the four lists joined by -. */
function list(row: Row, name: 'e' | 'k' | 'l' | 'se', allowed: (value: number) => boolean): readonly number[] {
  const key = row.get('e') ?? '';
  const text = key.includes('-') ? (key.split('-')['e k l se'.split(' ').indexOf(name)] ?? '') : row.get(name);
  if (text === undefined) {
    throw new PareError(
      `space accel-nasbench reads its architectures from the columns e, k, l and se, but the table has no "${name}"`,
    );
  }
  const values = (text.replaceAll(/true/gi, '1').replaceAll(/false/gi, '0').match(/\d+/g) ?? []).map(Number);
  if (values.length !== 7 || !values.every(allowed)) {
    throw new PareError(
      `accel-nasbench: ${name} = "${text}" is no list of seven stages: e 1-16, k odd, l from 1, se 0 or 1`,
    );
  }
  return values;
}

function buildAccel(net: Mobile, options: BuildOptions = {}): Model {
  const task = taskIn(TASKS, 'accel-nasbench', options.task ?? 'imagenet');
  return network('accel-nasbench', task.shape, options, (l, input) => {
    let x = swish(l, l.convNorm(input, 32, 3, { stride: 2 }));
    WIDTHS.forEach((c, stage) => {
      for (let i = 0; i < net.l[stage]!; i++) {
        x = bottleneck(l, x, c, {
          expansion: net.e[stage]!,
          kernel: net.k[stage]!,
          stride: i === 0 ? STRIDES[stage]! : 1,
          squeeze: net.se[stage] === 1,
        });
      }
    });
    return l.classifier(swish(l, l.convNorm(x, 1280, 1)), options.classes ?? task.classes);
  });
}

interface Bottleneck {
  readonly expansion: number;
  readonly kernel: number;
  readonly stride: number;
  readonly squeeze: boolean;
}

function bottleneck(l: Layers, x: Feature, c: number, { expansion, kernel, stride, squeeze }: Bottleneck): Feature {
  const wide = expansion * x.c;
  let y = expansion === 1 ? x : swish(l, l.convNorm(x, wide, 1));
  y = swish(l, l.convNorm(y, wide, kernel, { stride, group: wide }));
  if (squeeze) y = excited(l, y, Math.max(1, x.c >> 2));
  y = l.convNorm(y, c, 1);
  return stride === 1 && x.c === c ? l.sum([y, x]) : y;
}

function excited(l: Layers, x: Feature, c: number): Feature {
  const few = swish(l, l.conv(l.apply('GlobalAveragePool', x), c, 1, { bias: true }));
  const gate = l.apply('Sigmoid', l.conv(few, x.c, 1, { bias: true }));
  return { value: l.g.op('Mul', [x.value, gate.value]), c: x.c };
}

function swish(l: Layers, x: Feature): Feature {
  return { value: l.g.op('Mul', [x.value, l.apply('Sigmoid', x).value]), c: x.c };
}
