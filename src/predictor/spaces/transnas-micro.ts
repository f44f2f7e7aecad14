// TransNAS-Bench-101, micro: one cell of four nodes and six edges, in five modules of two cells (64-41414-a_bc_def).
// TransNASBench, net_infer/cell_micro.py and net_ops/cell_ops.py.
import { PareError } from '../../errors.js';
import { encodingIn, type Feature, type Layers } from './layers.js';
import type { ArchitectureSpace } from './space.js';
import { buildTransnas, TRANSNAS_TASKS, transnasTaskOf } from './transnas-heads.js';

/** Operators of the edges 0-1; 0-2, 1-2; 0-3, 1-3, 2-3: 0 none, 1 skip, 2 Conv1x1, 3 Conv3x3. */
type Cell = readonly (readonly number[])[];

export const transnasMicro: ArchitectureSpace = {
  name: 'transnas101-micro',
  keys: ['arch_str', 'op_indices'],
  tasks: TRANSNAS_TASKS,
  parse(row) {
    const { text } = encodingIn(row, 'transnas101-micro', transnasMicro.keys);
    const { base, modules, cell } = text.includes('-') ? parseString(text) : parseIndices(text);
    const backbone = {
      name: 'transnas101-micro',
      base,
      modules,
      block: (l: Layers, x: Feature, c: number, stride: number) => cellOf(l, x, cell, c, stride),
    };
    const key = `${base}-${modules.join('')}-${cell.map((node) => node.join('')).join('_')}`;
    return {
      key,
      twins: `${base}-${modules.join('')}-${uniqueStr(cell)}`,
      build: (options = {}) => buildTransnas(backbone, options),
    };
  },
  taskOf: transnasTaskOf,
};

interface Parsed {
  readonly base: number;
  readonly modules: readonly number[];
  readonly cell: Cell;
}

function parseString(text: string): Parsed {
  const match = /^(\d+)-([1-4]+)-([0-3])_([0-3]{2})_([0-3]{3})$/.exec(text);
  const base = Number(match?.[1]);
  if (match === null || base < 2 || base % 2 === 1) {
    throw new PareError(`transnas101-micro: "${text}" is no architecture: write 64-41414-a_bc_def, letters 0 to 3`);
  }
  const digits = (part: string): number[] => Array.from(part, Number);
  return { base, modules: digits(match[2]!), cell: [match[3]!, match[4]!, match[5]!].map(digits) };
}

/** `(a, b, c, d, e, f)` in the standard backbone. */
function parseIndices(text: string): Parsed {
  const ops = (text.match(/\d+/g) ?? []).map(Number);
  if (!/^[\s\d,()[\]]+$/.test(text) || ops.length !== 6 || ops.some((op) => op > 3)) {
    throw new PareError(`transnas101-micro: "${text}" is no cell: write six numbers 0 to 3 in parentheses`);
  }
  return { base: 64, modules: [4, 1, 4, 1, 4], cell: [ops.slice(0, 1), ops.slice(1, 3), ops.slice(3)] };
}

/** As in NAS-Bench-201, but a skip from the cell's input is a layer where the cell halves the size. Zeros are left out. */
function uniqueStr(cell: Cell): string {
  const nodes = ['0'];
  for (const ops of cell) {
    const terms = ops.flatMap((op, from) => {
      const x = nodes[from]!;
      if (op === 0 || x === '#') return [];
      return op === 1 && from > 0 ? x : `(${x})@${op}`;
    });
    nodes.push(terms.length === 0 ? '#' : terms.toSorted().join('+'));
  }
  return nodes.at(-1)!;
}

function cellOf(l: Layers, input: Feature, cell: Cell, c: number, stride: number): Feature {
  const nodes = [input];
  for (const ops of cell) {
    const terms = ops.flatMap((op, from) => edgeOf(l, nodes[from]!, op, c, from === 0 ? stride : 1));
    nodes.push(terms.length === 0 ? l.zeros(input, c, stride) : l.sum(terms));
  }
  return nodes.at(-1)!;
}

function edgeOf(l: Layers, x: Feature, op: number, c: number, stride: number): Feature | [] {
  if (op === 0) return [];
  if (op > 1) return l.convNorm(l.relu(x), c, op === 2 ? 1 : 3, { stride });
  return stride === 1 && x.c === c ? x : factorizedReduce(l, x, c, stride);
}

/** Two pointwise convolutions, the second one pixel further down and right. */
function factorizedReduce(l: Layers, x: Feature, c: number, stride: number): Feature {
  const { g } = l;
  const active = l.relu(x);
  const padded = g.op('Pad', [active.value, g.ints([0, 0, 0, 0, 0, 0, 1, 1])]);
  const far = Number.MAX_SAFE_INTEGER;
  const shifted = g.op('Slice', [padded, g.ints([1, 1]), g.ints([far, far]), g.ints([2, 3])]);
  const half = c >> 1;
  const parts = [l.conv(active, half, 1, { stride }), l.conv({ value: shifted, c: x.c }, c - half, 1, { stride })];
  return l.norm(l.concat(parts));
}
