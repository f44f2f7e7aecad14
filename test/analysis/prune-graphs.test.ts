import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Analysis } from '../../src/analysis/analyse.js';
import { pruneModel } from '../../src/analysis/cut.js';
import { readModel } from '../../src/onnx/read.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { withSession } from '../../src/runtime/runtime.js';
import { describeShared, sharedPath } from '../shared.js';
import { analysed, expectLaw, randomDead, randomInputs } from './prune-law.js';
import { fillRandom } from './random-weights.js';

const light = ['light_squeezenet', 'light_shufflenet', 'light_inception_v1'];

describeShared('pruned equals masked: light models with random weights', ['models'], () => {
  test.each(light)('%s', async (name) => {
    const rng = createRng(3).fork(name);
    const analysis = analysed(fillRandom(readModel(sharedPath('models', 'light', `${name}.onnx`)), rng));
    await expectLaw(analysis, randomDead(analysis, rng), rng);
  });

  test('weights that ConstantOfShape makes shrink by their shapes', async () => {
    const rng = createRng(3);
    const analysis = analysed(readModel(sharedPath('models', 'light', 'light_squeezenet.onnx')));
    await expectLaw(analysis, randomDead(analysis, rng), rng);
  });
});

// one small architecture of each kind of connection
const graphs = [
  'cait_xxs24_224@224', // class attention, talking heads
  'coat_lite_tiny@224', // factorised attention with convolutional position encoding
  'efficientvit_m0@224', // cascaded group attention
  'gcvit_xxtiny@224', // window and global attention
  'dpn68@224', // dual path: Concat and Add, grouped Conv
  'resnest14d@224', // split attention
  'edgenext_xx_small@256', // cross-covariance attention
  'poolformer_s12@224', // GroupNorm over all channels
];

describeShared('pruned equals masked: architectures', ['graphs'], () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'pare-prune-'));
    const names = graphs.map((g) => `${g}.onnx`);
    execFileSync('tar', ['-xJf', sharedPath('graphs', 'graphs.tar.xz'), '-C', folder, ...names]);
  }, 60_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const load = (name: string): Analysis => {
    const rng = createRng(3).fork(name);
    return analysed(fillRandom(readModel(join(folder, `${name}.onnx`), { allowMissingData: true }), rng));
  };

  test.each(graphs)(
    '%s',
    async (name) => {
      const analysis = load(name);
      const rng = createRng(5).fork(name);
      await expectLaw(analysis, randomDead(analysis, rng), rng, { batch: 1 });
    },
    60_000,
  );

  test('inexact groups can be cut too: the network still runs', async () => {
    const analysis = load('poolformer_s12@224');
    const inexact = analysis.groups.groups.filter((g) => g.inexact !== undefined && g.size > 1);
    expect(inexact.length).toBeGreaterThan(0);
    const pruned = pruneModel(analysis, new Map(inexact.map((g) => [g.id, [0]])));
    const results = await withSession(ortRuntime(), pruned, {}, (s) => s.run(randomInputs(pruned, createRng(1))));
    expect(results.get('output')?.dims).toEqual([1, 1000]);
  }, 60_000);
});
