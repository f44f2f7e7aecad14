// Trains the shipped example network on the drawn shapes (scripts/draw-example.ts) with Pare's own training engine and writes
// it as ONNX. A small residual network: stem 16, blocks 32 and 64 (stride 2), 1.95 M MACs on 3 x 16 x 16.
// usage: node dist/scripts/train-example.js FOLDER (reads FOLDER/shapes-*.npz, writes FOLDER/shapes-resnet.onnx; about a minute)
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { unzipSync } from 'fflate';
import type { Model } from '../src/ir/graph.js';
import { DataType, floatTensor, type Tensor } from '../src/ir/tensor.js';
import { writeModel } from '../src/onnx/write.js';
import { standardOps } from '../src/ops/index.js';
import { createRng, type Rng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { withSession, type Runtime, type RuntimeTensor } from '../src/runtime/runtime.js';
import { createEmitter } from '../src/training/gradient.js';
import { oneCycle } from '../src/training/schedule.js';
import { startTraining, trainingStep, withState } from '../src/training/step.js';

const SIZE = 16;
const CLASSES = 10;
const EPOCHS = 30;
const BATCH = 60;
const PEAK_RATE = 0.2;

interface Images {
  readonly x: Uint8Array;
  readonly y: Uint8Array;
}

/** The network with fresh weights: He initialisation, BatchNormalization 1 and 0. */
function network(rng: Rng): Model {
  const initializers = new Map<string, Tensor>();
  const emitter = createEmitter(
    {
      name: 'shapes',
      nodes: [],
      initializers,
      sparseInitializers: new Map(),
      inputs: [],
      outputs: [],
      valueInfo: new Map(),
    },
    'net',
  );
  const add = (name: string, dims: number[], fill: () => number): string => {
    initializers.set(
      name,
      floatTensor(name, dims, Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, fill)),
    );
    return name;
  };
  const convNorm = (name: string, x: string, k: number, cin: number, cout: number, stride: number): string => {
    const stream = rng.fork(name);
    const deviation = Math.sqrt(2 / (k * k * cin));
    const weight = add(`${name}.weight`, [cout, cin, k, k], () => deviation * stream.normal());
    const pads = [1, 1, 1, 1].map(() => (k - 1) / 2);
    const y = emitter.emit('Conv', [x, weight], { kernel_shape: [k, k], pads, strides: [stride, stride] });
    const parameters = [
      add(`${name}.norm.scale`, [cout], () => 1),
      add(`${name}.norm.bias`, [cout], () => 0),
      add(`${name}.norm.mean`, [cout], () => 0),
      add(`${name}.norm.variance`, [cout], () => 1),
    ];
    return emitter.emit('BatchNormalization', [y, ...parameters], { epsilon: { float: 1e-5 } });
  };
  const relu = (x: string): string => emitter.emit('Relu', [x]);
  const block = (name: string, x: string, cin: number, cout: number): string => {
    const inner = relu(convNorm(`${name}.conv1`, x, 3, cin, cout, 2));
    const outer = convNorm(`${name}.conv2`, inner, 3, cout, cout, 1);
    return relu(emitter.emit('Add', [outer, convNorm(`${name}.shortcut`, x, 1, cin, cout, 2)]));
  };
  const stem = relu(convNorm('stem', 'image', 3, 3, 16, 1));
  const features = block('block2', block('block1', stem, 16, 32), 32, 64);
  const pooled = emitter.emit('Flatten', [emitter.emit('GlobalAveragePool', [features])], { axis: 1 });
  const stream = rng.fork('head');
  const weight = add('head.weight', [CLASSES, 64], () => 0.1 * stream.normal());
  const logits = emitter.emit('Gemm', [pooled, weight, add('head.bias', [CLASSES], () => 0)], { transB: 1 });
  const float = (name: string, shape: (number | string)[]) => ({
    name,
    type: { kind: 'tensor' as const, elemType: DataType.FLOAT, shape },
  });
  const graph = emitter.extended({
    name: 'shapes',
    nodes: [],
    initializers,
    sparseInitializers: new Map(),
    inputs: [float('image', ['N', 3, SIZE, SIZE])],
    outputs: [float('logits', ['N', CLASSES])],
    valueInfo: new Map(),
  });
  const nodes = graph.nodes.map((n) => ({ ...n, outputs: n.outputs.map((o) => (o === logits ? 'logits' : o)) }));
  return {
    irVersion: 8,
    opsets: new Map([['', 17]]),
    producerName: 'pare',
    producerVersion: '0.1.0',
    metadata: new Map(),
    functions: [],
    graph: { ...graph, nodes },
  };
}

