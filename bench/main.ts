// `npm run bench -- NAME [arguments]`: runs bench/NAME.ts, which exports `run(args: string[]): Promise<void>`.

import { readdirSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';

interface Bench {
  run(args: string[]): Promise<void>;
}

const [name, ...args] = process.argv.slice(2);
const names = readdirSync(new URL('.', import.meta.url))
  .filter((file) => file.endsWith('.js') && file !== 'main.js')
  .map((file) => file.slice(0, -'.js'.length));

if (name === undefined || !names.includes(name)) {
  if (name !== undefined) console.error(`There is no bench "${name}".`);
  console.error('Usage: npm run bench -- NAME [arguments]. The benches:');
  for (const known of names) console.error(`  ${known}`);
  process.exitCode = 2;
} else {
  console.log(`${availableParallelism()} cores, ${cpus()[0]?.model ?? 'unknown processor'}, node ${process.version}`);
  // The cast: every file in this folder but this one is a bench.
  const bench = (await import(`./${name}.js`)) as Bench;
  await bench.run(args);
}
