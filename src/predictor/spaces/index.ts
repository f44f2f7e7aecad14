// The architecture spaces that `--space NAME` knows: one line each.
import { PareError } from '../../errors.js';
import { accelNasbench } from './accel-nasbench.js';
import { nasBenchMacro } from './nas-bench-macro.js';
import { nasBenchMr } from './nas-bench-mr.js';
import { nb101 } from './nb101.js';
import { nb201 } from './nb201.js';
import type { ArchitectureSpace } from './space.js';
import { transnasMacro } from './transnas-macro.js';
import { transnasMicro } from './transnas-micro.js';

export const SPACES: readonly ArchitectureSpace[] = [
  nb201,
  transnasMicro,
  transnasMacro,
  nasBenchMr,
  accelNasbench,
  nasBenchMacro,
  nb101,
];

/** Other names, letters and digits only. */
const ALIASES: ReadonlyMap<string, string> = new Map([
  ['nasbench201', 'nb201'],
  ['nasbench101', 'nb101'],
  ['transnasmicro', 'transnas101-micro'],
  ['tnb101micro', 'transnas101-micro'],
  ['transnasbench101micro', 'transnas101-micro'],
  ['transnasmacro', 'transnas101-macro'],
  ['tnb101macro', 'transnas101-macro'],
  ['transnasbench101macro', 'transnas101-macro'],
  ['nbmr', 'nas-bench-mr'],
  ['mr', 'nas-bench-mr'],
  ['accel', 'accel-nasbench'],
  ['anb', 'accel-nasbench'],
  ['accelnasbench', 'accel-nasbench'],
  ['macro', 'nas-bench-macro'],
  ['nbmacro', 'nas-bench-macro'],
]);

/** A space by name; case, hyphens and the usual longer or shorter names do not matter. */
export function spaceOf(name: string): ArchitectureSpace {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
  const known = ALIASES.get(plain(name)) ?? name;
  const found = SPACES.find((space) => plain(space.name) === plain(known));
  if (found !== undefined) return found;
  throw new PareError(
    `there is no architecture space "${name}": choose one of ${SPACES.map((s) => s.name).join(', ')}`,
  );
}
