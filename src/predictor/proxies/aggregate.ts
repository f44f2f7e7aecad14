// AZ-NAS' non-linear aggregation of ranks (methods.md §5.2): a poor rank in any one criterion costs without bound, while sums of
// ranks would let others make up for it.
import { ranks } from '../correlation.js';

/** Sum over the criteria of ln(rank / m), by candidate: higher is better, 0 at most. `scores[i][k]`: criterion i of candidate k. */
export function aggregateRanks(scores: readonly ArrayLike<number>[]): Float64Array {
  const m = scores[0]?.length ?? 0;
  const total = new Float64Array(m);
  for (const criterion of scores) {
    // what is no number ranks last
    const own = ranks(Float64Array.from(criterion, (x) => (Number.isNaN(x) ? -Infinity : x)));
    own.forEach((rank, k) => (total[k] = total[k]! + Math.log(rank / m)));
  }
  return total;
}
