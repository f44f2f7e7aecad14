// NAS-Bench-101: cells of up to seven vertices with an operator each, three stacks of three cells at 128, 256 and 512 channels
// (Ying et al., ICML 2019; nasbench, lib/model_builder.py and lib/model_spec.py).
import type { Model } from '../../ir/graph.js';
import { PareError } from '../../errors.js';
import type { Row } from '../tables.js';
import { network, taskIn, type Feature, type Layers } from './layers.js';
import type { ArchitectureSpace, BuildOptions } from './space.js';

/** In the order of the tuples' numbers. */
const OPS = ['input', 'output', 'maxpool3x3', 'conv1x1-bn-relu', 'conv3x3-bn-relu'] as const;

/** Vertex 0 is the input, the last the output; every vertex lies on a way from one to the other. */
interface Cell {
  readonly ops: readonly string[];
  /** edges[u][v], u < v. */
  readonly edges: readonly (readonly boolean[])[];
}

const TASKS: Readonly<Record<string, { readonly shape: readonly [number, number, number]; readonly classes: number }>> =
  { cifar10: { shape: [3, 32, 32], classes: 10 } };

export const nb101: ArchitectureSpace = {
  name: 'nb101',
  keys: ['tuple', 'matrix', 'ops'],
  tasks: Object.keys(TASKS),
  parse(row) {
    const whole = parseRow(row);
    const cell = pruned(whole);
    const n = whole.ops.length;
    const numbers = [
      ...whole.edges.flatMap((line) => line.map(Number)),
      // the operators were checked
      ...whole.ops.map((op) => (OPS as readonly string[]).indexOf(op)),
    ];
    if (n > 64) throw wrong(`${n} vertices`, 'a cell has at most 64');
    return { key: `(${numbers.join(', ')})`, twins: isomorphism(cell), build: (options) => buildNb101(cell, options) };
  },
  taskOf: () => 'cifar10',
};

function wrong(text: string, why: string): PareError {
  return new PareError(
    `nb101: ${text.slice(0, 80)} is no architecture: ${why}; write the n x n matrix of edges and then the n operators`,
  );
}

/** A tuple of n*n edges and n operators, or a matrix and a list of names. */
function parseRow(row: Row): Cell {
  const tuple = row.get('tuple') ?? '';
  const matrix = row.get('matrix') ?? '';
  const names = row.get('ops') ?? '';
  const numbers = ((tuple === '' ? matrix : tuple).match(/\d+/g) ?? []).map(Number);
  if (numbers.length === 0) {
    throw new PareError(
      'space nb101 reads its architectures from the column tuple, or from matrix and ops, but the table has neither',
    );
  }
  const text = tuple === '' ? matrix : tuple;
  const listed = names.match(/[A-Za-z][\w-]*/g) ?? [];
  const n = tuple === '' ? Math.sqrt(numbers.length) : (Math.sqrt(1 + 4 * numbers.length) - 1) / 2;
  if (!Number.isInteger(n) || n < 2) throw wrong(text, 'its numbers make no square matrix');
  const ops = tuple === '' ? listed : numbers.slice(n * n).map((op) => OPS[op] ?? '');
  if (ops.length !== n || !ops.every((op) => (OPS as readonly string[]).includes(op))) {
    throw wrong(text, `its operators must be ${n} of ${OPS.join(', ')}`);
  }
  if (
    ops[0] !== 'input' ||
    ops[n - 1] !== 'output' ||
    ops.slice(1, -1).some((op) => op === 'input' || op === 'output')
  ) {
    throw wrong(text, 'its operators must begin with input and end with output');
  }
  const edges = Array.from({ length: n }, (_, u) => Array.from({ length: n }, (_, v) => numbers[u * n + v] === 1));
  if (edges.some((line, u) => line.some((edge, v) => edge && v <= u))) throw wrong(text, 'an edge goes backwards');
  return { ops, edges };
}

/** Without the vertices that do not lie on a way from input to output, as the benchmark trained it. */
function pruned(cell: Cell): Cell {
  const n = cell.ops.length;
  const fed = cell.ops.map((_, v) => v === 0);
  const used = cell.ops.map((_, v) => v === n - 1);
  for (let u = 0; u < n; u++) if (fed[u]) for (let v = u + 1; v < n; v++) if (cell.edges[u]![v]) fed[v] = true;
  for (let v = n - 1; v >= 0; v--) if (used[v]) for (let u = 0; u < v; u++) if (cell.edges[u]![v]) used[u] = true;
  const kept = cell.ops.flatMap((_, v) => (fed[v] && used[v] ? [v] : []));
  if (!fed[n - 1]) throw wrong(`the cell of ${n} vertices`, 'no way leads from its input to its output');
  return { ops: kept.map((v) => cell.ops[v]!), edges: kept.map((u) => kept.map((v) => cell.edges[u]![v]!)) };
}

