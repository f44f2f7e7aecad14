// NAS-Bench-201: a cell of four nodes, an operator on each of the six edges, stacked 3 x 5 times at 16, 32 and 64 channels.
// Dong and Yang, ICLR 2020; AutoDL-Projects, cell_infers/tiny_network.py and cell_operations.py.
import { PareError } from '../../errors.js';
import type { Model } from '../../ir/graph.js';
import { encodingIn, network, taskIn, type Feature, type Layers } from './layers.js';
import type { ArchitectureSpace, BuildOptions } from './space.js';

/** Operators in the order of NASLib's tuples. */
export const NB201_OPS = ['skip_connect', 'none', 'nor_conv_3x3', 'nor_conv_1x1', 'avg_pool_3x3'] as const;
export type Nb201Op = (typeof NB201_OPS)[number];

/** Operators of the edges 0-1, 0-2, 0-3, 1-2, 1-3, 2-3, as in NASLib's tuples. */
export type Nb201Cell = readonly [Nb201Op, Nb201Op, Nb201Op, Nb201Op, Nb201Op, Nb201Op];

/** Edges into node v as places in a cell, from node 0 upwards. */
const INTO: readonly (readonly number[])[] = [[], [0], [1, 3], [2, 4, 5]];

const TASKS: Readonly<Record<string, { readonly shape: readonly [number, number, number]; readonly classes: number }>> =
  {
    cifar10: { shape: [3, 32, 32], classes: 10 },
    cifar100: { shape: [3, 32, 32], classes: 100 },
    imagenet16: { shape: [3, 16, 16], classes: 120 },
    // electromyograms of NAS-Bench-360: 52 time steps of 16 electrodes
    ninapro: { shape: [1, 52, 16], classes: 18 },
  };

export const nb201: ArchitectureSpace = {
  name: 'nb201',
  keys: ['arch_str', 'op_indices'],
  tasks: Object.keys(TASKS),
  parse(row) {
    const { text } = encodingIn(row, 'nb201', nb201.keys);
    const cell = text.startsWith('|') ? parseArchStr(text) : parseIndices(text);
    return {
      key: archStr(cell),
      twins: uniqueStr(cell),
      cell: { ops: cell.map((op) => NB201_OPS.indexOf(op)), kinds: NB201_OPS.length },
      build: (options) => buildNb201(cell, options),
    };
  },
  taskOf(label) {
    if (/ninapro/i.test(label)) return 'ninapro';
    if (/cifar100/i.test(label)) return 'cifar100';
    if (/in16|imagenet/i.test(label)) return 'imagenet16';
    return 'cifar10';
  },
};

/** `|nor_conv_3x3~0|+|skip_connect~0|none~1|+|...|`. */
function parseArchStr(text: string): Nb201Cell {
  const nodes = text.split('+').map((node) => node.split('|').filter((edge) => edge !== ''));
  const ops = nodes.flatMap((edges, i) =>
    edges.map((edge, from) => {
      const [name = '', source] = edge.split('~');
      if (edges.length !== i + 1 || source !== String(from)) throw wrong(text);
      return operator(name, text);
    }),
  );
  const [a, b, c, d, e, f] = ops;
  if (nodes.length !== 3 || ops.length !== 6) throw wrong(text);
  // the string goes node by node, the tuple from source to source; six operators were counted
  return [a!, b!, d!, c!, e!, f!];
}

/** `(4, 3, 3, 0, 0, 0)`. */
function parseIndices(text: string): Nb201Cell {
  if (!/^\(?\[?(\s*[0-4]\s*,?){6}\]?\)?$/.test(text)) throw wrong(text);
  const ops = (text.match(/[0-4]/g) ?? []).map((digit) => NB201_OPS[Number(digit)]!);
  if (ops.length !== 6) throw wrong(text);
  const [a, b, c, d, e, f] = ops;
  return [a!, b!, c!, d!, e!, f!]; // six were counted
}

function operator(name: string, text: string): Nb201Op {
  const found = NB201_OPS.find((op) => op === name);
  if (found !== undefined) return found;
  throw new PareError(`nb201: "${name}" in ${text} is no operator of the space: they are ${NB201_OPS.join(', ')}`);
}

function wrong(text: string): PareError {
  return new PareError(
    `nb201: "${text}" is no architecture: write |op~0|+|op~0|op~1|+|op~0|op~1|op~2| or six numbers 0-4 in parentheses`,
  );
}

function archStr(cell: Nb201Cell): string {
  const node = (v: number): string => `|${INTO[v]!.map((edge, from) => `${cell[edge]!}~${from}`).join('|')}|`;
  return [1, 2, 3].map(node).join('+');
}

/** The isomorphism class as the benchmark writes it: skips are seen through, `#` is zero. */
function uniqueStr(cell: Nb201Cell): string {
  const nodes = ['0'];
  for (let v = 1; v < 4; v++) {
    const terms = INTO[v]!.map((edge, from) => {
      const op = cell[edge]!;
      const x = nodes[from]!;
      if (op === 'skip_connect') return x;
      return op === 'none' || x === '#' ? '#' : `(${x})@${op}`;
    });
    nodes.push(terms.toSorted().join('+'));
  }
  return nodes[3]!;
}

export function buildNb201(cell: Nb201Cell, options: BuildOptions = {}): Model {
  const task = taskIn(TASKS, 'nb201', options.task ?? 'cifar10');
  return network('nb201', task.shape, options, (l, input) => {
    let x = l.convNorm(input, 16, 3);
    [16, 32, 64].forEach((c, stage) => {
      if (stage > 0) x = reduction(l, x, c);
      for (let i = 0; i < 5; i++) x = cellOf(l, x, cell);
    });
    return l.classifier(l.relu(l.norm(x)), options.classes ?? task.classes);
  });
}

function cellOf(l: Layers, input: Feature, cell: Nb201Cell): Feature {
  const nodes = [input];
  for (let v = 1; v < 4; v++) {
    const terms = INTO[v]!.flatMap((edge, from) => edgeOf(l, nodes[from]!, cell[edge]!));
    nodes.push(terms.length === 0 ? l.zeros(input) : l.sum(terms));
  }
  return nodes[3]!;
}

/** Zeros add nothing and are left out. */
function edgeOf(l: Layers, x: Feature, op: Nb201Op): Feature | [] {
  switch (op) {
    case 'none':
      return [];
    case 'skip_connect':
      return x;
    case 'nor_conv_1x1':
      return l.convNorm(l.relu(x), x.c, 1);
    case 'nor_conv_3x3':
      return l.convNorm(l.relu(x), x.c, 3);
    case 'avg_pool_3x3':
      return l.apply('AveragePool', x, { kernel_shape: [3, 3], pads: [1, 1, 1, 1], count_include_pad: 0 });
  }
}

function reduction(l: Layers, x: Feature, c: number): Feature {
  const deep = l.convNorm(l.relu(l.convNorm(l.relu(x), c, 3, { stride: 2 })), c, 3);
  const pooled = l.apply('AveragePool', x, { kernel_shape: [2, 2], strides: [2, 2] });
  return l.sum([l.conv(pooled, c, 1), deep]);
}
