import { describe, expect, test } from 'vitest';
import { readModel } from '../../src/onnx/read.js';
import { createRng } from '../../src/rng.js';
import { describeShared, sharedPath } from '../shared.js';
import { analysed, expectLaw, randomDead } from './prune-law.js';

const models = [
  'cifar10-resnet56',
  'cifar10-resnet20',
  'cifar10-resnet20-folded',
  'cifar10-mobilenetv2-w0.5',
  'cifar10-densenet-6-12-24',
  'marabou-cifar10-large',
  'mlperf-tiny-resnet8-cifar10',
  'mnist-cntk',
  'ultraface-rfb-320',
  'vit-cifar10-ibp',
];

describeShared('pruned equals masked', ['models'], () => {
  describe.each(models)('%s', (name) => {
    test.each([1, 2])('all groups at once, seed %i', async (seed) => {
      const analysis = analysed(readModel(sharedPath('models', `${name}.onnx`)));
      const rng = createRng(seed).fork(name);
      await expectLaw(analysis, randomDead(analysis, rng), rng);
    });
  });

  test('ResNet-56: 27 inner groups, and the residual stream in three', () => {
    const { groups, frozen } = analysed(readModel(sharedPath('models', 'cifar10-resnet56.onnx'))).groups;
    expect(groups.length).toBe(30);
    expect(groups.filter((g) => g.id.endsWith('conv1.weight:0') && g.id !== 'conv1.weight:0').length).toBe(27);
    expect(frozen).toEqual([{ name: 'linear.weight', channels: 10, reason: 'graph output "logits"' }]);
  });
});
