// NAS-Bench-MR: multi-resolution networks of one to four branches, fused again and again (Ding et al., ICLR 2022; NCP,
// models/supernet.py). Code of 27 numbers: two stem widths; per stage modules, blocks and widths of each branch; the last width.
import { float } from '../../ir/builder.js';
import type { Model } from '../../ir/graph.js';
import { PareError } from '../../errors.js';
import { encodingIn, network, taskIn, type Feature, type Layers } from './layers.js';
import type { ArchitectureSpace, BuildOptions } from './space.js';

interface Stage {
  /** Residual blocks of each branch. */
  readonly blocks: readonly number[];
  readonly widths: readonly number[];
}

interface MultiResolution {
  readonly stem: readonly number[];
  readonly stages: readonly Stage[];
  readonly last: number;
}

interface MrTask {
  readonly shape: readonly [number, number, number];
  readonly classes: number;
  /** One answer a pixel. */
  readonly dense?: boolean;
}

/** 128 x 128 is what the table's `flops_g` are counted at; sizes of the dense tasks and of video are assumed. */
const TASKS: Readonly<Record<string, MrTask>> = {
  'cls-50-1000': { shape: [3, 128, 128], classes: 50 },
  'cls-50-100': { shape: [3, 128, 128], classes: 50 },
  'cls-10-1000': { shape: [3, 128, 128], classes: 10 },
  'cls-10c': { shape: [3, 128, 128], classes: 10 },
  'seg-4x': { shape: [3, 256, 512], classes: 19, dense: true },
  seg: { shape: [3, 512, 1024], classes: 19, dense: true },
  '3ddet': { shape: [3, 256, 512], classes: 19, dense: true },
  video: { shape: [3, 128, 128], classes: 51 },
};

export const nasBenchMr: ArchitectureSpace = {
  name: 'nas-bench-mr',
  keys: ['code', 'embedding', 'arch'],
  tasks: Object.keys(TASKS),
  parse(row) {
    const { text } = encodingIn(row, 'nas-bench-mr', nasBenchMr.keys);
    const { net, key } = parseCode(text);
    return { key, twins: key, build: (options) => buildMr(net, options) };
  },
  taskOf(label) {
    const prefix = label.split('.')[0]!.replace(/-p$/, '');
    if (Object.hasOwn(TASKS, prefix)) return prefix;
    return Object.keys(TASKS).find((task) => label.includes(task)) ?? 'cls-50-1000';
  },
};

function parseCode(text: string): { readonly net: MultiResolution; readonly key: string } {
  const code = (text.match(/\d+/g) ?? []).map(Number);
  const wrong = (why: string): PareError =>
    new PareError(`nas-bench-mr: "${text}" is no architecture: ${why}; a code has 27 positive numbers joined by _`);
  if (!/^[\d_\-,\s[\]()]+$/.test(text) || code.length !== 27) throw wrong(`it has ${code.length} numbers`);
  const stages: Stage[] = [];
  let at = 2;
  for (let branches = 1; branches <= 4; branches++) {
    const modules = code[at]!;
    const blocks = code.slice(at + 1, at + 1 + branches);
    const widths = code.slice(at + 1 + branches, at + 1 + 2 * branches);
    for (let i = 0; i < modules; i++) stages.push({ blocks, widths });
    at += 1 + 2 * branches;
  }
  if (code.some((n) => n < 1 || n > 4096)) throw wrong('its numbers must lie between 1 and 4096');
  return { net: { stem: code.slice(0, 2), stages, last: code[26]! }, key: code.join('_') };
}

function buildMr(net: MultiResolution, options: BuildOptions = {}): Model {
  const task = taskIn(TASKS, 'nas-bench-mr', options.task ?? 'cls-50-1000');
  const [, h, w] = options.inputShape ?? task.shape;
  if (h % 32 !== 0 || w % 32 !== 0) {
    throw new PareError(`nas-bench-mr: an input of ${h}x${w} cannot be halved five times: give multiples of 32`);
  }
  return network('nas-bench-mr', task.shape, options, (l, input) => {
    const active = (x: Feature, c: number, k: number, stride: number): Feature =>
      l.relu(l.convNorm(x, c, k, { stride }));
    let branches: readonly Feature[] = [active(active(input, net.stem[0]!, 3, 2), net.stem[1]!, 3, 2)];
    for (const { blocks, widths } of net.stages) {
      branches = fuse(l, branches, widths, active);
      branches = branches.map((x, b) => {
        let y = x;
        for (let i = 0; i < blocks[b]!; i++) y = basicBlock(l, y);
        return y;
      });
    }
    // all at the size of the largest for one answer a pixel, of the smallest for one answer an image
    const target = task.dense === true ? 0 : branches.length - 1;
    const same = branches.map((x, b) => (b === target ? x : resized(l, x, 2 ** (b - target), 'linear')));
    const joined = active(same.length === 1 ? same[0]! : l.concat(same), net.last, 1, 1);
    const classes = options.classes ?? task.classes;
    if (task.dense === true) return l.conv(joined, classes, 1, { bias: true });
    const scores = l.conv(l.apply('GlobalAveragePool', joined), classes, 1, { bias: true });
    return l.apply('Flatten', scores);
  });
}

/** Each branch takes from its neighbours; a new branch halves the last one. */
function fuse(
  l: Layers,
  from: readonly Feature[],
  widths: readonly number[],
  active: (x: Feature, c: number, k: number, stride: number) => Feature,
): readonly Feature[] {
  const fused: Feature[] = [];
  for (let i = 0; i < Math.min(from.length, widths.length); i++) {
    const terms: Feature[] = [];
    if (i > 0) terms.push(active(from[i - 1]!, widths[i]!, 3, 2));
    terms.push(active(from[i]!, widths[i]!, 3, 1));
    if (i + 1 < from.length) terms.push(resized(l, active(from[i + 1]!, widths[i]!, 1, 1), 2, 'nearest'));
    fused.push(l.relu(l.sum(terms)));
  }
  for (let i = from.length; i < widths.length; i++) fused.push(active(fused[i - 1]!, widths[i]!, 3, 2));
  return fused;
}

function basicBlock(l: Layers, x: Feature): Feature {
  const deep = l.convNorm(l.relu(l.convNorm(x, x.c, 3)), x.c, 3);
  return l.relu(l.sum([deep, x]));
}

function resized(l: Layers, x: Feature, by: number, mode: 'nearest' | 'linear'): Feature {
  const { g } = l;
  const coordinates = mode === 'nearest' ? 'asymmetric' : 'half_pixel';
  const attributes = {
    mode,
    coordinate_transformation_mode: coordinates,
    nearest_mode: 'floor',
    cubic_coeff_a: float(-0.75),
  };
  return { value: g.op('Resize', [x.value, '', g.floats([1, 1, by, by])], attributes), c: x.c };
}
