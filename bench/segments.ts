// What segments of other networks are worth in the place of convolutions: some drawn at random, one at a time, refitted and scored beside
// channels cut by the plain allocation to the same MACs and refitted alike; then a run, and how many of its measured candidates, and
// of its front, hold each mutation.
// usage: npm run bench -- segments [network=example [draws=12 [evaluations=24]]]
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Effort, Job, Result } from '../search/evaluator.js';
import type { Edit, Genome } from '../search/genome.js';
import { createVariation } from '../search/variation.js';
import { createRng } from '../src/rng.js';
import { threadRuntime } from '../src/runtime/threads.js';
import { optimize } from './support/front.js';
import { benchWorkshop, taskOf } from './support/workshop.js';

const REFIT: Effort = { mode: 'reconstruct', images: 192, positions: 32 };

export async function run(args: string[]): Promise<void> {
  const [name, draws, evaluations] = [args[0] ?? 'example', Number(args[1] ?? 12), Number(args[2] ?? 24)];
  const task = taskOf(name);
  const runtime = threadRuntime(2);
  try {
    const workshop = await benchWorkshop(task, runtime, '1', {}, 2);
    const { replayer, fitness, original, place, reference, assess } = workshop;
    const mutation = replayer.options.mutations.find((m) => m.name === 'replace-segment')!;
    const rng = createRng('segments');
    const within = { kind: 'macs', low: 0.05, high: 1 } as const;
    const variation = createVariation(fitness, replayer, within);
    const evaluator = place.evaluator(reference);
    const score = async (genomes: readonly Genome[]): Promise<readonly (number | undefined)[]> => {
      const results = await Promise.all(
        genomes.map(async (genome) => {
          const job: Job = { genome, effort: REFIT };
          const [result] = await evaluator.evaluate([job]);
          return result !== undefined && 'score' in result ? (result satisfies Result).score : undefined;
        }),
      );
      return results;
    };
    console.log(`${name}: original ${original.score.toFixed(4)}`);
    let better = 0;
    let drawn = 0;
    for (let i = 0; i < draws; i++) {
      const params = mutation.propose(replayer.context(replayer.base), rng.fork(`${i}`));
      if (params === undefined) break;
      const own: Genome = [{ mutation: mutation.name, params }];
      const share = assess(own).macs / original.macs;
      const [segment, channels] = await score([own, variation.greedy(share)]);
      drawn++;
      if ((segment ?? -Infinity) >= (channels ?? -Infinity)) better++;
      console.log(
        `  ${(100 * share).toFixed(1)} % MACs: ${segment?.toFixed(4) ?? 'failed'}, channels ${channels?.toFixed(4) ?? 'failed'}: ${wordsOf(own[0]!)}`,
      );
    }
    console.log(`${better} of ${drawn} segments as good as channels at the same MACs`);
    await workshop.close();
  } finally {
    await runtime.close();
  }
  const { out, front, seconds } = optimize(task, ['--flops=50%', `--evaluations=${evaluations}`, '--seed=1']);
  // The cast: both files were just written by our own command.
  const measured = readFileSync(join(out, 'archive.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((l) => JSON.parse(l) as Held);
  const members = front.candidates as unknown as readonly Held[];
  console.log(`a run of ${evaluations} evaluations, ${seconds.toFixed(0)} s: candidates that hold each mutation`);
  const names = new Set(measured.flatMap((m) => m.genome.map((e) => e.mutation)));
  names.add('replace-segment');
  for (const n of [...names].sort()) {
    const holding = (list: readonly Held[]): number =>
      list.filter((m) => m.genome.some((e) => e.mutation === n)).length;
    console.log(
      `  ${n}: ${holding(measured)} of ${measured.length} measured, ${holding(members)} of ${members.length} on the front`,
    );
  }
}

interface Held {
  readonly genome: Genome;
}

function wordsOf({ params }: Edit): string {
  // The cast: parameters of replace-segment.
  const { weight, to, nodes } = params as unknown as {
    readonly weight: string;
    readonly to: string;
    readonly nodes: readonly {
      readonly op: string;
      readonly kernel?: readonly number[];
      readonly width?: readonly [string, number];
    }[];
  };
  const words = nodes.map(
    (n) =>
      `${n.op}${n.kernel === undefined ? '' : n.kernel[0]}${n.width === undefined ? '' : `(${n.width.join(' x ')})`}`,
  );
  return `${weight} .. ${to} -> ${words.join(', ')}`;
}
