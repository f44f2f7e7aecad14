// The methods 'zcp' and 'omni' of the harness: what the table knows of a network as columns, for a forest and for NGBoost.
import type { Candidate, Fitted, Labelled, Method, Task } from './evaluate.js';
import { fitForest } from './forest.js';
import { grafTable } from './graf-method.js';
import { fitOmni } from './omni.js';
import { aggregateRanks } from './rank-aggregation.js';
import { createRng } from '../rng.js';
import { spread } from './evaluate.js';

/** Proxies of the table, MACs and parameters; without labels the sum of their logarithmic ranks (AZ-NAS). */
export const zcpMethod: Method = {
  name: 'zcp',
  fewest: 0,
  fit: async (train, task, rng) => {
    const { rows, names } = proxyTable(task.candidates);
    if (train.length >= 2) {
      const forest = fitForest(
        train.map((t) => rows.get(t.candidate)!),
        train.map((t) => t.label),
        { rng },
      );
      return { predict: async (candidates) => candidates.map((c) => forest.predict(rows.get(c)!)) };
    }
    const criteria = names.map((_, f) => Float64Array.from(task.candidates, (c) => rows.get(c)![f]!));
    const sums = aggregateRanks(criteria);
    const { mean, std } = spread([...sums]);
    const score = new Map(task.candidates.map((c, i) => [c, std > 0 ? (sums[i]! - mean) / std : 0]));
    const { prior } = task;
    return {
      predict: async (candidates) =>
        candidates.map((c) => ({ mean: prior.mean + prior.deviation * score.get(c)!, deviation: prior.deviation })),
    };
  },
};

/** `pretrained` is what a pretrained predictor says without labels: one more column. */
export function omniMethod(pretrained?: Method): Method {
  const tables = new WeakMap<readonly Candidate[], Promise<ReadonlyMap<Candidate, Float64Array>>>();
  return {
    name: 'omni',
    fewest: 4,
    ...(pretrained?.seen === undefined ? {} : { seen: pretrained.seen }),
    fit: async (train: readonly Labelled[], task: Task, rng): Promise<Fitted> => {
      let rows = tables.get(task.candidates);
      if (rows === undefined) tables.set(task.candidates, (rows = omniTable(task, pretrained)));
      const table = await rows;
      const omni = fitOmni(
        train.map((t) => table.get(t.candidate)!),
        train.map((t) => t.label),
        rng,
      );
      return { predict: async (candidates) => candidates.map((c) => omni.predict(table.get(c)!)) };
    },
  };
}

async function omniTable(task: Task, pretrained: Method | undefined): Promise<ReadonlyMap<Candidate, Float64Array>> {
  const { candidates } = task;
  const graf = grafTable(candidates);
  const { rows } = proxyTable(candidates);
  const said =
    pretrained === undefined
      ? undefined
      : await (await pretrained.fit([], task, createRng('omni/pretrained'))).predict(candidates);
  return new Map(
    candidates.map((c, i) => [
      c,
      Float64Array.from([...graf.row(c), ...rows.get(c)!, ...(said === undefined ? [] : [said[i]!.mean])]),
    ]),
  );
}

/** A proxy that a row lacks is taken to be the median of the others'. */
function proxyTable(candidates: readonly Candidate[]): {
  readonly names: readonly string[];
  readonly rows: ReadonlyMap<Candidate, Float64Array>;
} {
  const names = [...new Set(candidates.flatMap((c) => [...c.proxies.keys()]))];
  const middle = names.map((name) => {
    const known = candidates.flatMap((c) => c.proxies.get(name) ?? []).toSorted((a, b) => a - b);
    return known[known.length >> 1]!;
  });
  const rows = new Map(
    candidates.map((c) => [
      c,
      Float64Array.from([
        ...names.map((name, f) => c.proxies.get(name) ?? middle[f]!),
        Math.log(1 + c.macs()),
        Math.log(1 + c.params()),
      ]),
    ]),
  );
  return { names: [...names, 'log macs', 'log params'], rows };
}
