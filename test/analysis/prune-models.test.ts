import { describe, expect, test } from 'vitest';
import { pruneModel } from '../../src/analysis/cut.js';
import { groupReport } from '../../src/analysis/group-report.js';
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

  test.each(['cifar10-resnet20', 'cifar10-mobilenetv2-w0.5', 'ultraface-rfb-320', 'vit-cifar10-ibp'])(
    '%s cut twice: the groups keep their names',
    async (name) => {
      const rng = createRng(9).fork(name);
      const first = analysed(readModel(sharedPath('models', `${name}.onnx`)));
      const once = analysed(await expectLaw(first, randomDead(first, rng, 0.4), rng));
      expect(once.groups.groups.map((g) => g.id)).toEqual(first.groups.groups.map((g) => g.id));
      await expectLaw(once, randomDead(once, rng), rng);
    },
  );

  test('ResNet-56: 27 inner groups, and the residual stream in three', () => {
    const { groups, frozen } = analysed(readModel(sharedPath('models', 'cifar10-resnet56.onnx'))).groups;
    expect(groups.length).toBe(30);
    expect(groups.filter((g) => g.id.endsWith('conv1.weight:0') && g.id !== 'conv1.weight:0').length).toBe(27);
    expect(frozen).toEqual([{ name: 'linear.weight', channels: 10, reason: 'graph output "logits"' }]);
  });
});

describeShared('the report of groups', ['models'], () => {
  test('ResNet-20: shares of the MACs, and why the classes stay', () => {
    const report = groupReport(analysed(readModel(sharedPath('models', 'cifar10-resnet20.onnx'))));
    const inner = report.groups.find((g) => g.id === 'layer1.0.conv1.weight:0');
    // two 3 x 3 layers of 16 channels at 32 x 32: 2 x 16 x 16 x 9 x 1024 MACs, one sixteenth of it a channel
    expect(inner).toMatchObject({ units: 16, channelsPerUnit: 1, macs: 4_718_592, unitMacs: 294_912 });
    expect(inner?.members.map((m) => `${m.tensor}:${m.axis} ${m.role}`)).toEqual([
      'layer1.0.conv1.weight:0 out',
      'layer1.0.bn1.weight:0 along',
      'layer1.0.bn1.bias:0 along',
      'layer1.0.bn1.running_mean:0 along',
      'layer1.0.bn1.running_var:0 along',
      'layer1.0.conv2.weight:1 in',
    ]);
    expect(report.prunable).toBe(1);
    expect(report.frozen).toEqual([{ reason: 'graph output "logits"', channels: 10, names: ['linear.weight'] }]);
  });

  test('a unit that does not exist, a group that does not exist, and a layer without channels are refused', () => {
    const analysis = analysed(readModel(sharedPath('models', 'mnist-cntk.onnx')));
    const id = analysis.groups.groups[0]!.id;
    expect(() => pruneModel(analysis, new Map([['nothing:0', [0]]]))).toThrow('is not a channel group');
    expect(() => pruneModel(analysis, new Map([[id, [99]]]))).toThrow('there is no unit 99');
    expect(() => pruneModel(analysis, new Map([[id, [0, 1, 2, 3, 4, 5, 6, 7]]]))).toThrow('leave one unit alive');
  });
});
