// The programs in examples/ end with assertions: running them is the test.
import { afterEach, expect, test, vi } from 'vitest';

afterEach(() => {
  vi.restoreAllMocks();
});

test.each([
  ['prune-and-verify', /largest difference between pruned and masked: \d/],
  ['own-mutation', /drop-relu: proposed [1-9]\d* times, applied [1-9].*all valid and below the budget/s],
])('examples/%s.ts', async (name, said) => {
  const lines: string[] = [];
  vi.spyOn(console, 'log').mockImplementation((text: string) => void lines.push(text));
  await import(`../examples/${name}.ts`);
  expect(lines.join('\n')).toMatch(said);
});
