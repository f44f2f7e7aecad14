import { expect, test } from 'vitest';
import { cellFeatureNames, cellFeatures, type Cell } from '../../src/predictor/graf-cell.js';

const names = cellFeatureNames(5);
const value = (cell: Cell, name: string): number => cellFeatures(cell, 5)[names.indexOf(name)]!;

test('the hand cases of methods.md §3.4', () => {
  expect(names).toHaveLength(191);
  const convs = [2, 2, 2, 2, 2, 2];
  expect(cellFeatures(convs, 5)).toHaveLength(191);
  expect(value(convs, 'count:2')).toBe(6);
  expect(value(convs, 'shortest without:')).toBe(1);
  expect(value(convs, 'shortest without:2')).toBe(5);
  expect(value(convs, 'longest within:2')).toBe(3);
  expect(value(convs, 'degree in:2')).toBe(3);
  expect(value(convs, 'degree out:2')).toBe(3);
  expect(value(convs, 'degree mean in:2')).toBe(1.5);
  const skips = [0, 0, 0, 0, 0, 0];
  expect(value(skips, 'longest within:2')).toBe(-1);
  expect(value(skips, 'longest within:0')).toBe(3);
});
