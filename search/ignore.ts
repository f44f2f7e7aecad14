// Names that a run leaves alone, as they are written on the command line.

/** Names that fit one of the patterns; * stands for anything. */
export function matcher(patterns: readonly string[]): (name: string) => boolean {
  const all = patterns.map((p) => new RegExp(`^${p.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`));
  return (name) => all.some((r) => r.test(name));
}
