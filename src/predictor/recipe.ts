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
