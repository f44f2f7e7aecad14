// Atoms and their ties: a union-find whose classes can be frozen or marked inexact, with the reason kept. Atom 0 always stays.
import { isBlank, movingAxes, walk } from '../ops/labels.js';
import type { Labels } from '../ops/op.js';

/** An axis of which no position may be lost to the choice of a unit (an index selects along it). */
export interface HeldAxis {
  readonly labels: Labels;
  readonly axis: number;
}

export interface Atoms {
  /** n new atoms, consecutive. */
  fresh(n: number): Int32Array;
  /** Representative of the class (its smallest atom), frozen or not; 0 for atom 0. */
  root(atom: number): number;
  /** Representative of the class, 0 when it is frozen. */
  find(atom: number): number;
  /** Both live and die together; 0 freezes the other. Returns whether anything changed. */
  tie(a: number, b: number, reason: string): boolean;
  freeze(atom: number, reason: string): boolean;
  reasonOf(atom: number): string | undefined;
  inexact(atom: number, reason: string): void;
  inexactOf(atom: number): string | undefined;
  /** Atoms made so far, 0 included. */
  readonly count: number;
}

export function createAtoms(): Atoms {
  let parent = new Int32Array(1024);
  let count = 1;
  const frozen = new Map<number, string>();
  const inexact = new Map<number, string>();

  const root = (atom: number): number => {
    let a = atom;
    while (parent[a] !== a) {
      // path halving
      const up = parent[parent[a]!]!;
      parent[a] = up;
      a = up;
    }
    return a;
  };

  const freeze = (atom: number, reason: string): boolean => {
    if (atom === 0) return false;
    const r = root(atom);
    if (frozen.has(r)) return false;
    frozen.set(r, reason);
    return true;
  };

  return {
    get count() {
      return count;
    },
    fresh(n) {
      if (count + n > parent.length) {
        const grown = new Int32Array(Math.max(parent.length * 2, count + n));
        grown.set(parent);
        parent = grown;
      }
      const atoms = new Int32Array(n);
      for (let i = 0; i < n; i++, count++) {
        parent[count] = count;
        atoms[i] = count;
      }
      return atoms;
    },
    root,
    find: (atom) => {
      if (atom === 0) return 0;
      const r = root(atom);
      return frozen.has(r) ? 0 : r;
    },
    tie(a, b, reason) {
      if (a === b) return false;
      if (a === 0 || b === 0) return freeze(a === 0 ? b : a, reason);
      const x = root(a);
      const y = root(b);
      if (x === y) return false;
      const keep = Math.min(x, y);
      const lose = Math.max(x, y);
      parent[lose] = keep;
      const why = frozen.get(keep) ?? frozen.get(lose);
      if (why !== undefined) frozen.set(keep, why);
      const inexactWhy = inexact.get(keep) ?? inexact.get(lose);
      if (inexactWhy !== undefined) inexact.set(keep, inexactWhy);
      return true;
    },
    freeze,
    reasonOf: (atom) => (atom === 0 ? undefined : frozen.get(root(atom))),
    inexact(atom, reason) {
      if (atom === 0) return;
      const r = root(atom);
      if (!inexact.has(r)) inexact.set(r, reason);
    },
    inexactOf: (atom) => (atom === 0 ? undefined : inexact.get(root(atom))),
  };
}

/** Whether labels change along an axis, seen through ties. */
export function variesAlong(atoms: Atoms, l: Labels, axis: number): boolean {
  const stride = l.strides[axis]!;
  const n = l.shape[axis]!;
  if (stride === 0 || n <= 1 || isBlank(l)) return false;
  const others = movingAxes([l]).filter((k) => k !== axis);
  let varies = false;
  walk(
    others.map((k) => l.shape[k]!),
    [others.map((k) => l.strides[k]!)],
    [l.offset],
    (at) => {
      if (varies) return;
      const start = at[0]!;
      const first = atoms.find(l.atoms[start]!);
      for (let i = 1, p = start + stride; i < n; i++, p += stride) {
        if (atoms.find(l.atoms[p]!) !== first) {
          varies = true;
          return;
        }
      }
    },
  );
  return varies;
}
