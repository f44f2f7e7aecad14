import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRng, type Rng } from '../src/rng.js';

const draw = (rng: Rng, count: number): number[] => Array.from({ length: count }, () => rng.next());

describe('a seed is a path', () => {
  test('equal paths give equal streams, different paths different ones', () => {
    expect(draw(createRng(7), 10)).toEqual(draw(createRng('7'), 10));
    expect(draw(createRng('7/a/b'), 10)).toEqual(draw(createRng(7).fork('a').fork('b'), 10));
    expect(createRng(7).fork('a/b').path).toBe('7/a/b');
    expect(draw(createRng(7), 10)).not.toEqual(draw(createRng(8), 10));
    expect(draw(createRng(7).fork('a'), 10)).not.toEqual(draw(createRng(7).fork('b'), 10));
  });

  test('a fork does not depend on how many numbers were drawn, nor does it draw', () => {
    fc.assert(
      fc.property(fc.string(), fc.string({ minLength: 1 }), fc.nat(20), (seed, name, count) => {
        const rng = createRng(seed);
        draw(rng, count);
        expect(draw(rng.fork(name), 5)).toEqual(draw(createRng(seed).fork(name), 5));
        expect(rng.next()).toBe(draw(createRng(seed), count + 1).at(-1));
      }),
    );
  });

  test('streams stay what they are: seedrandom 3.0.5 says so', () => {
    // From seedrandom's own README ("Always 0.9282578795792454").
    expect(draw(createRng('hello.'), 2)).toEqual([0.9282578795792454, 0.3752569768646784]);
  });

  test('a stream needs a name', () => {
    expect(() => createRng(1).fork('')).toThrow('a stream needs a name');
  });
});

describe('draws', () => {
  test('int stays in range and reaches every value', () => {
    const rng = createRng('int');
    expect(new Set(Array.from({ length: 200 }, () => rng.int(5)))).toEqual(new Set([0, 1, 2, 3, 4]));
    for (const bound of [0, -1, 1.5, NaN]) expect(() => rng.int(bound)).toThrow(RangeError);
  });

  test('normal has mean 0 and variance 1', () => {
    const rng = createRng('normal');
    const xs = Array.from({ length: 20_000 }, () => rng.normal());
    const mean = xs.reduce((sum, x) => sum + x, 0) / xs.length;
    const variance = xs.reduce((sum, x) => sum + (x - mean) ** 2, 0) / xs.length;
    expect(mean).toBeCloseTo(0, 1);
    expect(variance).toBeCloseTo(1, 1);
  });

  test('pick takes an element; an empty list has none', () => {
    expect(createRng(1).pick(['only'])).toBe('only');
    expect(createRng(1).pick([undefined])).toBeUndefined();
    expect(() => createRng(1).pick([])).toThrow(RangeError);
  });

  test('shuffle is a permutation and leaves its argument alone', () => {
    fc.assert(
      fc.property(fc.string(), fc.array(fc.integer()), (seed, xs) => {
        const before = [...xs];
        const shuffled = createRng(seed).shuffle(xs);
        expect(xs).toEqual(before);
        const ascending = (a: number, b: number): number => a - b;
        expect(shuffled.toSorted(ascending)).toEqual(before.toSorted(ascending));
      }),
    );
  });

  test('sample gives k different integers below n', () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(50), fc.nat(50), (seed, k, rest) => {
        const drawn = createRng(seed).sample(k + rest, k);
        expect(new Set(drawn).size).toBe(k);
        expect(drawn.every((i) => Number.isInteger(i) && i >= 0 && i < k + rest)).toBe(true);
      }),
    );
    expect(() => createRng(1).sample(2, 3)).toThrow(RangeError);
  });

  test('sample is uniform: every pair of 4 comes up about equally often', () => {
    const rng = createRng('pairs');
    const counts = new Map<string, number>();
    for (let i = 0; i < 12_000; i++) {
      const key = rng.sample(4, 2).join();
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    expect(counts.size).toBe(12);
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });
});
