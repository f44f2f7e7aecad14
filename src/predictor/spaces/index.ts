// The architecture spaces that `--space NAME` knows: one line each.
import { PareError } from '../../errors.js';
import { nb201 } from './nb201.js';
import type { ArchitectureSpace } from './space.js';

export const SPACES: readonly ArchitectureSpace[] = [nb201];

/** A space by name. */
export function spaceOf(name: string): ArchitectureSpace {
  const found = SPACES.find((space) => space.name === name);
  if (found !== undefined) return found;
  throw new PareError(
    `there is no architecture space "${name}": choose one of ${SPACES.map((s) => s.name).join(', ')}`,
  );
}
