import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect, test } from 'vitest';
import { analyse } from '../../src/analysis/analyse.js';
import { pruneModel } from '../../src/analysis/cut.js';
import type { DeadUnits } from '../../src/analysis/groups.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps as table } from '../../src/ops/index.js';
import { compress } from '../../src/predictor/compress.js';
import { graphBytes, type ComputationGraph } from '../../src/predictor/computation-graph.js';
import { createSketcher, template } from '../../src/predictor/sketch.js';
import { createRng, type Rng } from '../../src/rng.js';
import { projectRoot } from '../shared.js';
import { sharedPath } from '../shared-path.js';

const NETWORKS = [
  join(projectRoot, 'examples', 'shapes', 'shapes-resnet.onnx'),
  ...[
    'cifar10-resnet56',
    'cifar10-resnet20-folded',
    'cifar10-mobilenetv2-w0.5',
    'cifar10-densenet-6-12-24',
    'mlperf-tiny-resnet8-cifar10',
    'mnist-cntk',
    'ultraface-rfb-320',
    'vit-cifar10-ibp',
  ].map((name) => sharedPath('models', `${name}.onnx`)),
];

test.each(NETWORKS.filter((path) => existsSync(path)).map((path) => ({ name: basename(path), path })))(
  '$name with dead channels is sketched as it is when it is cut and compressed',
  ({ name, path }) => {
    const analysis = analyse(readModel(path), table, { binding: { dynamic: 1 } });
    const draw = template(analysis, table, true);
    const sketch = createSketcher(analysis, { table, extras: true });
    const rng = createRng(name);
    const drawn: (ComputationGraph | undefined)[] = [];
    for (let i = 0; i < 8; i++) {
      const dead = someDead(analysis.groups.groups, rng.fork(String(i)), i === 0 ? 0 : i / 8);
      const right = graphBytes(compress(pruneModel(analysis, dead), { table, extras: true }));
      drawn.push(draw?.(dead));
      expect(Buffer.compare(graphBytes(drawn[i] ?? sketch(dead)), right)).toBe(0);
      expect(Buffer.compare(graphBytes(sketch(dead)), right)).toBe(0);
    }
    // convolutional ones need no cut at all
    const quick = /resnet|mobilenet|densenet|ultraface/.test(name) ? 8 : 0;
    expect(drawn.filter((d) => d !== undefined).length).toBeGreaterThanOrEqual(quick);
  },
);

test('the sentence on a group that is none is the one of cutting', () => {
  const analysis = analyse(readModel(NETWORKS[0]!), table, { binding: { dynamic: 1 } });
  const sketch = createSketcher(analysis, { table });
  expect(() => sketch(new Map([['nothing', [0]]]))).toThrow(/"nothing" is not a channel group/);
});

/** Of every exact group up to a share of its units, one at least stays. */
function someDead(
  groups: readonly {
    readonly id: string;
    readonly size: number;
    readonly inexact?: string;
    readonly atLeastOne: unknown[] | readonly unknown[];
  }[],
  rng: Rng,
  share: number,
): DeadUnits {
  return new Map(
    groups.flatMap((g): [string, number[]][] => {
      const most = g.size - Math.max(1, g.atLeastOne.length);
      const count = Math.min(most, Math.floor(share * g.size * rng.next()));
      if (g.inexact !== undefined || count <= 0 || rng.next() < 0.2) return [];
      return [[g.id, rng.sample(g.size, count).sort((a, b) => a - b)]];
    }),
  );
}
