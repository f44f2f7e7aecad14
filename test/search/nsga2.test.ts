import { describe, expect, test } from 'vitest';
import { createRng, type Rng } from '../../src/rng.js';
import { nsga2, type Generation, type Nsga2Options } from '../../search/nsga2.js';

type Bits = readonly number[];

/** Leading ones against trailing zeros: the front is exactly 1^k 0^(n-k), k = 0..n (LOTZ, Laumanns et al. 2002). */
const leadingOnes = (x: Bits): number => (x.indexOf(0) < 0 ? x.length : x.indexOf(0));
const trailingZeros = (x: Bits): number => x.length - 1 - x.lastIndexOf(1);

const problem = (seed: string, n: number, limit = Infinity): Nsga2Options<Bits> & { calls: Map<string, number> } => {
  const rng = createRng(seed);
  const calls = new Map<string, number>();
  return {
    calls,
    seeds: Array.from({ length: 20 }, (_, i) => {
      const stream = rng.fork(`seed/${i}`);
      return Array.from({ length: n }, () => stream.int(2));
    }),
    size: 30,
    generations: 80,
    rng,
    reference: [1, 1],
    key: (x) => x.join(''),
    score: async (xs) =>
      xs.map((x) => {
        calls.set(x.join(''), (calls.get(x.join('')) ?? 0) + 1);
        return {
          objectives: [-leadingOnes(x), -trailingZeros(x)],
          violation: Math.max(0, leadingOnes(x) - limit),
        };
      }),
    vary: (a: Bits, b: Bits, stream: Rng) => {
      const cut = stream.int(n);
      return a.map((bit, i) => {
        const inherited = i < cut ? bit : b[i]!;
        return stream.next() < 1 / n ? 1 - inherited : inherited;
      });
    },
  };
};

const all = async <G>(options: Nsga2Options<G>): Promise<Generation<G>[]> => {
  const found: Generation<G>[] = [];
  for await (const g of nsga2(options)) found.push(g);
  return found;
};

describe('nsga2', () => {
  test('finds the whole front of LOTZ, the hypervolume never falls, nothing is scored twice', async () => {
    const options = problem('lotz', 10);
    const generations = await all(options);
    const last = generations.at(-1)!;
    expect(new Set(last.front.map((x) => x.key))).toEqual(
      new Set(Array.from({ length: 11 }, (_, k) => '1'.repeat(k) + '0'.repeat(10 - k))),
    );
    const volumes = generations.map((g) => g.hypervolume);
    expect(volumes).toEqual(volumes.toSorted((a, b) => a - b));
    expect([...options.calls.values()].every((n) => n === 1)).toBe(true);
    expect(last.scored).toBe(options.calls.size);
  });

  test('stays inside a constraint', async () => {
    const last = (await all(problem('limited', 10, 4))).at(-1)!;
    expect(last.front.every((x) => x.violation === 0)).toBe(true);
    expect(Math.max(...last.front.map((x) => -x.objectives[0]!))).toBe(4);
  });

  test('the same seed gives the same run', async () => {
    const options = problem('same', 8);
    const run = async () => (await all({ ...options, generations: 10 })).map((g) => g.population.map((x) => x.key));
    expect(await run()).toEqual(await run());
  });
});
