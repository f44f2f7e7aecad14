// What a cut leaves of a value must be a product of positions per axis. Where labels still change along several axes, one axis is
// chosen to carry the units and the others are tied: the axis that leaves most units.
import { flat, forEachPair, movingAxes, walk } from '../ops/labels.js';
import type { Labels } from '../ops/op.js';
import { variesAlong, type Atoms, type HeldAxis } from './atoms.js';

export function makeRectangular(atoms: Atoms, views: readonly Labels[], held: readonly HeldAxis[]): void {
  const open = [...new Set(views)].filter((l) => movingAxes([l]).length > 1);
  // a tie made for one view can undo the product form of another: until nothing changes (every round removes classes)
  for (let changed = true; changed;) {
    changed = false;
    for (const l of open) {
      const axes = movingAxes([l]).filter((k) => variesAlong(atoms, l, k));
      if (axes.length < 2) continue;
      const free = axes.filter((k) => !held.some((h) => h.labels === l && h.axis === k));
      const candidates = free.length > 0 ? free : axes;
      let best = candidates[0]!;
      let most = -1;
      for (const axis of candidates) {
        const units = unitsAlong(atoms, l, axis);
        if (units > most) {
          most = units;
          best = axis;
        }
      }
      for (const axis of axes) {
        if (axis === best) continue;
        const first = flat(l, axis, l.shape[axis]!);
        forEachPair(first, l, (a, b) => {
          if (atoms.tie(a, b, 'no axis carries these channels alone')) changed = true;
        });
      }
    }
  }
}

/** Classes that are left, frozen ones not counted, when everything across `axis` is tied. */
function unitsAlong(atoms: Atoms, l: Labels, axis: number): number {
  const parent = new Map<number, number>();
  const root = (a: number): number => {
    let r = a;
    while ((parent.get(r) ?? r) !== r) r = parent.get(r)!;
    return r;
  };
  const others = movingAxes([l]).filter((k) => k !== axis);
  for (let i = 0; i < l.shape[axis]!; i++) {
    const start = l.offset + i * l.strides[axis]!;
    const first = atoms.find(l.atoms[start]!);
    walk(
      others.map((k) => l.shape[k]!),
      [others.map((k) => l.strides[k]!)],
      [start],
      (at) => {
        const x = root(first);
        const y = root(atoms.find(l.atoms[at[0]!]!));
        // 0 swallows: min keeps it the representative
        parent.set(Math.max(x, y), Math.min(x, y));
        parent.set(Math.min(x, y), Math.min(x, y));
      },
    );
  }
  const classes = new Set<number>();
  for (const a of parent.keys()) classes.add(root(a));
  classes.delete(0);
  return classes.size;
}
