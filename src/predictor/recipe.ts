// The training recipe of a network as features beside its graph: accuracy depends on it as much as on the architecture (graphs/INDEX.md).

/** What a network was trained on before, from least to most. */
const PRETRAINING = ['in1k', 'in1k_extra', 'in12k', 'in21k', 'jft', 'ig_web', 'clip_web'] as const;
const FLAGS = ['distilled', 'selfsup', 'adv'] as const;

export function recipeNames(): string[] {
  return ['recipe:amount', ...PRETRAINING.map((p) => `recipe:${p}`), ...FLAGS.map((f) => `recipe:${f}`)];
}

/** All zero for a table without such columns. */
export function recipeFeatures(recipe: ReadonlyMap<string, string>): number[] {
  const pretrain = recipe.get('pretrain') ?? '';
  return [
    Math.max(
      0,
      PRETRAINING.findIndex((p) => p === pretrain),
    ),
    ...PRETRAINING.map((p) => (p === pretrain ? 1 : 0)),
    ...FLAGS.map((f) => (/^(1|true|yes)$/i.test(recipe.get(f) ?? '') ? 1 : 0)),
  ];
}

/** Words of the names that recipes go by (`a1h_in1k`: `a1h`, `in1k`), as columns of 0 and 1; words of fewer families say nothing of others. */
export function recipeWords(
  names: readonly string[],
  families: readonly string[],
  fewest = 3,
): { readonly words: readonly string[]; readonly rows: readonly Float64Array[] } {
  const parts = names.map((name) => new Set(name.split(/[_.]/).filter((word) => word !== '')));
  const met = new Map<string, Set<string>>();
  parts.forEach((own, i) => {
    for (const word of own) met.set(word, (met.get(word) ?? new Set<string>()).add(families[i]!));
  });
  const words = [...met].flatMap(([word, found]) => (found.size >= fewest ? [word] : []));
  return { words, rows: parts.map((own) => Float64Array.from(words, (word) => (own.has(word) ? 1 : 0))) };
}
