// How many random numbers and how many streams a second.

import { performance } from 'node:perf_hooks';
import { createRng } from '../src/rng.js';

export async function run(args: string[]): Promise<void> {
  const count = Number(args[0] ?? 1_000_000);
  const rng = createRng('bench');
  report('numbers', count, () => rng.next());
  report('streams', Math.ceil(count / 100), (i) => rng.fork(`child/${i}`).next());
}

function report(what: string, count: number, draw: (i: number) => void): void {
  const start = performance.now();
  for (let i = 0; i < count; i++) draw(i);
  const seconds = (performance.now() - start) / 1000;
  console.log(`${Math.round(count / seconds).toLocaleString('en')} ${what} a second`);
}