/** Equal for isomorphic cells: vertices are named by their operator and, round after round, by the names around them. */
function isomorphism(cell: Cell): string {
  const n = cell.ops.length;
  let names: readonly string[] = cell.ops.map((op) => op);
  for (let round = 0; round < n; round++) {
    const long = names.map((name, v) => {
      const before = names.filter((_, u) => cell.edges[u]![v]).toSorted();
      const after = names.filter((_, u) => cell.edges[v]![u]).toSorted();
      return `${name}<${before.join()}>${after.join()}`;
    });
    // short names for the next round: the rank among all that occur, with the operator before it
    const order = [...new Set(long)].toSorted();
    if (round === n - 1) return long.toSorted().join(';');
    names = long.map((name, v) => `${cell.ops[v]![0]}${cell.ops[v]!.slice(4, 5)}${order.indexOf(name)}`);
  }
  return names.join(';');
}

function buildNb101(cell: Cell, options: BuildOptions = {}): Model {
  const task = taskIn(TASKS, 'nb101', options.task ?? 'cifar10');
  return network('nb101', task.shape, options, (l, input) => {
    let x = active(l, input, 128, 3);
    [128, 256, 512].forEach((c, stack) => {
      if (stack > 0) x = l.apply('MaxPool', x, { kernel_shape: [2, 2], strides: [2, 2] });
      for (let i = 0; i < 3; i++) x = cellOf(l, x, cell, c);
    });
    return l.classifier(x, options.classes ?? task.classes);
  });
}

function active(l: Layers, x: Feature, c: number, k: number): Feature {
  return l.relu(l.convNorm(x, c, k));
}

function cellOf(l: Layers, input: Feature, cell: Cell, c: number): Feature {
  const n = cell.ops.length;
  const end = n - 1;
  const widths = vertexWidths(cell, input.c, c);
  const projected = (v: number): Feature[] => (cell.edges[0]![v]! ? [active(l, input, widths[v]!, 1)] : []);
  const values: Feature[] = [input];
  for (let v = 1; v < end; v++) {
    const inner = values.slice(1).flatMap((x, i) => (cell.edges[i + 1]![v]! ? [truncated(l, x, widths[v]!)] : []));
    const x = l.sum([...inner, ...projected(v)]);
    values.push(
      cell.ops[v] === 'maxpool3x3'
        ? l.apply('MaxPool', x, { kernel_shape: [3, 3], pads: [1, 1, 1, 1] })
        : active(l, x, widths[v]!, cell.ops[v] === 'conv1x1-bn-relu' ? 1 : 3),
    );
  }
  const parts = values.slice(1).filter((_, i) => cell.edges[i + 1]![end]!);
  const joined = parts.length > 1 ? [l.concat(parts)] : parts;
  return l.sum([...joined, ...projected(end)]);
}

/** Channels of each vertex: the output's are shared out among those that feed it, others have the most of whom they feed. */
function vertexWidths(cell: Cell, from: number, c: number): readonly number[] {
  const end = cell.ops.length - 1;
  const widths = cell.ops.map((_, v) => (v === 0 ? from : v === end ? c : 0));
  const feeding = cell.ops.flatMap((_, v) => (v > 0 && v < end && cell.edges[v]![end]! ? [v] : []));
  feeding.forEach((v, i) => {
    widths[v] = Math.floor(c / feeding.length) + (i < c % feeding.length ? 1 : 0);
  });
  for (let v = end - 1; v > 0; v--) {
    if (cell.edges[v]![end]!) continue;
    for (let w = v + 1; w < end; w++) if (cell.edges[v]![w]!) widths[v] = Math.max(widths[v]!, widths[w]!);
  }
  return widths;
}

function truncated(l: Layers, x: Feature, c: number): Feature {
  if (x.c === c) return x;
  const { g } = l;
  return { value: g.op('Slice', [x.value, g.ints([0]), g.ints([c]), g.ints([1])]), c };
}
