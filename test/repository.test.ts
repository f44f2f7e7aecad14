// Laws of the repository itself that the linter cannot state.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { describeShared, projectRoot, sharedPath } from './shared.js';

const places = ['src', 'search', 'bench', 'scripts', 'examples', 'test'];
const sources = places
  .filter((place) => existsSync(join(projectRoot, place)))
  .flatMap((place) =>
    readdirSync(join(projectRoot, place), { recursive: true, encoding: 'utf8' }).map((path) => join(place, path)),
  )
  .filter((path) => /\.(ts|mjs)$/.test(path));

test('no file is longer than 600 lines (the linter warns above 400)', () => {
  const lines = (path: string): number => readFileSync(join(projectRoot, path), 'utf8').split('\n').length - 1;
  expect(sources).toContain(join('src', 'rng.ts'));
  expect(sources.filter((path) => lines(path) > 600)).toEqual([]);
});

test('a file of src, search, bench or scripts opens with a comment: what it is', () => {
  const opens = (path: string): boolean => /^(#!.*\n)?\/[/*]/.test(readFileSync(join(projectRoot, path), 'utf8'));
  expect(sources.filter((path) => /^(src|search|bench|scripts)\b/.test(path) && !opens(path))).toEqual([]);
});

describeShared('the shared data', ['README.md'], () => {
  test('is found beside the project', () => {
    expect(readFileSync(sharedPath('README.md'), 'utf8')).toContain('What is here');
  });
});
