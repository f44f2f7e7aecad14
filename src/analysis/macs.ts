// MACs of a network once units are dead, without cutting it: the product of what is left of each node's axes.
import type { Analysis } from './analyse.js';
import { decideFate } from './fate.js';
import type { DeadUnits } from './groups.js';

/** Exact for every node whose axes are lines of the plan; microseconds per node. */
export function macsAfter(analysis: Analysis, dead: DeadUnits): number {
  const fate = decideFate(analysis, dead);
  let macs = analysis.cost.macs;
  for (const share of analysis.groups.macShares) {
    let left = share.macs;
    for (const line of share.lines) {
      const keep = fate.keep(line);
      if (keep !== undefined) left *= keep.length / line.length;
    }
    macs -= share.macs - left;
  }
  return macs;
}
