// Cuts half of one channel group out of the shipped network and verifies the law that Pare rests on: the smaller network gives what the
// original gives when the same channels are masked. Run from the repository's root, after `npm run build`: node dist/examples/prune-and-verify.js
import assert from 'node:assert/strict';
import {
  analyse,
  countCost,
  floatsOf,
  inferShapes,
  maskModel,
  openDataset,
  ortRuntime,
  pruneModel,
  readModel,
  standardOps,
  withSession,
  type Model,
} from '../src/index.js';

const original = readModel('examples/shapes/shapes-resnet.onnx');
const analysis = analyse(original, standardOps);
for (const g of analysis.groups.groups) console.log(`${g.id}: ${g.size} channels, ${g.macs} MACs`);

// The group that costs most, and every second of its channels.
const group = analysis.groups.groups.reduce((a, b) => (b.macs > a.macs ? b : a));
const dead = new Map([[group.id, Array.from({ length: Math.floor(group.size / 2) }, (_, i) => 2 * i)]]);
const pruned = pruneModel(analysis, dead);
const masked = maskModel(analysis, dead);

const macsOf = (model: Model): number =>
  countCost(model, standardOps, inferShapes(model, standardOps, { dynamic: 1 })).macs;
console.log(`${group.id} halved: ${macsOf(original)} -> ${macsOf(pruned)} MACs`);
assert.ok(macsOf(pruned) < macsOf(original));
assert.equal(macsOf(masked), macsOf(original));

const runtime = ortRuntime();
try {
  const outputsOf = (model: Model): Promise<Float32Array> =>
    withSession(runtime, model, {}, async (session) => {
      const images = openDataset('examples/shapes/test.json', session.inputs);
      const outputs = await session.run(images.batch([0, 1, 2, 3, 4, 5, 6, 7]).inputs);
      return floatsOf(outputs.get(session.outputs[0]!.name)!);
    });
  const [small, reference, before] = [await outputsOf(pruned), await outputsOf(masked), await outputsOf(original)];
  const difference = Math.max(...small.map((x, i) => Math.abs(x - reference[i]!)));
  console.log(`largest difference between pruned and masked: ${difference.toExponential(1)}`);
  assert.ok(difference < 1e-3);
  // The channels did matter: without recovery the outputs are others than before.
  assert.ok(small.some((x, i) => Math.abs(x - before[i]!) > 0.01));
} finally {
  await runtime.close();
}
