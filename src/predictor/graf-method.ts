// GRAF and a random forest (methods.md §3) as a method of the harness: the cell's own features where there is a cell, else those of
// the computation graph; training recipe and MACs beside them.
import type { Candidate, Method } from './evaluate.js';
import { fitForest } from './forest.js';
import { cellFeatureNames, cellFeatures } from './graf-cell.js';
import { grafFeatures, grafNames } from './graf-features.js';
import { recipeFeatures, recipeNames } from './recipe.js';

/** Columns that vary, the same for all candidates of a task. */
export interface FeatureTable {
  readonly names: readonly string[];
  readonly row: (candidate: Candidate) => Float64Array;
}

/** Features of all candidates of a task, each worked out once; equal and constant columns are left out. */
export function grafTable(candidates: readonly Candidate[]): FeatureTable {
  const cells = candidates.every((c) => c.cell !== undefined);
  const kinds = candidates[0]?.cell?.kinds ?? 0;
  const names = [...(cells ? cellFeatureNames(kinds) : grafNames()), ...recipeNames()];
  const whole = candidates.map((c) =>
    Float64Array.from([
      ...(cells ? cellFeatures(c.cell!.ops, kinds) : grafFeatures(c.graph(true))),
      ...recipeFeatures(c.recipe),
    ]),
  );
  const kept = distinctColumns(whole, names.length);
  const rows = new Map(candidates.map((c, i) => [c, Float64Array.from(kept, (f) => whole[i]![f]!)]));
  return { names: kept.map((f) => names[f]!), row: (candidate) => rows.get(candidate)! };
}

/** Columns that are neither constant nor equal to one before. */
export function distinctColumns(rows: readonly Float64Array[], width: number): number[] {
  const seen = new Map<string, number[]>();
  const kept: number[] = [];
  for (let f = 0; f < width; f++) {
    const first = rows[0]?.[f];
    let varies = false;
    let hash = 0;
    for (let i = 0; i < rows.length; i++) {
      const v = rows[i]![f]!;
      if (v !== first) varies = true;
      hash = (hash * 31 + v * (1 + (i % 7))) % 1e9;
    }
    if (!varies) continue;
    // columns of equal hash are compared value by value
    const same = seen.get(String(hash)) ?? [];
    if (same.some((other) => rows.every((r) => r[other] === r[f]))) continue;
    seen.set(String(hash), [...same, f]);
    kept.push(f);
  }
  return kept;
}

/** Works the features of a table out once for all seeds. */
export function grafMethod(): Method {
  const tables = new WeakMap<readonly Candidate[], FeatureTable>();
  return {
    name: 'graf',
    fewest: 2,
    fit: async (train, task, rng) => {
      let table = tables.get(task.candidates);
      if (table === undefined) tables.set(task.candidates, (table = grafTable(task.candidates)));
      const { row, names } = table;
      const forest = fitForest(
        train.map((t) => row(t.candidate)),
        train.map((t) => t.label),
        { rng },
      );
      return {
        predict: async (candidates) => candidates.map((c) => forest.predict(row(c))),
        explain: (candidate) => {
          const values = row(candidate);
          const { base, columns } = forest.explain(values);
          const effects = names.map((feature, f) => ({ feature, value: values[f]!, effect: columns[f]! }));
          return {
            base,
            effects: effects.filter((e) => e.effect !== 0).toSorted((a, b) => Math.abs(b.effect) - Math.abs(a.effect)),
          };
        },
      };
    },
  };
}
