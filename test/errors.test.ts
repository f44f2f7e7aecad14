import { expect, test } from 'vitest';
import { fail, PareError } from '../src/errors.js';

test('a PareError is an Error that carries its name and its cause', () => {
  const cause = new TypeError('inner');
  const error = new PareError('Budget 0: a budget must be above 0; give --budget 0.5', { cause });
  expect(error).toBeInstanceOf(Error);
  expect(error.name).toBe('PareError');
  expect(error.cause).toBe(cause);
  expect(String(error)).toBe('PareError: Budget 0: a budget must be above 0; give --budget 0.5');
});

test('fail throws a PareError where an expression is wanted', () => {
  const sizes = new Map<string, number>();
  expect(() => sizes.get('x') ?? fail('No size "x".')).toThrow(new PareError('No size "x".'));
});

test('names from a file cannot break the line, turn its direction or go on for ever', () => {
  expect(new PareError('node "a\nb\u0000\u001b[2Jc\u202ed" is wrong').message).toBe(
    'node "a\\nb\\u0000\\u001b[2Jc\\u202ed" is wrong',
  );
  const { message } = new PareError(`node "${'x'.repeat(100_000)}" is wrong`);
  expect(message.length).toBeLessThan(1300);
  expect(message).toMatch(/^node "xxx.* \.\.\. x+" is wrong$/);
});
