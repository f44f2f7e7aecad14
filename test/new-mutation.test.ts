// `pare new-mutation`: what it writes passes its own test, in a project where Pare is installed.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { runCommandLine } from '../src/cli/command-line.js';
import { projectRoot } from './shared.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-new-'));
  mkdirSync(join(folder, 'node_modules'));
  writeFileSync(join(folder, 'package.json'), '{ "private": true }');
  symlinkSync(projectRoot, join(folder, 'node_modules', 'pare-onnx'));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function pare(...args: string[]): Promise<{ code: number; said: string }> {
  const said: string[] = [];
  for (const way of ['log', 'error'] as const)
    vi.spyOn(console, way).mockImplementation((text) => void said.push(String(text)));
  const code = await runCommandLine(args);
  vi.restoreAllMocks();
  return { code, said: said.join('\n') };
}

test.skipIf(!existsSync(join(projectRoot, 'dist', 'src', 'index.js')))('the template passes its own test', async () => {
  const made = await pare('new-mutation', 'skip-relu', '--out', folder);
  expect(made).toEqual({
    code: 0,
    said: expect.stringMatching(/written: .*skip-relu\.mjs, .*skip-relu\.test\.mjs/) as string,
  });
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--test', 'skip-relu.test.mjs'], {
    cwd: folder,
    encoding: 'utf8',
    env: {},
  });
  expect([status, stderr]).toEqual([0, '']);
  expect(stdout).toMatch(/# pass 1/);
  expect(readFileSync(join(folder, 'skip-relu.mjs'), 'utf8')).toContain("name: 'skip-relu'");
  expect(await pare('new-mutation', 'skip-relu', '--out', folder)).toEqual({
    code: 2,
    said: expect.stringMatching(/skip-relu\.mjs is there already/) as string,
  });
});

test.each([['Skip Relu'], ['../escape'], ['a--b'], ['constructor()']])('"%s" is no name', async (name) => {
  expect(await pare('new-mutation', name, '--out', folder)).toEqual({
    code: 2,
    said: expect.stringMatching(/is no name of a mutation/) as string,
  });
});
