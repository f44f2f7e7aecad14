// GRAF for cells with operators on the edges (NAS-Bench-201, TransNAS-Bench-101 micro; methods.md §3.1): counts, shortest paths
// without a set of operators, longest paths within a set, degrees within a set, for every set of operators.

/** Operators on the six edges 1-2, 1-3, 1-4, 2-3, 2-4, 3-4 of a cell with four states. */
export type Cell = readonly number[];

const EDGES: readonly (readonly [number, number])[] = [
  [0, 1],
  [0, 2],
  [0, 3],
  [1, 2],
  [1, 3],
  [2, 3],
];
const STATES = 4;

/** The names of the columns for `operators` kinds of operator: 191 for 5. */
export function cellFeatureNames(operators: number): string[] {
  const names = Array.from({ length: operators }, (_, o) => `count:${o}`);
  const full = 2 ** operators - 1;
  for (let set = 0; set < full; set++) names.push(`shortest without:${members(set)}`);
  for (let set = 1; set <= full; set++) names.push(`longest within:${members(set)}`);
  for (let set = 1; set <= full; set++) {
    names.push(...['in', 'out', 'mean in', 'mean out'].map((side) => `degree ${side}:${members(set)}`));
  }
  return names;
}

/** The values of those columns. */
export function cellFeatures(cell: Cell, operators: number): number[] {
  const found = Array.from({ length: operators }, (_, o) => cell.filter((c) => c === o).length);
  const full = 2 ** operators - 1;
  for (let set = 0; set < full; set++) found.push(shortest(cell, full & ~set));
  for (let set = 1; set <= full; set++) found.push(longest(cell, set));
  for (let set = 1; set <= full; set++) {
    let leaving = 0;
    let entering = 0;
    let all = 0;
    EDGES.forEach(([from, to], e) => {
      if (((set >> cell[e]!) & 1) === 0) return;
      all++;
      if (from === 0) leaving++;
      if (to === STATES - 1) entering++;
    });
    found.push(leaving, entering, all / STATES, all / STATES);
  }
  return found;
}

/** Edges of the shortest way through the cell by allowed operators; number of states + 1 when there is none. */
function shortest(cell: Cell, allowed: number): number {
  const length = [0, Infinity, Infinity, Infinity];
  EDGES.forEach(([from, to], e) => {
    if (((allowed >> cell[e]!) & 1) === 1) length[to] = Math.min(length[to]!, length[from]! + 1);
  });
  return Math.min(STATES + 1, length[STATES - 1]!);
}

/** Edges of the longest; -1 when there is none. */
function longest(cell: Cell, allowed: number): number {
  const length = [0, -Infinity, -Infinity, -Infinity];
  EDGES.forEach(([from, to], e) => {
    if (((allowed >> cell[e]!) & 1) === 1) length[to] = Math.max(length[to]!, length[from]! + 1);
  });
  return Math.max(-1, length[STATES - 1]!);
}

function members(set: number): string {
  const found: number[] = [];
  for (let o = 0; set >> o > 0; o++) if (((set >> o) & 1) === 1) found.push(o);
  return found.join('+');
}
