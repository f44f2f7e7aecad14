// Search by segments (methods.md §12.1): a chain is chosen piece by piece, and after each piece only the best few beginnings go on.

/** The best chain found: one choice for each segment. `score` judges beginnings; higher is better. */
export function searchSegments<T>(
  segments: readonly (readonly T[])[],
  score: (chosen: readonly T[]) => number,
  beam: number,
): readonly T[] {
  let kept: (readonly T[])[] = [[]];
  for (const choices of segments) {
    const longer = kept.flatMap((chosen) => choices.map((choice) => [...chosen, choice]));
    const scored = longer.map((chosen) => ({ chosen, value: score(chosen) }));
    kept = scored
      .toSorted((a, b) => b.value - a.value)
      .slice(0, beam)
      .map((s) => s.chosen);
  }
  return kept[0] ?? [];
}
