// A mutation of one's own, offered to the search: an object with `propose` (where, at random) and `apply` (what, deterministic). This one
// takes a Relu out of the network. Run from the repository's root, after `npm run build`: node dist/examples/own-mutation.js
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  optimize,
  ortRuntime,
  PareError,
  readModel,
  standardOps,
  verifyModels,
  type Json,
  type Model,
  type Mutation,
} from '../src/index.js';

let offered = 0;
let applied = 0;

const dropRelu: Mutation = {
  name: 'drop-relu',
  summary: 'takes one Relu out; what follows gets its input',
  law: 'approximate',
  propose({ analysis, ignore }, rng) {
    const open = analysis.model.graph.nodes.filter((n) => n.opType === 'Relu' && !ignore(n.name));
    if (open.length === 0) return undefined;
    offered++;
    return { value: rng.pick(open).outputs[0]! };
  },
  apply(params, { analysis }) {
    applied++;
    return withoutRelu(analysis.model, params);
  },
};

function withoutRelu(model: Model, params: Json): Model {
  const { graph } = model;
  const relu = graph.nodes.find((n) => n.opType === 'Relu' && n.outputs[0] === valueOf(params));
  const output = relu?.outputs[0];
  const input = relu?.inputs[0];
  // The search drops an edit that does not fit a network any more when it is told so.
  if (output === undefined || input === undefined || graph.outputs.some((v) => v.name === output)) {
    throw new PareError(`drop-relu: there is no Relu for ${JSON.stringify(params)}`);
  }
  const nodes = graph.nodes
    .filter((n) => n !== relu)
    .map((n) => ({ ...n, inputs: n.inputs.map((x) => (x === output ? input : x)) }));
  return { ...model, graph: { ...graph, nodes } };
}

function valueOf(params: Json): Json | undefined {
  return typeof params === 'object' && params !== null && 'value' in params ? params.value : undefined;
}

const folder = mkdtempSync(join(tmpdir(), 'pare-own-mutation-'));
const runtime = ortRuntime();
try {
  const model = 'examples/shapes/shapes-resnet.onnx';
  const run = optimize({
    model,
    data: 'examples/shapes/calib.json',
    out: join(folder, 'out'),
    wishes: { flops: '60%' },
    mutations: [dropRelu],
    // The first eight measurements are plain answers; after them the search varies what it has, with every mutation it knows.
    evaluations: 10,
    seed: '1',
    runtime,
    table: standardOps,
    version: 'example',
    // Small, so that the example takes seconds: the defaults use thousands of images.
    effort: {
      final: { mode: 'reconstruct', images: 32, positions: 16 },
      learnImages: 64,
      scoreImages: 100,
      heldImages: 500,
      members: 2,
    },
  });
  let step = await run.next();
  while (step.done !== true) {
    if (step.value.text !== undefined) console.log(step.value.text);
    step = await run.next();
  }
  const { front, measured } = step.value;
  const with_ = measured.filter((m) => m.genome.some((e) => e.mutation === dropRelu.name)).length;
  console.log(
    `drop-relu: proposed ${offered} times, applied ${applied} times, in ${with_} of ${measured.length} measured`,
  );
  assert.ok(offered > 0 && applied > 0);
  assert.ok(front.reached && front.candidates.length > 0);
  const original = readModel(model);
  for (const { file, macs } of front.candidates) {
    assert.ok(macs <= 0.6 * front.original.macs);
    const { ok, checks } = await verifyModels(original, readModel(join(folder, 'out', file)), {
      runtime,
      table: standardOps,
    });
    assert.ok(ok, JSON.stringify(checks));
  }
  console.log(`${front.candidates.length} networks, all valid and below the budget`);
} finally {
  await runtime.close();
  rmSync(folder, { recursive: true, force: true });
}