/** Pixels as the network wants them, value / 127.5 - 1, [N, 3, 16, 16]; with `rng` also shifted, flipped, recoloured and inverted. */
function batchOf({ x }: Images, indices: readonly number[], rng?: Rng): RuntimeTensor {
  const plane = SIZE * SIZE;
  const out = new Float32Array(indices.length * 3 * plane);
  const inside = (t: number): number => Math.max(0, Math.min(SIZE - 1, t));
  indices.forEach((index, n) => {
    const [dx, dy] = rng === undefined ? [0, 0] : [rng.int(3) - 1, rng.int(3) - 1];
    const flip = rng !== undefined && rng.int(2) === 1;
    const sign = rng !== undefined && rng.int(2) === 1 ? -1 : 1;
    const channels = rng === undefined ? [0, 1, 2] : rng.shuffle([0, 1, 2]);
    for (let row = 0; row < SIZE; row++) {
      for (let column = 0; column < SIZE; column++) {
        const from = inside(row + dy) * SIZE + inside((flip ? SIZE - 1 - column : column) + dx);
        for (let c = 0; c < 3; c++) {
          out[(n * 3 + c) * plane + row * SIZE + column] =
            sign * (x[(index * 3 + channels[c]!) * plane + from]! / 127.5 - 1);
        }
      }
    }
  });
  return { dataType: DataType.FLOAT, dims: [indices.length, 3, SIZE, SIZE], data: out };
}

function targetsOf(labels: Uint8Array, indices: readonly number[]): Float32Array {
  const targets = new Float32Array(indices.length * CLASSES);
  indices.forEach((index, n) => (targets[n * CLASSES + labels[index]!] = 1));
  return targets;
}

async function accuracy(model: Model, runtime: Runtime, images: Images): Promise<number> {
  return withSession(runtime, model, {}, async (session) => {
    let hits = 0;
    for (let start = 0; start < images.y.length; start += 250) {
      const indices = Array.from({ length: Math.min(250, images.y.length - start) }, (_, i) => start + i);
      const logits = (await session.run(new Map([['image', batchOf(images, indices)]]))).get('logits')!
        .data as Float32Array;
      indices.forEach((index, n) => {
        const row = logits.subarray(n * CLASSES, (n + 1) * CLASSES);
        hits += row.indexOf(Math.max(...row)) === images.y[index] ? 1 : 0;
      });
    }
    return hits / images.y.length;
  });
}

async function train(images: Images, test: Images, rng: Rng): Promise<Model> {
  const runtime = ortRuntime();
  const initial = network(rng.fork('initial'));
  const step = trainingStep(initial, standardOps, new Map([['image', [BATCH, 3, SIZE, SIZE]]]), {
    loss: { kind: 'cross-entropy', smoothing: 0.05 },
    optimizer: { kind: 'sgd', momentum: 0.9, decay: 5e-4 },
  });
  const training = await startTraining(step, runtime, 2);
  const count = images.y.length;
  const steps = EPOCHS * Math.floor(count / BATCH);
  let done = 0;
  let model = initial;
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    const order = rng.fork(`order/${epoch}`).shuffle(Array.from({ length: count }, (_, i) => i));
    const started = performance.now();
    let loss = 0;
    for (let start = 0; start + BATCH <= count; start += BATCH, done++) {
      const indices = order.slice(start, start + BATCH);
      const image = batchOf(images, indices, rng.fork(`augment/${done}`));
      const targets = targetsOf(images.y, indices);
      const rate = PEAK_RATE * oneCycle(done / steps);
      ({ loss } = await training.run({ inputs: new Map([['image', image]]), targets, rate, step: done }));
    }
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    let note = '';
    if (epoch % 5 === 4 || epoch === EPOCHS - 1) {
      model = withState(initial, step, training.state());
      note = `, test ${(100 * (await accuracy(model, runtime, test))).toFixed(1)} %`;
    }
    console.log(`epoch ${epoch + 1}/${EPOCHS}: loss ${loss.toFixed(3)}, ${seconds} s${note}`);
  }
  await training.end();
  return model;
}

function readImages(path: string): Images {
  const files = unzipSync(readFileSync(path));
  const body = (name: string): Uint8Array => {
    const file = files[name]!;
    return file.subarray(10 + file[8]! + 256 * file[9]!);
  };
  return { x: body('x.npy'), y: body('y.npy') };
}

const folder = process.argv[2];
if (folder !== undefined) {
  const images = readImages(join(folder, 'shapes-train.npz'));
  const test = readImages(join(folder, 'shapes-test.npz'));
  writeModel(await train(images, test, createRng('shapes-resnet')), join(folder, 'shapes-resnet.onnx'));
}
