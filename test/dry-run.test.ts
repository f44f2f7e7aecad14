import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { runCommandLine } from '../src/cli/command-line.js';
import { standardMutations } from '../search/mutations/index.js';
import { surgeryWith } from '../search/replay.js';
import { standardOps } from '../src/ops/index.js';
import { projectRoot } from './shared.js';

afterEach(() => {
  vi.restoreAllMocks();
});

const example = join(projectRoot, 'examples', 'shapes');

const dryRun = async (...more: string[]): Promise<string> => {
  const lines: string[] = [];
  vi.spyOn(console, 'log').mockImplementation((text: string) => void lines.push(text));
  const data = `--data=${join(example, 'calib.json')}`;
  const model = join(example, 'shapes-resnet.onnx');
  expect(await runCommandLine(['optimize', model, '--flops=50%', '--dry-run', data, ...more])).toBe(0);
  return lines.join('\n');
};

test('a dry run says of every mutation how many sites it has and what it saves', async () => {
  const text = await dryRun();
  for (const { name } of standardMutations(surgeryWith(standardOps)))
    expect(text).toMatch(new RegExp(`^  ${name} `, 'm'));
  expect(text).toMatch(/prune-channels +5 sites, up to \d+\.\d % of the MACs at one, 9\d\.\d % together/);
  expect(text).toMatch(/factorize-conv +\d+ sites, up to \d/);
  expect(text).toMatch(/nothing was written/);
});

test('as JSON; what is ignored is no site', async () => {
  const read = (text: string): Record<string, number> => {
    // the cast: our own output
    const { mutations } = JSON.parse(text) as { mutations: { mutation: string; sites: number; together: number }[] };
    for (const m of mutations) expect(m.together).toBeLessThanOrEqual(1);
    return Object.fromEntries(mutations.map((m) => [m.mutation, m.sites]));
  };
  const all = read(await dryRun('--json'));
  const some = read(await dryRun('--json', '--ignore', 'block1*'));
  expect(some['factorize-conv']!).toBeLessThan(all['factorize-conv']!);
  expect(some['prune-channels']!).toBeLessThan(all['prune-channels']!);
});
