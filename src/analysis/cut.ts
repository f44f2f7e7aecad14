// Cuts dead units out of a model: weights become lazy slices, channel counts in attributes and shape constants follow.
// pruneModel(analysis, D) computes the same function as maskModel(analysis, D).
import { PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import type { Keep } from '../ir/slice.js';
import type { Analysis } from './analyse.js';
import { decideFate, recountContext } from './fate.js';
import type { DeadUnits } from './groups.js';
import { Rewriter } from './rewrite.js';

/** O(nodes + cut tensors); no weight is read. */
export function pruneModel(analysis: Analysis, dead: DeadUnits): Model {
  if (dead.size === 0) return analysis.model;
  const fate = decideFate(analysis, dead);
  const { plan } = analysis;
  const rewriter = new Rewriter(analysis, fate);
  const wanted = new Map<string, Map<string, Keep[]>>();
  for (const cut of plan.cuts) {
    const keep = fate.keep(cut.line);
    if (keep === undefined) continue;
    if (keep.length === 0) {
      throw new PareError(
        `"${cut.tensor}" would lose all ${cut.line.length} positions of axis ${cut.axis}: leave one unit alive`,
      );
    }
    let uses = wanted.get(cut.tensor);
    if (uses === undefined) wanted.set(cut.tensor, (uses = new Map<string, Keep[]>()));
    const key = `${cut.node}:${cut.input}`;
    let keeps = uses.get(key);
    if (keeps === undefined) uses.set(key, (keeps = []));
    // a reshaped weight can lose positions of one axis for two reasons
    const before = keeps[cut.axis];
    keeps[cut.axis] = before === undefined ? keep : both(before, keep);
  }
  for (const [name, uses] of wanted) rewriter.cutConstant(name, uses);
  for (const [name, { line }] of plan.values) {
    if (fate.keep(line)?.length === 0)
      throw new PareError(`"${name}" would lose all its channels: leave one unit alive`);
  }
  for (const { node, patch } of plan.recounts) rewriter.patch(node, patch(recountContext(analysis, fate, node)));
  return rewriter.finish();
}

/** What stays for both. */
function both(a: ArrayLike<number>, b: ArrayLike<number>): number[] {
  const other = new Set(Array.from(b));
  return Array.from(a).filter((p) => other.has(p));
}
